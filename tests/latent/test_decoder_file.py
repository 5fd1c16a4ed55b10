"""The decoder for pages draws what the model draws, and is small."""

import base64
import json
import shutil

import numpy as np
import pytest
import torch

from leadlight.errors import LeadlightError
from leadlight.latent.decoder_file import (
    ABOUT_FILE,
    DECODER_FILE,
    ensure_decoder,
    read_decoder,
    write_decoder,
)
from leadlight.latent.model import Factors, LatentModel, load_latent_model
from leadlight.latent.network import FactorNetwork

_LARGEST_BASE64 = 2_500_000


@pytest.fixture(scope="module")
def shipped() -> LatentModel:
    return load_latent_model()


@pytest.fixture(scope="module")
def written(shipped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoder")
    write_decoder(shipped, folder)
    return folder


def test_beats_of_the_file_are_within_two_microvolts_of_the_models(shipped, written):
    people = np.random.default_rng(5).standard_normal((100, len(shipped.names)))
    wrong = 1e3 * np.abs(read_decoder(written).decode(people) - shipped.decode(people))
    assert wrong.mean() < 0.3
    assert wrong.max() < 2.5
    assert np.abs(shipped.decode(people)).max() > 1  # there is something to be wrong about


def test_the_error_that_the_file_tells_is_the_error_that_it_has(shipped, written):
    told = read_decoder(written).about["error_uv"]
    people = np.random.default_rng(77).standard_normal((200, len(shipped.names)))
    wrong = 1e3 * np.abs(read_decoder(written).decode(people) - shipped.decode(people))
    assert wrong.mean() == pytest.approx(told["typical_mean"], rel=0.1)
    assert told["typical_mean"] < told["typical_max"] < told["corners_max"] < 5


def test_the_file_is_small_enough_for_a_page(written):
    assert len(base64.b64encode((written / DECODER_FILE).read_bytes())) < _LARGEST_BASE64


def test_a_model_with_fewer_factors_than_latents_is_folded_too(shipped, tmp_path):
    torch.manual_seed(3)
    network = FactorNetwork(latents=6, components=20, hidden=16)
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4800, 20)))
    with torch.no_grad():
        network.basis.copy_(torch.from_numpy(basis.T))
        network.bend_components.weight.normal_(0, 0.5)
        network.bend_components.bias.normal_(0, 0.5)
    factors = Factors(network, 4).eval().requires_grad_(False)
    factors.from_factors.copy_(torch.randn(6, 4))
    factors.offset.copy_(torch.randn(6))
    card = shipped.card.model_copy(update={"factors": shipped.card.factors[:4]})
    model = LatentModel(card, factors, None, tmp_path / "card.toml")
    write_decoder(model, tmp_path)
    people = np.random.default_rng(6).standard_normal((50, 4))
    wrong = 1e3 * np.abs(read_decoder(tmp_path).decode(people) - model.decode(people))
    assert wrong.mean() < 0.5
    assert model.decode(people).std(axis=0).max() > 0.01


def test_a_study_that_lacks_the_decoder_gets_it_and_keeps_it(shipped, tmp_path):
    folder = ensure_decoder(tmp_path, shipped)
    assert folder == tmp_path / "latent" / shipped.card.model.name
    before = (folder / DECODER_FILE).stat().st_mtime_ns
    ensure_decoder(tmp_path, shipped)
    assert (folder / DECODER_FILE).stat().st_mtime_ns == before
    about = json.loads((folder / ABOUT_FILE).read_text())
    assert [one["follows"] for one in about["factors"]] == [
        one.follows for one in shipped.card.factors
    ]
    about["weights_sha256"] = "of another model"
    (folder / ABOUT_FILE).write_text(json.dumps(about))
    ensure_decoder(tmp_path, shipped)
    assert (folder / DECODER_FILE).stat().st_mtime_ns != before


def test_damaged_absent_and_mixed_files_are_refused_in_words(written, tmp_path):
    with pytest.raises(LeadlightError, match="no decoder for pages"):
        read_decoder(tmp_path)
    shutil.copytree(written, tmp_path / "cut")
    content = (tmp_path / "cut" / DECODER_FILE).read_bytes()
    (tmp_path / "cut" / DECODER_FILE).write_bytes(content[:1000])
    with pytest.raises(LeadlightError, match="cannot be read"):
        read_decoder(tmp_path / "cut")
    shutil.copytree(written, tmp_path / "mixed")
    last = bytes([content[-1] ^ 1])
    (tmp_path / "mixed" / DECODER_FILE).write_bytes(content[:-1] + last)
    with pytest.raises(LeadlightError, match="does not speak of"):
        read_decoder(tmp_path / "mixed")

"""What a page is told of factors, records and loci is what the study holds."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from drawn_study import LOCUS, shift_of, write_explorer_study

from leadlight.errors import LeadlightError
from leadlight.latent.model import load_latent_model
from leadlight.report.explorer_data import explorer_data, explorer_record, locus_shift
from leadlight.report.factor_words import spoken, spoken_with_r


@pytest.fixture(scope="module")
def model():
    return load_latent_model()


@pytest.fixture(scope="module")
def study(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer") / "study"
    return folder, write_explorer_study(folder, model)


def test_the_page_gets_every_factor_with_its_words_and_its_distribution(study, model):
    found = explorer_data(study[0])
    assert found is not None
    json.dumps(found, allow_nan=False)
    assert len(found["factors"]) == len(model.names)
    assert found["factors"][0]["label"] == "R in V4"
    assert found["factors"][0]["also"][0] == "R in V3 (+0.67)"
    assert all(sum(one["counts"]) == found["n_records"] for one in found["factors"])
    kept = [one["kl_nats"] for one in found["factors"]]
    assert kept == sorted(kept, reverse=True)
    content = (study[0] / "latent" / "leadlight-factors" / "decoder.safetensors").read_bytes()
    assert base64.b64decode(found["decoder"]) == content


def test_records_are_chosen_by_rule_and_come_with_their_own_beat(study):
    folder, beats = study
    found = explorer_data(folder)
    reasons = {one["record_id"]: one["why"] for one in found["records"]}
    names = beats.records["record_id"].to_list()
    assert reasons[names[0]] == "a real recording"
    assert "the record nearest to the mean beat" in reasons.values()
    table = pl.read_parquet(folder / "latent" / "leadlight-factors" / "factors.parquet")
    farthest = table.sort("distance")["record_id"][-1]
    assert reasons[farthest] in ("the highest probability of AF (0.90)", "a real recording")
    for one in found["records"]:
        place = names.index(one["record_id"])
        stored = np.frombuffer(base64.b64decode(one["beat"]), "<i2").reshape(8, 600)
        np.testing.assert_array_equal(stored, beats.microvolts[place])
        wanted = table.row(place, named=True)
        np.testing.assert_allclose(
            one["factors"], [wanted[f"factor_{k + 1:02d}"] for k in range(24)], atol=1e-4
        )
        assert one["simulated"] == (place > 0)
        assert 0 <= one["own"][0] < 225 < one["own"][1] <= 600


def test_a_locus_brings_its_shift_in_the_decoders_order_and_its_logits(study, model):
    (found,) = explorer_data(study[0])["loci"]
    assert found["name"] == LOCUS
    np.testing.assert_allclose(found["beta"], shift_of(model))
    assert [one["class"] for one in found["logits"]] == ["AF", "LBBB"]
    assert found["card"].endswith(f"effects/{LOCUS.replace(':', '-')}/card.html")
    folder = study[0] / "effects" / LOCUS.replace(":", "-")
    assert locus_shift(folder, list(reversed(model.names)))["beta"] == found["beta"][::-1]
    assert locus_shift(folder, ["factor_99"]) is None


def test_any_record_can_be_asked_for_and_an_unknown_one_is_refused(study):
    folder, beats = study
    name = beats.records["record_id"][3]
    assert explorer_record(folder, name)["record_id"] == name
    with pytest.raises(LeadlightError, match="no record 'nobody'"):
        explorer_record(folder, "nobody")


def test_a_study_without_factors_or_decoder_has_no_explorer(tmp_path, study):
    assert explorer_data(tmp_path) is None
    lone = tmp_path / "latent" / "leadlight-factors"
    lone.mkdir(parents=True)
    source = study[0] / "latent" / "leadlight-factors" / "factors.parquet"
    (lone / "factors.parquet").write_bytes(source.read_bytes())
    assert explorer_data(tmp_path) is None


def test_reading_for_a_page_loads_no_network():
    """Report reads results, never models: a process that only reads has no torch in it."""
    code = "import sys, leadlight.report.explorer_data; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("quantity", "words"),
    [("r_prime_mv_V1", "R′ in V1"), ("st80_mv_V2", "ST + 80 ms in V2"), ("pr_ms", "PR interval"),
     ("sokolow_lyon_mv", "Sokolow–Lyon voltage"), ("something_new", "something new")],
)  # fmt: skip
def test_quantities_are_spoken(quantity, words):
    assert spoken(quantity) == words
    assert spoken_with_r(f"{quantity} (-0.34)") == f"{words} (−0.34)"

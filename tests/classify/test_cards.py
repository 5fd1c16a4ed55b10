import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadlight.classify.cards import ModelCard, card_from_tables, card_text, read_card, write_card
from leadlight.ecg.leads import LEADS
from leadlight.errors import LeadlightError

MINIMAL = """
[model]
name = "small"
[output]
classes = ["AF", "LBBB"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "card.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_minimal_card_has_the_published_networks_defaults(tmp_path: Path) -> None:
    card = read_card(written(tmp_path, MINIMAL))
    assert card.input.rate_hz == 400
    assert card.input.samples == 4096
    assert card.input.leads == LEADS
    assert card.model.architecture_settings.filters == (128, 196, 256, 320)
    assert card.output.thresholds == {}


def test_a_card_is_unchanged_by_writing_and_reading(tmp_path: Path) -> None:
    card = card_from_tables(
        {
            "limits": ["Trained on adults."],
            "model": {"name": "a.b-1", "architecture_settings": {"strides": [4, 2, 2, 2]}},
            "input": {"leads": ["V1", "II"], "highpass_hz": 0.5, "unit_scale": 10.0},
            "output": {"classes": ["AF"], "thresholds": {"AF": 0.39}},
            "training": {"seed": 3, "recipe": {"epochs": 5, "stopped": None}},
            "metrics": {"AF": {"auroc": [0.9, 0.85, 0.94]}},
        },
        "here",
    )
    write_card(card, tmp_path / "card.toml")
    again = read_card(tmp_path)
    assert again.training == {"seed": 3, "recipe": {"epochs": 5}}  # TOML has no null
    assert again.model_copy(update={"training": card.training}) == card


@given(
    scale=st.floats(1e-6, 1e6),
    rate=st.floats(1, 5000),
    threshold=st.floats(0, 1),
    text=st.text(max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_numbers_and_texts_survive_toml(
    scale: float, rate: float, threshold: float, text: str
) -> None:
    card = card_from_tables(
        {
            "model": {"name": "m", "description": text},
            "input": {"unit_scale": scale, "rate_hz": rate},
            "output": {"classes": ["AF"], "thresholds": {"AF": threshold}},
        },
        "here",
    )
    assert card_from_tables(tomllib.loads(card_text(card)), "here") == card


@pytest.mark.parametrize(
    ("replaced", "by", "message"),
    [
        ('name = "small"', 'name = "small"\nsampling = 1', r"model\.sampling is no key"),
        ("[output]", "[outputs]\n[output]", "outputs is no key"),
        ('name = "small"', "", r"model\.name is missing"),
        ('name = "small"', 'name = "a/b"', "folder of its results"),
        ("[output]", "[input]\nleads = ['I', 'V9']\n[output]", '"V9" is none of'),
        ("[output]", "[input]\nleads = ['II', 'Lead II']\n[output]", '"II" is named 2 times'),
        ("[output]", "[input]\npadding = 'left'\n[output]", r"input\.padding"),
        ("[output]", "[input]\nrate_hz = -1\n[output]", r"input\.rate_hz"),
        ("[output]", "[input]\nunit_scale = nan\n[output]", r"input\.unit_scale"),
        ("[output]", "[input]\nlowpass_hz = 300\n[output]", "not below half of rate_hz 400"),
        ("[output]", "[input]\nhighpass_hz = 9\nlowpass_hz = 4\n[output]", "nothing passes"),
        ('"LBBB"]', '"AF"]', '"AF" is named 2 times'),
        ('"LBBB"]', '"LBBB"]\nthresholds = {RBBB = 0.5}', '"RBBB", which is none of'),
        ('"LBBB"]', '"LBBB"]\nthresholds = {AF = 1.5}', r"output\.thresholds\.AF"),
        ('name = "small"', 'name = "small"\nweights = "../w.safetensors"', "leaves the folder"),
        ('name = "small"', 'name = "small"\nweights = "/etc/w.safetensors"', "leaves the folder"),
        (
            'name = "small"',
            'name = "small"\nweights = "C:\\\\w.safetensors"',
            "leaves the folder",
        ),
        ('name = "small"', 'name = "small"\nweights = "w.pt"', "pickled weights"),
        (
            "[output]",
            "[model.architecture_settings]\nstrides = [4]\n[output]",
            "4 blocks and strides 1",
        ),
    ],
)
def test_what_a_card_cannot_say_is_named(
    tmp_path: Path, replaced: str, by: str, message: str
) -> None:
    assert replaced in MINIMAL
    with pytest.raises(LeadlightError, match=message) as caught:
        read_card(written(tmp_path, MINIMAL.replace(replaced, by)))
    assert str(tmp_path / "card.toml") in str(caught.value)


def test_all_faults_of_a_card_are_named_at_once(tmp_path: Path) -> None:
    text = MINIMAL.replace('name = "small"', "nmae = 1") + "kinds = 2\n"
    with pytest.raises(LeadlightError) as caught:
        read_card(written(tmp_path, text))
    for fault in ("model.nmae", "model.name is missing", "output.kinds"):
        assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[model", "not valid TOML"), (b"\xff\xfe\x00", "not text")],
)
def test_a_file_that_is_no_card_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "card.toml").write_bytes(content)
    with pytest.raises(LeadlightError, match=message):
        read_card(tmp_path / "card.toml")
    with pytest.raises(LeadlightError, match="cannot be read"):
        read_card(tmp_path / "absent.toml")


def test_lead_names_of_files_become_the_standard_names(tmp_path: Path) -> None:
    text = MINIMAL.replace("[output]", "[input]\nleads = ['DI', 'AVR', 'Lead V1']\n[output]")
    assert read_card(written(tmp_path, text)).input.leads == ("I", "aVR", "V1")


def test_changing_one_setting_checks_it_and_leaves_the_rest(tmp_path: Path) -> None:
    card = read_card(written(tmp_path, MINIMAL))
    changed = card.with_input(unit_scale=2.0)
    assert changed.input.unit_scale == 2
    assert changed.model_copy(update={"input": card.input}) == card
    assert card.with_output(thresholds={"AF": 0.2}).output.thresholds == {"AF": 0.2}
    with pytest.raises(LeadlightError, match=r"input\.scale is no key"):
        card.with_input(scale=2.0)
    assert isinstance(card, ModelCard)

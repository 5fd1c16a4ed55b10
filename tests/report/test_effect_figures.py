from typing import Any

import numpy as np
import polars as pl
import pytest

from leadlight.ecg.leads import LEADS
from leadlight.report.effect_figures import draw_effect, draw_groups, nice_step
from leadlight.report.effect_panels import WAVES, said, strongest_class
from leadlight.report.locus_card import LocusView, draw_card, write_card
from leadlight.report.locus_figures import HEAT, R2_COLOURS, draw_heat_map, draw_locus

TIME = np.arange(-330.0, 450.0, 2.0)


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(0)
    n = len(TIME)
    line = np.concatenate([8 * np.exp(-0.5 * ((TIME - 300) / 40) ** 2) * rng.uniform(-1, 1)
                           for _ in LEADS])  # fmt: skip
    beat = np.tile(np.exp(-0.5 * (TIME / 20) ** 2), len(LEADS))
    lead = np.repeat(LEADS, n)
    effect = pl.DataFrame(
        {
            "lead": lead, "time_ms": np.tile(TIME, len(LEADS)), "reference_mv": beat,
            "difference_uv": line, "low_uv": line - 2, "high_uv": line + 2,
            "low_everywhere_uv": line - 4, "high_everywhere_uv": line + 4,
            "shrunken_uv": 0.7 * line, "decoded_uv": 0.9 * line, "shown": True,
        }
    )  # fmt: skip
    groups = pl.concat(
        pl.DataFrame({"group": name, "n": 100 * (k + 1), "lead": lead,
                      "time_ms": np.tile(TIME, len(LEADS)), "mean_mv": beat + 1e-3 * k * line,
                      "standard_error_mv": np.full(len(beat), 1e-3)})
        for k, name in enumerate(("A/A", "A/G", "G/G"))
    )  # fmt: skip
    z = rng.normal(0, 4, 24)
    return {
        "effect": effect,
        "groups": groups,
        "factors": pl.DataFrame(
            {"factor": [f"factor_{k + 1:02d}" for k in range(24)], "follows": ["t_mv_V5"] * 24,
             "beta": 0.01 * z, "standard_error": np.full(24, 0.01), "z": z}
        ),
        "measurements": pl.DataFrame(
            {"quantity": ["qt_ms", "qrs_axis_deg"], "unit": ["ms", "deg"], "change": [-4.5, 0.2],
             "low": [-5.1, -0.4], "high": [-3.9, 0.8], "standard_error": [0.3, 0.3],
             "n": [600, 600], "source": ["people", "people"], "held": [None, None]}
        ),
        "logits": pl.DataFrame(
            {"class": ["AF", "RBBB"], "change": [0.02, 0.2], "low": [0.0, 0.1],
             "high": [0.04, 0.3], "standard_error": [0.01, 0.05], "n": [600, 600]}
        ),
        "relevance": pl.DataFrame(
            [(c, lead_, wave, float(rng.normal(0, 0.01)))
             for c in ("AF", "RBBB") for lead_ in LEADS for wave in WAVES],
            schema=["class", "lead", "wave", "relevance"], orient="row",
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return {
        "name": "rs1$2", "kind": "variant", "step": "copy of G", "estimate": "direct", "n": 600,
        "group_names": ["A/A", "A/G", "G/G"], "expected_correlation": 0.9,
        "beyond_chance": 0.2, "strip_steps": 2.0,
        "covariates": ["age"], "neg_log_10_p": 12.3,
        "about": {"chromosome": "1", "base_pair_location": 1_000_000, "effect_allele": "G",
                  "other_allele": "A", "effect_allele_frequency": 0.4},
        "strip": [{"class": c, "change": 0.1, "logit": -3.0, "completeness_error": 0.01}
                  for c in ("AF", "RBBB")],
    }  # fmt: skip


@pytest.fixture(scope="module")
def locus() -> LocusView:
    rng = np.random.default_rng(1)
    place = np.sort(rng.integers(800_000, 1_200_000, 300))
    place[150] = 1_000_000
    variants = pl.DataFrame(
        {"rsid": [f"rs{k}" if k != 150 else "rs1$2" for k in range(300)],
         "base_pair_location": place, "neg_log_10_p_value": rng.exponential(1, 300),
         "r2": [None, *rng.random(299).tolist()], "pip": rng.random(300),
         "in_set": rng.random(300) > 0.97}
    )  # fmt: skip
    genes = pl.DataFrame(
        {"gene": ["ONE", "TWO", "THREE"], "start": [850_000, 870_000, 990_000],
         "end": [950_000, 900_000, 1_300_000], "strand": ["+", "-", "."]}
    )  # fmt: skip
    rates = pl.DataFrame({"position": place[::10], "rate": rng.exponential(3, 30)})
    return LocusView(variants, genes, rates, "1", (800_000, 1_200_000), "rs1$2", "QT")


def test_all_leads_share_one_scale_with_r_at_zero(
    tables: dict[str, pl.DataFrame], summary: dict[str, Any]
) -> None:
    figure, rows = draw_effect(tables, summary)
    assert len(figure.axes) == 12
    assert {panel.texts[0].get_text() for panel in figure.axes} == set(LEADS)
    assert len({panel.get_ylim() for panel in figure.axes}) == 1
    low, high = figure.axes[0].get_xlim()
    assert low < 0 < high
    assert high >= tables["effect"]["time_ms"].max()
    limit = figure.axes[0].get_ylim()[1]
    assert limit >= tables["effect"]["difference_uv"].abs().max()
    assert rows.height == tables["effect"].height


def test_groups_are_named_with_their_people(
    tables: dict[str, pl.DataFrame], summary: dict[str, Any]
) -> None:
    figure, _ = draw_groups(tables, summary)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["A/A (n = 100)", "A/G (n = 200)", "G/G (n = 300)"]


def test_the_lead_variant_is_named_and_the_credible_set_ringed(locus: LocusView) -> None:
    figure, _ = draw_locus(**locus.parts())
    upper = figure.axes[0]
    assert "rs1$2" in [text.get_text() for text in upper.texts]
    rings = [c for c in upper.collections if len(c.get_facecolors()) == 0 and len(c.get_offsets())]
    assert len(rings[0].get_offsets()) == locus.variants["in_set"].sum() - int(
        locus.variants["in_set"][150]
    )
    assert {"ONE →", "TWO ←", "THREE"} <= {text.get_text() for text in figure.axes[1].texts}


def test_the_colours_of_linkage_grow_darker() -> None:
    def lightness(colour: str) -> float:
        red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    found = [lightness(one) for one in R2_COLOURS]
    assert found[0] > found[1] > found[2] > found[4]
    assert found[3] > found[4]


def test_the_heat_map_keeps_every_number_and_puts_like_loci_together() -> None:
    rng = np.random.default_rng(2)
    one, two = rng.normal(0, 6, 8), rng.normal(0, 6, 8)
    z = np.stack([one, two, -one + 0.1, two + 0.1])
    q = np.where(np.abs(z) > 3, 0.001, 0.5)
    figure, rows = draw_heat_map(z, q, ["a", "b", "c", "d"], [f"f{k}" for k in range(8)])
    order = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert abs(order.index("a") - order.index("c")) == 1
    assert abs(order.index("b") - order.index("d")) == 1
    for locus, values in zip("abcd", z, strict=True):
        own = rows.filter(pl.col("locus") == locus).sort("factor")["z"].to_numpy()
        assert np.abs(own) == pytest.approx(np.abs(values))
        assert own[np.abs(own).argmax()] > 0
    dots = figure.axes[0].collections[0].get_offsets()
    assert len(dots) == (q < 0.05).sum()
    assert min(HEAT(0.5)[:3]) > 0.93


def test_the_card_says_what_it_shows(
    tables: dict[str, pl.DataFrame], summary: dict[str, Any], locus: LocusView
) -> None:
    figure = draw_card(tables, summary, locus)
    said_there = " ".join(
        text.get_text() for part in figure.subfigs for text in part.texts
    )  # fmt: skip
    for words in ("rs1$2", "per copy of G", "frequency 0.400", "winner’s curse", "0.90"):
        assert words in said_there, words


@pytest.mark.slow
def test_the_page_is_whole_in_itself_and_escapes_names(
    tables: dict[str, pl.DataFrame], summary: dict[str, Any], tmp_path: Any
) -> None:
    page = write_card(tmp_path, tables, {**summary, "name": "<b>rs1</b>"}, None)
    text = page.read_text(encoding="utf-8")
    assert "&lt;b&gt;rs1" in text
    assert "<b>rs1" not in text
    assert text.count("data:image/png;base64,") == 3
    assert (tmp_path / "card.png").stat().st_size > 50_000


def test_without_groups_and_locus_there_is_still_a_card(
    tables: dict[str, pl.DataFrame], summary: dict[str, Any]
) -> None:
    bare = {**tables, "groups": tables["groups"].clear(), "logits": tables["logits"].clear()}
    figure = draw_card(bare, {**summary, "estimate": "decoder", "group_names": []})
    assert len(figure.subfigs) == 5


def test_changes_are_said_with_unit_and_interval() -> None:
    row = {"quantity": "qt_ms", "change": -4.52, "low": -5.1, "high": -3.9}
    assert said(row) == "−4.5 ms [−5.1, −3.9]"
    volt = {"quantity": "cornell_mv", "change": 0.0215, "low": 0.01, "high": 0.033}
    assert said(volt) == "+22 µV [10, 33]"


def test_the_strongest_class_is_the_surest_in_people(
    tables: dict[str, pl.DataFrame], summary: dict[str, Any]
) -> None:
    assert strongest_class(tables["logits"], summary) == "RBBB"


@pytest.mark.parametrize(("size", "step"), [(7.0, 5.0), (0.9, 0.5), (2.0, 2.0), (130.0, 100.0)])
def test_steps_are_round(size: float, step: float) -> None:
    assert nice_step(size) == pytest.approx(step)

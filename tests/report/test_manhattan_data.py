import base64
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gene_study import VARIANTS, variant, write_second_study, write_set

from leadlight.report.association_sets import association_sets, inflation_of, median_inflation
from leadlight.report.locus_data import effect_facts, locus_facts
from leadlight.report.manhattan_data import SUGGESTIVE, manhattan_data, thinned
from leadlight.report.qq_data import qq_data


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("genes")
    write_second_study(folder)
    return folder


def _unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def test_no_hit_is_left_out_and_each_point_is_a_variant_of_the_table(study: Path) -> None:
    data = manhattan_data(study, most=900)
    assert data is not None
    names = [one["name"] for one in data["chromosomes"]]
    assert names == ["1", "3", "6"]
    for one in data["sets"]:
        joint = pl.read_parquet(study / "gwas" / one["name"] / "joint.parquet").with_columns(
            pl.col("chromosome").cast(pl.String)
        )
        known = {
            (c, x): p
            for c, x, p in joint.select(
                "chromosome", "base_pair_location", "neg_log_10_p_value"
            ).iter_rows()
        }
        layer = next(layer for layer in one["layers"] if layer["test"] == "joint")
        chromosome = [names[code] for code in _unpacked(layer["chromosome"], "<u1")]
        position, p = _unpacked(layer["position"], "<u4"), _unpacked(layer["p"], "<u2") / 100
        assert len(p) == layer["shown"] <= 900
        assert layer["variants"] == joint.height
        drawn = dict(zip(zip(chromosome, position.tolist(), strict=True), p, strict=True))
        assert all(value == pytest.approx(known[key], abs=0.0051) for key, value in drawn.items())
        hits = {key for key, value in known.items() if value >= SUGGESTIVE}
        assert hits <= drawn.keys()
        assert layer["hits"] == len(hits)
        assert layer["hits_left_out"] == 0


def test_the_least_layer_names_the_strongest_trait_of_each_point(study: Path) -> None:
    data = manhattan_data(study)
    assert data is not None
    one = next(one for one in data["sets"] if one["name"] == "measurements")
    layer = next(layer for layer in one["layers"] if layer["test"] == "least")
    tables = [
        pl.read_parquet(study / "gwas" / "measurements" / f"{trait}.parquet")["neg_log_10_p_value"]
        for trait in one["traits"]
    ]
    both = np.stack([table.to_numpy() for table in tables])
    top = int(both.max(axis=0).argmax())
    p, trait = _unpacked(layer["p"], "<u2"), _unpacked(layer["trait"], "<u1")
    assert p.max() / 100 == pytest.approx(both.max(), abs=0.0051)
    assert one["traits"][trait[p.argmax()]] == one["traits"][int(both[:, top].argmax())]


def test_tables_of_other_variants_come_as_points_of_their_own(tmp_path: Path) -> None:
    write_set(tmp_path, "two", ["pr_ms", "qrs_ms"], seed=4)
    path = tmp_path / "gwas" / "two" / "qrs_ms.parquet"
    pl.read_parquet(path).filter(pl.col("chromosome").cast(pl.String) == "6").write_parquet(path)
    data = manhattan_data(tmp_path)
    assert data is not None
    layer = next(layer for layer in data["sets"][0]["layers"] if layer["test"] == "least")
    assert layer["variants"] == 3 * VARIANTS + VARIANTS
    assert set(_unpacked(layer["trait"], "<u1").tolist()) == {0, 1}


def test_thinning_keeps_hits_and_keeps_below_its_limit() -> None:
    rng = np.random.default_rng(0)
    x = np.sort(rng.integers(0, 10**8, 50_000))
    p = -np.log10(rng.uniform(size=50_000))
    p[1000:1400] = rng.uniform(6, 30, 400)
    kept = thinned(x, p, np.zeros(len(x), dtype=bool), 10**8, 3000)
    assert len(kept) <= 3000
    assert set(np.flatnonzero(p >= SUGGESTIVE)) <= set(kept.tolist())
    assert len(kept) > 1500  # and is not emptier than it must be


def test_where_hits_alone_are_too_many_the_strongest_stay() -> None:
    rng = np.random.default_rng(1)
    x, p = np.arange(20_000), rng.uniform(6, 60, 20_000)
    kept = thinned(x, p, np.zeros(len(x), dtype=bool), 20_000, 500)
    assert len(kept) == 500
    assert p.argmax() in kept
    widest = np.diff(np.concatenate(([0], x[kept], [20_000]))).max()
    assert widest < 200  # all of the genome is still there


def test_a_study_without_associations_has_no_plot(tmp_path: Path) -> None:
    assert manhattan_data(tmp_path) is None
    assert qq_data(tmp_path) is None
    assert locus_facts(tmp_path) == []


def test_null_controls_are_known_by_name_and_are_calibrated(study: Path) -> None:
    sets = association_sets(study)
    assert [(one.label, one.is_null) for one in sets] == [
        ("factors", False), ("measurements", False), ("permuted", True),
    ]  # fmt: skip
    assert all(one.people == 1234 and one.rank_normal for one in sets)
    null = inflation_of(sets[-1].tables["factor_01"])
    assert null is not None
    assert null.low < 1 < null.high
    assert median_inflation(sets[-1].tables["factor_01"]) == pytest.approx(null.lambda_gc)


def test_locus_facts_are_those_of_the_tables(study: Path) -> None:
    strong, weak = locus_facts(study)
    assert (strong["name"], strong["known"], strong["locus"]) == ("SCN10A", True, 2)
    assert strong["p"] == 14.0
    assert strong["strongest"] == {
        "label": "measurements", "trait": "pr_ms", "allele": "C", "beta": -0.3, "error": 0.03,
        "p": 14.0, "unit": "SD",
    }  # fmt: skip
    assert strong["card"] == "../effects/" + variant("SCN10A").replace(":", "-") + "/card.html"
    assert strong["credible"] == [
        {"trait": "pr_ms", "label": "measurements", "size": 3, "coverage": 0.96,
         "variant": variant("SCN10A"), "probability": 0.7}
    ]  # fmt: skip
    assert weak["credible"] == []
    assert weak["effect"] is None
    assert weak["card"] == ""


def test_an_effect_is_drawn_from_its_own_numbers(study: Path) -> None:
    found = effect_facts(study / "effects" / variant("SCN10A").replace(":", "-"))
    ecg = found["ecg"]
    difference = _unpacked(ecg["difference"], "<i2").reshape(12, ecg["samples"]) * ecg["unit_uv"]
    time = ecg["start_ms"] + ecg["step_ms"] * np.arange(ecg["samples"])
    two = ecg["leads"].index("II")
    assert difference[two].min() == pytest.approx(-20.0, abs=ecg["unit_uv"])
    assert abs(time[difference[two].argmin()] + 150) <= 2
    assert difference[0].min() == pytest.approx(-6.0, abs=ecg["unit_uv"])
    assert found["largest"]["lead"] == "II"
    assert found["largest"]["uv"] == pytest.approx(-20.0)
    assert found["largest"]["beyond"]
    assert [one["name"] for one in found["changes"] if one["clear"]] == ["PR", "Cornell"]
    assert [one["class"] for one in found["logits"] if one["clear"]] == ["1dAVb"]
    whole = 0.2 + 71 * 0.01
    assert found["where"]["class"] == "1dAVb"
    assert found["where"]["parts"][0] == {
        "wave": "P", "lead": "II", "share": pytest.approx(0.2 / whole), "sign": -1,
    }  # fmt: skip


def test_only_so_many_effects_are_drawn_in_the_page(study: Path) -> None:
    assert all(one["effect"] is None for one in locus_facts(study, drawn=0))


def test_qq_pairs_ranks_with_what_chance_expects(study: Path) -> None:
    found = {one["label"]: one for one in qq_data(study) or []}
    joint = pl.read_parquet(study / "gwas" / "factors" / "joint.parquet")["neg_log_10_p_value"]
    one = found["factors"]
    assert one["observed"][0] == pytest.approx(joint.max(), abs=1e-3)
    assert one["expected"][0] == pytest.approx(np.log10(joint.len() + 1), abs=1e-3)
    assert found["permuted"]["null"]
    null = found["permuted"]
    inside = [
        low <= seen <= high
        for low, seen, high in zip(null["low"], null["observed"], null["high"], strict=True)
    ]
    assert np.mean(inside) > 0.5

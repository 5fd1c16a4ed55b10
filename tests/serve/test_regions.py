"""Regions, variants and factor settings are what the tables and the decoder say."""

import base64

import numpy as np
import polars as pl
import pytest
from study_to_serve import FACTORS, LEAD

from leadlight.latent.beats import twelve_leads
from leadlight.latent.page_decoder import read_decoder
from leadlight.serve.refusals import Refusal
from leadlight.serve.region import MOST_POINTS, Place, _drawn, read_place

REGION = "3:38550000-38800000"


@pytest.mark.parametrize("trait", ["factor_03", "joint"])
def test_a_region_has_all_its_variants_and_no_other(ask, served_study, trait):
    found = ask(f"/api/region?place={REGION}&set=factors&trait={trait}").json()
    table = pl.read_parquet(served_study / "gwas" / "factors" / f"{trait}.parquet").filter(
        pl.col("base_pair_location").is_between(38_550_000, 38_800_000),
        pl.col("chromosome") == "3",
    )
    assert found["total"] == found["drawn"] == table.height
    assert found["id"] == table["rsid"].to_list()
    assert found["neg_log_10_p"] == pytest.approx(table["neg_log_10_p_value"].to_list(), abs=1e-3)
    strongest = table.sort("neg_log_10_p_value", descending=True)["rsid"].head(5).to_list()
    assert [row["rsid"] for row in found["top"][:5]] == strongest


def test_the_joint_test_is_first_and_loci_are_marked(ask):
    found = ask(f"/api/region?place={REGION}").json()
    assert (found["set"], found["trait"]) == ("factors", "joint")
    assert found["top"][0]["rsid"] == "3:38737659:C:T"
    assert [one["lead_variant"] for one in found["loci"]] == ["3:38737659:C:T"]
    page = ask(f"/loci/{REGION}").text
    assert "&lt;b&gt;SCN10A&lt;/b&gt;" in page  # a gene's name is text
    assert "<b>SCN10A" not in page


def test_places_are_read_as_people_write_them():
    assert read_place("chr3:38,600,000-38,700,000") == Place("3", 38_600_000, 38_700_000)
    assert read_place(" X:5 ") == Place("X", 5, 5)
    assert str(Place("3", 100, 199).moved(0.5)) == "3:150-249"
    assert Place("3", 10, 109).moved(-5).first == 1
    wide = Place("3", 1000, 2000).scaled(3)
    assert (wide.first, wide.last) == (1, 3002)
    for text in ("3", "3:x-5", "3:10-5", "3:0-99999999", "../3:1-2", "3:1-2;drop", "٣:١-٢", ""):
        with pytest.raises(Refusal):
            read_place(text)


def test_questions_about_places_that_make_no_sense_are_sentences(ask):
    assert ask("/api/region?place=nowhere").status == 422
    assert ask("/api/region?place=3:1-99999999").status == 422
    assert ask(f"/api/region?place={REGION}&set=nobody").status == 404
    assert ask(f"/api/region?place={REGION}&trait=nobody").status == 404
    assert ask("/api/region?place=17:1-1000").json()["total"] == 0
    assert ask("/loci/17:1-1000").status == 200
    assert ask("/variants/17:5").status == 404
    assert ask("/api/variant?place=3:38737659&effect=G&other=A").status == 404


def test_a_place_in_the_form_leads_to_its_region(ask):
    reply = ask("/loci?place=3:38737659")
    assert reply.status == 303
    assert reply.headers["Location"].startswith("/loci/3:")
    assert ask("/loci?place=%0d%0aSet-Cookie:x").status == 422


def test_thinning_keeps_every_strong_variant_and_the_bound():
    rng = np.random.default_rng(0)
    x = np.sort(rng.integers(0, 10**6, 200_000))
    y = rng.exponential(0.4, 200_000)
    kept = _drawn(x, y)
    assert len(kept) <= MOST_POINTS
    assert set(np.flatnonzero(y >= 3)) <= set(kept)
    assert len(_drawn(x, y + 5)) <= MOST_POINTS


def test_a_variant_tells_every_trait_and_draws_its_effect(ask, served_study):
    found = ask("/api/variant?place=3:38737659&effect=T&other=C").json()
    told = {(row["set"], row["trait"]): row for row in found["traits"]}
    assert len(told) == len(FACTORS) + 2 + 2
    assert told["factors", "factor_02"]["beta"] == pytest.approx(0.28, abs=1e-6)
    assert told["factors", "factor_02"]["z"] == pytest.approx(5.6, abs=1e-3)
    assert [row["neg_log_10_p_value"] or 0 for row in found["traits"]] == sorted(
        (row["neg_log_10_p_value"] or 0 for row in found["traits"]), reverse=True
    )
    # The drawing is the decoder's mean difference over the study's people.
    folder = served_study / "latent" / "leadlight-factors"
    table = pl.read_parquet(folder / "factors.parquet").select(FACTORS).drop_nulls()
    people = table.to_numpy().astype(np.float64)
    shift = (0.3 - 0.02 * np.arange(24)) * people.std(axis=0, ddof=1)
    decoder = read_decoder(folder)
    change = decoder.decode(people + shift).mean(axis=0) - decoder.decode(people).mean(axis=0)
    wanted_uv = 1e3 * twelve_leads(change)[:, ::2]
    drawing = found["drawing"]
    shown = np.frombuffer(base64.b64decode(drawing["difference"]), "<i2") * drawing["unit_uv"]
    assert np.abs(shown.reshape(12, -1) - wanted_uv).max() < 0.05
    low, high = (np.frombuffer(base64.b64decode(drawing[name]), "<i2") for name in ("low", "high"))
    assert (low <= high).all()


def test_a_variant_may_be_named_by_its_alleles_either_way(ask):
    one = ask("/api/variant?place=3:38737659&effect=T&other=C").json()
    two = ask("/api/variant?place=3:38737659&effect=C&other=T").json()
    assert one["chosen"] == two["chosen"]
    page = ask("/variants/3:38737659").text
    assert "PR interval" in page


def test_any_factor_setting_is_a_beat(ask, served_study):
    found = ask("/api/factors?factor_01=1.5&factor_24=-2").json()
    decoder = read_decoder(served_study / "latent" / "leadlight-factors")
    setting = np.zeros((1, 24))
    setting[0, [0, 23]] = 1.5, -2
    wanted = 1e3 * twelve_leads(decoder.decode(setting))[0]
    assert np.abs(np.array(found["beat_uv"]) - wanted).max() < 0.01
    for wrong in ("factor_99=1", "factor_01=x", "factor_01=nan", "factor_01=99", "model=nobody"):
        assert ask(f"/api/factors?{wrong}").status in (404, 422)


def test_the_explorer_takes_a_record_and_a_variant_of_ones_own(ask):
    page = ask(f"/factors?variant={LEAD[0]}:{LEAD[1]}&effect=T&other=C").text
    assert "3:38737659:C:T is the first under" in page
    assert ask("/factors?record=nobody").status in (404, 422)

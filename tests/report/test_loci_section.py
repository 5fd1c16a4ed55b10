import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.report.loci_section import loci_section
from leadlight.report.page import write_report
from leadlight.simulate.population import simulate_recordings

LOCI = pl.DataFrame(
    {
        "locus": [1, 2], "chromosome": ["1", "6"], "lead_variant": ["rs1", "<b>rs2</b>"],
        "lead_position": [162_189_819, 118_870_052], "lead_trait": ["pr_ms", "joint"],
        "lead_label": ["conventional", "factors"], "lead_neg_log_10_p_value": [9.04, 36.5],
        "labels": [["conventional", "factors"], ["factors"]], "only": [None, "factors"],
        "nearest_gene": ["NOS1AP", None], "known": [True, False],
    }
)  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "loci").mkdir()
    LOCI.write_parquet(tmp_path / "loci" / "loci.parquet")
    (tmp_path / "effects" / "rs2").mkdir(parents=True)
    (tmp_path / "effects" / "rs2" / "card.html").write_text("")
    pl.DataFrame(
        {"lead_variant": ["<b>rs2</b>", "rs1"], "card": ["rs2/card.html", "rs1/card.html"]}
    ).write_parquet(tmp_path / "effects" / "cards.parquet")
    return tmp_path


def test_the_strongest_locus_stands_first_and_links_its_card(study: Path) -> None:
    found = loci_section(study)
    assert found is not None
    assert [row["lead"] for row in found["rows"]] == ["<b>rs2</b>", "rs1"]
    assert found["rows"][0]["card"] == "../effects/rs2/card.html"
    assert found["rows"][1]["card"] == ""  # its card is not there
    assert found["sentences"] == [
        "2 loci; 1 lie near a published ECG locus, 1 do not.",
        "Seen by conventional: 1, 0 of them by nothing else.",
        "Seen by factors: 2, 1 of them by nothing else.",
    ]


def test_no_loci_and_nothing_found_are_two_things(study: Path) -> None:
    LOCI.head(0).select("locus", "chromosome").write_parquet(study / "loci" / "loci.parquet")
    found = loci_section(study)
    assert found is not None
    assert found["sentences"] == ["No variant reaches the threshold."]
    (study / "loci" / "loci.parquet").unlink()
    assert loci_section(study) is None
    LOCI.drop("known").write_parquet(study / "loci" / "loci.parquet")
    with pytest.raises(LeadlightError, match="lacks the columns known"):
        loci_section(study)


def test_inflation_stands_beside_the_loci_with_its_interval(study: Path) -> None:
    (study / "gwas" / "factors").mkdir(parents=True)
    p = np.random.default_rng(3).uniform(size=20_000) ** 1.2  # inflated
    table = pl.DataFrame({"neg_log_10_p_value": -np.log10(p)})
    table.write_parquet(study / "gwas" / "factors" / "joint.parquet")
    found = loci_section(study)
    assert found is not None
    said = re.search(r"factors: λGC ([\d.]+) \[([\d.]+), ([\d.]+)\]", found["sentences"][-1])
    assert said is not None
    value, low, high = map(float, said.groups())
    assert 1.0 < low < value < high


def test_the_page_shows_loci_as_text(study: Path) -> None:
    from leadlight.cohort.store import write_cohort

    one = next(iter(simulate_recordings(1, seed=1))).recording
    write_cohort(study, [(one, ("NORM",))])
    html = write_report(study).read_text(encoding="utf-8")
    assert "6:118,870,052" in html
    assert 'href="../effects/rs2/card.html"' in html
    assert "<b>rs2" not in html
    assert "&lt;b&gt;rs2" in html

"""The shipped catalogue knows what was published, and tells one build from the other."""

import csv
from pathlib import Path

import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.known_loci import BUILDS, read_catalogue, refuse_wrong_build

PUBLISHED = [
    ("verweij2020_tableS13.tsv", "CHR", "BP", "snp.id.orig", "GRCh37"),
    ("verweij2020_tableS1.tsv", "CHR", "BP", "SNP", "GRCh37"),
    ("verweij2020_QTinterval.tsv", "CHR", "BP", "snp.id.orig", "GRCh37"),
    ("gwas_catalog_2014_ecg.tsv", "Chr_id", "Chr_pos", "SNPs", "GRCh38"),
]


def places(folder: Path, name: str, *columns: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    text = (folder / "loci" / name).read_bytes().decode("latin-1")
    rows = [row for row in csv.DictReader(text.splitlines(), delimiter="\t") if row[columns[1]]]
    chromosome, position, rsid = (np.array([row[c] for row in rows]) for c in columns)
    return chromosome, position.astype(np.int64), rsid


@pytest.mark.parametrize(("name", "chromosome", "position", "rsid", "build"), PUBLISHED)
def test_at_least_99_percent_of_published_lead_variants_are_known(
    shared_data: Path, name: str, chromosome: str, position: str, rsid: str, build: str
) -> None:
    where, at, _ = places(shared_data, name, chromosome, position, rsid)
    known = read_catalogue(build=build).is_known(where, at, within=500_000)
    assert len(known) >= 50
    assert known.mean() >= 0.99
    assert read_catalogue(build=build).is_known(where, at, within=0).mean() > 0.5


def test_what_nobody_published_is_not_known() -> None:
    """Random places are near a published one about as often as the windows cover the genome."""
    catalogue = read_catalogue()
    rng = np.random.default_rng(1)
    at = rng.integers(1, 59_000_000, 4000)
    where = rng.integers(1, 20, 4000).astype(str)
    share = catalogue.is_known(where, at, within=500_000).mean()
    assert 0.05 < share < 0.4


@pytest.mark.parametrize(("name", "chromosome", "position", "rsid", "build"), PUBLISHED)
def test_published_positions_pass_as_their_own_build_alone(
    shared_data: Path, name: str, chromosome: str, position: str, rsid: str, build: str
) -> None:
    table = places(shared_data, name, chromosome, position, rsid)
    refuse_wrong_build(*table, build, name)
    other = BUILDS[1 - BUILDS.index(build)]
    with pytest.raises(LeadlightError, match=f"{name} (looks like {build}|has position)"):
        refuse_wrong_build(*table, other, name)


def test_a_place_beyond_its_chromosomes_end_is_refused() -> None:
    words = (np.array(["21"]), np.array([47_500_000]), np.array(["x"]))
    refuse_wrong_build(*words, "GRCh37", "scan")
    with pytest.raises(LeadlightError, match="ends at 46,709,983 in GRCh38"):
        refuse_wrong_build(*words, "GRCh38", "scan")
    with pytest.raises(LeadlightError, match="no build"):
        refuse_wrong_build(*words, "hg19", "scan")


def test_every_row_says_who_found_it_for_what() -> None:
    table = read_catalogue().table
    assert len(table) > 1000
    for column in ("trait", "reference", "chromosome"):
        assert (table[column].str.len_chars() > 0).all()
    assert table["reference"].str.contains(r"\b(19|20)\d\d\b").all()
    nos1ap = read_catalogue().near("1", 162_085_685, 162_085_685, within=500_000)
    assert nos1ap is not None
    assert "QT interval" in nos1ap.traits
    assert "NOS1AP" in nos1ap.genes


def test_both_builds_name_the_same_variants_at_their_own_places() -> None:
    """rs846111 in RNF207 stands at 6,279,370 in GRCh37 and 6,219,310 in GRCh38."""
    for build, place in (("GRCh37", 6_279_370), ("GRCh38", 6_219_310)):
        found = read_catalogue(build=build).near("1", place, place, within=0)
        assert found is not None
        assert found.nearest_rsid == "rs846111"


def test_a_users_catalogue_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.tsv"
    path.write_text("rsid\tchromosome\tposition\ttrait\treference\nrs1\tchr2\t1000\tPR\tMe 2026\n")
    found = read_catalogue(path).near("2", 900, 950, within=100)
    assert found is not None
    assert (found.nearest_trait, found.distance) == ("PR", 50)
    path.write_text("rsid\tchromosome\ttrait\treference\nrs1\t2\tPR\tMe 2026\n")
    with pytest.raises(LeadlightError, match="no column 'position'"):
        read_catalogue(path)
    path.write_text("rsid\tchromosome\tposition\ttrait\treference\nrs1\t2\there\tPR\tMe 2026\n")
    with pytest.raises(LeadlightError, match="no whole number"):
        read_catalogue(path)
    with pytest.raises(LeadlightError, match="does not exist"):
        read_catalogue(tmp_path / "none.tsv")

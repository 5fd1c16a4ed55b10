"""LD scores: sums of squared correlations, and the files that programs share."""

import gzip

import numpy as np
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics import ld_scores as module
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.ld_scores import ld_scores, read_ld_scores, write_ld_scores

PEOPLE = 300


@pytest.fixture
def linked(write_genotypes):
    """60 variants of two chromosomes; neighbours share their alleles; some calls are missing."""
    rng = np.random.default_rng(1)
    hidden = rng.standard_normal((2 * 30 + 4, 2 * PEOPLE))
    smooth = sum(hidden[k : k + 60] for k in range(5))
    calls = (smooth[:, :PEOPLE] > 0.8).astype(np.int8) + (smooth[:, PEOPLE:] > 0.8)
    calls = calls.astype(np.int8)
    calls[rng.random(calls.shape) < 0.01] = -9
    chromosomes = ["1"] * 30 + ["2"] * 30
    positions = [*np.sort(rng.integers(1, 40_000, 30)), *np.sort(rng.integers(1, 40_000, 30))]
    prefix = write_genotypes(calls, chromosomes=chromosomes, positions=[int(p) for p in positions])
    return open_genotypes(prefix), calls, np.array(chromosomes), np.array(positions)


@pytest.mark.parametrize("window_kb", [5, 1000])
@pytest.mark.parametrize("block", [7, 512])
def test_scores_are_sums_of_adjusted_squared_correlations(linked, monkeypatch, window_kb, block):
    source, calls, chromosomes, positions = linked
    monkeypatch.setattr(module, "_BLOCK", block)
    values = calls.astype(float)
    values[calls < 0] = np.nan
    filled = np.where(np.isnan(values), np.nanmean(values, axis=1)[:, None], values)
    r2 = np.corrcoef(filled) ** 2
    adjusted = r2 - (1 - r2) / (PEOPLE - 2)
    near = np.abs(positions[:, None] - positions) <= 1000 * window_kb
    near &= chromosomes[:, None] == chromosomes
    found = ld_scores(source, np.arange(PEOPLE, dtype=np.uint32), window_kb=window_kb)
    assert found.table["rsid"].to_list() == [f"rs{i}" for i in range(60)]
    expected = (adjusted * near).sum(axis=1)
    np.testing.assert_allclose(found.table["ld_score"], expected, rtol=2e-5)
    assert found.n_variants == 60


def test_unlinked_variants_have_a_score_of_one_on_average(write_genotypes):
    calls = np.random.default_rng(2).binomial(2, 0.3, (400, 500)).astype(np.int8)
    source = open_genotypes(write_genotypes(calls))
    found = ld_scores(source, np.arange(500, dtype=np.uint32))
    # Without the adjustment it were 1 + 399/499.
    assert found.table["ld_score"].mean() == pytest.approx(1, abs=0.05)


def test_rare_variants_and_too_few_people_are_left_out(linked):
    source = linked[0]
    found = ld_scores(source, np.arange(PEOPLE, dtype=np.uint32), min_maf=0.36)
    assert 0 < found.n_variants < 60
    with pytest.raises(LeadlightError, match="20 people"):
        ld_scores(source, np.arange(20, dtype=np.uint32))


def test_files_are_read_as_they_were_written(linked, tmp_path):
    made = ld_scores(linked[0], np.arange(PEOPLE, dtype=np.uint32))
    write_ld_scores(made, tmp_path / "all")
    for where in (tmp_path / "all", tmp_path, tmp_path / "all.l2.ldscore.gz"):
        again = read_ld_scores(where)
        np.testing.assert_allclose(again.table["ld_score"], made.table["ld_score"], atol=1e-4)
        assert again.table["rsid"].to_list() == made.table["rsid"].to_list()
        assert (again.n_variants, again.n_common) == (made.n_variants, made.n_common)


def test_a_file_for_each_chromosome_adds_up(tmp_path):
    for number in (1, 2):
        text = f"CHR\tSNP\tBP\tCM\tMAF\tL2\n{number}\trs{number}\t10\t0.1\t0.2\t{number}.5\n"
        (tmp_path / f"eur.{number}.l2.ldscore.gz").write_bytes(gzip.compress(text.encode()))
        (tmp_path / f"eur.{number}.l2.M_5_50").write_text(f"{number}00\n")
    for where in (tmp_path / "eur.", tmp_path / "eur.@"):
        found = read_ld_scores(where)
        assert found.table["ld_score"].to_list() == [1.5, 2.5]
        assert found.n_common == 300


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.l2.ldscore").write_text("SNP L2\nrs1 2\n")
    with pytest.raises(LeadlightError, match="columns SNP, L2"):
        read_ld_scores(tmp_path / "x")
    with pytest.raises(LeadlightError, match="no LD scores at"):
        read_ld_scores(tmp_path / "y")

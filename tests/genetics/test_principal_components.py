import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import GenotypeSource, open_genotypes
from leadlight.genetics.kinship import robust_kinship, unrelated_people
from leadlight.genetics.principal_components import principal_components, pruned_variants
from leadlight.genetics.stage import run_gwas


@pytest.fixture(scope="session")
def hapmap(shared_data: Path) -> GenotypeSource:
    return open_genotypes(shared_data / "genotypes" / "hapmap3_957_bed" / "data")


def everybody(source: GenotypeSource) -> np.ndarray:
    return np.arange(len(source.people), dtype=np.uint32)


def test_components_are_the_singular_vectors_and_separate_the_populations(
    hapmap: GenotypeSource, shared_data: Path
) -> None:
    rows = everybody(hapmap)
    found = principal_components(hapmap, rows, 6, workers=1)
    with hapmap.reader() as reader:
        calls = reader.read(found.variants).astype(float)
    calls[calls < 0] = np.nan
    inside = calls[:, found.unrelated]
    mean, spread = np.nanmean(inside, axis=1)[:, None], None
    filled = np.where(np.isnan(calls), 0, calls - mean)
    spread = filled[:, found.unrelated].std(axis=1)
    filled /= np.sqrt((filled[:, found.unrelated] ** 2).mean(axis=1))[:, None]
    assert spread.min() > 0
    inside = filled[:, found.unrelated]
    values, vectors = np.linalg.eigh(inside.T @ inside)
    for k in range(6):
        r = np.corrcoef(vectors[:, -1 - k], found.scores[found.unrelated, k])[0, 1]
        assert abs(r) > 0.995
    share = values[::-1][:6] / values.sum()
    assert np.allclose(found.variance, share, rtol=1e-3)
    table = shared_data / "genotypes" / "hapmap3_957_bed" / "relationships_w_pops_121708.txt"
    population = dict(
        pl.read_csv(table, separator="\t", infer_schema=False)
        .select("IID", "population")
        .iter_rows()
    )
    names = np.array([population[person] for person in hapmap.people.person_ids])
    africa = np.isin(names, ["YRI", "LWK"])
    europe = np.isin(names, ["CEU", "TSI"])
    first = found.scores[:, 0]
    gap = abs(first[africa].mean() - first[europe].mean())
    assert gap > 10 * max(first[africa].std(), first[europe].std())


def test_the_same_seed_gives_the_same_components_at_any_number_of_threads(
    write_genotypes: Callable[..., Path],
) -> None:
    rng = np.random.default_rng(0)
    population = rng.uniform(0.2, 0.8, (1200, 2))
    share = np.repeat(population, 40, axis=1)
    source = open_genotypes(write_genotypes(rng.binomial(2, share).astype(np.int8)))
    first = principal_components(source, everybody(source), 2, workers=1)
    second = principal_components(source, everybody(source), 2, workers=3)
    assert np.array_equal(first.scores, second.scores)
    assert abs(np.corrcoef(first.scores[:, 0], np.repeat([0, 1], 40))[0, 1]) > 0.98


def test_no_two_neighbours_of_the_pruned_are_in_linkage(shared_data: Path) -> None:
    source = open_genotypes(shared_data / "genotypes" / "kg_eur_489_bed" / "1000G.subset.10")
    kept = pruned_variants(source, everybody(source), min_maf=0.05)
    with source.reader() as reader:
        calls = reader.read(kept).astype(float)
    calls = np.where(calls < 0, np.nan, calls)
    centred = np.nan_to_num(calls - np.nanmean(calls, axis=1)[:, None])
    centred /= np.sqrt((centred**2).sum(axis=1))[:, None]
    close = np.abs(np.subtract.outer(kept, kept)) < 100
    np.fill_diagonal(close, False)
    squared = (centred @ centred.T) ** 2
    assert 50 < len(kept) < len(source.variants) / 2
    assert squared[close].max() <= 0.2001


def test_kinship_is_plink_2s(hapmap: GenotypeSource, plink2: str, tmp_path: Path) -> None:
    numbers = np.flatnonzero(hapmap.variants.kind == 0)
    names = np.array(hapmap.variants.table["chromosome"].to_pylist())
    numbers = numbers[names[numbers] != "X"]
    rows = np.arange(120, dtype=np.uint32)
    kinship = robust_kinship(hapmap, rows, numbers)
    prefix = hapmap.files[0].path.with_suffix("")
    keep = tmp_path / "keep.txt"
    ids = zip(hapmap.people.family_ids, hapmap.people.person_ids, strict=True)
    keep.write_text("".join(f"{f} {i}\n" for f, i in list(ids)[:120]))
    command = [plink2, "--bfile", str(prefix), "--autosome", "--keep", str(keep)]
    command += ["--make-king-table", "--out", str(tmp_path / "k")]
    subprocess.run(command, check=True, capture_output=True)
    table = pl.read_csv(tmp_path / "k.kin0", separator="\t")
    at = {person: k for k, person in enumerate(hapmap.people.person_ids)}
    for row in table.iter_rows(named=True):
        assert kinship[at[row["IID1"]], at[row["IID2"]]] == pytest.approx(row["KINSHIP"], abs=1e-5)


def test_children_are_found_and_projected_between_their_parents(
    write_genotypes: Callable[..., Path],
) -> None:
    rng = np.random.default_rng(3)
    share = np.repeat(rng.uniform(0.1, 0.9, (3000, 2)), 60, axis=1)
    strands = rng.random((2, *share.shape)) < share
    calls = strands.sum(axis=0)
    # Ten children, each of one parent from each population.
    picks = rng.integers(0, 2, (2, 3000, 10))
    mothers, fathers = np.arange(10), np.arange(60, 70)
    mother = np.where(picks[0] == 0, strands[0][:, mothers], strands[1][:, mothers])
    father = np.where(picks[1] == 0, strands[0][:, fathers], strands[1][:, fathers])
    whole = np.concatenate([calls, mother.astype(int) + father], axis=1).astype(np.int8)
    source = open_genotypes(write_genotypes(whole))
    kinship = robust_kinship(source, everybody(source), np.arange(3000))
    for child in range(10):
        assert kinship[120 + child, [child, 60 + child]] == pytest.approx([0.25, 0.25], abs=0.1)
    stays = unrelated_people(source, everybody(source), np.arange(3000))
    assert stays.sum() == 120
    assert not stays[120:].any()
    found = principal_components(source, everybody(source), 1)
    first = found.scores[:, 0]
    middle = (first[:60].mean() + first[60:120].mean()) / 2
    gap = abs(first[:60].mean() - first[60:120].mean())
    assert np.abs(first[120:] - middle).max() < 0.2 * gap


def test_components_as_covariates_take_structure_out_of_the_association(
    hapmap: GenotypeSource, shared_data: Path, tmp_path: Path
) -> None:
    prefix = shared_data / "genotypes" / "hapmap3_957_bed" / "data"
    table = shared_data / "genotypes" / "hapmap3_957_bed" / "relationships_w_pops_121708.txt"
    population = dict(
        pl.read_csv(table, separator="\t", infer_schema=False)
        .select("IID", "population")
        .iter_rows()
    )
    rng = np.random.default_rng(0)
    shift = {name: rng.standard_normal() for name in sorted(set(population.values()))}
    rows = [f"{i}\t{shift[population[i]] + rng.standard_normal()}" for i in population]
    (tmp_path / "t.tsv").write_text("\n".join(["IID\ty", *rows, ""]))
    inflation = {}
    for count in (0, 10):
        out = tmp_path / str(count)
        run_gwas(prefix, tmp_path / "t.tsv", out, components=count)
        read = pl.read_parquet(out / "y.parquet")
        chi2 = ((read["beta"] / read["standard_error"]) ** 2).median()
        inflation[count] = chi2 / 0.4549364
    assert inflation[0] > 2
    assert inflation[10] < 1.1
    written = pl.read_parquet(tmp_path / "10" / "components.parquet")
    assert written.columns[:3] == ["FID", "IID", "PC1"]


def test_too_many_components_are_refused(write_genotypes: Callable[..., Path]) -> None:
    calls = np.random.default_rng(0).integers(0, 3, (8, 30)).astype(np.int8)
    source = open_genotypes(write_genotypes(calls))
    with pytest.raises(LeadlightError, match="10 principal components need more"):
        principal_components(source, everybody(source), 10)

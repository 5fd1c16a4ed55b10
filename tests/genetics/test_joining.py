"""Associations of genotype files apart, joined, are that of all of them together."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from leadlight.errors import LeadlightError
from leadlight.genetics.joining import join_gwas
from leadlight.genetics.stage import prepare_gwas, run_gwas

PEOPLE, VARIANTS = 120, 60
NAMES = ["t0", "t1", "t2"]


@pytest.fixture
def files(write_genotypes, write_table) -> dict[str, Any]:
    """Four genotype files, two of one chromosome with places that overlap, traits, a covariate."""
    rng = np.random.default_rng(3)
    genotypes = []
    for name, chromosome in (("c2", "2"), ("c10", "10"), ("c1a", "1"), ("c1b", "1"), ("cX", "X")):
        calls = rng.binomial(2, rng.uniform(0.1, 0.5, (VARIANTS, 1)), (VARIANTS, PEOPLE))
        calls[3, :5] = -9
        places = 1000 * np.arange(VARIANTS) + (500 if name == "c1b" else 1)
        genotypes.append(
            write_genotypes(
                calls.astype(np.int8), [chromosome] * VARIANTS, places.tolist(), name=name
            )
        )
    values = rng.normal(size=(PEOPLE, 3))
    values[7, 1] = np.nan
    return {
        "genotypes": genotypes,
        "phenotypes": write_table("traits.tsv", NAMES, values),
        "covariates": write_table("covariates.tsv", ["age"], rng.normal(size=(PEOPLE, 1))),
    }


def test_files_apart_and_joined_give_the_bits_of_all_together(files, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "covariates": files["covariates"], "transform": "rank-normal", "components": 2,
        "whole_genome": True, "workers": 1, "seed": 3,
    }  # fmt: skip
    whole, out = tmp_path / "whole", tmp_path / "joined"
    run_gwas(files["genotypes"], files["phenotypes"], whole, joint=True, **settings)
    prepare_gwas(files["genotypes"], files["phenotypes"], out, **settings)
    parts = [tmp_path / "parts" / path.name for path in files["genotypes"]]
    for genotypes, part in zip(files["genotypes"], parts, strict=True):
        run_gwas(genotypes, files["phenotypes"], part, joint=True, prepared=out, **settings)
        assert not (part / "whole_genome.zarr").exists()
    traits = join_gwas(parts, out, inputs=[files["phenotypes"], files["covariates"]])
    assert traits == NAMES
    for name in (*NAMES, "joint"):
        one, other = (pl.read_parquet(folder / f"{name}.parquet") for folder in (whole, out))
        assert one.height > 200
        assert one.equals(other, null_equal=True), name
    said, again = (json.loads((f / "summary.json").read_text()) for f in (whole, out))
    assert {k for k in said if said[k] != again[k]} == {"out"}
    a, b = (json.loads((f / "provenance.json").read_text()) for f in (whole, out))
    assert a["parameters"] == b["parameters"]
    assert a["inputs"] == b["inputs"]
    with pytest.raises(LeadlightError, match="already exists"):
        join_gwas(parts, out)


def test_single_precision_of_the_whole_is_that_of_its_parts(
    files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadlight.genetics import association

    monkeypatch.setattr(association, "_DOUBLE_UP_TO", 30 * VARIANTS * PEOPLE)
    out, part = tmp_path / "out", tmp_path / "part"
    prepare_gwas(files["genotypes"], files["phenotypes"], out)
    done = run_gwas(files["genotypes"][0], files["phenotypes"], part, prepared=out)
    assert done.precision == "single"
    alone = run_gwas(files["genotypes"][0], files["phenotypes"], tmp_path / "alone")
    assert alone.precision == "double"


def test_what_was_prepared_for_others_is_refused(files, tmp_path: Path) -> None:
    genotypes, phenotypes = files["genotypes"], files["phenotypes"]
    prepare_gwas(genotypes, phenotypes, tmp_path / "out", traits=["t0", "t2"])
    for changed in ({"traits": ["t0"]}, {"transform": "rank-normal"},
                    {"covariates": files["covariates"]}):  # fmt: skip
        given = {"traits": ["t0", "t2"]} | changed
        with pytest.raises(LeadlightError, match="other people, traits, covariates or settings"):
            run_gwas(genotypes[0], phenotypes, tmp_path / "p", prepared=tmp_path / "out", **given)
    with pytest.raises(LeadlightError, match="has not been prepared"):
        run_gwas(genotypes[0], phenotypes, tmp_path / "p", prepared=tmp_path / "nothing")


def test_parts_of_different_associations_are_not_joined(files, tmp_path: Path) -> None:
    genotypes, phenotypes = files["genotypes"], files["phenotypes"]
    run_gwas(genotypes[0], phenotypes, tmp_path / "a")
    run_gwas(genotypes[1], phenotypes, tmp_path / "b", traits=["t0", "t1"])
    with pytest.raises(LeadlightError, match="differ in files, traits"):
        join_gwas([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(LeadlightError, match="cannot be read"):
        join_gwas([tmp_path / "a", tmp_path / "c"], tmp_path / "out")
    assert not (tmp_path / "out").exists()

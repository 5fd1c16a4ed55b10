"""One small genotyped population that several tests look at."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadlight.simulate import effects
from leadlight.simulate.genotype_files import read_blocks
from leadlight.simulate.genotyped_people import Genomes, GenotypedPeople, make_genotyped_people

PEOPLE = 1500
SETTINGS = Genomes(variants=2500, chromosomes=(1, 3, 14, 20, 21), megabases=0.6, related_share=0.2)


@dataclass(frozen=True)
class Population:
    folder: Path
    made: GenotypedPeople
    phenotypes: pl.DataFrame
    covariates: pl.DataFrame
    truth: dict[str, pl.DataFrame]
    calls: np.ndarray  # (variant, person)

    def truth_of(self, name: str) -> pl.DataFrame:
        return self.truth[name]


@pytest.fixture(scope="session")
def population(tmp_path_factory: pytest.TempPathFactory) -> Population:
    """1,500 people, a fifth of them with relatives, on five short chromosomes (two null ones)."""
    pytest.importorskip("msprime", reason="genomes need the extra leadlight[simulate]")
    folder = tmp_path_factory.mktemp("population")
    names = [f"sim{number:06d}" for number in range(PEOPLE)]
    made = make_genotyped_people(folder, PEOPLE, names, seed=7, genomes=SETTINGS)
    tables = folder / "tables"
    return Population(
        folder=folder,
        made=made,
        phenotypes=pl.read_parquet(tables / "phenotypes.parquet"),
        covariates=pl.read_parquet(tables / "covariates.parquet"),
        truth={path.stem: pl.read_parquet(path) for path in (tables / "truth").glob("*.parquet")},
        calls=np.concatenate(list(read_blocks(folder / "genotypes" / "genotypes.pgen"))),
    )


@pytest.fixture(scope="session")
def outcomes() -> tuple[str, ...]:
    return effects.OUTCOMES

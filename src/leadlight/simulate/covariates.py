"""What besides genes moves a heart's traits, and the covariates that a study records of it.

Sex, age, height and body mass act on the heart itself (`population`) and on the liabilities here.
Subpopulation and clinic shift the traits' scores. The subpopulations also differ in allele
frequencies and in which clinic they visit, so a scan that leaves them out finds what is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.simulate.chromosome import part_files
from leadlight.simulate.effects import DIAGNOSES, OUTCOMES
from leadlight.simulate.genome import SUBPOPULATIONS
from leadlight.simulate.genotype_files import read_blocks
from leadlight.simulate.people import People

Array = npt.NDArray[np.float64]

SITES = ("A", "B", "C")
# Where the people of each subpopulation have their ECG taken.
_SITE_SHARES = {"north": (0.5, 0.3, 0.2), "south": (0.2, 0.3, 0.5)}

# Shifts in standard deviations of the score: life in the south against the north, and what a
# clinic's patients or habits add to clinic A.
SUBPOPULATION_SHIFT = {
    "heart_rate": 0.35, "qrs_voltage": -0.25, "r_progression": -0.30, "t_voltage": 0.20,
    "j_point": 0.25, "AF": -0.15, "confounded": 0.50,
}  # fmt: skip
SITE_SHIFT = {
    "heart_rate": (0.0, 0.10, 0.20), "qrs_voltage": (0.0, -0.10, 0.15),
    "p_terminal_v1": (0.0, 0.20, -0.10), "t_asymmetry": (0.0, 0.15, 0.0),
    "confounded": (0.0, 0.10, 0.25),
}  # fmt: skip
# Effects on liabilities per standard deviation of age (17 years) and body mass index (5), and of
# being a man.
LIABILITY_EFFECTS = {
    "AF": {"age": 0.45, "body_mass_index": 0.12, "male": 0.25},
    "LBBB": {"age": 0.35, "body_mass_index": 0.05, "male": 0.05},
    "RBBB": {"age": 0.30, "body_mass_index": 0.0, "male": 0.30},
}
# Traits beside the heart's: on `NULL_TRAITS` nothing acts, on `CONFOUNDED` only where people live.
NULL_TRAITS = tuple(f"null_{number}" for number in range(1, 6))
CONFOUNDED = "confounded"

N_COMPONENTS = 10
_PC_VARIANTS = 3000
_PC_MINOR_FREQUENCY = 0.05
_PRUNE_R_SQUARED = 0.1


@dataclass(frozen=True)
class Environment:
    """What acts on people besides their genes.

    Attributes:
        site: (person,) index into `SITES`.
        shift: (person, outcome of `effects.OUTCOMES`) sums of all covariate effects, mean 0.
        confounded: (person,) the same for the trait `CONFOUNDED`.
    """

    site: npt.NDArray[np.int64]
    shift: Array
    confounded: Array


def draw_environment(
    people: People, subpopulation: npt.NDArray[np.int64], rng: np.random.Generator
) -> Environment:
    """Draw clinics, and add up what covariates do to each outcome."""
    count = len(people)
    shares = np.cumsum([_SITE_SHARES[name] for name in SUBPOPULATIONS], axis=1)
    site = (rng.random(count)[:, None] > shares[subpopulation]).sum(axis=1).clip(0, len(SITES) - 1)
    south = (subpopulation == SUBPOPULATIONS.index("south")).astype(float)
    body = {
        "age": (people.age_years - 58.0) / 17.0,
        "body_mass_index": (people.body_mass_index - 28.0) / 5.0,
        "male": (people.sex == "M").astype(float),
    }
    columns = {}
    for name in (*OUTCOMES, CONFOUNDED):
        column = SUBPOPULATION_SHIFT.get(name, 0.0) * south
        column = column + np.array(SITE_SHIFT.get(name, (0.0, 0.0, 0.0)))[site]
        for what, effect in LIABILITY_EFFECTS.get(name, {}).items():
            column = column + effect * body[what]
        columns[name] = column - column.mean()
    return Environment(
        site=site,
        shift=np.stack([columns[name] for name in OUTCOMES], axis=1),
        confounded=columns[CONFOUNDED],
    )


def outcomes_of(
    genetic: Array, environment: Array, residual: Array
) -> tuple[Array, dict[str, dict[str, float]]]:
    """Genetic and covariate parts, and a residual that brings each outcome's variance to 1.

    Args:
        genetic, environment, residual: (person, outcome), the residual standard normal.

    Returns:
        (person, outcome) with unit variance over these people as far as the residual's draw has
        it, and for each outcome the variances of its three parts.
    """
    acting = genetic + environment
    left = np.sqrt(np.clip(1.0 - acting.var(axis=0), 0.05, None))
    parts = {
        name: {
            "genetic": float(genetic[:, column].var()),
            "covariates": float(environment[:, column].var()),
            "residual": float(left[column] ** 2),
        }
        for column, name in enumerate(OUTCOMES)
    }
    return acting + left * residual, parts


def liability_excess(liability: Array) -> Array:
    """(person, diagnosis of `DIAGNOSES`) liability above the threshold that its prevalence sets.

    Who is above 0 has the diagnosis.
    """
    thresholds = [
        np.quantile(liability[:, column], 1.0 - prevalence)
        for column, prevalence in enumerate(DIAGNOSES.values())
    ]
    return liability - np.array(thresholds)


def principal_components(
    parts: Path,
    variants: pl.DataFrame,
    unrelated: npt.NDArray[np.bool_],
) -> Array:
    """(person, component) principal components of the genotypes, `N_COMPONENTS` of them.

    Loadings are of unrelated people, on common variants spread evenly over the chromosomes and
    pruned of linkage; everybody is projected on them. Scaled to unit variance, signs by the largest
    loading. Few short chromosomes hold too few unlinked variants: components then follow linked
    blocks instead of ancestry, and adjusting for them couples one chromosome with another.
    """
    people = len(unrelated)
    frequency = variants["alternative_count"].to_numpy() / (2 * people)
    able = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= _PC_MINOR_FREQUENCY)
    # Evenly spread by number, which is evenly by distance but for chance.
    step = max(1, -(-len(able) // _PC_VARIANTS))
    chosen = variants[able[step // 2 :: step]]
    blocks = []
    for (chromosome,), of_one in chosen.group_by("chromosome", maintain_order=True):
        pgen = part_files(parts, int(str(chromosome)))[0]
        blocks += list(read_blocks(pgen, of_one["row"].to_list()))
    calls = np.concatenate(blocks) if blocks else np.zeros((0, people), dtype=np.int8)
    standard = _standardised(calls, unrelated)
    gram = np.zeros((len(standard), len(standard)))
    for start in range(0, people, 4096):  # float64 sums of a slice of people at a time
        part = standard[:, start : start + 4096][:, unrelated[start : start + 4096]]
        gram += part.astype(np.float64) @ part.T.astype(np.float64)
    kept = _pruned(gram)
    standard, gram = standard[kept], gram[np.ix_(kept, kept)]
    loadings = np.linalg.eigh(gram)[1][:, ::-1][:, :N_COMPONENTS]
    top = np.argmax(np.abs(loadings), axis=0)
    loadings = loadings * np.sign(loadings[top, np.arange(loadings.shape[1])])
    components = np.zeros((people, N_COMPONENTS))
    for start in range(0, people, 4096):
        part = standard[:, start : start + 4096].T.astype(np.float64) @ loadings
        components[start : start + len(part), : part.shape[1]] = part
    spread = components.std(axis=0)
    # Six digits: what the order of sums leaves undecided does not reach the file.
    return np.asarray(np.round(components / np.where(spread > 0, spread, 1.0), 6))


def covariate_table(
    person_ids: Sequence[str], people: People, environment: Environment, components: Array
) -> pl.DataFrame:
    """What the study records: `IID, sex` (1 man, 2 woman)`, age, height_cm, body_mass_index,
    site_b, site_c` (0 or 1, clinic A being both 0)`, PC1` to `PC10`."""
    return pl.DataFrame(
        {
            "IID": list(person_ids),
            "sex": np.where(people.sex == "M", 1, 2),
            "age": people.age_years,
            "height_cm": people.height_cm,
            "body_mass_index": people.body_mass_index,
            "site_b": (environment.site == 1).astype(np.int64),
            "site_c": (environment.site == 2).astype(np.int64),
            **{f"PC{k + 1}": components[:, k] for k in range(N_COMPONENTS)},
        }
    )


def _pruned(gram: Array) -> npt.NDArray[np.int64]:
    """Rows, first come first kept, of which no two correlate more than `_PRUNE_R_SQUARED`."""
    size = np.sqrt(np.diag(gram))
    r_squared = (gram / np.where(size > 0, size, 1.0) / np.where(size > 0, size, 1.0)[:, None]) ** 2
    kept: list[int] = []
    open_ = size > 0
    for row in range(len(gram)):
        if open_[row]:
            kept.append(row)
            open_ &= r_squared[row] <= _PRUNE_R_SQUARED
    return np.array(kept, dtype=np.int64)


def _standardised(
    calls: npt.NDArray[np.int8], unrelated: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    standard = calls.astype(np.float32)
    standard -= standard[:, unrelated].mean(axis=1, keepdims=True)
    spread = standard[:, unrelated].std(axis=1, keepdims=True)
    standard /= np.where(spread > 0, spread, 1.0)
    return standard

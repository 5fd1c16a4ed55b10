"""The people, traits and covariates of an earlier association, put together again for its loci."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from leadlight.errors import LeadlightError
from leadlight.genetics.background_stage import without_background
from leadlight.genetics.designs import orthonormal_basis, rank_normal, with_usable_traits
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.scan_files import ScanSet
from leadlight.genetics.traits import Matched, match_people, read_person_table
from leadlight.genetics.variant_tables import FEMALE, MALE, UNKNOWN_SEX, X_LINKED, Y_LINKED
from leadlight.genetics.whole_genome import STORE, open_predictions

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AssociationPeople:
    """What a linear association was made of, as far as its loci need it.

    predictions: whole-genome predictions that it took away from the traits, if any.
    """

    matched: Matched
    person_ids: tuple[str, ...]
    predictions: xr.Dataset | None = None

    def on(self, chromosome: str) -> Matched:
        """The traits as they were tested on a chromosome."""
        if self.predictions is None:
            return self.matched
        return without_background(self.matched, self.predictions, chromosome, self.person_ids)

    def calibration(self, trait: str) -> float:
        """What the association divided a trait's effects by; 1 without a background."""
        if self.predictions is None:
            return 1.0
        at = self.predictions["trait"].values.tolist().index(trait)
        return float(self.predictions["calibration"].values[at])

    def same_model_as(self, other: "AssociationPeople") -> bool:
        """Whether another association had the same people and covariates."""
        mine, theirs = self.matched, other.matched
        return np.array_equal(mine.rows, theirs.rows) and np.array_equal(
            mine.covariates, theirs.covariates
        )

    def design(self, kind: int) -> tuple[npt.NDArray[np.bool_], Floats]:
        """(person,) in whom variants of a kind were tested, and the (tested person, column)
        orthonormal basis of what the model takes out of traits and variants there.
        """
        matched = self.matched
        keep = np.ones(len(matched.rows), dtype=np.bool_)
        covariates = matched.covariates
        if kind == X_LINKED:
            keep = matched.sex != UNKNOWN_SEX
            covariates = np.column_stack([covariates, matched.sex == FEMALE])
        elif kind == Y_LINKED:
            keep = matched.sex == MALE
        return keep, orthonormal_basis(covariates[keep])


def association_people(
    source: GenotypeSource,
    scans: ScanSet,
    phenotypes: Path,
    covariates: Path | None,
) -> AssociationPeople | None:
    """Match people and prepare traits as the association of `scans` did, by what it says of itself.

    Transform, principal components and whole-genome predictions are those of its folder. None where
    its traits are cases and controls, whose loci are taken from summary statistics. Raises
    LeadlightError where the phenotypes have none of its traits.
    """
    if scans.settings.get("binary"):
        return None
    names = [scan.trait for scan in scans.scans if not scan.is_joint]
    described = read_person_table(phenotypes, _shared(phenotypes, names))
    adjusted = None if covariates is None else read_person_table(covariates, categories=True)
    matched = match_people(source.people, described, adjusted)
    if scans.settings.get("principal_components"):
        count = int(scans.settings["principal_components"])
        matched = with_written_components(
            source, matched, scans.folder / "components.parquet", count
        )
    if scans.settings.get("transform") == "rank-normal":
        columns = [rank_normal(column) for column in matched.traits.T]
        matched = replace(matched, traits=np.stack(columns, axis=1))
    matched = with_usable_traits(matched)
    predictions = None
    if scans.settings.get("whole_genome"):
        store = scans.folder / STORE
        if not store.is_dir():
            raise LeadlightError(
                f"{store} is absent, which the association took away from its traits.",
                advice="Keep it beside the summary statistics, or leave out --phenotypes.",
            )
        predictions = open_predictions(store)
    ids = tuple(source.people.person_ids[row] for row in matched.rows)
    return AssociationPeople(matched, ids, predictions)


def _shared(phenotypes: Path, names: Sequence[str]) -> list[str]:
    """The traits that the phenotype table has."""
    import pyarrow.parquet as pq

    if not phenotypes.is_file():
        raise LeadlightError(f"{phenotypes} does not exist.")
    with phenotypes.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    if parquet:
        there = pq.read_schema(phenotypes).names
    else:
        import gzip

        opened = gzip.open if phenotypes.suffix == ".gz" else open
        with opened(phenotypes, "rt", encoding="utf-8-sig") as stream:
            header = stream.readline().strip()
        mark = next((one for one in ("\t", ",") if one in header), None)
        there = [word.strip() for word in header.split(mark)]
    found = [name for name in names if name in there]
    if not found:
        raise LeadlightError(
            f"{phenotypes} has none of the traits {', '.join(names[:5])} of the scans.",
            advice="Give the table that the association was made of (label=FILE for each set).",
        )
    return found


def with_written_components(
    source: GenotypeSource, matched: Matched, path: Path, count: int
) -> Matched:
    """The people who have principal components in `path`, these among their covariates.

    Raises LeadlightError where the table is absent.
    """
    if not path.is_file():
        raise LeadlightError(
            f"{path} is absent, the principal components that the association used.",
            advice="Keep it beside the summary statistics, or leave out --phenotypes.",
        )
    table = read_person_table(path, [f"PC{k + 1}" for k in range(count)])
    keys = zip(table.family_ids or [""] * len(table.person_ids), table.person_ids, strict=True)
    where = {key if table.family_ids else key[1]: i for i, key in enumerate(keys)}
    people = source.people
    at = np.array(
        [
            where.get(
                (people.family_ids[row], people.person_ids[row])
                if table.family_ids
                else people.person_ids[row],
                -1,
            )
            for row in matched.rows
        ]
    )
    keep = at >= 0
    return replace(
        matched,
        rows=matched.rows[keep],
        sex=matched.sex[keep],
        traits=matched.traits[keep],
        covariate_names=(*matched.covariate_names, *table.columns),
        covariates=np.column_stack([matched.covariates[keep], table.values[at[keep]]]),
    )

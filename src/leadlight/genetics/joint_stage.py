"""The joint tests of all traits, from the statistics of an association to `joint.parquet`."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from leadlight.atomic import written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.designs import make_designs, orthonormal_basis, standard_residuals
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.joint_tests import (
    JointNull,
    JointResults,
    joint_null,
    joint_tests,
    trait_correlation,
)
from leadlight.genetics.log_tails import LN10, deviate
from leadlight.genetics.results import (
    BETA,
    FREQUENCY,
    NEG_LOG_10_P,
    ROWS_PER_GROUP,
    STANDARD_ERROR,
    PartialResults,
)
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_tables import FEMALE, X_LINKED, Y_LINKED, sorted_order
from leadlight.progress import track

if TYPE_CHECKING:
    from leadlight.genetics.background_stage import Background

Floats = npt.NDArray[np.float64]
JOINT = "joint.parquet"
_SCHEMA = pa.schema(
    [
        ("chromosome", pa.dictionary(pa.int32(), pa.string())),
        ("base_pair_location", pa.int64()),
        ("effect_allele", pa.dictionary(pa.int32(), pa.string())),
        ("other_allele", pa.dictionary(pa.int32(), pa.string())),
        ("effect_allele_frequency", pa.float32()),
        ("neg_log_10_p_value", pa.float64()),
        ("neg_log_10_p_omnibus", pa.float64()),
        ("neg_log_10_p_least", pa.float64()),
        ("neg_log_10_p_least_effective", pa.float64()),
        ("neg_log_10_p_variance_component", pa.float64()),
        ("omnibus_statistic", pa.float64()),
        ("omnibus_degrees", pa.int32()),
        ("strongest_trait", pa.string()),
        ("traits", pa.int32()),
        ("rsid", pa.string()),
        ("n", pa.int32()),
    ]
)


def refuse_joint(matched: Matched) -> None:
    """Raise LeadlightError where the traits can't be tested jointly."""
    if len(matched.trait_names) < 2:
        raise LeadlightError(
            f"Joint tests of {len(matched.trait_names)} trait make no sense.",
            advice="Give several traits, or leave out --joint.",
        )
    if "joint" in matched.trait_names:
        raise LeadlightError("A trait is called 'joint', as the table of the joint tests is.")


def write_joint(
    path: Path,
    source: GenotypeSource,
    matched: Matched,
    results: PartialResults,
    background: "Background | None" = None,
) -> int:
    """Test all traits of an association together; returns the number of rows written.

    results: the association's, finished. `neg_log_10_p_value` is the adaptive test's. Where no
    trait value is missing the tests start from t statistics and the omnibus is exact; otherwise
    each trait's p goes in as a normal deviate. Variants whose traits have no statistic have no row.
    """
    table, kinds = source.variants.table, source.variants.kind
    order = sorted_order(source.variants)
    order = np.arange(len(kinds)) if order is None else order
    nulls = _Nulls(matched, background)
    rows = 0
    with written_whole(path) as partial, pq.ParquetWriter(partial, _SCHEMA) as writer:
        starts = range(0, len(order), ROWS_PER_GROUP)
        for start in track(starts, "joint tests", len(starts)):
            numbers = order[start : start + ROWS_PER_GROUP]
            statistics = np.asarray(results.statistics[:4, :, numbers], dtype=np.float64)
            people = np.asarray(results.n[:, numbers])
            there = np.isfinite(statistics[NEG_LOG_10_P]).any(axis=0)
            numbers, statistics, people = numbers[there], statistics[:, :, there], people[:, there]
            if not len(numbers):
                continue
            found = _tested(statistics, people, kinds[numbers], nulls)
            best = found.strongest_trait
            writer.write_table(
                _rows(table, numbers, found, matched, statistics[FREQUENCY], people, best),
                row_group_size=ROWS_PER_GROUP,
            )
            rows += len(numbers)
    return rows


class _Nulls:
    """The traits' correlation among the people of each kind of variant, worked out when needed."""

    def __init__(self, matched: Matched, background: "Background | None") -> None:
        self._matched, self._background = matched, background
        self._made: dict[int, tuple[JointNull, int | None]] = {}

    def of(self, kind: int) -> tuple[JointNull, int | None]:
        """The null, and the columns of the covariates where all traits are complete, else None."""
        # Only X (sex a covariate) and Y (men) have people or covariates of their own.
        kind = kind if kind in (X_LINKED, Y_LINKED) else -1
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        return self._made[kind]

    def _make(self, kind: int) -> tuple[JointNull, int | None]:
        matched = self._matched
        designs = make_designs(matched, kind, shared=False)
        rows = np.flatnonzero(np.isin(matched.rows, np.concatenate([d.rows for d in designs])))
        covariates = matched.covariates[rows]
        if kind == X_LINKED:
            covariates = np.column_stack([covariates, matched.sex[rows] == FEMALE])
        basis = orthonormal_basis(covariates)
        traits = [matched.traits]
        if self._background is not None:
            # What the chromosomes' predictions differ by changes the correlation little.
            chromosomes = self._background.predictions["chromosome"].values.tolist()
            traits = [self._background.without(matched, name).traits for name in chromosomes[:-1]]
        whole = np.mean(
            [trait_correlation(standard_residuals(own[rows], basis)[0]) for own in traits], axis=0
        )
        complete = len(designs) == 1 and bool(np.isfinite(matched.traits[rows]).all())
        return joint_null(whole), basis.shape[1] if complete else None


def _tested(
    statistics: Floats, people: npt.NDArray[np.int32], kinds: npt.NDArray[np.int8], nulls: _Nulls
) -> JointResults:
    """statistics: (4, trait, variant) of variants of which some trait has one."""
    parts: list[tuple[npt.NDArray[np.int64], JointResults]] = []
    for kind in np.unique(kinds):
        null, columns = nulls.of(int(kind))
        here = np.flatnonzero(kinds == kind)
        own = statistics[:, :, here]
        if columns is None:
            z = np.sign(own[BETA]) * deviate(-LN10 * own[NEG_LOG_10_P])
            parts.append((here, joint_tests(z.T, null)))
            continue
        t = (own[BETA] / own[STANDARD_ERROR]).T
        for n in np.unique(people[:, here].max(axis=0)):
            some = people[:, here].max(axis=0) == n
            parts.append((here[some], joint_tests(t[some], null, float(n - columns - 1))))
    whole: dict[str, Any] = {}
    for field in fields(JointResults):
        first = getattr(parts[0][1], field.name)
        whole[field.name] = np.empty(len(kinds), dtype=first.dtype)
        for here, found in parts:
            whole[field.name][here] = getattr(found, field.name)
    return JointResults(**whole)


def _rows(
    table: pa.Table,
    numbers: npt.NDArray[np.int64],
    found: JointResults,
    matched: Matched,
    frequency: Floats,
    people: npt.NDArray[np.int32],
    best: npt.NDArray[np.int64],
) -> pa.Table:
    """Frequency and number of people are those of the strongest trait."""
    variants, each = table.take(numbers), np.arange(len(numbers))
    columns = {
        **{name: variants[name] for name in variants.column_names},
        "effect_allele_frequency": frequency[best, each].astype(np.float32),
        "neg_log_10_p_value": found.adaptive,
        "neg_log_10_p_omnibus": found.omnibus,
        "neg_log_10_p_least": found.least_p,
        "neg_log_10_p_least_effective": found.least_p_effective,
        "neg_log_10_p_variance_component": found.variance_component,
        "omnibus_statistic": found.omnibus_statistic,
        "omnibus_degrees": found.omnibus_degrees.astype(np.int32),
        "strongest_trait": np.array(matched.trait_names, dtype=object)[best],
        "traits": found.n_traits.astype(np.int32),
        "n": people[best, each].astype(np.int32),
    }
    return pa.table({name: columns[name] for name in _SCHEMA.names}).cast(_SCHEMA)

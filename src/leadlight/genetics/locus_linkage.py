"""The genotypes of a locus: which of its variants they have, and the linkage among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.genetics.association_people import AssociationPeople
from leadlight.genetics.gene_table import GeneTable
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.known_loci import Catalogue
from leadlight.genetics.linkage import Linkage, residual_products
from leadlight.genetics.locus_signals import FineMapRule
from leadlight.genetics.locus_table import Locus, VariantIndex
from leadlight.genetics.scan_files import ScanSet
from leadlight.genetics.summary_signals import Moments

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_KEPT = 2  # matrices of one locus in memory


@dataclass(frozen=True)
class LocusRule:
    """merge_kb: clumps that lie nearer are one locus, and those of one trait are taken together for
    its signals and sets; pad_kb: what is looked at on each side of them; known_kb: how near a
    published variant makes a locus known; max_variants: in one fine-mapping.
    """

    merge_kb: float = 250.0
    pad_kb: float = 250.0
    known_kb: float = 500.0
    max_variants: int = 5000


@dataclass(frozen=True)
class LocusContext:
    """All that the analysis of a locus needs."""

    sets: Sequence[ScanSet]
    source: GenotypeSource | None
    people: Mapping[str, AssociationPeople]
    rule: LocusRule
    fine_map: FineMapRule
    catalogue: Catalogue
    genes: GeneTable | None
    index: VariantIndex | None
    founders: npt.NDArray[np.uint32] | None


@dataclass(frozen=True)
class LocusProducts:
    """r: (variant, variant); moments: label and trait → exact sums of squares, of traits and calls
    without a gap."""

    r: Floats
    moments: dict[tuple[str, str], Moments] = field(default_factory=dict)


class LocusLinkage:
    """Linkage of a locus's variants, worked out once for each group of people that is asked for."""

    def __init__(self, locus: Locus, context: LocusContext) -> None:
        self._chromosome, self._context = locus.chromosome, context
        self._whole = self._all(locus)
        self._made: dict[tuple[bytes, str], LocusProducts] = {}

    def _all(self, locus: Locus) -> Integers | None:
        """Numbers of all variants of the locus and its surroundings, None if they are too many."""
        context = self._context
        if context.source is None or context.index is None:
            return None
        pad = round(context.rule.pad_kb * 1000)
        numbers = context.index.between(locus.chromosome, locus.start - pad, locus.end + pad)
        kinds = context.source.variants.kind[numbers]
        numbers = numbers[kinds == np.bincount(kinds).argmax()] if len(numbers) else numbers
        return numbers if 0 < len(numbers) <= context.rule.max_variants else None

    def match(
        self, rows: pl.DataFrame, leads: Integers
    ) -> tuple[pl.DataFrame, Integers, str | None]:
        """Rows that the genotypes have, effects of the counted allele, their numbers, and a note.

        Variants of one kind alone; at most as many as the rule allows, the nearest to the leads.
        """
        context = self._context
        assert context.source is not None
        assert context.index is not None
        numbers, signs = context.index.match(self._chromosome, rows)
        keep = numbers >= 0
        if keep.any():
            kinds = context.source.variants.kind[np.maximum(numbers, 0)]
            kind = np.bincount(kinds[keep]).argmax()
            keep &= kinds == kind
        note = None
        most = context.rule.max_variants
        if keep.sum() > most:
            places = rows["base_pair_location"].to_numpy()
            away = np.abs(places[:, None] - leads).min(axis=1)
            away = np.where(keep, away, np.iinfo(np.int64).max)
            limit = np.sort(away)[most - 1]
            note = f"fine-mapped within {limit / 1000:.0f} kb of its leads ({most} variants)"
            keep &= away <= limit
        at = np.flatnonzero(keep)
        own = rows[at.tolist()]
        swapped = pl.Series("swapped", signs[at] < 0)
        effect, other = pl.col("effect_allele"), pl.col("other_allele")
        frequency_name = "effect_allele_frequency"
        frequency = pl.col(frequency_name)
        own = own.with_columns(swapped).with_columns(
            pl.when("swapped").then(other).otherwise(effect).alias("effect_allele"),
            pl.when("swapped").then(effect).otherwise(other).alias("other_allele"),
            pl.when("swapped").then(-pl.col("beta")).otherwise(pl.col("beta")).alias("beta"),
            pl.when("swapped").then(1 - frequency).otherwise(frequency).alias(frequency_name),
        )  # fmt: skip
        return own.drop("swapped"), numbers[at], note

    def products(
        self, one: ScanSet, trait: str, numbers: Integers
    ) -> tuple[Floats, Moments | None]:
        """Linkage for a set of results, and a trait's exact sums of squares if nothing is missing.

        Linkage is of its own people after its covariates where they are known, otherwise of
        everybody in the genotypes (founders). A locus that is not too large is worked out once.
        """
        whole = self._whole
        if whole is None or not np.isin(numbers, whole).all():
            made = self._made_of(one, numbers)
            return made.r, made.moments.get((one.label, trait))
        made = self._made_of(one, whole)
        order = np.argsort(whole, kind="stable")
        at = order[np.searchsorted(whole, numbers, sorter=order)]
        r = made.r[np.ix_(at, at)]
        exact = made.moments.get((one.label, trait))
        if exact is None:
            return r, None
        squares, products = exact.squares[at], exact.products[at]
        return r, replace(exact, squares=squares, products=products, r=r, n=exact.n[at])

    def _made_of(self, one: ScanSet, numbers: Integers) -> LocusProducts:
        context = self._context
        people = context.people.get(one.label)
        key = (numbers.tobytes(), "" if people is None else one.label)
        if key in self._made:
            return self._made[key]
        if len({known for known, _ in self._made}) >= _KEPT:
            self._made.clear()
        if people is None:
            with self._open() as linkage:
                self._made[key] = LocusProducts(linkage.matrix(numbers))
            return self._made[key]
        alike = [label for label, other in context.people.items() if people.same_model_as(other)]
        made = self._of_people(people, alike, numbers)
        self._made |= {(numbers.tobytes(), label): made for label in alike}
        return made

    def _of_people(
        self, people: AssociationPeople, labels: Sequence[str], numbers: Integers
    ) -> LocusProducts:
        """Products with the traits of all sets that have the same people and covariates."""
        context = self._context
        assert context.source is not None
        kind = int(context.source.variants.kind[numbers[0]]) if len(numbers) else 0
        keep, basis = people.design(kind)
        names, columns = [], []
        for label in labels:
            matched = context.people[label].on(self._chromosome)
            names += [(label, name) for name in matched.trait_names]
            columns.append(matched.traits[keep])
        values = np.column_stack(columns)
        whole = np.flatnonzero(np.isfinite(values).all(axis=0))
        values = values[:, whole] - basis @ (basis.T @ values[:, whole])
        length = np.sqrt((values**2).sum(axis=0))
        made = residual_products(
            context.source, people.matched.rows[keep], numbers, basis, values / length
        )
        n = np.full(len(numbers), float(keep.sum()))
        known = np.isfinite(made.squares)
        squares = np.where(known, made.squares, 1.0)
        products = np.where(known[:, None], made.products, 0.0)
        kept = [names[at] for at in whole]
        spent = basis.shape[1] + 1
        return LocusProducts(
            made.r,
            {
                name: Moments(squares, products[:, i], made.r, n, spent, float(length[i]))
                for i, name in enumerate(kept)
            }
            if made.complete
            else {},
        )

    def r2(self, one: pl.DataFrame, lead: dict[str, Any]) -> list[float | None]:
        """r² of variants of scans with the locus's lead; None where the genotypes lack one."""
        context = self._context
        out: list[float | None] = [None] * one.height
        if context.source is None or context.index is None or not one.height:
            return out
        alleles = ["base_pair_location", "effect_allele", "other_allele"]
        asked = pl.concat([pl.DataFrame([lead]).select(alleles), one.select(alleles)])
        numbers, _ = context.index.match(self._chromosome, asked)
        if numbers[0] < 0:
            return out
        kinds = context.source.variants.kind
        some = np.flatnonzero((numbers >= 0) & (kinds[numbers] == kinds[numbers[0]]))[1:]
        if len(some):
            with self._open() as linkage:
                r = linkage.r(numbers[:1], numbers[some])[0]
            for at, value in zip(some - 1, r, strict=True):
                same = numbers[at + 1] == numbers[0]
                out[at] = 1.0 if same else None if np.isnan(value) else float(value**2)
        return out

    def _open(self) -> Linkage:
        context = self._context
        assert context.source is not None
        return Linkage(context.source, context.founders)

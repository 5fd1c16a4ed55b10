"""One run of gene tests: what is made once, and the genes tested part by part."""

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.genetics.binary import NullModel, null_model
from leadlight.genetics.carriers import read_carriers
from leadlight.genetics.designs import make_designs, orthonormal_basis
from leadlight.genetics.gene_binary import binary_combined, binary_results
from leadlight.genetics.gene_calibration import NO_CORRECTIONS, combination_corrections
from leadlight.genetics.gene_drivers import leave_one_out
from leadlight.genetics.gene_rows import (
    DRIVERS_SCHEMA,
    GENES_SCHEMA,
    driver_rows,
    gene_rows,
)
from leadlight.genetics.gene_tests import (
    GeneDesign,
    GeneSettings,
    MaskResult,
    PreparedGene,
    combined,
    gene_designs,
    gene_results,
    named,
    prepare_gene,
)
from leadlight.genetics.genotypes import GenotypeSource, Reader
from leadlight.genetics.masks import Gene, GeneFiles
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_tables import DIPLOID, FEMALE, UNKNOWN_SEX, X_LINKED

if TYPE_CHECKING:
    from leadlight.genetics.background_stage import Background

Floats = npt.NDArray[np.float64]
_CALIBRATING_GENES = 200
_CHROMOSOMES_HELD = 3


class GeneRun:
    """The genes of a study, tested in parts that do not depend on each other.

    left_out: reason → genes without a test.
    """

    def __init__(
        self,
        source: GenotypeSource,
        matched: Matched,
        files: GeneFiles,
        settings: GeneSettings,
        frequencies: pl.DataFrame | None,
        background: "Background | None",
        binary: bool,
        drivers_below: float,
        seed: int,
    ) -> None:
        self._source, self._matched, self._masks = source, matched, files.masks
        self._settings, self._background, self._binary = settings, background, binary
        self._least, self._seed = -np.log10(drivers_below), seed
        self._lock = Lock()
        self._designs: dict[tuple[str, int], list[GeneDesign]] = {}
        self._nulls: dict[tuple[str, int], list[NullModel]] = {}
        self._corrections = NO_CORRECTIONS
        kinds = source.variants.kind
        self._genes = [
            gene for gene in files.genes if np.isin(kinds[gene.numbers], (DIPLOID, X_LINKED)).all()
        ]
        self.left_out = {"genes on Y or of one copy, left out": len(files.genes) - len(self._genes)}
        self._given: dict[str, tuple[float, bool | None]] = {}
        if frequencies is not None:
            self._given = {name: (value, mark) for name, value, mark in frequencies.iter_rows()}

    @property
    def n_genes(self) -> int:
        """How many genes are tested."""
        return len(self._genes)

    def parts(self, size: int) -> list[list[Gene]]:
        """The genes, at most `size` of one chromosome together."""
        out: list[list[Gene]] = []
        for gene in self._genes:
            if not out or len(out[-1]) == size or out[-1][0].chromosome != gene.chromosome:
                out.append([])
            out[-1].append(gene)
        return out

    def prepare(self) -> None:
        """Work the corrections of the Cauchy combinations out, from genes all over the genome."""
        if self._binary or not self._genes:
            return
        count = min(_CALIBRATING_GENES, len(self._genes))
        chosen = [self._genes[at] for at in np.linspace(0, len(self._genes) - 1, count).astype(int)]
        chosen = [gene for gene in chosen if self._kind(gene) == DIPLOID]
        if not chosen:
            return
        with self._source.reader(self._matched.rows) as reader:
            prepared = [self._prepared(gene, reader) for gene in chosen]
        prepared = [one for one in prepared if one.sets]
        design = max(self._designs_of(chosen[0]), key=lambda one: len(one.design))
        self._corrections = combination_corrections(
            prepared, design, self._settings, seed=self._seed
        )

    def test(self, genes: Sequence[Gene]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of `genes.parquet` and `drivers.parquet` of some genes of one chromosome."""
        tables, drivers = [pl.DataFrame(schema=GENES_SCHEMA)], [pl.DataFrame(schema=DRIVERS_SCHEMA)]
        traits = self._matched.trait_names
        with self._source.reader(self._matched.rows) as reader:
            for gene in genes:
                prepared = self._prepared(gene, reader)
                if not prepared.sets:
                    continue
                results, together = self._tested(prepared)
                tables.append(gene_rows(prepared, named(prepared, results), together, traits))
                if not self._binary:
                    drivers += self._drivers(prepared, results, together)
        return pl.concat(tables), pl.concat(drivers)

    def _tested(self, prepared: PreparedGene) -> tuple[list[MaskResult], Floats]:
        if self._binary:
            results = binary_results(prepared, self._nulls_of(prepared.gene), self._settings)
            return results, binary_combined(prepared, results)
        designs = self._designs_of(prepared.gene)
        results = gene_results(prepared, designs, len(self._matched.trait_names), self._settings)
        together = combined(prepared.sets, [one.neg_log_10_p for one in results])
        for one, own in zip(results, prepared.sets, strict=True):
            if own.combines:
                correction = self._corrections.of_set(len(own.tested))
                one.neg_log_10_p["acat-o"][:] = correction.apply(one.neg_log_10_p["acat-o"])
        if len(results) > 1 or prepared.sets[0].combines:
            together = self._corrections.of_genes.apply(together)
        return results, together

    def _drivers(
        self, prepared: PreparedGene, results: Sequence[MaskResult], together: Floats
    ) -> list[pl.DataFrame]:
        tables = []
        for trait in np.flatnonzero(together > self._least):
            p = np.array([one.neg_log_10_p["acat-o"][trait] for one in results])
            number = int(np.nanargmax(p))
            domain, mask, name = next(key for key, at in prepared.names.items() if at == number)
            for design in self._designs_of(prepared.gene):
                if trait in design.design.traits:
                    at = design.design.traits.index(int(trait))
                    found = list(leave_one_out(prepared, number, design, at, self._settings))
                    label = self._matched.trait_names[trait]
                    shown = replace(results[number], domain=domain, mask=mask, bin=name)
                    tables.append(
                        driver_rows(
                            prepared, shown, label, int(trait), found, self._source.variants
                        )
                    )
        return tables

    def _prepared(self, gene: Gene, reader: Reader) -> PreparedGene:
        carriers = read_carriers(reader, gene.numbers, self._kind(gene), self._matched.sex)
        frequencies, singletons = None, None
        if self._given:
            names = self._source.variants.table["rsid"].take(gene.numbers).to_pylist()
            said = [self._given.get(name) for name in names]
            frequencies = np.array(
                [
                    own if one is None else one[0]
                    for one, own in zip(said, carriers.frequency, strict=True)
                ]
            )
            singletons = np.array(
                [
                    count == 1 if one is None or one[1] is None else one[1]
                    for one, count in zip(said, carriers.allele_count, strict=True)
                ]
            )
        return prepare_gene(
            gene,
            self._masks,
            carriers,
            self._settings,
            frequencies=frequencies,
            singletons=singletons,
        )

    def _kind(self, gene: Gene) -> int:
        return int(self._source.variants.kind[gene.numbers[0]])

    def _designs_of(self, gene: Gene) -> list[GeneDesign]:
        """The designs of a gene's chromosome, made when first asked for."""
        kind = self._kind(gene)
        key = ("" if self._background is None else gene.chromosome, kind)
        with self._lock:
            if key not in self._designs:
                matched, calibration = self._matched, None
                if self._background is not None:
                    _keep_last(self._designs)
                    matched = self._background.without(matched, gene.chromosome)
                    calibration = self._background.calibration(matched.trait_names)
                designs = make_designs(matched, kind, shared=False)
                self._designs[key] = gene_designs(designs, self._matched.rows, calibration)
            return self._designs[key]

    def _nulls_of(self, gene: Gene) -> list[NullModel]:
        """The null models of a gene's chromosome, made when first asked for."""
        kind = self._kind(gene)
        key = ("" if self._background is None else gene.chromosome, kind)
        with self._lock:
            if key not in self._nulls:
                matched, offsets = self._matched, None
                covariates, cases = matched.covariates, matched.traits
                if kind == X_LINKED:
                    female = (matched.sex == FEMALE).astype(np.float64)
                    covariates = np.column_stack([covariates, female])
                    known = (matched.sex != UNKNOWN_SEX)[:, None]
                    cases = np.where(known, cases, np.nan)
                if self._background is not None:
                    _keep_last(self._nulls)
                    offsets = self._background.offsets(matched.trait_names, gene.chromosome)
                basis = orthonormal_basis(covariates)
                self._nulls[key] = [
                    null_model(cases[:, at], basis, None if offsets is None else offsets[:, at])
                    for at in range(cases.shape[1])
                ]
            return self._nulls[key]


def _keep_last(made: dict[tuple[str, int], Any]) -> None:
    """Make room: threads are on few chromosomes at a time, and a design holds all traits."""
    while len(made) > _CHROMOSOMES_HELD:
        made.pop(next(iter(made)))

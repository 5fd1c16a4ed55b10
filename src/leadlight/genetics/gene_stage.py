"""Gene tests from files to files: what `leadlight genes` calls."""

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.designs import rank_normal, with_usable_traits
from leadlight.genetics.gene_rows import DRIVERS_SCHEMA, GENES_SCHEMA
from leadlight.genetics.gene_run import GeneRun
from leadlight.genetics.gene_tests import GeneSettings
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.gwas_summary import fingerprint
from leadlight.genetics.masks import read_frequencies, read_genes
from leadlight.genetics.results import is_left
from leadlight.genetics.traits import Matched, as_cases, match_people, read_person_table
from leadlight.locking import one_at_a_time
from leadlight.progress import bar
from leadlight.provenance import write_provenance

GENES, DRIVERS = "genes.parquet", "drivers.parquet"
DRIVERS_BELOW = 2.5e-6  # 0.05 over 20,000 genes
_PARTIAL = ".genes-partial"
_GENES_AT_ONCE = 25
_SKEW, _KURTOSIS = 0.5, 1.0


@dataclass(frozen=True)
class GenesSummary:
    """What a run of gene tests did.

    strongest: trait → the gene with the least p over its masks; warnings: trait → a sentence.
    """

    out: Path
    people: dict[str, int]
    genes: dict[str, int]
    dropped: dict[str, str]
    rows: int
    drivers: int
    strongest: dict[str, dict[str, Any]]
    resumed_genes: int
    warnings: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, for `--json` and for `summary.json`."""
        return asdict(self) | {"out": self.out.name}


@one_at_a_time("out", ".genes.lock", "testing genes into")
def run_genes(
    genotypes: Path | Sequence[Path],
    phenotypes: Path,
    annotations: Path,
    sets: Path,
    masks: Path,
    out: Path,
    *,
    covariates: Path | None = None,
    traits: Sequence[str] | None = None,
    genes: Sequence[str] | None = None,
    settings: GeneSettings | None = None,
    frequencies: Path | None = None,
    transform: str = "none",
    binary: bool = False,
    whole_genome: bool = False,
    drivers_below: float = DRIVERS_BELOW,
    workers: int | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> GenesSummary:
    """Read, match and test; writes `out/genes.parquet`, `out/drivers.parquet` and what made them.

    annotations, sets, masks: see `masks`. frequencies: of variants from elsewhere, which then
    decide the bins. transform: `none` or `rank-normal`. binary: traits are cases and controls; only
    burden and ACAT-V are made. whole_genome: traits less their whole-genome prediction without the
    gene's chromosome. drivers_below: a gene's variants are left out one by one where its p over all
    masks is below. A killed run goes on where it was when given again. Raises LeadlightError on any
    input that can't be used.
    """
    if transform not in ("none", "rank-normal"):
        raise LeadlightError(f"{transform!r} is no transform.", advice="none or rank-normal.")
    if binary and transform != "none":
        raise LeadlightError("Binary traits have no transform.", advice="Leave --transform out.")
    settings = settings or GeneSettings()
    partial = out / _PARTIAL
    for name in (GENES, DRIVERS):
        refuse_overwrite(out / name, overwrite or partial.is_dir())
    source = open_genotypes(genotypes, cache=out / "genotypes")
    described = read_person_table(phenotypes, traits)
    adjusted = None if covariates is None else read_person_table(covariates, categories=True)
    found = read_genes(annotations, sets, masks, source.variants, genes)
    given = None if frequencies is None else read_frequencies(frequencies)
    matched = match_people(source.people, described, adjusted)
    if binary:
        matched = replace(matched, traits=as_cases(matched.trait_names, matched.traits))
    if transform == "rank-normal":
        columns = [rank_normal(column) for column in matched.traits.T]
        matched = replace(matched, traits=np.stack(columns, axis=1))
    matched = with_usable_traits(matched)
    background = None
    if whole_genome:
        from leadlight.genetics.background_stage import background_of

        background = background_of(
            source, matched, out, binary=binary, workers=workers, overwrite=overwrite, seed=seed
        )
    inputs = [
        one
        for one in (phenotypes, covariates, annotations, sets, masks, frequencies)
        if one is not None
    ]
    digest = sha256()
    for array in (matched.rows, matched.traits, matched.covariates, matched.sex):
        digest.update(np.ascontiguousarray(array).tobytes())
    parameters: dict[str, Any] = {
        **asdict(settings),
        "traits": list(matched.trait_names),
        "covariates": list(matched.covariate_names),
        "genes": None if genes is None else list(genes),
        "transform": transform,
        "binary": binary,
        "whole_genome": None if background is None else background.fingerprint,
        "drivers_below": drivers_below,
        "seed": seed,
        "genotype_files": [fingerprint(file.path) for file in source.files],
    }
    manifest = parameters | {
        "people": digest.hexdigest(),
        "inputs": [fingerprint(path) for path in inputs],
    }
    _take_up(partial, manifest)
    run = GeneRun(source, matched, found, settings, given, background, binary, drivers_below, seed)
    resumed = _work_off(run, partial, workers or len(os.sched_getaffinity(0)))
    rows, drivers = _join(partial, GENES, out), _join(partial, DRIVERS, out)
    summary = GenesSummary(
        out,
        matched.counts,
        found.counts | run.left_out,
        matched.dropped,
        rows,
        drivers,
        _strongest(out / GENES),
        resumed,
        {} if binary else _far_from_normal(matched),
        [GENES, DRIVERS],
    )
    write_provenance(out, "genes", parameters | {"people": matched.counts}, inputs)
    write_json(out / "summary.json", {**summary.as_json(), "resumed_genes": 0})
    _remove(partial)
    return summary


def _far_from_normal(matched: Matched) -> dict[str, str]:
    """Trait → what to do where a few carriers would decide a test by the trait's long tail."""
    out = {}
    for name, trait in zip(matched.trait_names, matched.traits.T, strict=True):
        known = trait[np.isfinite(trait)]
        values = (known - known.mean()) / known.std()
        skew, kurtosis = float(np.mean(values**3)), float(np.mean(values**4)) - 3
        if abs(skew) > _SKEW or kurtosis > _KURTOSIS:
            out[name] = (
                f"skewness {skew:.1f}, excess kurtosis {kurtosis:.1f}: tests of rare variants "
                "find too much in such a trait. Give --transform rank-normal."
            )
    return out


def _take_up(partial: Path, manifest: dict[str, Any]) -> None:
    """Keep what a killed run with the same manifest left, or start anew."""
    if is_left(partial, manifest):
        return
    _remove(partial)
    partial.mkdir(parents=True)
    write_json(partial / "manifest.json", json.loads(json.dumps(manifest, default=str)))


def _remove(partial: Path) -> None:
    # First: without it, what a kill leaves of the others is not gone on with.
    (partial / "manifest.json").unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)


def _work_off(run: "GeneRun", partial: Path, threads: int) -> int:
    """Test all genes in parts that are written as they are done; how many were done before."""
    parts = run.parts(_GENES_AT_ONCE)
    waiting = [at for at in range(len(parts)) if not (partial / f"{at}-{GENES}").is_file()]
    resumed = sum(len(parts[at]) for at in range(len(parts)) if at not in set(waiting))

    def one(at: int) -> int:
        tested, drivers = run.test(parts[at])
        for name, table in ((DRIVERS, drivers), (GENES, tested)):
            with written_whole(partial / f"{at}-{name}") as unfinished:
                table.write_parquet(unfinished)
        return len(parts[at])

    with threadpool_limits(1), bar("gene tests", run.n_genes) as progress:
        progress.step(resumed)
        if waiting:
            run.prepare()
        with ThreadPoolExecutor(threads) as pool:
            try:
                for done in pool.map(one, waiting):
                    progress.step(done)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return resumed


def _join(partial: Path, name: str, out: Path) -> int:
    files = sorted(partial.glob(f"*-{name}"), key=lambda path: int(path.name.split("-")[0]))
    schema = GENES_SCHEMA if name == GENES else DRIVERS_SCHEMA
    with written_whole(out / name) as unfinished:
        tables = [pl.read_parquet(path) for path in files]
        table = pl.concat(tables) if tables else pl.DataFrame(schema=schema)
        table.write_parquet(unfinished, row_group_size=1 << 16)
    return table.height


def _strongest(path: Path) -> dict[str, dict[str, Any]]:
    """trait → the gene with the least p over all its masks."""
    table = (
        pl.scan_parquet(path)
        .filter(pl.col("test").cast(pl.String) == "gene")
        .select("trait", "gene", "neg_log_10_p_value")
        .sort("neg_log_10_p_value", descending=True)
        .group_by("trait", maintain_order=True)
        .first()
        .collect()
    )
    return {
        str(trait): {"gene": gene, "neg_log_10_p_value": p} for trait, gene, p in table.iter_rows()
    }

"""From summary statistics of many traits to loci: what `leadlight loci` calls."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.association_people import AssociationPeople, association_people
from leadlight.genetics.clumping import ClumpRule
from leadlight.genetics.gene_table import read_genes
from leadlight.genetics.genotypes import GenotypeSource, open_genotypes
from leadlight.genetics.gwas_summary import fingerprint
from leadlight.genetics.known_loci import read_catalogue, refuse_wrong_build
from leadlight.genetics.linkage import Linkage, founders
from leadlight.genetics.loci_schema import (
    CLUMPS,
    CREDIBLE_SETS,
    LOCUS_TRAITS,
    SIGNALS,
    as_table,
    loci_schema,
)
from leadlight.genetics.locus_analysis import LocusTables, analyse_locus
from leadlight.genetics.locus_linkage import LocusContext, LocusRule
from leadlight.genetics.locus_signals import FineMapRule
from leadlight.genetics.locus_table import Locus, VariantIndex, clumps_of, merge_loci
from leadlight.genetics.scan_files import ScanSet, labelled, read_scan_set
from leadlight.locking import one_at_a_time
from leadlight.progress import say, track
from leadlight.provenance import write_provenance

# The loci last: where they are, the others are.
TABLES = ("clumps", "locus_traits", "signals", "credible_sets", "loci")
LOCK = ".loci.lock"
_CACHE = "genotypes"
_TO_TELL_THE_BUILD = 20_000


@dataclass(frozen=True)
class LociSummary:
    """What a run of `find_loci` found. counts: by name; only: label → loci no other label has."""

    out: Path
    counts: dict[str, int]
    loci_of: dict[str, int]
    only: dict[str, list[int]]
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, for `--json` and for `summary.json`."""
        return asdict(self) | {"out": self.out.name}


@one_at_a_time("out", LOCK, "finding loci in")
def find_loci(
    gwas: Sequence[str],
    out: Path,
    *,
    genotypes: Sequence[Path] = (),
    phenotypes: Sequence[str] = (),
    covariates: Path | None = None,
    traits: Sequence[str] | None = None,
    clump_rule: ClumpRule | None = None,
    fine_map_rule: FineMapRule | None = None,
    locus_rule: LocusRule | None = None,
    measure: str = "haplotypes",
    genes: Path | None = None,
    catalogue: Path | None = None,
    build: str = "GRCh37",
    text: bool = True,
    workers: int | None = None,
    overwrite: bool = False,
) -> LociSummary:
    """Clump, merge, condition, fine-map and name the loci of one or several sets of results.

    gwas: folders or files of summary statistics, each as PATH or label=PATH. genotypes: the study's
    own or a reference, for linkage. phenotypes: PATH, or label=PATH for each set, and covariates:
    those of the associations; with them signals are conditioned on individual data and linkage is
    after the covariates. Writes the tables of TABLES to `out` and raises LeadlightError on input
    that can't be used, before any work where it can be known before.
    """
    clump_rule, locus_rule = clump_rule or ClumpRule(p2=1e-5, kb=500), locus_rule or LocusRule()
    fine_map_rule = fine_map_rule or FineMapRule(p=clump_rule.p1)
    refuse_overwrite(out / "loci.parquet", overwrite)
    if (phenotypes or covariates is not None) and not genotypes:
        raise LeadlightError(
            "Phenotypes and covariates are of use with genotypes only.",
            advice="Give --genotypes too, or leave them out.",
        )
    if covariates is not None and not phenotypes:
        raise LeadlightError("Covariates are given without phenotypes.", advice="Give both.")
    sets = _scan_sets(gwas, traits)
    known = read_catalogue(catalogue, build=build)
    named = None if genes is None else read_genes(genes)
    for one in sets:
        _check_build(one, build)
    source = None
    if genotypes:
        source = open_genotypes(list(genotypes), cache=out / _CACHE, build=build)
    people = {} if source is None else _people(source, sets, phenotypes, covariates)
    index = None if source is None else VariantIndex(source)
    rows = None if source is None else founders(source)
    with threadpool_limits(1):
        scans = [scan for one in sets for scan in one.scans]
        if source is None or index is None:
            clumps = clumps_of(scans, clump_rule)
        else:
            with Linkage(source, rows, measure=measure) as linkage:
                clumps = clumps_of(scans, clump_rule, index, linkage)
        loci = merge_loci(clumps, within=round(locus_rule.merge_kb * 1000))
        context = LocusContext(
            sets,
            source,
            people,
            locus_rule,
            fine_map_rule,
            known,
            named,
            index,
            rows,
        )
        threads = workers or len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(threads) as pool:
            done = [
                pool.submit(analyse_locus, locus, clumps[list(locus.clumps)], context)
                for locus in loci
            ]
            found = [one.result() for one in track(done, "loci", len(done))]
    tables = _tables(clumps, loci, found, [one.label for one in sets])
    summary = _summary(out, sets, loci, found, tables, source)
    # Loci beside tables of other loci would be wrong unnoticed: they go first.
    (out / "loci.parquet").unlink(missing_ok=True)
    parameters = {
        "traits": None if traits is None else list(traits),
        "clumps": asdict(clump_rule),
        "fine_mapping": asdict(fine_map_rule),
        "loci": asdict(locus_rule),
        "measure": measure,
        "build": build,
        "labels": {one.label: one.folder.name for one in sets},
        "genotype_files": [] if source is None else [fingerprint(f.path) for f in source.files],
    }
    inputs = [scan.path for one in sets for scan in one.scans]
    inputs += [path for _, path in labelled(phenotypes, "the phenotypes")] if phenotypes else []
    inputs += [path for path in (covariates, genes, catalogue) if path is not None]
    write_provenance(out, "loci", parameters, inputs)
    write_json(out / "summary.json", summary.as_json())
    for name, table in tables.items():
        _write(out, name, table, text)
    return summary


def _scan_sets(gwas: Sequence[str], traits: Sequence[str] | None) -> tuple[ScanSet, ...]:
    if not gwas:
        raise LeadlightError("No summary statistics were given.", advice="Give --gwas DIR.")
    sets = [read_scan_set(label, path, traits) for label, path in labelled(gwas, "--gwas")]
    there = {scan.trait for one in sets for scan in one.scans}
    absent = [name for name in traits or () if name not in there]
    if absent:
        raise LeadlightError(
            f"No set of results has the trait {absent[0]}.",
            advice="Look at the names of the files there.",
        )
    return tuple(sets)


def _check_build(one: ScanSet, build: str) -> None:
    for scan in one.scans[:1]:
        rows = scan.some(_TO_TELL_THE_BUILD)
        refuse_wrong_build(
            rows["chromosome"].fill_null("").to_numpy().astype(str),
            rows["base_pair_location"].fill_null(0).to_numpy(),
            rows["rsid"].fill_null("").to_numpy().astype(str),
            build,
            str(scan.path),
        )


def _people(
    source: GenotypeSource,
    sets: Sequence[ScanSet],
    phenotypes: Sequence[str],
    covariates: Path | None,
) -> dict[str, AssociationPeople]:
    """Label → the people of its association, where phenotypes for it were given."""
    if not phenotypes:
        return {}
    given = labelled(phenotypes, "the phenotypes")
    labels = [one.label for one in sets]
    if len(given) == 1 and given[0][0] not in labels:
        tables: Mapping[str, Path] = dict.fromkeys(labels, given[0][1])
    else:
        tables = dict(given)
        odd = [label for label in tables if label not in labels]
        if odd:
            raise LeadlightError(
                f"There are phenotypes of {odd[0]!r}, and no such results.",
                advice=f"The labels are {', '.join(labels)}.",
            )
    found = {}
    for one in sets:
        if one.label in tables:
            made = association_people(source, one, tables[one.label], covariates)
            if made is None:
                say(f"{one.label}: cases and controls; signals come from summary statistics.")
            else:
                found[one.label] = made
    return found


def _tables(
    clumps: pl.DataFrame,
    loci: Sequence[Locus],
    found: Sequence[LocusTables],
    labels: Sequence[str],
) -> dict[str, pl.DataFrame]:
    """The five tables."""
    of = {row: locus.number for locus in loci for row in locus.clumps}
    made_clumps = pl.DataFrame(schema=CLUMPS)
    if clumps.height:
        numbers = [of[row] for row in range(clumps.height)]
        numbered = clumps.with_columns(pl.Series("locus", numbers, dtype=pl.Int64))
        made_clumps = numbered.select(*CLUMPS).sort(
            ["locus", "neg_log_10_p_value"], descending=[False, True], maintain_order=True
        )
    made = {
        "loci": as_table([one.locus for one in found], loci_schema(labels)),
        "locus_traits": as_table([row for one in found for row in one.traits], LOCUS_TRAITS),
        "signals": as_table([row for one in found for row in one.signals], SIGNALS),
        "credible_sets": as_table([row for one in found for row in one.sets], CREDIBLE_SETS),
        "clumps": made_clumps,
    }
    return {name: made[name] for name in TABLES}


def _summary(
    out: Path,
    sets: Sequence[ScanSet],
    loci: Sequence[Locus],
    found: Sequence[LocusTables],
    tables: Mapping[str, pl.DataFrame],
    source: GenotypeSource | None,
) -> LociSummary:
    notes = [note for one in found for note in one.notes]
    worst = max((one.difference for one in found if one.difference is not None), default=None)
    if worst is not None and worst > 0.05:
        notes.insert(
            0,
            f"The phenotypes given don't repeat the scans: −log10 p differs by up to {worst:.2f}. "
            "Are they, the covariates and the people those of the association?",
        )
    labels = [one.label for one in sets]
    has = [set(one.locus["labels"]) for one in found]
    sets_table = tables["credible_sets"]
    counts = {
        "loci": len(loci),
        "known": sum(bool(one.locus["known"]) for one in found),
        "new": sum(not one.locus["known"] for one in found),
        "clumps": tables["clumps"].height,
        "signals": tables["signals"].height,
        "susie_sets": _sets(sets_table, "susie"),
        "single_effect_sets": _sets(sets_table, "single-effect"),
        "traits": sum(len(one.scans) for one in sets),
    }
    if source is not None:
        counts["variants in the genotypes"] = len(source.variants)
    return LociSummary(
        out,
        counts,
        {label: sum(label in one for one in has) for label in labels},
        {
            label: [locus.number for locus, one in zip(loci, has, strict=True) if one == {label}]
            for label in labels
        }
        if len(labels) > 1
        else {},
        notes,
    )


def _sets(table: pl.DataFrame, method: str) -> int:
    own = table.filter(pl.col("method") == method)
    return own.select("locus", "label", "trait", "signal").unique().height


def _write(out: Path, name: str, table: pl.DataFrame, text: bool) -> None:
    if text:
        lists = [c for c, kind in table.schema.items() if isinstance(kind, pl.List)]
        flat = table.with_columns(pl.col(c).cast(pl.List(pl.String)).list.join(",") for c in lists)
        with written_whole(out / f"{name}.tsv") as partial:
            flat.write_csv(partial, separator="\t", null_value="NA")
    with written_whole(out / f"{name}.parquet") as partial:
        table.write_parquet(partial)

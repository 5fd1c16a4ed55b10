"""`leadlight effect` from files to files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leadlight.atomic import refuse_overwrite
from leadlight.errors import LeadlightError
from leadlight.genetics.effect.estimates import effect_from_summary_statistics, effect_in_people
from leadlight.genetics.effect.exposures import (
    Exposure,
    burden_exposure,
    score_exposure,
    trait_exposure,
    variant_exposure,
)
from leadlight.genetics.effect.loci_map import LociMap, lead_variants, loci_map
from leadlight.genetics.effect.locus import Locus, read_locus
from leadlight.genetics.effect.tables import SUMMARY, EffectTables, write_effect
from leadlight.genetics.genotypes import GenotypeSource, open_genotypes
from leadlight.latent.model import DEFAULT_MODEL, load_latent_model


@dataclass(frozen=True)
class Files:
    """What an effect can be worked out from; see `leadlight effect --help`."""

    gwas: Path | None = None
    study: Path | None = None
    genotypes: tuple[Path, ...] = ()
    covariates: Path | None = None
    phenotypes: Path | None = None
    annotations: Path | None = None
    sets: Path | None = None
    masks: Path | None = None
    loci: Path | None = None
    genes: Path | None = None
    recombination: Path | None = None

    def inputs(self) -> list[Path]:
        """The small files, whose fingerprints go into the provenance."""
        small = (self.covariates, self.phenotypes, self.annotations, self.sets, self.masks)
        return [path for path in small if path is not None]


def run_effect(
    kind: str,
    name: str,
    files: Files,
    out: Path,
    *,
    mask: str | None = None,
    max_frequency: float = 0.01,
    model: str | None = None,
    classifier: str | None = None,
    zoom_trait: str | None = None,
    condition: Sequence[str] = (),
    flank_bp: int = 250_000,
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[EffectTables, Locus | None]:
    """Work an effect out and write its tables into `out`.

    kind: "variant", "gene", "score" (then `name` is a path) or "trait". condition: ids of variants
    whose part is taken out. A variant needs a study and
    genotypes, or an association of the factors alone; the others need a study. The locus is
    returned where there are an association and a place.
    """
    refuse_overwrite(out / SUMMARY, overwrite)
    source = open_genotypes(list(files.genotypes), cache=out / "genotypes") if files.genotypes \
        else None  # fmt: skip
    if kind == "variant" and (source is None or (files.study is None and files.gwas)):
        if files.gwas is None:
            raise LeadlightError(
                "A variant needs people or summary statistics.",
                advice="Give --gwas, or --study with --genotypes.",
            )
        if condition:
            raise LeadlightError("--condition needs people: --study and --genotypes.")
        tables = effect_from_summary_statistics(
            files.gwas, name, model=model, study=files.study, classifier=classifier, seed=seed
        )
    else:
        if files.study is None:
            raise LeadlightError(f"The effect of a {kind} needs --study.")
        exposure = _exposure(kind, name, files, source, mask, max_frequency)
        beside = []
        if condition:
            if source is None or kind not in ("variant", "gene"):
                raise LeadlightError("--condition goes with --variant or --gene of --genotypes.")
            beside = [variant_exposure(source, one) for one in condition]
        tables = effect_in_people(
            exposure, files.study, model=model, covariates=files.covariates, beside=beside,
            classifier=classifier, seed=seed,
        )  # fmt: skip
    parameters: dict[str, Any] = {
        "kind": kind,
        "condition": list(condition),
        "name": Path(name).name, "mask": mask, "max_frequency": max_frequency,
        "model": model, "classifier": classifier, "seed": seed,
        **{key: str(value) for key, value in asdict(files).items() if isinstance(value, Path)
           and key in ("gwas", "study", "loci")},
    }  # fmt: skip
    for key in ("gwas", "study", "loci"):
        if key in parameters:
            parameters[key] = Path(parameters[key]).name
    write_effect(tables, out, parameters, files.inputs(), overwrite=overwrite)
    return tables, _locus(tables, files, source, zoom_trait, flank_bp)


def run_heat_map(files: Files, *, model: str | None = None) -> LociMap:
    """The factors' z at the lead variants of the loci that `leadlight loci` found."""
    if files.gwas is None or files.loci is None:
        raise LeadlightError("The heat map needs --gwas and --loci.")
    latent = load_latent_model(model or DEFAULT_MODEL)
    labels = [one.follows for one in latent.card.factors]
    return loci_map(files.gwas, *lead_variants(files.loci), latent.names, labels)


def _exposure(
    kind: str,
    name: str,
    files: Files,
    source: GenotypeSource | None,
    mask: str | None,
    max_frequency: float,
) -> Exposure:
    if kind == "score":
        return score_exposure(source, Path(name))
    if kind == "trait":
        if files.phenotypes is None:
            raise LeadlightError("--trait needs --phenotypes.", advice="A table by person.")
        return trait_exposure(files.phenotypes, name)
    if source is None:
        raise LeadlightError(f"A {kind} needs --genotypes.")
    if kind == "variant":
        return variant_exposure(source, name)
    given = {"--annotations": files.annotations, "--sets": files.sets, "--masks": files.masks}
    absent = [option for option, path in given.items() if path is None]
    if files.annotations is None or files.sets is None or files.masks is None:
        raise LeadlightError(f"--gene needs {absent[0]}.", advice="REGENIE's three files.")
    return burden_exposure(
        source, name, files.annotations, files.sets, files.masks, mask=mask,
        rare_below=max_frequency,
    )  # fmt: skip


def _locus(
    tables: EffectTables,
    files: Files,
    source: GenotypeSource | None,
    trait: str | None,
    flank_bp: int,
) -> Locus | None:
    about = tables.summary["about"]
    if files.gwas is None or "chromosome" not in about:
        return None
    lead = tables.summary["name"] if tables.summary["kind"] == "variant" else ""
    return read_locus(
        files.gwas, about["chromosome"], about["base_pair_location"], lead, trait=trait,
        source=source, loci=files.loci, genes=files.genes, recombination=files.recombination,
        flank_bp=flank_bp,
    )  # fmt: skip

"""The phenome scan from files to files: what `leadlight phewas` calls."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.cross_fitting import cross_fitted_scores
from leadlight.genetics.genotypes import open_genotypes
from leadlight.genetics.gwas_summary import fingerprint
from leadlight.genetics.multiple_testing import bonferroni_threshold
from leadlight.genetics.phecodes import (
    phecode_outcomes,
    read_codes,
    read_observed,
    read_phecode_map,
)
from leadlight.genetics.phewas_loci import (
    UNKNOWN_TRAINING,
    ScoreSettings,
    locus_exposures,
    score_exposures,
)
from leadlight.genetics.phewas_models import FIRTH_BELOW
from leadlight.genetics.phewas_scan import LOOKS, PREDICTS, Scan, scan
from leadlight.genetics.phewas_tables import (
    SCORE,
    Exposures,
    OutcomeTable,
    joined,
    match_scan,
    read_descriptions,
    read_exposures,
    read_outcomes,
    read_survival,
)
from leadlight.genetics.polygenic_scores import score_table
from leadlight.genetics.traits import PersonTable, read_person_table
from leadlight.provenance import write_provenance

RESULTS = "phewas.parquet"
RELATIVES = (
    "People count as unrelated. Where relatives are among them and an outcome runs in families, "
    "intervals are too narrow and p too small: keep unrelated people only (--keep)."
)


@dataclass(frozen=True)
class ExposureFiles:
    """Where exposures come from. trained_on: a file of people, `none`, or None for not known.

    cross_fit: so many parts for scores of the factors themselves (`cross_fitting`), 0 for none.
    """

    tables: Sequence[Path] = ()
    columns: Sequence[str] | None = None
    genotypes: Sequence[Path] = ()
    loci: Path | None = None
    scores_of: Sequence[Path] = ()
    weights: Sequence[Path] = ()
    trained_on: str | None = None
    cross_fit: int = 0
    settings: ScoreSettings = field(default_factory=ScoreSettings)


@dataclass(frozen=True)
class OutcomeFiles:
    """Where outcomes come from; see `phewas_tables` and `phecodes`."""

    tables: Sequence[Path] = ()
    columns: Sequence[str] | None = None
    binary: Sequence[str] = ()
    quantitative: Sequence[str] = ()
    survival: Path | None = None
    codes: Path | None = None
    phecodes: Path | None = None
    observed: Path | None = None
    min_count: int = 2
    incident: bool = False
    descriptions: Path | None = None


@dataclass(frozen=True)
class PhewasSummary:
    """What a scan did; `tests` by direction and exposure kind."""

    out: Path
    people: dict[str, int]
    outcomes: dict[str, int]
    family: str
    tests: dict[str, dict[str, float]]
    left_out: dict[str, str]
    scores: dict[str, Any]
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, for `--json` and for `summary.json`."""
        return asdict(self) | {"out": self.out.name}


def run_phewas(
    exposures: ExposureFiles,
    outcomes: OutcomeFiles,
    out: Path,
    *,
    covariates: Path | None = None,
    keep: Path | None = None,
    directions: Sequence[str] = (PREDICTS, LOOKS),
    min_cases: int = 50,
    firth_below: int = FIRTH_BELOW,
    transform: str = "none",
    family: str = "direction",
    workers: int | None = None,
    overwrite: bool = False,
) -> PhewasSummary:
    """Read, match and test; writes `out/phewas.parquet`, `summary.json` and `provenance.json`.

    With scores also `scores.parquet` and `score_weights.parquet`. keep: a file with an IID per line
    or a table that begins with them. Other arguments: `phewas_scan.scan`. Raises LeadlightError on
    any input that can't be used.
    """
    for name in (RESULTS, "scores.parquet", "score_weights.parquet"):
        refuse_overwrite(out / name, overwrite)
    if not (exposures.tables or exposures.loci or exposures.scores_of or exposures.weights):
        raise LeadlightError("No exposure was given.", advice="Give factors, loci or scores.")
    tables, used = _outcomes(outcomes)
    adjusted = None if covariates is None else read_person_table(covariates, categories=True)
    out.mkdir(parents=True, exist_ok=True)
    parts = [read_exposures(path, exposures.columns) for path in exposures.tables]
    more, scores = _genetic(exposures, out, parts, adjusted, workers)
    allowed = None if keep is None else _ids(keep)
    given = match_scan(joined([*parts, *more]), tables, adjusted, keep=allowed)
    found = scan(
        given,
        directions=directions,
        min_cases=min_cases,
        firth_below=firth_below,
        transform=transform,
        family=family,
        workers=workers,
    )
    with written_whole(out / RESULTS) as partial:
        found.results.write_parquet(partial)
    warnings = _warnings(found, scores, given.covariate_names)
    summary = PhewasSummary(
        out, given.counts, used, _family_in_words(family, found), _tests(found, family),
        found.left_out, scores, warnings,
    )  # fmt: skip
    inputs = [
        *exposures.tables, *exposures.scores_of, *exposures.weights, *outcomes.tables,
        *(path for path in (exposures.loci, outcomes.survival, outcomes.codes, outcomes.phecodes,
                            outcomes.observed, outcomes.descriptions, covariates, keep) if path),
    ]  # fmt: skip
    parameters = {
        "exposures": asdict(exposures)
        | {"trained_on": exposures.trained_on and Path(exposures.trained_on).name},
        "outcomes": asdict(outcomes),
        "covariates": list(given.covariate_names),
        "directions": list(directions),
        "min_cases": min_cases,
        "firth_below": firth_below,
        "transform": transform,
        "family": family,
    }
    write_provenance(out, "phewas", parameters, inputs)
    write_json(out / "summary.json", summary.as_json())
    return summary


def _outcomes(files: OutcomeFiles) -> tuple[list[OutcomeTable], dict[str, int]]:
    tables = [
        read_outcomes(path, files.columns, quantitative=files.quantitative, binary=files.binary)
        for path in files.tables
    ]
    used: dict[str, int] = {}
    if files.survival is not None:
        tables.append(read_survival(files.survival))
    if (files.codes is None) != (files.phecodes is None):
        raise LeadlightError(
            "Diagnoses and the map to phecodes go together.", advice="Give --codes and --phecodes."
        )
    if files.codes is not None and files.phecodes is not None:
        observed = None if files.observed is None else read_observed(files.observed)
        table, used = phecode_outcomes(
            read_codes(files.codes),
            read_phecode_map(files.phecodes),
            observed=observed,
            min_count=files.min_count,
            survival=files.incident,
        )
        tables.append(table)
    if not tables:
        raise LeadlightError("No outcome was given.", advice="Give --outcomes or --codes.")
    if files.descriptions is not None:
        said = read_descriptions(files.descriptions)
        tables = [
            replace(
                table,
                outcomes=tuple(
                    replace(
                        one,
                        category=said[one.name][0],
                        description=said[one.name][1] or one.description,
                        sex=said[one.name][2] or one.sex,
                    )
                    if one.name in said
                    else one
                    for one in table.outcomes
                ),
            )
            for table in tables
        ]
    for kind in ("quantitative", "binary", "survival"):
        used[kind] = sum(one.kind == kind for table in tables for one in table.outcomes)
    return tables, used


def _genetic(
    files: ExposureFiles,
    out: Path,
    factors: Sequence[Exposures],
    covariates: PersonTable | None,
    workers: int | None,
) -> tuple[list[Exposures], dict[str, Any]]:
    """Loci and scores of the genotypes, and what is to be said of the scores."""
    if not (files.loci or files.scores_of or files.weights or files.cross_fit):
        return [], {}
    if not files.genotypes:
        raise LeadlightError("Loci and scores need genotypes.", advice="Give --genotypes.")
    source = open_genotypes(list(files.genotypes), cache=out / "genotypes")
    parts: list[Exposures] = []
    said: dict[str, Any] = {"genotypes": [fingerprint(one.path) for one in source.files]}
    if files.loci is not None:
        parts.append(locus_exposures(source, files.loci))
    if files.scores_of or files.weights:
        trained: set[str] | None = None
        if files.trained_on == "none":
            trained = set()
        elif files.trained_on is not None:
            trained = set(_ids(Path(files.trained_on)))
        with TemporaryDirectory(dir=out, prefix=".linkage-") as scratch:
            exposures, made = score_exposures(
                source,
                files.scores_of,
                files.weights,
                Path(scratch) / "blocks",
                settings=files.settings,
                trained_on=trained,
            )
        parts.append(exposures)
        with written_whole(out / "score_weights.parquet") as partial:
            score_table(made, source).write_parquet(partial)
        said |= {
            "people whom the weights saw, left out": None
            if trained is None
            else int(np.isnan(exposures.values).all(axis=1).sum()),
            "made": {one.name: dict(one.settings) for one in made},
            "warnings": [f"{one.name}: {word}." for one in made for word in one.warnings],
        }
    if files.cross_fit:
        if not factors:
            raise LeadlightError("Cross-fitted scores need factors.", advice="Give --exposures.")
        with TemporaryDirectory(dir=out, prefix=".cross-") as scratch:
            own, said["cross_fitted"] = cross_fitted_scores(
                source,
                joined(factors),
                covariates,
                Path(scratch),
                parts=files.cross_fit,
                settings=files.settings,
                workers=workers,
            )
        parts.append(own)
    if any(SCORE in part.kinds for part in parts):
        scored = joined([part for part in parts if SCORE in part.kinds])
        frame = pl.DataFrame(scored.values, schema=list(scored.names)).fill_nan(None)
        with written_whole(out / "scores.parquet") as partial:
            frame.insert_column(0, pl.Series("IID", scored.person_ids)).write_parquet(partial)
    return parts, said


def _warnings(found: Scan, scores: dict[str, Any], covariates: Iterable[str]) -> list[str]:
    said = [RELATIVES]
    if not list(covariates):
        said.append("No covariates were given: age, sex and ancestry are not taken into account.")
    if found.results["note"].str.contains(UNKNOWN_TRAINING).any():
        said.append(
            "It is not known whether the weights of the scores saw the people scored. If they "
            "did, the scores' effects are too large: name them with --trained-on."
        )
    drifting = found.results["note"].str.contains("non-proportional").sum()
    if drifting:
        said.append(
            f"{drifting} hazard ratios change with time (q < 0.05): each is a mean over the "
            "follow-up."
        )
    lost = found.results["beta"].null_count()
    if lost:
        said.append(f"{lost} tests have no finite estimate.")
    return [*said, *scores.get("warnings", [])]


def _family_in_words(family: str, found: Scan) -> str:
    groups = ["direction"] if family == "direction" else ["direction", "exposure"]
    tested = found.results.drop_nulls("neg_log_10_p_value")
    sizes = tested.group_by(groups).len()["len"].to_list()
    of = "of one direction" if family == "direction" else "of one exposure in one direction"
    least, most = min(sizes, default=0), max(sizes, default=0)
    count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"All tests {of} are corrected together ({count})."


def _tests(found: Scan, family: str) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for part in found.results.partition_by("direction", "exposure_kind", maintain_order=True):
        direction, kind = str(part["direction"][0]), str(part["exposure_kind"][0])
        tested = part.drop_nulls("neg_log_10_p_value")
        own: dict[str, float] = {
            "tests": tested.height,
            "below_0.05_bonferroni": int((tested["neg_log_10_p_bonferroni"] > np.log10(20)).sum()),
            "q_below_0.05": int((tested["q_value"] < 0.05).sum()),
        }
        if family == "direction":
            whole = found.results.filter(pl.col("direction") == direction)
            size = whole["neg_log_10_p_value"].drop_nulls().len()
            own["bonferroni_neg_log_10_p"] = bonferroni_threshold(size)
        out[f"{direction}, {kind}"] = own
    return out


def _ids(path: Path) -> list[str]:
    """IIDs of a list (one a line) or of a table that begins with FID IID or IID."""
    if not path.is_file():
        raise LeadlightError(f"{path} does not exist.", advice="Give a file of people.")
    with path.open("rb") as stream:
        head = stream.readline()
    words = [] if head.startswith(b"PAR1") else head.decode(errors="replace").split()
    if head.startswith(b"PAR1") or (words and words[0].lstrip("#") in ("FID", "IID", "record_id")):
        return list(read_person_table(path, ()).person_ids)
    return [words[-1] for line in path.read_text().splitlines() if (words := line.split()[:2])]

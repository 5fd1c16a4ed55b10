"""What a run of the association says of itself, and by what a killed one is taken up again."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from leadlight import __version__
from leadlight.atomic import refuse_overwrite, write_json
from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.traits import Matched
from leadlight.genetics.variant_filters import REASONS, VariantFilter
from leadlight.provenance import write_provenance


@dataclass(frozen=True)
class GwasSummary:
    """What an association run did."""

    out: Path
    traits: dict[str, int]
    people: dict[str, int]
    variants: dict[str, int]
    dropped: dict[str, str]
    precision: str
    largest_single_precision_error: float | None
    resumed_blocks: int
    files: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, for `--json` and for `summary.json`."""
        return asdict(self) | {"out": self.out.name}


def finish(
    summary: GwasSummary,
    source: GenotypeSource,
    matched: Matched,
    variant_filter: VariantFilter,
    parameters: dict[str, Any],
    inputs: Sequence[Path],
) -> None:
    """Write `provenance.json` and `summary.json` beside the tables."""
    write_provenance(
        summary.out,
        "gwas",
        parameters
        | {
            "variant_filter": asdict(variant_filter),
            "precision": summary.precision,
            "traits": list(matched.trait_names),
            "covariates": list(matched.covariate_names),
            "genotype_files": [fingerprint(file.path) for file in source.files],
        },
        inputs,
    )
    # How often a run was interrupted is no part of its result.
    write_json(summary.out / "summary.json", {**summary.as_json(), "resumed_blocks": 0})


def variant_counts(failed: npt.NDArray[np.int8]) -> dict[str, int]:
    """failed: (trait, variant) numbers in REASONS, -1 for none → how many were left out, and why.

    A variant is left out where every trait's people fail it; its reason is the first trait's.
    """
    everywhere = (failed >= 0).all(axis=0)
    reasons = Counter(failed[0, everywhere].tolist())
    return (
        {"in the genotypes": failed.shape[1]}
        | {f"left out: {REASONS[k]}": count for k, count in sorted(reasons.items())}
        | {"tested": int((~everywhere).sum())}
    )


def refuse_tables(out: Path, names: Sequence[str], overwrite: bool) -> None:
    """Raise LeadlightError where a trait can't name a file, or its table is there already."""
    for name in names:
        if Path(name).name != name or name.startswith("."):
            raise LeadlightError(f"The trait {name!r} can't be a file's name.", advice="Rename it.")
        refuse_overwrite(out / f"{name}.parquet", overwrite)


def manifest_of(
    source: GenotypeSource,
    matched: Matched,
    variant_filter: VariantFilter,
    settings: dict[str, Any],
    parameters: dict[str, Any],
    inputs: Sequence[Path],
) -> dict[str, Any]:
    """Whatever decides the results: a partial run goes on only where all of it is the same."""
    digest = sha256()
    for array in (matched.rows, matched.traits, matched.covariates, matched.sex):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "version": __version__,
        "parameters": json.loads(json.dumps(parameters, default=str)),
        "variant_filter": asdict(variant_filter),
        "traits": list(matched.trait_names),
        "people": digest.hexdigest(),
        "genotypes": [fingerprint(file.path) for file in source.files],
        "inputs": [path.name for path in inputs],
    } | settings


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and hash of the first and last MiB: genotype files are too long to be hashed whole."""
    size = path.stat().st_size
    digest = sha256()
    with path.open("rb") as stream:
        digest.update(stream.read(1 << 20))
        stream.seek(max(0, size - (1 << 20)))
        digest.update(stream.read())
    return {"file": path.name, "bytes": size, "sha256_of_both_ends": digest.hexdigest()}

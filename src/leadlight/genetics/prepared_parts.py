"""What the parts of an association share that is worked out from all genotypes, in a folder."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np

from leadlight import __version__
from leadlight.atomic import write_json
from leadlight.errors import LeadlightError
from leadlight.genetics.background_stage import Background
from leadlight.genetics.designs import with_usable_traits
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.traits import Matched
from leadlight.genetics.whole_genome import STORE, open_predictions

PREPARED = "prepared.json"


def write_prepared(
    folder: Path,
    source: GenotypeSource,
    matched: Matched,
    precision: str,
    background: Background | None,
) -> None:
    """Write down what `prepared_of` reads, beside the components and predictions."""
    write_json(
        folder / PREPARED,
        {
            "people": _fingerprint(source, matched),
            "precision": precision,
            "background": None if background is None else background.fingerprint,
        },
    )


def prepared_of(
    folder: Path, source: GenotypeSource, matched: Matched, whole_genome: bool
) -> tuple[Background | None, str]:
    """The background, where there is one, and the precision of an association's parts.

    Raises:
        LeadlightError: nothing was prepared in `folder`, or for other people, traits or covariates.
    """
    try:
        said = json.loads((folder / PREPARED).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LeadlightError(
            f"{folder} has not been prepared for parts.", advice="Prepare it with all genotypes."
        ) from error
    if said["people"] != _fingerprint(source, matched) or whole_genome != bool(said["background"]):
        raise LeadlightError(
            f"{folder} was prepared for other people, traits, covariates or settings.",
            advice="Prepare it again.",
        )
    if not whole_genome:
        return None, said["precision"]
    ids = tuple(source.people.person_ids[row] for row in matched.rows)
    predictions = open_predictions(folder / STORE)
    return Background(predictions, ids, said["background"]), said["precision"]


def _fingerprint(source: GenotypeSource, matched: Matched) -> str:
    """Of the people with their traits and covariates, whichever file of genotypes they are in."""
    matched = with_usable_traits(matched)
    digest = sha256(__version__.encode())
    for array in (matched.traits, matched.covariates):
        digest.update(np.ascontiguousarray(array).tobytes())
    ids = [source.people.person_ids[row] for row in matched.rows]
    digest.update(json.dumps([ids, matched.trait_names, matched.covariate_names]).encode())
    return digest.hexdigest()

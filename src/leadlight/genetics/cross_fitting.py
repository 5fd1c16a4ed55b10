"""Polygenic scores of the study's own traits, each person's from people of the other parts.

The people are divided into parts; in turn, the association is run without one part, and its weights
score that part. So no weight saw the person whom it scores. Families stay together where the
genotypes name them; relatives of other family ids may still be on both sides.

The score of a person holds the traits of others, and theirs hold hers: tested against the trait
itself, each pair of people counts twice, and z of a null trait has the variance 2. Against another
outcome it is 1 + r², with r the two's correlation given the covariates. Results say so.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.genetics.association import associate
from leadlight.genetics.genotypes import GenotypeSource
from leadlight.genetics.phewas_loci import ScoreSettings
from leadlight.genetics.phewas_tables import SCORE, Exposures
from leadlight.genetics.polygenic_scores import make_weights, score_people
from leadlight.genetics.traits import PersonTable, match_people
from leadlight.genetics.variant_filters import VariantFilter
from leadlight.genetics.variant_tables import People
from leadlight.progress import say

CROSS_FITTED = "cross-fitted: p too small where the outcome goes with the trait itself"


def cross_fitted_scores(
    source: GenotypeSource,
    traits: Exposures,
    covariates: PersonTable | None,
    scratch: Path,
    *,
    parts: int,
    settings: ScoreSettings,
    workers: int | None = None,
) -> tuple[Exposures, dict[str, Any]]:
    """A score per trait for everybody with genotypes, and what was learnt in each part.

    Scores have mean 0 and SD 1 within each part, since each part has weights of its own. scratch: a
    folder for the associations, removed by the caller. Raises LeadlightError below two parts.
    """
    if parts < 2:
        raise LeadlightError(f"Scores can't be cross-fitted in {parts} parts.", advice="Give 2.")
    part_of = parts_of(source.people, parts)
    where = {person: at for at, person in enumerate(source.people.person_ids)}
    of_trait = np.array([part_of[where[p]] if p in where else -1 for p in traits.person_ids])
    values = np.full((len(source.people), len(traits.names)), np.nan)
    learnt: dict[str, Any] = {}
    for part in range(parts):
        others = np.flatnonzero((of_trait >= 0) & (of_trait != part))
        table = PersonTable(
            Path("exposures"),
            None,
            tuple(traits.person_ids[at] for at in others),
            traits.names,
            traits.values[others],
        )
        say(f"Part {part + 1} of {parts}: association among {len(others):,} people of the others.")
        matched = match_people(source.people, table, covariates)
        summary = associate(
            source,
            matched,
            scratch / f"part{part}",
            variant_filter=VariantFilter(min_maf=settings.min_maf),
            workers=workers,
        )
        kept = [name for name in traits.names if name in summary.traits]
        made = make_weights(
            {name: scratch / f"part{part}" / f"{name}.parquet" for name in kept},
            source,
            scratch / "blocks",
            method=settings.method,
            p_threshold=settings.p_threshold,
            min_maf=settings.min_maf,
            reference_people=settings.reference_people,
            seed=settings.seed,
        )
        rows = np.flatnonzero(part_of == part).astype(np.uint32)
        usable = [one for one in made if one.weight.any()]
        if usable:
            scores = score_people(source, usable, rows)
            spread = scores.std(axis=0)
            columns = np.array([traits.names.index(one.name) for one in usable])
            values[np.ix_(rows, columns)] = (scores - scores.mean(axis=0)) / spread
        learnt[f"part {part + 1}"] = {one.name: dict(one.settings) for one in made}
    has = np.isfinite(values).any(axis=0)
    names = tuple(f"{name}_score" for name, fine in zip(traits.names, has, strict=True) if fine)
    if not names:
        raise LeadlightError(
            "No trait has a variant that reaches the threshold.", advice="Take a larger --score-p."
        )
    return (
        Exposures(
            source.people.person_ids,
            names,
            (SCORE,) * len(names),
            values[:, has],
            dict.fromkeys(names, CROSS_FITTED),
        ),
        learnt,
    )


def parts_of(people: People, parts: int) -> npt.NDArray[np.int64]:
    """(person,) the part of each, by a hash of the family's id, or of the person's without one."""
    named = len(set(people.family_ids)) > 1
    keys = [
        f"family {family}" if named and family != "0" else f"person {person}"
        for family, person in zip(people.family_ids, people.person_ids, strict=True)
    ]
    return np.array([int(sha256(key.encode()).hexdigest()[:12], 16) % parts for key in keys])

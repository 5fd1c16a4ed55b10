"""Who is related to whom, from the genotypes alone: KING's robust kinship."""

import numpy as np
import numpy.typing as npt

from leadlight.errors import LeadlightError
from leadlight.genetics.genotypes import GenotypeSource

_BLOCK = 1024
_MOST_PEOPLE = 30_000  # the matrix of pairs has to fit into memory


def robust_kinship(
    source: GenotypeSource, rows: npt.NDArray[np.uint32], variants: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """(person, person) kinship: 0.5 the same person, 0.25 parent and child, about 0 strangers.

    The between-family estimate of Manichaikul et al., Bioinformatics 26:2867, 2010, right with any
    population structure; negative between people of different populations. Raises LeadlightError
    beyond 30,000 people.
    """
    n = len(rows)
    if n > _MOST_PEOPLE:
        raise LeadlightError(
            f"{n:,} people are too many for all pairs.",
            advice="Find relatives with plink2 --king-cutoff, and keep the unrelated.",
        )
    both_heterozygous = np.zeros((n, n), dtype=np.float32)
    opposite = np.zeros((n, n), dtype=np.float32)
    heterozygous = np.zeros((n, n), dtype=np.float32)
    with source.reader(rows) as reader:
        for start in range(0, len(variants), _BLOCK):
            calls = reader.read_hard_calls(variants[start : start + _BLOCK])
            one = (calls == 1).astype(np.float32)
            none, two = (calls == 0).astype(np.float32), (calls == 2).astype(np.float32)
            both_heterozygous += one.T @ one
            across = none.T @ two
            opposite += across + across.T
            # Heterozygotes of the first where the second is called too.
            heterozygous += one.T @ (calls >= 0).astype(np.float32)
    fewer = np.minimum(heterozygous, heterozygous.T)
    more = np.maximum(heterozygous, heterozygous.T)
    with np.errstate(invalid="ignore", divide="ignore"):
        kinship = (both_heterozygous - 2 * opposite) / (2 * fewer)
        kinship += 0.5 - 0.25 * (fewer + more) / fewer
    return np.asarray(np.nan_to_num(kinship, nan=0.0, posinf=0.0, neginf=0.0), dtype=np.float32)


def unrelated_people(
    source: GenotypeSource,
    rows: npt.NDArray[np.uint32],
    variants: npt.NDArray[np.int64],
    max_kinship: float = 0.0884,
) -> npt.NDArray[np.bool_]:
    """(person,) bool: a set of people no two of whom are closer than `max_kinship`.

    Whoever has the most relatives goes first, so that many stay.
    """
    related = robust_kinship(source, rows, variants) > max_kinship
    np.fill_diagonal(related, False)
    stays = np.ones(len(rows), dtype=np.bool_)
    count = related.sum(axis=1)
    while count.any():
        most = int(count.argmax())
        stays[most] = False
        count -= related[most]
        related[:, most] = related[most] = False
        count[most] = 0
    return stays

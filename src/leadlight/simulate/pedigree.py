"""Who is related to whom, and which founder each piece of a person's genome is from.

Founders' haplotypes come from the coalescent; everybody else inherits them through meioses with
crossovers along the genetic map (gene dropping). Relatives who were not recruited are members of
the pedigree without data.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.simulate.genome import SUBPOPULATION_SHARES, SUBPOPULATIONS, GeneticMap
from leadlight.simulate.people import People

Index = npt.NDArray[np.int64]

# Kinds of families and how often each is drawn. Sibling pairs lead, and distant pairs outnumber
# close ones, as among the volunteers of UK Biobank (Bycroft et al. 2018, Nature 562:203).
FAMILIES = {
    "parent and child": 0.15,
    "siblings": 0.35,
    "parents and two children": 0.10,
    "half-siblings": 0.10,
    "cousins": 0.30,
}
_PEOPLE_IN = {
    "parent and child": 2,
    "siblings": 2,
    "parents and two children": 4,
    "half-siblings": 2,
    "cousins": 2,
}
_YOUNGEST_PARENT, _OLDEST_PARENT = 20.0, 38.0


@dataclass(frozen=True)
class Pedigree:
    """All members: first the recruited people in their order, then their unrecruited relatives.

    Attributes:
        n_people: how many members are recruited.
        mother, father: (member,) the parents' numbers, both -1 for founders. For a member without
            data the words mean first and second parent.
        family: (member,) number of the family; a person without relatives is one alone.
        subpopulation: (member,) index into `SUBPOPULATIONS`.
    """

    n_people: int
    mother: Index
    father: Index
    family: Index
    subpopulation: Index

    @property
    def founders(self) -> Index:
        """Members without parents, by subpopulation and then by number: the order of samples."""
        found = np.flatnonzero(self.mother < 0)
        return found[np.argsort(self.subpopulation[found], kind="stable")]

    @property
    def founder_counts(self) -> tuple[int, ...]:
        """Founders in each subpopulation."""
        counts = np.bincount(self.subpopulation[self.founders], minlength=len(SUBPOPULATIONS))
        return tuple(int(count) for count in counts)

    @property
    def unrelated(self) -> npt.NDArray[np.bool_]:
        """(person,) the first of each family: a set in which nobody shares a pedigree."""
        first = np.zeros(self.n_people, dtype=bool)
        first[np.unique(self.family[: self.n_people], return_index=True)[1]] = True
        return first


def draw_pedigree(
    people: People, related_share: float, rng: np.random.Generator
) -> tuple[People, Pedigree]:
    """Put a share of the people into families.

    Parents and children must differ in sex and age as parents and children do: mothers are among
    the women, fathers among the men, and children of recruited parents get an age 20 to 38 years
    below the youngest parent's (the parent is made old enough first).

    Args:
        people: whom to relate.
        related_share: of all people, those with at least one recruited relative.
        rng: for everything here.

    Returns:
        The people with their ages changed where needed, and the pedigree.
    """
    count = len(people)
    order = rng.permutation(count)
    waiting = {sex: [int(i) for i in order if people.sex[i] == sex] for sex in ("F", "M")}
    mother, father = [-1] * count, [-1] * count
    family = np.full(count, -1, dtype=np.int64)
    age = people.age_years.copy()
    owner: list[int] = []  # family of each unrecruited member
    n_families = 0

    def unrecruited(first: int = -1, second: int = -1) -> int:
        mother.append(first)
        father.append(second)
        owner.append(n_families)
        return len(mother) - 1

    def anyone() -> int:
        sizes = [len(waiting["F"]), len(waiting["M"])]
        sex = "F" if rng.random() * sum(sizes) < sizes[0] else "M"
        return waiting[sex].pop()

    def child_of(child: int, first: int, second: int) -> None:
        mother[child], father[child] = first, second

    kinds, shares = list(FAMILIES), np.array(list(FAMILIES.values()))
    to_relate = round(related_share * count)
    while to_relate >= 2 and min(len(waiting["F"]), len(waiting["M"])) >= 4:
        kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        if _PEOPLE_IN[kind] > to_relate:
            kind = "siblings"
        members: list[int] = []
        if kind == "parent and child":
            parent, child = members = [anyone(), anyone()]
            other = unrecruited()
            child_of(child, *((parent, other) if people.sex[parent] == "F" else (other, parent)))
            _age_apart(age, [parent], [child], rng)
        elif kind == "parents and two children":
            parents = [waiting["F"].pop(), waiting["M"].pop()]
            children = [anyone(), anyone()]
            for child in children:
                child_of(child, *parents)
            _age_apart(age, parents, children, rng)
            members = parents + children
        elif kind == "siblings":
            members = [anyone(), anyone()]
            parents = [unrecruited(), unrecruited()]
            for child in members:
                child_of(child, *parents)
        elif kind == "half-siblings":
            members = [anyone(), anyone()]
            shared = unrecruited()
            for child in members:
                child_of(child, shared, unrecruited())
        else:
            members = [anyone(), anyone()]
            grandparents = unrecruited(), unrecruited()
            for child in members:
                child_of(child, unrecruited(*grandparents), unrecruited())
        family[members] = n_families
        n_families += 1
        to_relate -= len(members)
    alone = np.flatnonzero(family < 0)
    family[alone] = n_families + np.arange(len(alone))
    families = np.concatenate([family, np.array(owner, dtype=np.int64)])
    shares = np.cumsum(SUBPOPULATION_SHARES)
    home = np.searchsorted(shares, rng.random(n_families + len(alone)) * shares[-1])
    pedigree = Pedigree(count, np.array(mother), np.array(father), families, home[families])
    return replace(people, age_years=age), pedigree


def related_pairs(pedigree: Pedigree) -> pl.DataFrame:
    """Every pair of recruited relatives with the kinship that the pedigree gives it.

    Returns:
        `first`, `second` (person numbers, first < second), `kinship` (probability that two alleles
        drawn from them are copies of one founder allele: 0.25 for siblings), `relationship`.
    """
    rows = []
    members_of: dict[int, list[int]] = {}
    for member, family in enumerate(pedigree.family.tolist()):
        members_of.setdefault(family, []).append(member)
    for members in members_of.values():
        people = [member for member in members if member < pedigree.n_people]
        for place, first in enumerate(people):
            for second in people[place + 1 :]:
                kinship = _kinship(pedigree, first, second)
                if kinship > 0:
                    rows.append((first, second, kinship, _relationship(pedigree, first, second)))
    schema = {"first": pl.Int64, "second": pl.Int64, "kinship": pl.Float64, "relationship": pl.Utf8}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("first", "second")


@dataclass(frozen=True)
class Inheritance:
    """Which founder haplotype each haplotype of the people carries along a stretch.

    Haplotypes 2i and 2i + 1 are person i's, from mother and father. Founder haplotypes 2f and
    2f + 1 are those of `Pedigree.founders[f]`.

    Attributes:
        source: (haplotype,) the founder haplotype at the start of the stretch.
        position, haplotype, new_source: (switch,) where a haplotype goes over to another founder
            haplotype, by rising position.
    """

    source: Index
    position: npt.NDArray[np.float64]
    haplotype: Index
    new_source: Index


def inherit(pedigree: Pedigree, genetic_map: GeneticMap, rng: np.random.Generator) -> Inheritance:
    """Drop the founders' haplotypes through the pedigree."""
    pieces: dict[int, list[tuple[float, int]]] = {}
    for place, founder in enumerate(pedigree.founders.tolist()):
        pieces[2 * founder] = [(0.0, 2 * place)]
        pieces[2 * founder + 1] = [(0.0, 2 * place + 1)]
    for member in _parents_first(pedigree):
        for side, parent in enumerate((pedigree.mother[member], pedigree.father[member])):
            pieces[2 * member + side] = _gamete(
                pieces[2 * int(parent)],
                pieces[2 * int(parent) + 1],
                genetic_map.crossovers(rng),
                int(rng.integers(2)),
            )
    haplotypes = range(2 * pedigree.n_people)
    switches = sorted(
        (position, haplotype, source)
        for haplotype in haplotypes
        for position, source in pieces[haplotype][1:]
    )
    columns = np.array(switches, dtype=float).reshape(-1, 3).T
    return Inheritance(
        source=np.array([pieces[haplotype][0][1] for haplotype in haplotypes]),
        position=columns[0],
        haplotype=columns[1].astype(np.int64),
        new_source=columns[2].astype(np.int64),
    )


def _gamete(
    first: list[tuple[float, int]],
    second: list[tuple[float, int]],
    crossovers: npt.NDArray[np.float64],
    start: int,
) -> list[tuple[float, int]]:
    """The pieces (start, source) of a recombinant of two haplotypes that are made of pieces."""
    parents = (first, second)
    edges = [0.0, *crossovers.tolist(), np.inf]
    made: list[tuple[float, int]] = []
    for turn, (left, right) in enumerate(pairwise(edges)):
        for place, (begin, source) in enumerate(parents[(start + turn) % 2]):
            pieces = parents[(start + turn) % 2]
            end = pieces[place + 1][0] if place + 1 < len(pieces) else np.inf
            if begin < right and end > left and (not made or made[-1][1] != source):
                made.append((max(begin, left), source))
    return made


def _parents_first(pedigree: Pedigree) -> Iterator[int]:
    """Members with parents, in an order in which parents come before their children."""
    done = {int(founder) for founder in pedigree.founders}
    left = [member for member in range(len(pedigree.mother)) if member not in done]
    while left:
        waiting = []
        for member in left:
            if {int(pedigree.mother[member]), int(pedigree.father[member])} <= done:
                done.add(member)
                yield member
            else:
                waiting.append(member)
        left = waiting


def _age_apart(
    age: npt.NDArray[np.float64],
    parents: list[int],
    children: list[int],
    rng: np.random.Generator,
) -> None:
    for parent in parents:
        if age[parent] < 18.0 + _OLDEST_PARENT:
            age[parent] = np.round(rng.uniform(18.0 + _OLDEST_PARENT, 85.0))
    youngest = min(age[parent] for parent in parents)
    for child in children:
        age[child] = np.round(youngest - rng.uniform(_YOUNGEST_PARENT, _OLDEST_PARENT))


def _kinship(pedigree: Pedigree, one: int, other: int) -> float:
    """Wright's coefficient by recursion through the parents of whoever is no ancestor."""
    if one == other:
        parents = int(pedigree.mother[one]), int(pedigree.father[one])
        return 0.5 if parents[0] < 0 else 0.5 + 0.5 * _kinship(pedigree, *parents)
    if _is_ancestor(pedigree, one, other):
        one, other = other, one
    if pedigree.mother[one] < 0:
        if pedigree.mother[other] < 0:
            return 0.0
        one, other = other, one
    return 0.5 * (
        _kinship(pedigree, int(pedigree.mother[one]), other)
        + _kinship(pedigree, int(pedigree.father[one]), other)
    )


def _is_ancestor(pedigree: Pedigree, one: int, other: int) -> bool:
    parents = [int(pedigree.mother[other]), int(pedigree.father[other])]
    return one in parents or any(p >= 0 and _is_ancestor(pedigree, one, p) for p in parents)


def _relationship(pedigree: Pedigree, one: int, other: int) -> str:
    parents_of = [{int(pedigree.mother[i]), int(pedigree.father[i])} - {-1} for i in (one, other)]
    if one in parents_of[1] or other in parents_of[0]:
        return "parent and child"
    shared = len(parents_of[0] & parents_of[1])
    return {2: "siblings", 1: "half-siblings", 0: "cousins"}[shared]

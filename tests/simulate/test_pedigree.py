import numpy as np
import polars as pl
import pytest

from leadlight.simulate.genome import Stretch, draw_genetic_map
from leadlight.simulate.pedigree import (
    FAMILIES,
    Inheritance,
    Pedigree,
    draw_pedigree,
    inherit,
    related_pairs,
)
from leadlight.simulate.people import People, draw_people

KINSHIP = {"parent and child": 0.25, "siblings": 0.25, "half-siblings": 0.125, "cousins": 0.0625}


@pytest.fixture(scope="session")
def family_people() -> tuple[People, Pedigree]:
    return draw_pedigree(draw_people(range(600), 3), 0.8, np.random.default_rng(5))


def _sources_at(inheritance: Inheritance, position: float) -> np.ndarray:
    """(haplotype,) founder haplotypes at one place."""
    source = inheritance.source.copy()
    for at, haplotype, new in zip(
        inheritance.position, inheritance.haplotype, inheritance.new_source, strict=True
    ):
        if at <= position:
            source[haplotype] = new
    return source


def test_relatives_share_as_much_as_their_pedigree_says(
    family_people: tuple[People, Pedigree],
) -> None:
    _, pedigree = family_people
    pairs = related_pairs(pedigree)
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    shared = []
    for seed in range(60):  # as many unlinked places
        rng = np.random.default_rng(seed)
        genetic_map = draw_genetic_map(Stretch(1, 0, 20_000_000), rng)
        place = float(rng.uniform(0, 20e6))
        source = _sources_at(inherit(pedigree, genetic_map, rng), place).reshape(-1, 2)
        same = source[first][:, :, None] == source[second][:, None, :]
        shared.append(same.mean(axis=(1, 2)))
    realised = np.mean(shared, axis=0)
    seen = pairs.with_columns(pl.Series("realised", realised)).group_by("relationship").agg(
        pl.col("kinship").unique(), pl.col("realised").mean(), pl.col("realised").std().alias("sd"),
        pl.len(),
    )  # fmt: skip
    assert set(seen["relationship"]) == set(KINSHIP)
    for name, kinship, mean, spread, count in seen.iter_rows():
        assert kinship == [KINSHIP[name]]
        assert abs(mean - KINSHIP[name]) < 4 * spread / np.sqrt(count) + 1e-9, name
        if name == "parent and child":  # these share one haplotype at every place
            assert spread == 0.0


def test_people_without_a_common_ancestor_share_no_founder_haplotype(
    family_people: tuple[People, Pedigree],
) -> None:
    _, pedigree = family_people
    rng = np.random.default_rng(1)
    inheritance = inherit(pedigree, draw_genetic_map(Stretch(2, 0, 10_000_000), rng), rng)
    owner: dict[int, int] = {}
    for haplotype, source in [
        *enumerate(inheritance.source),
        *zip(inheritance.haplotype, inheritance.new_source, strict=True),
    ]:
        family = int(pedigree.family[int(haplotype) // 2])
        assert owner.setdefault(int(source), family) == family


def test_mothers_are_women_fathers_are_men_and_both_are_old_enough(
    family_people: tuple[People, Pedigree],
) -> None:
    people, pedigree = family_people
    seen = 0
    for child in range(pedigree.n_people):
        for parent, sex in ((pedigree.mother[child], "F"), (pedigree.father[child], "M")):
            if 0 <= parent < pedigree.n_people:
                assert people.sex[parent] == sex
                assert people.age_years[parent] - people.age_years[child] >= 18
                seen += 1
    assert seen > 50
    assert people.age_years.min() >= 18


def test_the_asked_share_of_people_has_relatives_of_every_kind(
    family_people: tuple[People, Pedigree],
) -> None:
    _, pedigree = family_people
    pairs = related_pairs(pedigree)
    related = set(pairs["first"]) | set(pairs["second"])
    assert len(related) == pytest.approx(0.8 * 600, abs=8)
    assert len(set(pairs["relationship"])) == len(KINSHIP)
    assert sum(FAMILIES.values()) == pytest.approx(1.0)


def test_no_two_of_the_unrelated_set_are_relatives(family_people: tuple[People, Pedigree]) -> None:
    _, pedigree = family_people
    kept = set(np.flatnonzero(pedigree.unrelated).tolist())
    pairs = related_pairs(pedigree)
    assert not [pair for pair in pairs.select("first", "second").rows() if set(pair) <= kept]
    assert len(kept) > 0.4 * 600


def test_nobody_is_related_where_no_share_is_asked() -> None:
    people = draw_people(range(50), 3)
    same, pedigree = draw_pedigree(people, 0.0, np.random.default_rng(5))
    assert related_pairs(pedigree).is_empty()
    np.testing.assert_array_equal(same.age_years, people.age_years)
    assert sum(pedigree.founder_counts) == 50

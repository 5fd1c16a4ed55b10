"""A human-like genome: stretches of chromosomes, their recombination, and their ancestry.

Ancestry and mutations come from msprime (Baumdicker et al. 2022, Genetics 220:iyab229), imported
only here and only when a genome is made; it belongs to the extra `leadlight[simulate]`.

Each chromosome is one stretch of it in GRCh37 coordinates, three megabases by default, around a
gene that is known to move the ECG. What is simulated there has the recombination and the history of
a human stretch, and nothing else of the real sequence.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.errors import LeadlightError

Array = npt.NDArray[np.float64]

# Per base pair and generation; that of whole-genome pedigrees.
MUTATION_RATE = 1.25e-8
# Transitions over transversions as in human sequence.
_KAPPA = 4.0

# Middle of each stretch (GRCh37). Chromosomes 1 to 14: at a gene of the heart, named where the
# planted effects are (`effects`). 15 to 22 carry no effect at all, and 9 and 13 lie anywhere.
_MIDDLE = {
    1: 162_190_000, 2: 179_690_000, 3: 38_720_000, 4: 111_600_000, 5: 172_660_000,
    6: 118_870_000, 7: 150_660_000, 8: 11_570_000, 9: 100_000_000, 10: 114_400_000,
    11: 2_670_000, 12: 114_800_000, 13: 45_000_000, 14: 23_870_000, 15: 50_000_000,
    16: 60_000_000, 17: 30_000_000, 18: 30_000_000, 19: 40_000_000, 20: 40_000_000,
    21: 30_000_000, 22: 35_000_000,
}  # fmt: skip
CHROMOSOMES = tuple(_MIDDLE)
NULL_CHROMOSOMES = tuple(range(15, 23))

# Mean recombination, cM/Mb, of the HapMap phase II map (International HapMap Consortium 2007).
_CENTIMORGAN_PER_MB = {
    1: 1.15, 2: 1.11, 3: 1.13, 4: 1.12, 5: 1.13, 6: 1.12, 7: 1.18, 8: 1.15, 9: 1.18, 10: 1.34,
    11: 1.17, 12: 1.31, 13: 1.09, 14: 1.12, 15: 1.38, 16: 1.48, 17: 1.58, 18: 1.51, 19: 1.82,
    20: 1.72, 21: 1.30, 22: 1.44,
}  # fmt: skip
# Hot spots take most of the recombination in a small part of the sequence (Myers et al. 2005,
# Science 310:321: 80 % in 10 to 20 %, a hot spot every 50 to 100 kb, one to two kb wide).
_HOT_SHARE = 0.80
_HOT_EVERY_BP = 60_000
_HOT_WIDTH_BP = 2_000

# History of Africans and Europeans in generations (Tennessen et al. 2012, Science 337:64): sizes,
# times, growth, and the gene flow between them. It was fitted with a mutation rate of 2.36e-8; all
# is scaled here to `MUTATION_RATE`, which leaves the frequencies as they are and gives linkage the
# time that it had.
_SCALE = 2.36e-8 / MUTATION_RATE
_ANCESTRAL, _AFRICAN, _LEAVING, _BOTTLENECK = 7_310, 14_474, 1_861, 1_032
_EXPANSION_AT, _LEAVING_AT, _BOTTLENECK_AT, _RECENT_AT = 5_920.0, 2_040.0, 920.0, 204.6
_SLOW_GROWTH, _FAST_GROWTH, _AFRICAN_GROWTH = 0.00307, 0.0195, 0.0166
_EARLY_FLOW, _LATE_FLOW = 15e-5, 2.5e-5
# Two subpopulations that part late and still exchange people: FST about 0.005, as within Europe.
SUBPOPULATIONS = ("north", "south")
SUBPOPULATION_SHARES = (0.7, 0.3)
_SPLIT_AT = 260.0
_FLOW_WITHIN = 3e-4


@dataclass(frozen=True)
class Stretch:
    """The simulated part of a chromosome: base pairs `start` + 1 to `start` + `length`."""

    chromosome: int
    start: int
    length: int

    @property
    def middle(self) -> int:
        """Base pair in the middle."""
        return self.start + self.length // 2


@dataclass(frozen=True)
class GeneticMap:
    """Recombination along a stretch.

    Attributes:
        position: (edge,) base pairs from the stretch's start, first 0, last its length.
        rate: (edge - 1,) crossovers per base pair and generation between the edges.
    """

    position: Array
    rate: Array

    @property
    def cumulated(self) -> Array:
        """(edge,) Morgans from the stretch's start."""
        return np.concatenate([[0.0], np.cumsum(self.rate * np.diff(self.position))])

    def crossovers(self, rng: np.random.Generator) -> Array:
        """Where one meiosis recombines (Haldane's model), base pairs in rising order."""
        morgans = self.cumulated
        at = np.sort(rng.uniform(0.0, morgans[-1], rng.poisson(morgans[-1])))
        return np.asarray(np.interp(at, morgans, self.position))


def stretches(chromosomes: tuple[int, ...], length: int) -> list[Stretch]:
    """The stretches of these chromosomes.

    Raises:
        LeadlightError: an unknown or repeated chromosome, or a length that is too short or passes
            the end of a chromosome.
    """
    if unknown := [number for number in chromosomes if number not in _MIDDLE]:
        raise LeadlightError(
            f"There is no chromosome {unknown[0]} to simulate.", advice="Choose among 1 to 22."
        )
    if len(set(chromosomes)) != len(chromosomes) or not chromosomes:
        raise LeadlightError("Name at least one chromosome, and each once.")
    if not 50_000 <= length <= 30_000_000:
        raise LeadlightError(
            f"A stretch of {length / 1e6:g} Mb was asked for.",
            advice="Ask for 0.05 to 30 Mb per chromosome.",
        )
    return [
        Stretch(number, max(_MIDDLE[number] - length // 2, 10_000), length)
        for number in sorted(chromosomes)
    ]


def draw_genetic_map(stretch: Stretch, rng: np.random.Generator) -> GeneticMap:
    """A map of this stretch: an even background, and hot spots of very unequal heat."""
    mean_rate = _CENTIMORGAN_PER_MB[stretch.chromosome] * 1e-8
    n_hot = max(1, rng.poisson(stretch.length / _HOT_EVERY_BP))
    left = np.sort(rng.uniform(0, stretch.length - _HOT_WIDTH_BP, n_hot))
    left = left[np.concatenate([[True], np.diff(left) > _HOT_WIDTH_BP])]
    heat = rng.gamma(0.45, size=len(left)) + 0.01
    hot_rate = _HOT_SHARE * mean_rate * stretch.length * heat / heat.sum() / _HOT_WIDTH_BP
    edges = np.unique(np.concatenate([[0.0], left, left + _HOT_WIDTH_BP, [stretch.length]]))
    rate = np.full(len(edges) - 1, (1 - _HOT_SHARE) * mean_rate)
    rate[np.searchsorted(edges, left)] += hot_rate
    return GeneticMap(edges, rate)


def simulate_ancestry(
    stretch: Stretch, genetic_map: GeneticMap, founders: tuple[int, ...], seed: int
) -> Any:
    """The tree sequence of a stretch, with mutations.

    Args:
        stretch: which.
        genetic_map: its recombination.
        founders: how many diploid founders of each of `SUBPOPULATIONS`; their samples come in
            that order, two to a founder.
        seed: of ancestry and mutations.

    Raises:
        LeadlightError: msprime is not installed.
    """
    msprime = load_msprime()
    seeds = np.random.SeedSequence(seed).generate_state(2)
    trees = msprime.sim_ancestry(
        [
            msprime.SampleSet(count, population=name)
            for name, count in zip(SUBPOPULATIONS, founders, strict=True)
            if count
        ],
        demography=_european_demography(msprime),
        recombination_rate=msprime.RateMap(position=genetic_map.position, rate=genetic_map.rate),
        random_seed=int(seeds[0] >> 1) + 1,
    )
    return msprime.sim_mutations(
        trees,
        rate=MUTATION_RATE,
        model=msprime.HKY(kappa=_KAPPA),
        random_seed=int(seeds[1] >> 1) + 1,
    )


def load_msprime() -> Any:
    """The module msprime; raises LeadlightError with advice where it is absent."""
    try:
        return import_module("msprime")
    except ImportError as error:
        raise LeadlightError(
            "Genomes are simulated with msprime, which is not installed.",
            advice="Install it (pip install 'leadlight[simulate]'), or give --no-genomes.",
        ) from error


def sites_of(trees: Any, sampled: npt.NDArray[np.int64]) -> pl.DataFrame:
    """The sites that have one mutation and vary among `sampled` (sample nodes).

    Returns:
        One row per site in rising order: `site` (its number in `trees`), `position` (base pairs
        from the start, from 0), `reference` (the ancestral base), `alternative`, `count` (copies
        of the alternative among `sampled`).
    """
    tables = trees.tables
    site_of, node_of = tables.mutations.site, tables.mutations.node
    single = np.flatnonzero(np.bincount(site_of, minlength=trees.num_sites)[site_of] == 1)
    nodes, at = node_of[single], tables.sites.position[site_of[single]]
    count = np.zeros(len(single), dtype=np.int64)
    done = 0
    for tree in trees.trees(tracked_samples=sampled):
        last = int(np.searchsorted(at, tree.interval.right))
        for row in range(done, last):
            count[row] = tree.num_tracked_samples(nodes[row])
        done = last
    varies = (count > 0) & (count < len(sampled))
    mutation = single[varies]
    site = site_of[mutation]
    return pl.DataFrame(
        {
            "site": site.astype(np.int64),
            "position": tables.sites.position[site].astype(np.int64),
            "reference": _letters(tables.sites.ancestral_state)[site],
            "alternative": _letters(tables.mutations.derived_state)[mutation],
            "count": count[varies],
        }
    )


def _letters(states: npt.NDArray[np.int8]) -> npt.NDArray[np.str_]:
    """One base per row: every state of the HKY model is one letter."""
    return states.view("S1").astype("U1")


def _european_demography(msprime: Any) -> Any:
    def at(generations: float) -> float:
        return generations * _SCALE

    def size(individuals: float) -> float:
        return individuals * _SCALE

    slow, fast, african = (g / _SCALE for g in (_SLOW_GROWTH, _FAST_GROWTH, _AFRICAN_GROWTH))
    at_split = _BOTTLENECK * np.exp(_SLOW_GROWTH * (_BOTTLENECK_AT - _SPLIT_AT))
    at_recent = _BOTTLENECK * np.exp(_SLOW_GROWTH * (_BOTTLENECK_AT - _RECENT_AT))
    history = msprime.Demography()
    for name, share in zip(SUBPOPULATIONS, SUBPOPULATION_SHARES, strict=True):
        history.add_population(
            name=name,
            initial_size=size(share * at_recent * np.exp(_FAST_GROWTH * _RECENT_AT)),
            growth_rate=fast,
        )
        history.add_population_parameters_change(
            time=at(_RECENT_AT),
            population=name,
            initial_size=size(share * at_recent),
            growth_rate=slow,
        )
    # A population that begins in the past counts its size from the present: set at the split.
    history.add_population(name="european", initial_size=1, initially_active=False)
    history.add_population(
        name="african",
        initial_size=size(_AFRICAN * np.exp(_AFRICAN_GROWTH * _RECENT_AT)),
        growth_rate=african,
        initially_active=True,
    )
    history.set_symmetric_migration_rate(list(SUBPOPULATIONS), _FLOW_WITHIN / _SCALE)
    for name in SUBPOPULATIONS:
        history.set_symmetric_migration_rate([name, "african"], _LATE_FLOW / _SCALE)
    history.add_population_parameters_change(
        time=at(_RECENT_AT), population="african", initial_size=size(_AFRICAN), growth_rate=0
    )
    history.add_population_split(
        time=at(_SPLIT_AT), derived=list(SUBPOPULATIONS), ancestral="european"
    )
    history.add_population_parameters_change(
        time=at(_SPLIT_AT), population="european", initial_size=size(at_split), growth_rate=slow
    )
    history.add_symmetric_migration_rate_change(
        time=at(_SPLIT_AT), populations=["european", "african"], rate=_LATE_FLOW / _SCALE
    )
    history.add_population_parameters_change(
        time=at(_BOTTLENECK_AT), population="european", initial_size=size(_LEAVING), growth_rate=0
    )
    history.add_symmetric_migration_rate_change(
        time=at(_BOTTLENECK_AT), populations=["european", "african"], rate=_EARLY_FLOW / _SCALE
    )
    history.add_population_split(time=at(_LEAVING_AT), derived=["european"], ancestral="african")
    history.add_population_parameters_change(
        time=at(_EXPANSION_AT), population="african", initial_size=size(_ANCESTRAL)
    )
    history.sort_events()
    return history

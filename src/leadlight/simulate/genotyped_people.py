"""People with genomes: pedigree, chromosomes, effects, covariates, and the files that say so.

Everything goes into one working folder and each step is kept once it is whole, so that a run that
was cut off goes on behind its last finished chromosome.
"""

import multiprocessing
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import tomli_w

from leadlight.atomic import write_text, written_whole
from leadlight.errors import LeadlightError
from leadlight.processes import end_with_parent
from leadlight.progress import bar, say
from leadlight.simulate import covariates, effects
from leadlight.simulate.chromosome import ChromosomeTask, make_chromosome, part_files
from leadlight.simulate.genome import (
    CHROMOSOMES,
    NULL_CHROMOSOMES,
    SUBPOPULATIONS,
    Stretch,
    load_msprime,
    stretches,
)
from leadlight.simulate.genotype_files import (
    MISSING,
    Calls,
    Dosages,
    GenotypeWriter,
    check_formats,
    hard_calls,
    read_blocks,
)
from leadlight.simulate.pedigree import Pedigree, draw_pedigree, related_pairs
from leadlight.simulate.people import People, draw_people
from leadlight.simulate.traits import TRAIT_NAMES
from leadlight.simulate.variants import CONSEQUENCES, RARE_VARIANT_GENES

# Streams of random numbers of the whole study.
_PEDIGREE, _ENVIRONMENT, _LIABILITY, _NULL, _DEGRADING = 20, 21, 22, 23, 24
# How well imputed dosages follow the genotypes: squared correlation, drawn for each variant.
_DOSAGE_R_SQUARED = (0.5, 0.99)

# What planted variants explain, times this, stays below each trait's heritability.
_MOST_STRENGTH = 4.0

PREFIX = "genotypes"


@dataclass(frozen=True)
class Genomes:
    """What is asked of the genomes of a simulated study.

    Attributes:
        variants: how many, spread evenly over the chromosomes.
        chromosomes: which of 1 to 22.
        megabases: length of each chromosome's simulated stretch.
        related_share: share of the people with a relative among the others.
        missing_share: share of calls that are missing in the files.
        dosages: store imputed dosages in the pgen instead of the calls themselves.
        formats: of the files, among `genotype_files.FORMATS`.
        keep_trees: also keep the tree sequences, in `truth/trees/`.
        strength: factor on the share of a variance that planted and rare variants explain; above 1
            they show in fewer people than they would in life.
    """

    variants: int = 50_000
    chromosomes: tuple[int, ...] = CHROMOSOMES
    megabases: float = 3.0
    related_share: float = 0.10
    missing_share: float = 0.0
    dosages: bool = False
    formats: tuple[str, ...] = ("pgen",)
    keep_trees: bool = False
    strength: float = 1.0

    def checked(self, people: int) -> list[Stretch]:
        """The stretches to simulate.

        Raises:
            LeadlightError: a value that is out of range, or a library that is not installed.
        """
        if self.variants < len(self.chromosomes):
            raise LeadlightError(
                f"{self.variants} variants on {len(self.chromosomes)} chromosomes were asked for.",
                advice="Ask for at least one variant per chromosome.",
            )
        for name, value, most in (
            ("related people", self.related_share, 0.9),
            ("missing calls", self.missing_share, 0.5),
        ):
            if not 0.0 <= value <= most:
                raise LeadlightError(
                    f"A share of {value:g} {name} was asked for.",
                    advice=f"Ask for a share from 0 to {most:g}.",
                )
        if not 0.0 <= self.strength <= _MOST_STRENGTH:
            raise LeadlightError(
                f"Effects of {self.strength:g} times their strength were asked for.",
                advice=f"Ask for 0 to {_MOST_STRENGTH:g}: more would exceed the heritabilities.",
            )
        if people < 20:
            raise LeadlightError(
                f"{people} people are too few for genomes.",
                advice="Ask for 20 or more, or give --no-genomes.",
            )
        found = stretches(self.chromosomes, round(self.megabases * 1e6))
        check_formats(self.formats)
        load_msprime()
        return found


@dataclass(frozen=True)
class GenotypedPeople:
    """Who the people are once their genes have acted.

    Attributes:
        people: with scores that hold genes, covariates and a residual.
        excess: (person, diagnosis of `effects.DIAGNOSES`) liability above the diagnosis' threshold,
            in standard deviations; who is above 0 has it.
    """

    people: People
    excess: npt.NDArray[np.float64]


def make_genotyped_people(
    folder: Path,
    count: int,
    person_ids: Sequence[str],
    *,
    seed: int,
    genomes: Genomes,
    workers: int = 1,
) -> GenotypedPeople:
    """Simulate genomes and what they do, in `folder`.

    Writes `folder/chromosomes/` (parts), `folder/genotypes/` (the final files), and
    `folder/tables/` (`phenotypes.parquet`, `covariates.parquet` and `truth/`).

    Raises:
        LeadlightError: settings out of range, too few sites for the variants, a library missing.
    """
    spans = genomes.checked(count)
    rng = np.random.default_rng([seed, 0, _PEDIGREE])
    people, pedigree = draw_pedigree(draw_people(range(count), seed), genomes.related_share, rng)
    parts = folder / "chromosomes"
    parts.mkdir(parents=True, exist_ok=True)
    _make_chromosomes(parts, _tasks(spans, genomes, pedigree, seed), workers)
    variants = effects.read_variants(parts, [one.chromosome for one in spans])
    tables = folder / "tables"
    if not (tables / "people.npz").exists():
        say("Drawing effects and covariates")
        with written_whole(tables) as partial:
            partial.mkdir()
            _make_tables(partial, parts, variants, person_ids, people, pedigree, seed, genomes)
    if not (folder / PREFIX).exists():
        with written_whole(folder / PREFIX) as partial:
            partial.mkdir()
            _join_genotypes(partial, parts, variants, person_ids, people, seed, genomes)
            _write_gene_sets(partial, variants)
    made = np.load(tables / "people.npz")
    return GenotypedPeople(replace(people, z=made["z"]), made["excess"])


def _tasks(
    spans: Sequence[Stretch], genomes: Genomes, pedigree: Pedigree, seed: int
) -> list[ChromosomeTask]:
    each, rest = divmod(genomes.variants, len(spans))
    return [
        ChromosomeTask(span, each + (place < rest), pedigree, seed, genomes.keep_trees)
        for place, span in enumerate(spans)
    ]


def _make_chromosomes(parts: Path, tasks: Sequence[ChromosomeTask], workers: int) -> None:
    todo = [t for t in tasks if not part_files(parts, t.stretch.chromosome)[1].exists()]
    with bar("Simulating chromosomes", len(tasks)) as progress:
        progress.step(len(tasks) - len(todo))
        if workers < 2 or len(todo) < 2:
            for task in todo:
                make_chromosome(task, parts)
                progress.step()
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(workers, len(todo)), mp_context=context, initializer=end_with_parent
        ) as pool:
            running = [pool.submit(make_chromosome, task, parts) for task in todo]
            try:
                for done in as_completed(running):
                    done.result()
                    progress.step()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _make_tables(
    folder: Path,
    parts: Path,
    variants: pl.DataFrame,
    person_ids: Sequence[str],
    people: People,
    pedigree: Pedigree,
    seed: int,
    genomes: Genomes,
) -> None:
    count = len(people)
    home = pedigree.subpopulation[:count]
    environment = covariates.draw_environment(
        people, home, np.random.default_rng([seed, 0, _ENVIRONMENT])
    )
    acting = effects.draw_effects(parts, variants, count, people.sex, seed, genomes.strength)
    genetic = effects.genetic_scores(parts, variants, acting, people.sex)
    noise = np.random.default_rng([seed, 0, _LIABILITY])
    residual = np.concatenate(
        [people.z, noise.standard_normal((count, len(effects.DIAGNOSES)))], axis=1
    )
    outcome, variance = covariates.outcomes_of(genetic, environment.shift, residual)
    z, liability = outcome[:, : len(TRAIT_NAMES)], outcome[:, len(TRAIT_NAMES) :]
    excess = covariates.liability_excess(liability)
    null = np.random.default_rng([seed, 0, _NULL])
    phenotypes = {
        "IID": list(person_ids),
        **{name: z[:, column] for column, name in enumerate(TRAIT_NAMES)},
        **{
            name: (excess[:, column] > 0).astype(np.int64)
            for column, name in enumerate(effects.DIAGNOSES)
        },
        **{name: null.standard_normal(count) for name in covariates.NULL_TRAITS},
    }
    left = np.sqrt(1.0 - environment.confounded.var())
    phenotypes[covariates.CONFOUNDED] = environment.confounded + left * null.standard_normal(count)
    pl.DataFrame(phenotypes).write_parquet(folder / "phenotypes.parquet")
    components = covariates.principal_components(parts, variants, pedigree.unrelated)
    covariates.covariate_table(person_ids, people, environment, components).write_parquet(
        folder / "covariates.parquet"
    )
    truth = folder / "truth"
    truth.mkdir()
    by_covariates = {name: part["covariates"] for name, part in variance.items()}
    effects.with_power(acting, variants, people.sex, by_covariates).write_parquet(
        truth / "effects.parquet"
    )
    pl.DataFrame(
        {
            "IID": list(person_ids),
            "family": pedigree.family[:count],
            "unrelated": pedigree.unrelated,
            "subpopulation": [SUBPOPULATIONS[one] for one in home],
            "site": [covariates.SITES[one] for one in environment.site],
            **{f"genetic_{n}": genetic[:, k] for k, n in enumerate(effects.OUTCOMES)},
            **{f"liability_{n}": liability[:, k] for k, n in enumerate(effects.DIAGNOSES)},
        }
    ).write_parquet(truth / "people.parquet")
    _write_pedigree(truth, person_ids, pedigree)
    variants.drop("row").write_parquet(truth / "variants.parquet")
    chromosomes = variants["chromosome"].unique(maintain_order=True).to_list()
    pl.concat(
        [pl.read_parquet(part_files(parts, number)[2]) for number in chromosomes]
    ).with_columns(pl.col("gene").is_in(list(RARE_VARIANT_GENES)).alias("acts")).write_parquet(
        truth / "genes.parquet"
    )
    _write_architecture(truth / "architecture.toml", variance, genomes)
    if genomes.keep_trees:
        (truth / "trees").mkdir()
        for number in chromosomes:
            name = f"chr{number:02d}.trees"
            shutil.copyfile(parts / name, truth / "trees" / name)
    np.savez(folder / "people.npz", z=z, excess=excess)


def _write_pedigree(truth: Path, person_ids: Sequence[str], pedigree: Pedigree) -> None:
    names = [
        *person_ids,
        *(f"unrecruited{k:06d}" for k in range(len(pedigree.mother) - len(person_ids))),
    ]
    pl.DataFrame(
        {
            "member": names,
            "mother": [names[one] if one >= 0 else None for one in pedigree.mother],
            "father": [names[one] if one >= 0 else None for one in pedigree.father],
            "family": pedigree.family,
            "subpopulation": [SUBPOPULATIONS[one] for one in pedigree.subpopulation],
            "recruited": np.arange(len(names)) < pedigree.n_people,
        }
    ).write_parquet(truth / "pedigree.parquet")
    related_pairs(pedigree).with_columns(
        pl.col("first", "second").map_elements(names.__getitem__, return_dtype=pl.String)
    ).write_parquet(truth / "relatives.parquet")


def _write_architecture(
    path: Path, variance: Mapping[str, Mapping[str, float]], genomes: Genomes
) -> None:
    chromosomes = list(genomes.chromosomes)
    write_text(
        path,
        tomli_w.dumps(
            {
                "genome": {
                    "chromosomes": chromosomes,
                    "null_chromosomes": [c for c in chromosomes if c in NULL_CHROMOSOMES],
                    "coordinates": "GRCh37",
                    "megabases_per_chromosome": genomes.megabases,
                    "effect_allele": "the alternative (derived) allele",
                    "strength_of_planted_effects": genomes.strength,
                },
                # The same bytes need the same versions.
                "made_with": {name: version(name) for name in ("msprime", "tskit", "pgenlib")},
                "heritability": dict(effects.HERITABILITY),
                "variance": {name: dict(parts) for name, parts in variance.items()},
                "prevalence": dict(effects.DIAGNOSES),
                "subpopulation_shift_south": dict(covariates.SUBPOPULATION_SHIFT),
                "site_shift": {k: list(v) for k, v in covariates.SITE_SHIFT.items()},
                "liability_effects": {k: dict(v) for k, v in covariates.LIABILITY_EFFECTS.items()},
            }
        ),
    )


def _join_genotypes(
    folder: Path,
    parts: Path,
    variants: pl.DataFrame,
    person_ids: Sequence[str],
    people: People,
    seed: int,
    genomes: Genomes,
) -> None:
    chromosomes = variants["chromosome"].unique(maintain_order=True).to_list()
    with (
        bar("Writing genotypes", variants.height) as progress,
        GenotypeWriter(
            folder / PREFIX,
            genomes.formats,
            person_ids,
            people.sex,
            variants.height,
            chromosomes,
            dosages=genomes.dosages,
        ) as writer,
    ):
        done = 0
        for number in chromosomes:
            rng = np.random.default_rng([seed, number, _DEGRADING])
            for calls in read_blocks(part_files(parts, number)[0]):
                calls, dosages = _degraded(calls, genomes, rng)
                writer.write(variants[done : done + len(calls)], calls, dosages)
                done += len(calls)
                progress.step(len(calls))


def _degraded(
    calls: Calls, genomes: Genomes, rng: np.random.Generator
) -> tuple[Calls, Dosages | None]:
    """What the files say of true calls: imputed dosages, missing calls, or just those."""
    dosages = None
    if genomes.dosages:
        r_squared = rng.uniform(*_DOSAGE_R_SQUARED, size=(len(calls), 1))
        mean = calls.mean(axis=1, keepdims=True)
        noise = np.sqrt(r_squared * (1 - r_squared)) * calls.std(axis=1, keepdims=True)
        # Regression of the genotype on such a dosage has slope 1, as for real imputation.
        dosages = mean + r_squared * (calls - mean)
        dosages = dosages + noise * rng.standard_normal(calls.shape)
        dosages = np.clip(dosages, 0.0, 2.0).astype(np.float32)
        calls = hard_calls(dosages)
    if genomes.missing_share:
        missing = rng.random(calls.shape, dtype=np.float32) < genomes.missing_share
        calls = np.where(missing, np.int8(MISSING), calls)
        if dosages is not None:
            dosages[missing] = MISSING
    return calls, dosages


def _write_gene_sets(folder: Path, variants: pl.DataFrame) -> None:
    """What a study knows of genes, in the three text files that gene tests read."""
    exonic = variants.filter(pl.col("gene").is_not_null())
    exonic.select("id", "gene", "consequence").write_csv(
        folder / "annotations.txt", separator="\t", include_header=False
    )
    sets = exonic.group_by("gene", maintain_order=True).agg(
        pl.col("chromosome").first(), pl.col("position").first(), pl.col("id").str.join(",")
    )
    sets.write_csv(folder / "sets.txt", separator="\t", include_header=False)
    harmful = [name for name in CONSEQUENCES if name != "synonymous"]
    masks = {"loss_of_function": harmful[-1:], "damaging": harmful, "synonymous": ["synonymous"]}
    write_text(
        folder / "masks.txt",
        "".join(f"{name}\t{','.join(kinds)}\n" for name, kinds in masks.items()),
    )

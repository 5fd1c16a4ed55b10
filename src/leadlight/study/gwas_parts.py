"""A study's association in parts: once for all genotypes, then a file of them at a time, joined.

What is joined is what `leadlight run` makes of all files at once; `gwas/<set>/` is the same folder.
Parts lie in `gwas-parts/<set>/<file>/`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leadlight.errors import LeadlightError
from leadlight.study.genetic_stages import (
    association_settings,
    phenotypes_of,
    variant_filter,
    write_traits,
)
from leadlight.study.running import note_done, open_study_file
from leadlight.study.study_file import GwasSection, StudyFile

FOLDER = "gwas-parts"
CACHE = ".genotypes"  # in `gwas/`: files of other formats, turned into what is read


@dataclass(frozen=True)
class GenotypePart:
    """One file of genotypes. name: in folders and rules."""

    name: str
    path: Path

    @property
    def is_converted(self) -> bool:
        """Whether it is turned into a `.pgen` before it is read."""
        return self.path.suffix not in (".pgen", ".bed")


def genotype_parts(path: Path) -> list[GenotypePart]:
    """The genotype files that a study file names, in order.

    Raises:
        LeadlightError: the file has no [gwas], or a file is absent.
    """
    from leadlight.genetics.genotypes import find_genotype_files

    path, _, section, _ = _opened(path)
    files = [f for given in section.genotypes for f in find_genotype_files(path.parent / given)]
    stems = [file.name.removesuffix(".gz").rpartition(".")[0] for file in files]
    if len(set(stems)) < len(stems):
        stems = [f"{number}-{stem}" for number, stem in enumerate(stems, start=1)]
    return [GenotypePart(stem, file) for stem, file in zip(stems, files, strict=True)]


def convert_part(path: Path, name: str) -> None:
    """Turn a file of another format into a `.pgen`, for all sets of traits."""
    from leadlight.genetics.genotypes import open_genotypes

    _, _, section, folder = _opened(path)
    open_genotypes(_part(path, name).path, cache=folder / "gwas" / CACHE, build=section.build)


def prepare_set(path: Path, label: str, *, workers: int | None = None) -> None:
    """Write the traits of a set, and what all genotypes together say of their people.

    Principal components and the whole-genome background, where the study file asks for them.

    Raises:
        LeadlightError: there is no such set, or whatever `prepare_gwas` refuses.
    """
    from leadlight.genetics.stage import prepare_gwas

    path, file, _, folder = _opened(path, label)
    traits = write_traits(file, path.parent, folder, label)
    prepare_gwas(
        [part.path for part in genotype_parts(path)], phenotypes_of(folder, label),
        folder / "gwas" / label, **association_settings(file, path.parent, folder, label),
        traits=traits, workers=workers or file.study.workers, overwrite=True,
        cache=folder / "gwas" / CACHE,
    )  # fmt: skip


def associate_part(path: Path, label: str, name: str, *, workers: int | None = None) -> None:
    """Test one file of genotypes with a set of traits that was prepared; goes on when cut off.

    Raises:
        LeadlightError: there is no such set or file, nothing was prepared, or whatever `run_gwas`
            refuses.
    """
    from leadlight.genetics.stage import run_gwas

    path, file, section, folder = _opened(path, label)
    phenotypes = phenotypes_of(folder, label)
    if not phenotypes.is_file():
        raise LeadlightError(f"{phenotypes} is absent.", advice="Run leadlight shards prepare.")
    run_gwas(
        _part(path, name).path, phenotypes, folder / FOLDER / label / name,
        **association_settings(file, path.parent, folder, label), joint=section.joint,
        variant_filter=variant_filter(section), workers=workers or file.study.workers,
        overwrite=True, prepared=folder / "gwas" / label, cache=folder / "gwas" / CACHE,
    )  # fmt: skip


def collect_set(path: Path, label: str) -> list[str]:
    """Join the parts of a set of traits and draw them; the traits.

    Once all sets are joined, the study's stage `gwas` counts as done.

    Raises:
        LeadlightError: a part is not finished, or parts differ in people or settings.
    """
    from leadlight.genetics.joining import join_gwas
    from leadlight.report.association_figures import draw_association

    path, file, section, folder = _opened(path, label)
    parts = [folder / FOLDER / label / part.name for part in genotype_parts(path)]
    settings = association_settings(file, path.parent, folder, label)
    given = [phenotypes_of(folder, label), settings["covariates"]]
    given.append(settings["whole_genome_variants"] if section.background else None)
    out = folder / "gwas" / label
    traits = join_gwas(parts, out, inputs=[one for one in given if one], overwrite=True)
    if section.figures:
        draw_association(out, traits, joint=section.joint)
    if all((folder / "gwas" / one / "summary.json").exists() for one in section.sets()):
        note_done(path, ["gwas"])
    return traits


def _opened(path: Path, label: str | None = None) -> tuple[Path, StudyFile, GwasSection, Path]:
    path, file, folder = open_study_file(path)
    if file.gwas is None:
        raise LeadlightError(f"{path.name} has no [gwas].")
    sets: Sequence[str] = file.gwas.sets()
    if label is not None and label not in sets:
        raise LeadlightError(
            f"{path.name} has no set of traits {label!r}.", advice=f"It has {', '.join(sets)}."
        )
    return path, file, file.gwas, folder


def _part(path: Path, name: str) -> GenotypePart:
    parts = genotype_parts(path)
    found = next((part for part in parts if part.name == name), None)
    if found is None:
        raise LeadlightError(
            f"There are no genotypes {name!r}.",
            advice=f"There are {', '.join(part.name for part in parts[:30])}.",
        )
    return found

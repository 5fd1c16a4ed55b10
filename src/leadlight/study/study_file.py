"""The study file: what is to be done with a study, one section for each stage.

A stage runs when its section stands in the file, however short. Paths are relative to the file.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from leadlight.errors import LeadlightError

NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


def _usable(path: str) -> str:
    if "\0" in path:
        raise ValueError("it holds a character that no path can have")
    if len(path) > 4000 or any(len(part.encode()) > 255 for part in path.split("/")):
        raise ValueError("it is too long for a path")
    return path


PathText = Annotated[str, AfterValidator(_usable)]


# The set of traits whose people were dealt anew.
PERMUTED = "permuted"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StudySection(_Section):
    """folder: of the results; seed: of all that is random; workers: processes or threads."""

    folder: PathText = "."
    seed: Annotated[int, Field(ge=0)] = 0
    workers: Annotated[int, Field(ge=1)] = 1


class ImportSection(_Section):
    """sources: files, folders or lists of ECGs; labels: a table of diagnoses; shard: they are a
    part of a larger import (see `study.shards`)."""

    sources: Annotated[list[PathText], Field(min_length=1)]
    labels: PathText | None = None
    shard: bool = False


class MeasureSection(_Section):
    """medians: "own" from the strips, or "cart" where the files bring a median beat."""

    medians: Literal["own", "cart"] = "own"


class ClassifySection(_Section):
    """model: a shipped model's name, or the path of a card."""

    model: PathText = "leadlight-ecg-6"


class ExplainSection(_Section):
    """Which diagnoses are explained, against which control, of how many records each."""

    classes: Annotated[list[str], Field(min_length=1)] = ["AF", "LBBB"]
    control: str = "NORM"
    most_per_group: Annotated[int, Field(ge=1)] | None = None
    tolerance: Annotated[float, Field(gt=0, le=0.5)] = 0.02
    memory_mb: Annotated[int, Field(ge=32)] = 256


class LatentSection(_Section):
    """model: a factor model that comes with Leadlight, or the path of a card."""

    model: PathText = "leadlight-factors"


class GwasSection(_Section):
    """The association; see `leadlight gwas --help` for the words that it shares.

    traits: "factors" and "measurements" of the ECGs; people: which column of the records holds the
    genotypes' IID; measurements: which of them; background_variants: a file of ids for the
    whole-genome background, one a line; control: whether the first set is also tested in permuted
    people, which must find nothing.
    """

    genotypes: Annotated[list[PathText], Field(min_length=1)]
    covariates: PathText | None = None
    people: Literal["record_id", "patient_id"] = "record_id"
    traits: Annotated[list[Literal["factors", "measurements"]], Field(min_length=1)] = [
        "factors",
        "measurements",
    ]
    measurements: Annotated[list[str], Field(min_length=1)] = [
        "heart_rate_bpm", "p_duration_ms", "pr_ms", "qrs_ms", "qtc_fridericia_ms",
        "t_peak_end_ms", "p_axis_deg", "qrs_axis_deg", "t_axis_deg", "qrs_t_angle_deg",
        "sokolow_lyon_mv", "cornell_mv",
    ]  # fmt: skip
    transform: Literal["none", "rank-normal"] = "rank-normal"
    pcs: Annotated[int, Field(ge=0, le=50)] = 0
    background: bool = False
    background_variants: str | None = None
    joint: bool = True
    figures: bool = True
    control: bool = True
    min_maf: Share = 0.0
    min_mac: NotNegative = 20.0
    max_missing: Share = 1.0
    min_info: Share = 0.0
    min_hwe_p: Share = 0.0
    build: Literal["GRCh37", "GRCh38"] | None = None

    def sets(self) -> tuple[str, ...]:
        """The sets of traits, the control last."""
        return (*self.traits, PERMUTED) if self.control else tuple(self.traits)


class LociSection(_Section):
    """results: `[LABEL=]DIR` of summary statistics; of the study's own association where empty.

    genotypes: for linkage; the association's own where empty. genes: a BED file of genes.
    """

    results: list[PathText] = []
    genotypes: list[PathText] = []
    genes: PathText | None = None
    build: Literal["GRCh37", "GRCh38"] = "GRCh37"


class EffectSection(_Section):
    """most: loci that get a card, the strongest first; genes: a BED file, to draw them."""

    most: Annotated[int, Field(ge=1)] = 6
    genes: PathText | None = None


class ReportSection(_Section):
    """The page has no settings."""


class StudyFile(_Section):
    """All sections; a stage without one is not part of the study."""

    study: StudySection = StudySection()
    import_: ImportSection | None = Field(default=None, alias="import")
    measure: MeasureSection | None = None
    classify: ClassifySection | None = None
    explain: ExplainSection | None = None
    latent: LatentSection | None = None
    gwas: GwasSection | None = None
    loci: LociSection | None = None
    effect: EffectSection | None = None
    report: ReportSection | None = None


def read_study_file(path: Path) -> StudyFile:
    """Read and check a study file.

    Raises:
        LeadlightError: it is not there, not TOML, or a section or key is unknown, missing or of
            the wrong kind; the message names file, section and key.
    """
    if path.is_dir():
        path = path / "study.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LeadlightError(
            f"{path} is not there.", advice="`leadlight init` writes one to begin with."
        ) from error
    except OSError as error:
        raise LeadlightError(f"{path} cannot be read ({error.strerror}).") from error
    except RecursionError as error:
        raise LeadlightError(f"{path} is no study file: it is nested too deeply.") from error
    except ValueError as error:  # no TOML, no UTF-8, a number without end
        raise LeadlightError(f"{path} is no TOML: {error}.") from error
    return parse_study_file(tables, path.name)


def parse_study_file(tables: dict[str, Any], name: str) -> StudyFile:
    """Check the tables of a study file called `name`; raises as `read_study_file`."""
    try:
        return StudyFile.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        where = f"[{place[0]}]" + (f" {'.'.join(place[1:])}" if place[1:] else "")
        if first["type"] == "extra_forbidden":
            raise LeadlightError(
                f"{name}: {where} is unknown.", advice=f"Known: {_known(place)}."
            ) from error
        if first["type"] == "missing":
            raise LeadlightError(f"{name}: {where} is missing.") from error
        raise LeadlightError(f"{name}: {where}: {first['msg']}.") from error


def _known(place: list[str]) -> str:
    sections = {field.alias or name: field for name, field in StudyFile.model_fields.items()}
    if len(place) == 1:
        return ", ".join(sections)
    annotation = sections[place[0]].annotation
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    section = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    return ", ".join(section.model_fields) or "nothing"

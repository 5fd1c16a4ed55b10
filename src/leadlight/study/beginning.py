"""Study files to begin with, for the kinds of data that people have."""

from importlib.resources import files
from pathlib import Path

from leadlight.atomic import refuse_overwrite, write_text
from leadlight.errors import LeadlightError

KINDS = ("folder", "labelled", "biobank", "summary")


def write_study_file(kind: str, out: Path, *, overwrite: bool = False) -> None:
    """Write the commented study file of a kind of data.

    Raises:
        LeadlightError: there is no such kind, or `out` is there.
    """
    if kind not in KINDS:
        raise LeadlightError(f"There is no study file for {kind!r}.", advice=", ".join(KINDS))
    refuse_overwrite(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    template = files("leadlight.study") / "templates" / f"{kind}.toml"
    write_text(out, template.read_text(encoding="utf-8"))

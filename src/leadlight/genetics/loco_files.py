"""Whole-genome predictions in REGENIE's text files, both ways.

`PREFIX_pred.list` names a trait and its file on each line. `PREFIX_<number>.loco` has `FID_IID` and
the people (`family_person`) on its first line, then for each chromosome, 1 to 23, its number and
the predictions without it. Quantitative predictions are in units of the residual SD of the trait,
binary ones are log odds; NA where the trait is missing.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from leadlight.atomic import refuse_overwrite, written_whole
from leadlight.errors import LeadlightError
from leadlight.genetics.whole_genome import NO_CHROMOSOME

Floats = npt.NDArray[np.float64]
_NAME = {"23": "X"}


def write_loco(predictions: xr.Dataset, prefix: Path, *, overwrite: bool = False) -> Path:
    """Write predictions of `whole_genome_regression` for REGENIE's step 2; returns the list.

    Quantitative predictions are divided by `residual_sd`, as REGENIE's are.
    """
    listed = prefix.with_name(f"{prefix.name}_pred.list")
    refuse_overwrite(listed, overwrite)
    known = predictions["chromosome"].values.tolist()
    people = [
        f"{family}_{person}"
        for family, person in zip(
            predictions["family"].values.tolist(),
            predictions["person"].values.tolist(),
            strict=True,
        )
    ]
    binary = predictions.attrs["kind"] == "binary"
    lines = []
    for at, trait in enumerate(predictions["trait"].values.tolist()):
        if any(character.isspace() for character in trait):
            raise LeadlightError(
                f"Trait name {trait!r} has a space in it.",
                advice="REGENIE cannot read that.",
            )
        path = prefix.with_name(f"{prefix.name}_{at + 1}.loco")
        unit = 1.0 if binary else float(predictions["residual_sd"][at])
        values = predictions["loco"][at].values.astype(np.float64) / unit
        with written_whole(path) as partial, partial.open("w", encoding="utf-8") as stream:
            stream.write(" ".join(["FID_IID", *people]) + "\n")
            for number in map(str, range(1, 24)):
                name = _NAME.get(number, number)
                row = values[known.index(name if name in known else NO_CHROMOSOME)]
                texts = ["NA" if np.isnan(value) else f"{value:.7g}" for value in row]
                stream.write(" ".join([number, *texts]) + "\n")
        lines.append(f"{trait} {path.resolve()}\n")
    with written_whole(listed) as partial:
        partial.write_text("".join(lines), encoding="utf-8")
    return listed


def read_loco(
    listed: Path,
    trait_names: Sequence[str],
    family_ids: Sequence[str],
    person_ids: Sequence[str],
    *,
    residual_sd: Floats | None,
) -> xr.Dataset:
    """Read REGENIE's predictions of these traits for these people, in this order.

    residual_sd: (trait,), as `whole_genome.standard_residuals` gives them on the covariates of
    step 1, or None for binary traits. People or values that the files lack are NaN. A file is
    looked for under its listed name, and beside the list. Raises LeadlightError where a trait is
    not listed, or a file is absent or broken.
    """
    if not listed.is_file():
        raise LeadlightError(f"{listed} is absent.", advice="Give REGENIE's _pred.list file.")
    lines = [line.split(maxsplit=1) for line in listed.read_text(encoding="utf-8").splitlines()]
    file_of = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    wanted = [f"{f}_{p}" for f, p in zip(family_ids, person_ids, strict=True)]
    rows: list[dict[str, Floats]] = []
    for at, trait in enumerate(trait_names):
        if trait not in file_of:
            raise LeadlightError(
                f"{listed} names no predictions of trait {trait}.",
                advice=f"It has {', '.join(file_of)}.",
            )
        unit = 1.0 if residual_sd is None else float(residual_sd[at])
        rows.append(_read_one(_found(Path(file_of[trait]), listed), wanted, unit))
    chromosomes = list(rows[0])
    if any(list(row) != chromosomes for row in rows):
        raise LeadlightError(f"The files of {listed} don't have the same chromosomes.")
    values = np.array([[row[name] for name in chromosomes] for row in rows], dtype=np.float32)
    return xr.Dataset(
        {
            "loco": (("trait", "chromosome", "person"), values),
            "family": (("person",), [str(family) for family in family_ids]),
            "calibration": (("trait",), np.ones(len(trait_names))),
            "residual_sd": (
                ("trait",),
                np.ones(len(trait_names)) if residual_sd is None else residual_sd,
            ),
        },
        coords={
            "trait": list(trait_names),
            "chromosome": chromosomes,
            "person": [str(person) for person in person_ids],
        },
        attrs={"kind": "binary" if residual_sd is None else "quantitative"},
    )


def _found(path: Path, listed: Path) -> Path:
    for place in (path, listed.parent / path, listed.parent / path.name):
        if place.is_file():
            return place
    raise LeadlightError(
        f"{listed} names {path.name}, which is absent.",
        advice="Put it where the list says, or beside the list.",
    )


def _read_one(path: Path, wanted: Sequence[str], unit: float) -> dict[str, Floats]:
    rows: dict[str, Floats] = {}
    with path.open(encoding="utf-8") as stream:
        head = stream.readline().split()
        if not head or head[0] != "FID_IID":
            raise LeadlightError(
                f"{path} does not begin with FID_IID.", advice="Is it a .loco file?"
            )
        column = {person: at for at, person in enumerate(head[1:])}
        at = np.array([column.get(person, -1) for person in wanted])
        for number, line in enumerate(stream, start=2):
            name, *texts = line.split()
            if len(texts) != len(head) - 1:
                raise LeadlightError(
                    f"{path} has {len(texts)} values on line {number} for {len(head) - 1} people.",
                    advice="It may be cut off.",
                )
            try:
                values = np.array([np.nan if text == "NA" else float(text) for text in texts])
            except ValueError as error:
                raise LeadlightError(f"{path}, line {number}: {error}.") from error
            rows[_NAME.get(name, name)] = np.where(at >= 0, values[at], np.nan) * unit
    if not rows:
        raise LeadlightError(f"{path} has no chromosome.", advice="It may be cut off.")
    return rows

"""A study of a few simulated people that goes through every stage in seconds.

Half of the hearts have a left bundle branch block, and one variant is nearly that: so there are
cases, controls, a locus and its card.
"""

from pathlib import Path

import numpy as np
import pgenlib
import polars as pl
import wfdb

from leadlight.simulate.population import simulate_recordings

VARIANTS = 60
STAGES = (
    "import", "measure", "classify", "explain", "latent", "gwas", "loci", "effect", "report",
)  # fmt: skip
_BEGINNING = """\
[study]
folder = "{folder}"
[import]
sources = ["{inputs}/ecgs"]
labels = "{inputs}/labels.csv"
[measure]
[classify]
[explain]
classes = ["LBBB"]
most_per_group = {explained}
tolerance = 0.5
[latent]
[gwas]
genotypes = ["{inputs}/genotypes"]
covariates = "{inputs}/covariates.tsv"
measurements = ["qrs_ms", "heart_rate_bpm", "qrs_axis_deg"]
min_mac = 4.0
"""
# What takes longest is left out where seconds count.
_QUICK = """\
figures = false
joint = false
[loci]
"""
_WHOLE = """\
transform = "none"
[loci]
[effect]
most = 1
[report]
"""


def write_inputs(folder: Path, people: int) -> None:
    """ECG files, a table of their labels, genotypes and covariates."""
    (folder / "ecgs").mkdir(parents=True)
    sick = np.arange(people) % 2 == 0
    labels = []
    for number, is_sick in enumerate(sick):
        recording = next(iter(simulate_recordings(
            1, seed=11, first=number, rhythms={"sinus": 1.0}, artefacts=0.0,
            conductions={"LBBB" if is_sick else "normal": 1.0},
        ))).recording  # fmt: skip
        signal = recording.signal_mv.transpose("sample", "lead")
        wfdb.wrsamp(
            f"p{number:02d}", fs=500, units=["mV"] * 12, fmt=["16"] * 12,
            sig_name=[str(lead) for lead in signal["lead"].values],
            p_signal=np.nan_to_num(signal.values.astype(np.float64)),
            write_dir=str(folder / "ecgs"),
        )  # fmt: skip
        labels.append((f"p{number:02d}", "LBBB" if is_sick else "NORM"))
    pl.DataFrame(labels, schema=["record_id", "labels"], orient="row").write_csv(
        folder / "labels.csv"
    )
    _write_genotypes(folder / "genotypes", sick)
    rows = [f"p{number:02d}\t{20 + (number * 7) % 50}" for number in range(people)]
    (folder / "covariates.tsv").write_text("\n".join(["IID\tage", *rows, ""]))


def write_study_file(path: Path, inputs: Path, *, quick: bool, folder: str = "study") -> Path:
    """The study file at `path`, for inputs that may lie elsewhere.

    quick: without effect and page, without figures and joint tests of the association.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _BEGINNING + (_QUICK if quick else _WHOLE)
    path.write_text(text.format(folder=folder, inputs=inputs, explained=1 if quick else 3))
    return path


def stages(*, quick: bool) -> tuple[str, ...]:
    """The stages of the study file, in order."""
    return tuple(name for name in STAGES if not (quick and name in ("effect", "report")))


def _write_genotypes(prefix: Path, sick: np.ndarray) -> None:
    people = len(sick)
    rng = np.random.default_rng(3)
    calls = rng.binomial(2, 0.4, (VARIANTS, people)).astype(np.int8)
    middle = VARIANTS // 2
    calls[middle] = np.where(sick, 2, 0)
    calls[middle, :2] = 1
    near = rng.random((4, people)) < 0.15
    for step in range(1, 5):
        calls[middle + step] = np.where(near[step - 1], 1, calls[middle])
    with pgenlib.PgenWriter(
        f"{prefix}.pgen".encode(), people, variant_ct=VARIANTS, nonref_flags=False
    ) as writer:
        for row in calls:
            writer.append_biallelic(row)
    lines = [
        f"{1 if number < 40 else 2}\t{1_000_000 + 20_000 * number}\trs{number}\tA\tG"
        for number in range(VARIANTS)
    ]
    prefix.with_suffix(".pvar").write_text("\n".join(["#CHROM\tPOS\tID\tREF\tALT", *lines, ""]))
    rows = [f"0\tp{number:02d}\t{1 + number // 2 % 2}" for number in range(people)]
    prefix.with_suffix(".psam").write_text("\n".join(["#FID\tIID\tSEX", *rows, ""]))

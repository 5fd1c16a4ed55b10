"""Draw ten simulated ECGs of every class beside real ones, a contact sheet for each class.

    python benchmarks/contact_sheets.py --study PTBXL --study CINC --out docs/images AF LBBB

Studies are imported and labelled recordings. Simulated ones (blue) are of ten people, of rising
severity, stored as PTB-XL's recorder does; real ones (brown) are five drawn at random.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib.font_manager
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from PIL import Image, ImageDraw, ImageFont

from leadlight.atomic import written_whole
from leadlight.cohort.store import Cohort, open_cohort
from leadlight.report.paper import draw_ecg
from leadlight.simulate.population import simulate_recordings

CLASSES = ("NORM", "1dAVb", "RBBB", "LBBB", "SB", "AF", "ST", "PVC", "PAC")
# PTB-XL's codes and SNOMED CT's of ectopic beats, which are no labels of ours.
ECTOPIC = {"PVC": ("PVC", "427172004", "17338001"), "PAC": ("PAC", "284470004")}
SEVERITIES = (0.7, 0.9, 1.0, 1.0, 1.0, 1.0, 1.1, 1.2, 1.4, 1.7)
BLUE, BROWN = "#33567a", "#7a4b33"
WIDTH, TITLE, COLUMNS, SECONDS = 620, 26, 3, 10.0
MOST_BYTES = 395_000


def tile(signal_mv: xr.DataArray, rate_hz: float, title: str, colour: str) -> Image.Image:
    figure = draw_ecg(signal_mv.clip(-4, 4), rate_hz, duration_s=SECONDS, dpi=75)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=75)
    plt.close(figure)
    ecg = Image.open(drawn).convert("RGB")
    ecg = ecg.resize((WIDTH, ecg.height * WIDTH // ecg.width), Image.Resampling.LANCZOS)
    made = Image.new("RGB", (WIDTH, ecg.height + TITLE), "white")
    made.paste(ecg, (0, TITLE))
    pen = ImageDraw.Draw(made)
    pen.rectangle((0, 0, WIDTH, TITLE - 1), fill=colour)
    bold = matplotlib.font_manager.findfont("DejaVu Sans:bold")
    pen.text((6, 2), title, fill="white", font=ImageFont.truetype(bold, 17))
    return made


def sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    heights = [max(one.height for one in row) for row in rows]
    made = Image.new("RGB", (WIDTH * COLUMNS, sum(heights)), "white")
    for number, row in enumerate(rows):
        for column, one in enumerate(row):
            made.paste(one, (column * WIDTH, sum(heights[:number])))
    return made


def simulated(name: str, seed: int) -> list[Image.Image]:
    made = []
    for number, severity in enumerate(SEVERITIES):
        severity *= 1.4 if name in ECTOPIC else 1.0
        has = {} if name == "NORM" else {name: severity}
        one = next(
            simulate_recordings(
                1, seed=seed, first=number, severities=has, recorders={"compressed": 1.0},
                artefacts=0.3,
            )
        )  # fmt: skip
        person, truth = one.recording, one.truth
        title = f"simulated {name}: {person.sex} {person.age_years}, {truth['rate_bpm']:.0f}/min"
        title += f", PR {truth['pr_ms']:.0f}, QRS {truth['qrs_ms']:.0f} ms"
        made.append(tile(person.signal_mv, person.rate_hz, title.replace("nan", "–"), BLUE))
    return made


def real(name: str, studies: Sequence[Path], count: int, rng: np.random.Generator) -> list:
    found: list[tuple[Cohort, int, str]] = []
    for study in studies:
        cohort = open_cohort(study)
        for row, one in enumerate(cohort.records.iter_rows(named=True)):
            codes = [str(code) for code in one["codes"] or ()]
            if name in (one["labels"] or ()) or any(
                code.startswith(known) for code in codes for known in ECTOPIC.get(name, ())
            ):
                found.append((cohort, row, study.name))
    made = []
    for chosen in rng.permutation(len(found))[:count]:
        cohort, row, source = found[chosen]
        one = cohort.recording(row)
        age = "" if one.age_years is None else f" {one.age_years:.0f}"
        strip = one.signal_mv.isel(sample=slice(0, int(SECONDS * one.rate_hz)))
        title = f"real {name}: {source} {one.record_id}, {one.sex}{age}"
        made.append(tile(strip, one.rate_hz, title, BROWN))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classes", nargs="*", default=list(CLASSES))
    parser.add_argument("--study", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path, required=True, help="folder of the sheets")
    parser.add_argument("--seed", type=int, default=41)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    for name in asked.classes:
        drawn = sheet([*simulated(name, asked.seed), *real(name, asked.study, 5, rng)])
        path = asked.out / f"hearts-{name.lower()}.jpg"
        with written_whole(path) as partial:
            for quality in (72, 60, 50, 40, 30, 22):
                drawn.save(partial, format="JPEG", quality=quality, optimize=True)
                if partial.stat().st_size < MOST_BYTES:
                    break
        print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()

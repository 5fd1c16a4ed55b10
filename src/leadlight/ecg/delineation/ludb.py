"""Wave limits drawn by hand: the Lobachevsky University database (LUDB), and who is held back.

Kalyakulina et al., "LUDB: a new open-access validation tool for electrocardiogram delineation
algorithms", IEEE Access 8 (2020). Cardiologists marked P, QRS and T in every lead on its own; the
first and last beats of a strip are mostly left unmarked.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import wfdb
import xarray as xr

from leadlight.ecg.delineation.fiducials import WAVES
from leadlight.ecg.leads import LEADS, as_leads, canonical_lead
from leadlight.errors import LeadlightError

_WAVE_OF_SYMBOL = {"p": 0, "N": 1, "t": 2}
_EVERY_TEST = 3


@dataclass(frozen=True)
class AnnotatedRecord:
    """One record with its hand-drawn waves.

    Attributes:
        number: of the record in LUDB, 1 to 200.
        signal_mv: (lead, sample) in millivolt.
        rate_hz: samples per second.
        waves: per lead and wave of WAVES, (annotated wave, point) in samples: onset, peak, offset,
            in time order.
        span: per lead, the first and last marked sample; outside nothing is known.
    """

    number: int
    signal_mv: xr.DataArray
    rate_hz: float
    waves: dict[str, dict[str, npt.NDArray[np.float64]]]
    span: dict[str, tuple[int, int]]


def part_of(number: int) -> str:
    """ "test" for every third record (3, 6, ...), else "training".

    Records of "test" are neither trained on nor used to choose anything.
    """
    return "test" if number % _EVERY_TEST == 0 else "training"


def record_numbers(folder: Path) -> list[int]:
    """Numbers of the records in an LUDB folder (the one that holds `data/` and `ludb.csv`).

    Raises:
        LeadlightError: the folder holds no LUDB record.
    """
    numbers = sorted(int(path.stem) for path in (folder / "data").glob("*.hea"))
    if not numbers:
        raise LeadlightError(
            f"{folder} holds no data/*.hea.", advice="Give the folder of LUDB, with data/ inside."
        )
    return numbers


def read_annotated(folder: Path, number: int) -> AnnotatedRecord:
    """Record `number` with the marks of all its leads.

    Raises:
        LeadlightError: the record or the marks of a lead are absent.
    """
    base = folder / "data" / str(number)
    try:
        record = wfdb.rdrecord(str(base))
        marks = {name: wfdb.rdann(str(base), name) for name in record.sig_name}
    except (OSError, ValueError) as error:
        raise LeadlightError(
            f"LUDB record {number} cannot be read from {folder}: {error}.",
            advice="Each record has .dat, .hea and one file of marks per lead.",
        ) from error
    rows = {canonical_lead(name): record.p_signal[:, row] for row, name in enumerate(marks)}
    signal = np.stack([rows[lead] for lead in LEADS]).astype(np.float32)
    waves, span = {}, {}
    for name, mark in marks.items():
        lead = canonical_lead(name) or name
        waves[lead] = _triples(mark.sample, mark.symbol)
        span[lead] = (int(mark.sample[0]), int(mark.sample[-1]))
    return AnnotatedRecord(number, as_leads(signal), float(record.fs), waves, span)


def _triples(
    samples: npt.NDArray[np.int64], symbols: list[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """Whole waves only: "(", the peak's symbol, ")" one after the other."""
    found: list[list[tuple[float, ...]]] = [[] for _ in WAVES]
    for at in range(1, len(symbols) - 1):
        if symbols[at] in _WAVE_OF_SYMBOL and symbols[at - 1] == "(" and symbols[at + 1] == ")":
            found[_WAVE_OF_SYMBOL[symbols[at]]].append(
                tuple(float(sample) for sample in samples[at - 1 : at + 2])
            )
    return {
        wave: np.array(sorted(rows), dtype=np.float64).reshape(-1, 3)
        for wave, rows in zip(WAVES, found, strict=True)
    }

"""A study of real recordings with relevance from a smooth function, in the tables' real columns.

The relevance is made here, not by a network: bumps at fixed times from R, weighted by lead, times
the signal's size. Its sum plus a baseline is the logit, so the tables keep the identity exactly.
"""

import ast
import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import wfdb
import xarray as xr

from leadlight.cohort.store import CohortWriter, open_cohort
from leadlight.ecg.filtering import resample
from leadlight.ecg.leads import LEADS, as_leads
from leadlight.ecg.recording import Recording
from leadlight.ecg.rpeaks import find_r_peaks

RATE_HZ, SAMPLES = 400.0, 4096
BEFORE, AFTER = 160, 240  # samples of the average beat's window around R
BASELINE_LOGIT = {"trained": -2.0, "random": 0.1}
GROUPS = {"AF": "AFIB", "LBBB": "CLBBB", "NORM": "NORM"}
BUMPS_MS = {"AF": (-160, 30.0, -1.0), "LBBB": (40, 40.0, 1.5)}  # centre, width, height
HEAVY_LEAD = {"AF": "V1", "LBBB": "aVL"}
THRESHOLD = 0.5


@pytest.fixture(scope="session")
def real_recordings(shared_data: Path) -> dict[str, list[Recording]]:
    """A few PTB-XL recordings per group, the group by SCP code."""
    chosen: dict[str, list[Recording]] = {group: [] for group in GROUPS}
    with (shared_data / "ptbxl" / "ptbxl_database.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            codes = ast.literal_eval(row["scp_codes"])
            file = shared_data / "ptbxl" / row["filename_hr"]
            if not file.with_suffix(".hea").is_file():
                continue
            for group, code in GROUPS.items():
                if code in codes and len(chosen[group]) < 12:
                    chosen[group].append(_read(file, row))
                    break
    return chosen


@pytest.fixture(scope="session")
def one_recording(real_recordings: dict[str, list[Recording]]) -> Recording:
    return real_recordings["NORM"][0]


@pytest.fixture(scope="session")
def whole_study(
    real_recordings: dict[str, list[Recording]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A study with everything: cohort, rejects, scores, findings, relevance. Read only."""
    return write_study(tmp_path_factory.mktemp("whole"), real_recordings)


@pytest.fixture
def make_study(real_recordings: dict[str, list[Recording]], tmp_path: Path) -> Callable[..., Path]:
    """Write a study of one's own: `make_study(rename=..., groups=...)`."""

    def make(
        rename: Callable[[str], str] = str, groups: tuple[str, ...] = ("AF", "LBBB", "NORM"),
        per_group: int = 4, source_format: str = "wfdb",
        classes: tuple[str, ...] = ("AF",),
    ) -> Path:  # fmt: skip
        few = {
            group: [
                replace(r, record_id=rename(r.record_id), source_format=source_format)
                for r in real_recordings[group][:per_group]
            ]
            for group in groups
        }
        return write_study(tmp_path / "study", few, classes)

    return make


def write_study(
    study: Path,
    recordings: dict[str, list[Recording]],
    classes: tuple[str, ...] = ("AF", "LBBB"),
) -> Path:
    with CohortWriter(study) as writer:
        for group, members in recordings.items():
            for recording in members:
                writer.add(recording, (group,), split="test")
        writer.reject("broken.hea", "The file is empty.", "Copy it again.")
        writer.reject("short.hea", "The file is empty.", "Copy it again.")
    rows, beats, relevance = [], [], []
    for group, members in recordings.items():
        for number, recording in enumerate(members):
            values, r_peaks, signal = _as_seen(recording)
            both = []
            for name in classes:
                for model in ("trained", "random"):
                    field = _relevance(name, model, group, number, values, r_peaks)
                    rows.append(_record_row(recording, group, name, model, number, field))
                    beats.append((name, group, model, _beats(signal, field, r_peaks)))
                    if model == "trained":
                        both.append(field)
            relevance.append((recording.record_id, np.stack(both)))
    findings = study / "findings"
    findings.mkdir()
    records = pl.DataFrame(rows)
    shares = records.drop("share", "signed")
    shares.write_parquet(findings / "records.parquet")
    leads = _lead_table(records)
    if leads.height:
        leads.write_parquet(findings / "leads.parquet")
    _beat_table(beats).write_parquet(findings / "beats.parquet")
    (findings / "summary.json").write_text(
        json.dumps(
            {
                "model": "test-card",
                "classes": list(classes),
                "counts": {"excluded": {"too-short": 1}},
                "completeness_error": {"median": 0.002, "p90": 0.008, "max": 0.016},
            }
        )
    )
    _write_relevance(study / "relevance.zarr", relevance, classes)
    _write_scores(study / "classify" / "test-card", recordings)
    return study


def _read(file: Path, row: dict[str, str]) -> Recording:
    record = wfdb.rdrecord(str(file))
    return Recording(
        signal_mv=as_leads(record.p_signal.T.astype(np.float32)),
        rate_hz=float(record.fs),
        record_id=file.name,
        patient_id=row["patient_id"].split(".")[0],
        source_format="wfdb",
    )


def _as_seen(recording: Recording) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lead, 4096) at 400 Hz with zeros on both sides, R in those samples."""
    at_rate = resample(recording.signal_mv, recording.rate_hz, RATE_HZ)
    values = np.zeros((12, SAMPLES))
    before = (SAMPLES - at_rate.sizes["sample"]) // 2
    values[:, before : before + at_rate.sizes["sample"]] = at_rate.values
    return values, find_r_peaks(at_rate, RATE_HZ) + before, values


def _relevance(
    name: str, model: str, group: str, number: int, values: np.ndarray, r_peaks: np.ndarray
) -> np.ndarray:
    time_ms = (np.arange(SAMPLES)[:, None] - r_peaks[None, :]) / RATE_HZ * 1000
    centre, width, height = BUMPS_MS[name]
    shape = height * np.exp(-(((time_ms - centre) / width) ** 2) / 2).sum(axis=1)
    shape += 0.4 * np.exp(-((time_ms / 25) ** 2) / 2).sum(axis=1)
    weights = np.array([2.5 if lead == HEAVY_LEAD[name] else 1.0 for lead in LEADS])
    if group != name:
        weights = np.sqrt(weights)
    if model == "random":
        weights, shape = 0.05 * np.ones(12), np.abs(shape)
    field = weights[:, None] * shape[None, :] * np.abs(values)
    target = {True: 4.0, False: -1.0}[group == name] * (1 + 0.6 * np.sin(3.1 * number + 1))
    if model == "random":
        target = 0.05 * np.sin(number)
    weight = np.abs(values) / np.abs(values).sum()
    return (field - field.sum() * weight + target * weight).astype(np.float32)


def _record_row(
    recording: Recording, group: str, name: str, model: str, number: int, field: np.ndarray
) -> dict[str, object]:
    total = float(field.sum())
    logit = total + BASELINE_LOGIT[model]
    probability = 1 / (1 + np.exp(-logit))
    called, truth = probability >= THRESHOLD, group == name
    size = np.abs(field).sum(axis=1)
    return {
        "record_id": recording.record_id, "patient_id": recording.patient_id, "split": "test",
        "trained_on": group == "LBBB" and number == 0, "group": group, "class": name,
        "model": model, "logit": logit, "probability": float(probability),
        "baseline_logit": BASELINE_LOGIT[model], "total_relevance": total,
        "mean_relevance": float(field.mean()), "completeness_error": 0.002,
        "outcome": {(1, 1): "TP", (0, 1): "FN", (1, 0): "FP", (0, 0): "TN"}[called, truth],
        "share": (size / size.sum()).tolist(), "signed": field.mean(axis=1).tolist(),
    }  # fmt: skip


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    spread = 1.96 * values.std() / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - spread), float(values.mean() + spread)


def _lead_table(records: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for name in ("AF", "LBBB"):
        for model in ("trained", "random"):
            part = records.filter((pl.col("class") == name) & (pl.col("model") == model))
            cases = part.filter(pl.col("group") == name)
            controls = part.filter(pl.col("group") == "NORM")
            if not cases.height or not controls.height:
                continue
            for measure, column in (("absolute_share", "share"), ("mean_relevance", "signed")):
                a, b = (np.array(p[column].to_list()) for p in (cases, controls))
                for row, lead in enumerate(LEADS):
                    sign = np.sign(a[:, row][:, None] - b[:, row][None, :])
                    delta = float(sign.mean())
                    case, control = _interval(a[:, row]), _interval(b[:, row])
                    rows.append(
                        {
                            "class": name, "model": model, "measure": measure, "lead": lead,
                            "mean_case": case[0], "mean_case_low": case[1],
                            "mean_case_high": case[2], "mean_control": control[0],
                            "mean_control_low": control[1], "mean_control_high": control[2],
                            "n_case_records": cases.height,
                            "n_case_patients": cases["patient_id"].n_unique(),
                            "n_control_records": controls.height,
                            "n_control_patients": controls["patient_id"].n_unique(),
                            "cliffs_delta": delta, "cliffs_delta_low": max(delta - 0.3, -1.0),
                            "cliffs_delta_high": min(delta + 0.3, 1.0),
                            "p_value": float(np.exp(-6 * abs(delta))),
                            "q_value": float(min(1.0, 2 * np.exp(-6 * abs(delta)))),
                        }
                    )  # fmt: skip
    return pl.DataFrame(rows)


def _beats(signal: np.ndarray, field: np.ndarray, r_peaks: np.ndarray) -> np.ndarray:
    """(2, lead, sample): the record's mean beat in mV and its mean relevance."""
    inside = [r for r in r_peaks if r >= BEFORE and r + AFTER < SAMPLES]
    return np.stack(
        [np.mean([v[:, r - BEFORE : r + AFTER] for r in inside], axis=0) for v in (signal, field)]
    )


def _beat_table(beats: list[tuple[str, str, str, np.ndarray]]) -> pl.DataFrame:
    tables = []
    keys = sorted({beat[:3] for beat in beats})
    for key in keys:
        stack = np.stack([b[3] for b in beats if b[:3] == key])  # (record, 2, lead, sample)
        mean, spread = stack.mean(axis=0), 1.96 * stack.std(axis=0) / np.sqrt(len(stack))
        time_ms = np.arange(-BEFORE, AFTER) / RATE_HZ * 1000
        for row, lead in enumerate(LEADS):
            tables.append(
                pl.DataFrame(
                    {
                        "time_ms": time_ms,
                        "mean_mv": mean[0, row], "mv_low": (mean - spread)[0, row],
                        "mv_high": (mean + spread)[0, row], "mean_relevance": mean[1, row],
                        "relevance_low": (mean - spread)[1, row],
                        "relevance_high": (mean + spread)[1, row],
                    }
                ).with_columns(
                    pl.lit(key[0]).alias("class"), pl.lit(key[1]).alias("group"),
                    pl.lit(key[2]).alias("model"), pl.lit(lead).alias("lead"),
                    pl.lit(10 * len(stack)).alias("n_beats"), pl.lit(len(stack)).alias("n_records"),
                    pl.lit(len(stack)).alias("n_patients"),
                )
            )  # fmt: skip
    return pl.concat(tables)


def _write_relevance(
    path: Path, fields: list[tuple[str, np.ndarray]], classes: tuple[str, ...]
) -> None:
    array = xr.DataArray(
        np.stack([field for _, field in fields]),
        dims=("record", "class", "lead", "sample"),
        coords={
            "record_id": ("record", np.array([name for name, _ in fields], dtype=object)),
            "class": np.array(classes, dtype=object),
            "lead": np.array(LEADS, dtype=object),
        },
        name="relevance",
    )
    dataset = array.to_dataset()
    dataset.attrs.update(rate_hz=RATE_HZ, model="test-card", unit="logit")
    dataset.to_zarr(path, zarr_format=3, consolidated=False)


def _write_scores(folder: Path, recordings: dict[str, list[Recording]]) -> None:
    folder.mkdir(parents=True)
    n = sum(len(members) for members in recordings.values())

    def figure(value: float) -> dict[str, object]:
        return {"value": value, "low": value - 0.1, "high": min(value + 0.05, 1.0)}

    scores = {
        "classes": ["AF", "LBBB"],
        "thresholds": {
            name: {"value": 0.4, "source": "validation", "reason": "largest F1"}
            for name in ("AF", "LBBB")
        },
        "splits": {
            "test": {
                "n_records": n,
                "n_patients": n,
                "classes": {
                    name: {
                        "n_records": n, "n_patients": n,
                        "n_positive_records": len(recordings.get(name, [])),
                        "n_positive_patients": len(recordings.get(name, [])), "threshold": 0.4,
                        "auroc": figure(0.93), "auprc": figure(0.8),
                        "f1": {"value": None, "low": None, "high": None},
                        "sensitivity": figure(0.9), "specificity": figure(0.95),
                        "ppv": figure(0.7),
                    }
                    for name in ("AF", "LBBB")
                },
            }
        },
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores))


__all__ = ["open_cohort", "write_study"]

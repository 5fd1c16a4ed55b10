"""Median beats as a network sees them: eight independent leads, and which samples are the beat's.

Above some 75 beats a minute the window of 1.2 s also holds waves of the neighbouring beats, at a
distance that the heart rate sets. They say nothing about this beat's shape, so samples that belong
to a neighbour are left out: the network sees zero there, and is not asked for them. No beat is
stretched.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import zarr

from leadlight.atomic import write_json, written_whole
from leadlight.cohort import beats as store
from leadlight.cohort.signals import MISSING, UV_PER_MV
from leadlight.cohort.store import open_cohort
from leadlight.ecg.leads import DERIVED_FROM_I_II, INDEPENDENT_LEADS, LEADS
from leadlight.ecg.median_beat import R_SAMPLE, RATE_HZ, SAMPLES
from leadlight.ecg.quality import excludes
from leadlight.errors import LeadlightError
from leadlight.provenance import fingerprint

# Wave limits on the median beat, the columns of `Beats.limits`.
LIMITS = ("p_onset", "p_offset", "qrs_onset", "qrs_offset", "t_onset", "t_offset")
WAVES = ("P", "PR", "QRS", "ST", "T", "TP")

_ROWS = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]
_CHUNK = 1024
# From QRS onset to R, the width of what a next P or QRS needs for itself, and QT over RR where QT
# is not known, in ms; typical adult values, only used to find where a neighbour begins.
_QRS_TO_R_MS, _MARGIN_MS, _QRS_ALONE_MS, _QT_SHARE = 40.0, 20.0, 80.0, 0.6
_UNKNOWN_RR_MS = 2000.0
# Own samples never end closer to R than this.
_LEAST_BEFORE, _LEAST_AFTER = 60, 75


@dataclass(frozen=True)
class Beats:
    """The usable median beats of one or more studies.

    Attributes:
        microvolts: (record, lead of INDEPENDENT_LEADS, sample) int16, in memory or memory-mapped.
        own: (record, 2) int16, first and last-plus-one sample that are no neighbour's.
        limits: (record, limit of LIMITS) float32 in samples of the median beat; NaN where absent.
        records: one row per record: `record_id, patient_id, study, split, fold, labels, age, sex`.
    """

    microvolts: npt.NDArray[np.int16]
    own: npt.NDArray[np.int16]
    limits: npt.NDArray[np.float32]
    records: pl.DataFrame

    def __len__(self) -> int:
        return len(self.own)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> "Beats":
        """The beats of these rows, in memory."""
        at = np.asarray(rows, dtype=np.int64)
        return Beats(self.microvolts[at], self.own[at], self.limits[at], self.records[at.tolist()])

    def of_split(self, *splits: str) -> "Beats":
        """The beats of the records in these splits."""
        return self.take(np.flatnonzero(self.records["split"].is_in(list(splits)).to_numpy()))

    def millivolts(
        self, rows: slice | npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """(record, lead, sample) float32 in mV and (record, sample) whether own, of these rows."""
        beats_mv = self.microvolts[rows].astype(np.float32) / np.float32(UV_PER_MV)
        return beats_mv, own_mask(self.own[rows])


def own_mask(own: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    """(record, sample) whether a sample is the beat's own, from (record, 2) first and end."""
    at = np.arange(SAMPLES)
    return np.asarray((at >= own[:, :1]) & (at < own[:, 1:]))


def own_samples(measurements: pl.DataFrame) -> npt.NDArray[np.int16]:
    """(record, 2) the samples that belong to no neighbouring beat.

    From the end of the T before (R − RR + QT) to the onset of the P after (R + RR − PR), or to the
    QRS after where there is no P; nearer by as much as RR varies. The whole window where RR is not
    known.

    Args:
        measurements: with `rr_ms`, `rr_sd_ms`, `pr_ms` and `qt_ms`, null or NaN where absent.
    """
    rr, spread, pr, qt = (
        measurements[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for name in ("rr_ms", "rr_sd_ms", "pr_ms", "qt_ms")
    )
    rr = np.where(np.isfinite(rr), rr, _UNKNOWN_RR_MS)
    spread = np.clip(np.nan_to_num(spread), 0.0, 150.0)
    has_p = np.isfinite(pr)
    next_wave = np.where(
        has_p, np.nan_to_num(pr) + _QRS_TO_R_MS + _MARGIN_MS + 0.5 * spread,
        _QRS_ALONE_MS + 1.5 * spread,
    )  # fmt: skip
    qt = np.where(np.isfinite(qt), qt, _QT_SHARE * rr)
    after = (rr - next_wave) * RATE_HZ / 1e3
    before = (rr - qt) * RATE_HZ / 1e3
    # The own P wave always stays, also where it rides on the T before it.
    own_p = (np.nan_to_num(pr) + _QRS_TO_R_MS) * RATE_HZ / 1e3 + 5
    before = np.maximum(before, np.where(has_p, own_p, _LEAST_BEFORE))
    start = np.clip(R_SAMPLE - before, 0, R_SAMPLE - _LEAST_BEFORE)
    stop = np.clip(R_SAMPLE + after, R_SAMPLE + _LEAST_AFTER, SAMPLES)
    return np.stack([start, stop], axis=1).round().astype(np.int16)


def save_beats(beats: Beats, folder: Path) -> None:
    """Write beats into a folder that `gather_beats` and `leadlight latent train` read."""
    with written_whole(folder) as partial:
        partial.mkdir(parents=True)
        np.save(partial / "beats.npy", beats.microvolts)
        np.savez(partial / "own.npz", own=beats.own, limits=beats.limits)
        beats.records.write_parquet(partial / "records.parquet")


def load_beats(folder: Path) -> Beats:
    """The beats of such a folder, memory-mapped."""
    microvolts = np.load(folder / "beats.npy", mmap_mode="r")
    with np.load(folder / "own.npz") as small:
        own, limits = small["own"], small["limits"]
    return Beats(microvolts, own, limits, pl.read_parquet(folder / "records.parquet"))


def gather_beats(studies: Sequence[Path], cache: Path) -> Beats:
    """The median beats of studies that have been measured, in a cache that is memory-mapped.

    Left out are records without a whole median beat in the independent leads, and those that a
    quality flag excludes (`leadlight.ecg.quality.excludes`).

    Args:
        studies: study folders with `beats.zarr`, or folders that `save_beats` wrote.
        cache: folder for the cache; made again only where a study's measurements have changed.

    Raises:
        LeadlightError: a study has no median beats, or no record is left.
    """
    return concatenate([_cached(study, cache / study.resolve().name) for study in studies])


def concatenate(parts: Sequence[Beats]) -> Beats:
    """Several sets of beats as one, in memory unless there is only one."""
    if len(parts) == 1:
        return parts[0]
    return Beats(
        np.concatenate([part.microvolts for part in parts]),
        np.concatenate([part.own for part in parts]),
        np.concatenate([part.limits for part in parts]),
        pl.concat([part.records for part in parts]),
    )


def beats_of_arrays(
    beats_mv: npt.NDArray[np.float32],
    records: pl.DataFrame,
    own: npt.NDArray[np.int16] | None = None,
    limits: npt.NDArray[np.float32] | None = None,
) -> Beats:
    """Beats that lie in memory already.

    Args:
        beats_mv: (record, lead of INDEPENDENT_LEADS, sample) in millivolt.
        records: see `Beats.records`; `record_id` is enough.
        own: the whole window where None.
        limits: unknown where None.
    """
    n = len(beats_mv)
    bounded = np.clip(np.rint(beats_mv * UV_PER_MV), -32767, 32767).astype(np.int16)
    if own is None:
        own = np.tile(np.array([0, SAMPLES], dtype=np.int16), (n, 1))
    if limits is None:
        limits = np.full((n, len(LIMITS)), np.nan, dtype=np.float32)
    return Beats(bounded, own, limits, _complete(records))


def stream_beats(
    study: Path, chunk: int = _CHUNK
) -> Iterator[tuple[range, npt.NDArray[np.int16], npt.NDArray[np.int16], npt.NDArray[np.bool_]]]:
    """All records of a study, neighbours together, with flat memory.

    Yields:
        The rows, the beats (record, lead of INDEPENDENT_LEADS, sample) int16 in µV, the own
        samples (record, 2), and (record,) whether the beat is whole.
    """
    group = _open_group(study)
    array = group["median_beat"]
    assert isinstance(array, zarr.Array)
    n = array.shape[0]
    measurements = _measurements(study, n)
    for low in range(0, n, chunk):
        rows = range(low, min(low + chunk, n))
        stored = np.asarray(array[rows.start : rows.stop])[:, _ROWS]
        whole = np.asarray((stored != MISSING).all(axis=(1, 2)))
        own = own_samples(measurements[rows.start : rows.stop])
        yield rows, np.where(whole[:, None, None], stored, np.int16(0)), own, whole


def twelve_leads(independent: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(…, lead of LEADS, sample) in float64 from (…, lead of INDEPENDENT_LEADS, sample).

    The derived leads are I and II with the algebra's weights, computed once and from nothing else,
    so that the algebra holds without residual when it is computed the same way.
    """
    values = np.asarray(independent, dtype=np.float64)
    row = {name: values[..., place, :] for place, name in enumerate(INDEPENDENT_LEADS)}
    for name, (of_one, of_two) in DERIVED_FROM_I_II.items():
        row[name] = of_one * row["I"] + of_two * row["II"]
    return np.stack([row[name] for name in LEADS], axis=-2)


def wave_masks(beats: Beats) -> npt.NDArray[np.bool_]:
    """(record, wave of WAVES, sample) which own samples lie in which wave.

    PR is from the end of P to QRS, ST from QRS to the onset of T, TP all that is left; a wave whose
    limits are not known has no samples.
    """
    at = np.arange(SAMPLES)[None, :]
    edge = {name: beats.limits[:, place][:, None] for place, name in enumerate(LIMITS)}
    own = own_mask(beats.own)
    masks = {
        "P": (at >= edge["p_onset"]) & (at <= edge["p_offset"]),
        "PR": (at > edge["p_offset"]) & (at < edge["qrs_onset"]),
        "QRS": (at >= edge["qrs_onset"]) & (at <= edge["qrs_offset"]),
        "ST": (at > edge["qrs_offset"]) & (at < edge["t_onset"]),
        "T": (at >= edge["t_onset"]) & (at <= edge["t_offset"]),
    }
    before = np.where(np.isfinite(edge["p_onset"]), edge["p_onset"], edge["qrs_onset"])
    masks["TP"] = (at < before) | (at > edge["t_offset"])
    return np.stack([masks[wave] & own for wave in WAVES], axis=1)


def read_limits(study: Path, record_ids: Sequence[str]) -> npt.NDArray[np.float32]:
    """(record, limit of LIMITS) in samples of the median beat, from the study's fiducials.

    The median over a record's beats of each limit's distance from the QRS reference.
    """
    path = study / "fiducials.parquet"
    if not path.exists():
        return np.full((len(record_ids), len(LIMITS)), np.nan, dtype=np.float32)
    rates = pl.scan_parquet(study / "records.parquet").select("record_id", "rate_hz")
    waves = pl.scan_parquet(path).filter(pl.col("lead") == "global").select(
        "record_id", "beat", "wave", "onset", "peak", "offset"
    )  # fmt: skip
    reference = waves.filter(pl.col("wave") == "QRS").select("record_id", "beat", r="peak")
    from_r = [
        ((pl.col(point).fill_nan(None) - pl.col("r")) * RATE_HZ / pl.col("rate_hz") + R_SAMPLE)
        .filter(pl.col("wave") == wave)
        .median()
        .alias(f"{wave.lower()}_{point}")
        for wave in ("P", "QRS", "T")
        for point in ("onset", "offset")
    ]
    table = (
        waves.join(reference, on=["record_id", "beat"])
        .join(rates, on="record_id")
        .group_by("record_id")
        .agg(from_r)
        .collect(engine="streaming")
    )
    wanted = pl.DataFrame({"record_id": list(record_ids)})
    return (
        wanted.join(table, on="record_id", how="left", maintain_order="left")
        .select(LIMITS)
        .cast(pl.Float32)
        .fill_null(float("nan"))
        .to_numpy()
    )


def _cached(study: Path, folder: Path) -> Beats:
    if (study / "beats.npy").exists():
        return load_beats(study)
    if not (study / "measurements.parquet").exists():
        _open_group(study)
    key = {"layout": 1, "measurements": fingerprint(study / "measurements.parquet")}
    if not _holds(folder, key):
        _write_cache(study, folder, key)
    return load_beats(folder)


def _write_cache(study: Path, folder: Path, key: dict[str, object]) -> None:
    cohort = open_cohort(study)
    flags = cohort.records["flags"].to_list()
    usable = np.array([not excludes(of_record or ()) for of_record in flags], dtype=np.bool_)
    keep, own_parts = [], []
    with written_whole(folder) as partial:
        partial.mkdir(parents=True)
        n_most = int(usable.sum())
        shape = (n_most, len(INDEPENDENT_LEADS), SAMPLES)
        out = np.lib.format.open_memmap(partial / "all.npy", mode="w+", dtype=np.int16, shape=shape)
        n = 0
        for rows, stored, own, whole in stream_beats(study):
            good = whole & usable[rows.start : rows.stop]
            out[n : n + good.sum()] = stored[good]
            n += int(good.sum())
            own_parts.append(own[good])
            keep += (np.flatnonzero(good) + rows.start).tolist()
        out.flush()
        if not keep:
            raise LeadlightError(
                f"No record of {study} has a whole median beat and no excluding flag."
            )
        records = cohort.records[keep]
        np.save(partial / "beats.npy", out[:n]) if n < n_most else (partial / "all.npy").rename(
            partial / "beats.npy"
        )
        (partial / "all.npy").unlink(missing_ok=True)
        limits = read_limits(study, records["record_id"].to_list())
        np.savez(partial / "own.npz", own=np.concatenate(own_parts), limits=limits)
        named = records.with_columns(pl.lit(study.resolve().name).alias("study"))
        _complete(named).write_parquet(partial / "records.parquet")
        write_json(partial / "key.json", key)


_COLUMNS = {
    "record_id": pl.String(), "patient_id": pl.String(), "study": pl.String(),
    "split": pl.String(), "fold": pl.Int64(), "labels": pl.List(pl.String()),
    "age": pl.Float64(), "sex": pl.String(),
}  # fmt: skip


def _complete(records: pl.DataFrame) -> pl.DataFrame:
    """The columns of `Beats.records`; who a patient is not known for is a patient of their own."""
    absent = [
        pl.lit(None).cast(kind).alias(name)
        for name, kind in _COLUMNS.items()
        if name not in records.columns
    ]
    table = records.with_columns(absent).select(
        pl.col(name).cast(kind) for name, kind in _COLUMNS.items()
    )
    return table.with_columns(pl.col("patient_id").fill_null(pl.col("record_id")))


def _holds(folder: Path, key: dict[str, object]) -> bool:
    try:
        return bool(json.loads((folder / "key.json").read_text(encoding="utf-8")) == key)
    except (OSError, ValueError):
        return False


def _open_group(study: Path) -> zarr.Group:
    if not (study / "beats.zarr").is_dir():
        raise LeadlightError(
            f"{study} holds no median beats.",
            advice=f"Make them: leadlight measure --study {study}",
        )
    return store.open_store(study / "beats.zarr")


def _measurements(study: Path, n: int) -> pl.DataFrame:
    names = ["rr_ms", "rr_sd_ms", "pr_ms", "qt_ms"]
    path = study / "measurements.parquet"
    if path.exists():
        return pl.read_parquet(path, columns=names)
    return pl.DataFrame(
        {name: [None] * n for name in names}, schema=dict.fromkeys(names, pl.Float64())
    )

"""Encode a study, or files that hold a cart's own median beat, into `factors.parquet`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from leadlight.atomic import refuse_overwrite, write_json, written_whole
from leadlight.cohort.signals import UV_PER_MV
from leadlight.cohort.store import open_cohort
from leadlight.ecg.cart_beat import cart_median_beat
from leadlight.ecg.formats import find_recordings, read_recording
from leadlight.ecg.leads import INDEPENDENT_LEADS
from leadlight.errors import LeadlightError, UnreadableRecording
from leadlight.latent.beats import Beats, beats_of_arrays, gather_beats, own_samples, stream_beats
from leadlight.latent.choosing import match_factors
from leadlight.latent.decoder_file import ensure_decoder
from leadlight.latent.model import Encoding, LatentModel
from leadlight.latent.settings import LatentSettings
from leadlight.latent.training import train
from leadlight.progress import bar, say
from leadlight.provenance import describe

_CHUNK = 1024
# Where a cart's beat is taken to be at rest: 60 to 40 ms before R.
_LEVEL = slice(195, 205)


@dataclass(frozen=True)
class EncodeSummary:
    """What was encoded.

    Attributes:
        path: of `factors.parquet`.
        n_records: rows.
        n_encoded: with factors; the others had no whole median beat.
        n_flagged: with at least one out-of-distribution flag.
        flags: how many records have each.
    """

    path: Path
    n_records: int
    n_encoded: int
    n_flagged: int
    flags: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """The summary as a JSON-ready mapping."""
        return {**asdict(self), "path": str(self.path)}


def encode_study(
    study: Path, model: LatentModel, *, overwrite: bool = False, out: Path | None = None
) -> EncodeSummary:
    """Factors of every record of a study, streamed: memory does not grow with it.

    Writes `latent/<model>/factors.parquet`: `record_id`, one column per factor (null where there is
    no whole median beat), `error_uv` (root mean square, own samples), `distance` (Mahalanobis),
    `flags` (see `flags_of`), `factors-provenance.json`, and the decoder for pages
    (`decoder_file.py`), which stays out where `out` says another place.

    Raises:
        LeadlightError: the study has no median beats, or factors are there already.
    """
    target = out or study / "latent" / model.card.model.name / "factors.parquet"
    refuse_overwrite(target, overwrite)
    names = open_cohort(study).records["record_id"].to_list()

    def chunks() -> Iterator[pl.DataFrame]:
        with bar("Encoding", len(names)) as progress:
            for rows, stored, own, whole in stream_beats(study, _CHUNK):
                found = model.encode(stored.astype(np.float32) / np.float32(UV_PER_MV), own)
                yield factor_table(model, found, names[rows.start : rows.stop], whole)
                progress.step(len(rows))

    summary = _write(target, model, chunks(), [study / "measurements.parquet"])
    if out is None:
        ensure_decoder(study, model)
    return summary


def encode_files(
    sources: Sequence[Path], model: LatentModel, out: Path, *, overwrite: bool = False
) -> EncodeSummary:
    """Factors of the median beats that a cart wrote into its files (UK Biobank's XML, say).

    The cart's samples are used as they are, with R moved to where the model expects it and the
    level before the QRS set to zero. Files without a median beat get a row without factors.
    """
    refuse_overwrite(out, overwrite)
    files = [path for source in sources for path in find_recordings(source)]
    if not files:
        raise LeadlightError("No recordings were found.", advice="Give files or folders of them.")

    def chunks() -> Iterator[pl.DataFrame]:
        with bar("Encoding", len(files)) as progress:
            for low in range(0, len(files), _CHUNK):
                part = [_cart_beat(path) for path in files[low : low + _CHUNK]]
                beats = np.stack([one[1] for one in part])
                whole = np.asarray(np.isfinite(beats).all(axis=(1, 2)), dtype=np.bool_)
                own = own_samples(pl.DataFrame([one[2] for one in part]))
                found = model.encode(np.nan_to_num(beats), own)
                yield factor_table(model, found, [one[0] for one in part], whole)
                progress.step(len(part))

    return _write(out, model, chunks(), [])


def flags_of(model: LatentModel, found: Encoding) -> list[list[str]]:
    """Per record: "unusual-beat" where the model cannot draw it, "far" where its factors are.

    The limits are the card's `typical`: the 99th percentiles of records that the model was not
    fitted to.
    """
    typical = model.card.typical
    return [
        (["unusual-beat"] if error > typical.error_uv else [])
        + (["far"] if distance > typical.distance else [])
        for error, distance in zip(found.error_uv.tolist(), found.distance.tolist(), strict=True)
    ]


def factor_table(
    model: LatentModel,
    found: Encoding,
    record_ids: Sequence[str],
    whole: npt.NDArray[np.bool_],
) -> pl.DataFrame:
    """`record_id`, the factors, `error_uv`, `distance`, `flags`; null factors where not whole."""
    blank = np.where(whole[:, None], found.factors, np.float32(np.nan))
    flags = [
        of_record if is_whole else ["no-median-beat"]
        for of_record, is_whole in zip(flags_of(model, found), whole, strict=True)
    ]
    missing = np.float32(np.nan)
    return pl.DataFrame(
        {
            "record_id": list(record_ids),
            **{name: blank[:, place] for place, name in enumerate(model.names)},
            "error_uv": np.where(whole, found.error_uv, missing),
            "distance": np.where(whole, found.distance, missing),
            "flags": flags,
        },
        schema_overrides={"flags": pl.List(pl.String())},
    ).with_columns(pl.col(pl.Float32).fill_nan(None))


def encode_out_of_fold(
    study: Path,
    model: LatentModel,
    settings: LatentSettings,
    folds: int,
    *,
    others: Sequence[Path] = (),
    cache: Path,
    overwrite: bool = False,
) -> tuple[EncodeSummary, pl.DataFrame]:
    """Factors of each person from a model that was fitted without this person.

    People are dealt into folds by name; for each fold a model is trained on the others (and on
    `others`), its factors are matched to `model`'s on the people that it was trained on, with sign,
    and the fold is encoded. `fold` is a column of the result.

    Returns:
        The summary, and a table `fold, factor, r`: how well each factor matched.
    """
    if folds < 2:
        raise LeadlightError(f"{folds} folds were asked for.", advice="Ask for two or more.")
    target = study / "latent" / model.card.model.name / "factors.parquet"
    refuse_overwrite(target, overwrite)
    beats = gather_beats([study], cache)
    patients = np.unique(beats.records["patient_id"].to_numpy())
    dealt = np.random.default_rng(settings.seed).permutation(len(patients)) % folds
    fold_of = dict(zip(patients.tolist(), dealt.tolist(), strict=True))
    fold = np.array([fold_of[who] for who in beats.records["patient_id"]])
    own_factors = model.encode_all(beats).factors
    tables, matches = [], []
    for number in range(folds):
        held = frozenset(who for who, of in fold_of.items() if of == number)
        say(f"Fold {number + 1} of {folds}: {len(held)} people are held out.")
        trained = train(
            [study, *others],
            cache / f"fold-{number}-of-{folds}",
            replace(settings, name=f"{model.card.model.name}-fold-{number}"),
            cache=cache,
            exclude_patients=held,
            resume=True,
            overwrite=True,
        )
        inside = np.flatnonzero(fold != number)
        partner, r = match_factors(
            own_factors[inside].astype(np.float64),
            trained.model.encode_all(beats.take(inside)).factors.astype(np.float64),
        )
        outside = beats.take(np.flatnonzero(fold == number))
        found = trained.model.encode_all(outside)
        has = partner >= 0
        matched = np.where(has, found.factors[:, partner] * np.sign(r), np.nan)
        found = replace(found, factors=matched.astype(np.float32))
        names = outside.records["record_id"].to_list()
        table = factor_table(model, found, names, np.ones(len(outside), dtype=np.bool_))
        tables.append(table.with_columns(pl.lit(number).alias("fold")))
        matches += [
            (number, name, float(abs(one))) for name, one in zip(model.names, r, strict=True)
        ]
    summary = _write(target, model, iter(tables), [study / "measurements.parquet"])
    matched_table = pl.DataFrame(matches, schema=["fold", "factor", "r"], orient="row")
    with written_whole(target.with_name("fold-matches.parquet")) as partial:
        matched_table.write_parquet(partial)
    ensure_decoder(study, model)
    return summary, matched_table


def cart_beats(files: Sequence[Path]) -> Beats:
    """The cart's own median beats of files, where they hold one, as beats."""
    part = [_cart_beat(path) for path in files]
    beats = np.stack([one[1] for one in part])
    whole = np.isfinite(beats).all(axis=(1, 2))
    own = own_samples(pl.DataFrame([one[2] for one in part]))
    records = pl.DataFrame({"record_id": [one[0] for one in part]})
    kept = np.flatnonzero(whole)
    return beats_of_arrays(beats[kept], records[kept.tolist()], own[kept])


def _cart_beat(path: Path) -> tuple[str, npt.NDArray[np.float32], dict[str, float]]:
    """Name, beat (all NaN where there is none) and the intervals that say which samples are own."""
    empty = np.full((len(INDEPENDENT_LEADS), 600), np.nan, dtype=np.float32)
    unknown = dict.fromkeys(("rr_ms", "rr_sd_ms", "pr_ms", "qt_ms"), float("nan"))
    try:
        recording = read_recording(path)
        beat = cart_median_beat(recording).beat_mv.sel(lead=list(INDEPENDENT_LEADS)).values
    except UnreadableRecording:
        return path.stem, empty, unknown
    except LeadlightError:
        return recording.record_id, empty, unknown
    level = beat[:, _LEVEL].mean(axis=1, keepdims=True)
    found = recording.cart_measurements
    return recording.record_id, beat - level, {
        name: float(found.get(name, float("nan"))) for name in unknown
    }  # fmt: skip


def _write(
    target: Path, model: LatentModel, chunks: Iterator[pl.DataFrame], inputs: Sequence[Path]
) -> EncodeSummary:
    n, encoded, flagged = 0, 0, 0
    counts: dict[str, int] = {}
    with written_whole(target) as partial:
        writer: pq.ParquetWriter | None = None
        for chunk in chunks:
            table = chunk.to_arrow()
            writer = writer or pq.ParquetWriter(partial, table.schema)
            writer.write_table(table.cast(writer.schema))
            n += chunk.height
            encoded += chunk.height - chunk["error_uv"].null_count()
            flagged += int((chunk["flags"].list.len() > 0).sum())
            for flag in chunk["flags"].explode().drop_nulls():
                counts[flag] = counts.get(flag, 0) + 1
        if writer is None:
            raise LeadlightError("There is no record to encode.")
        writer.close()
    parameters = {"model": model.card.model.name, "weights": model.card.model.weights_sha256}
    provenance = describe("latent encode", parameters, inputs)
    write_json(target.with_name(f"{target.stem}-provenance.json"), provenance)
    return EncodeSummary(target, n, encoded, flagged, counts)

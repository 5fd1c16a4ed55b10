"""Predictions of an unfinished `classify`, kept so that a run that was cut off goes on.

`.classify.partial/<model>/` holds `key.json` (what is being predicted) and one `part-NNNNN.parquet`
for every 512 records: `record_id`, a column of logits per class, and `reason` where the record
cannot be given to the model.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight import __version__
from leadlight.atomic import write_json, written_whole
from leadlight.classify.models import Model
from leadlight.cohort.store import Cohort

PARTIAL = ".classify.partial"
# A multiple of the usual batch, so that batches are the same wherever an earlier run was cut off.
PART_RECORDS = 512
_REASON = "reason"


class Unfinished:
    """The parts that are there, and where new ones go. One process at a time has the folder."""

    def __init__(
        self, cohort: Cohort, model: Model, rows: Sequence[int], batch: int, device: str
    ) -> None:
        """Take up what an earlier run of the same left; what there is of another is dropped."""
        self.folder = cohort.study / PARTIAL / model.card.model.name
        self._classes = tuple(model.card.output.classes)
        self._schema = {
            "record_id": pl.String(),
            **{f"logit {name}": pl.Float32() for name in self._classes},
            _REASON: pl.String(),
        }
        key = _key(cohort, model, rows, batch, device)
        if self._read_key() != key:
            self.remove()
            self.folder.mkdir(parents=True)
            write_json(self.folder / "key.json", key)

    def has(self, part: int) -> bool:
        """Whether a part is there, whole and readable."""
        try:
            return pl.read_parquet_schema(self._path(part)) == self._schema
        except (OSError, pl.exceptions.PolarsError):
            return False

    def keep(
        self,
        part: int,
        record_ids: Sequence[str],
        logits: npt.NDArray[np.float32],
        refused: Sequence[tuple[str, str]],
    ) -> None:
        """Keep a part. logits: (record, class), of the records that the model could take."""
        predicted: dict[str, Any] = {"record_id": list(record_ids)}
        predicted |= {
            f"logit {name}": logits[:, column] for column, name in enumerate(self._classes)
        }
        names = [name for name, _ in refused]
        table = pl.concat(
            [
                pl.DataFrame(predicted, schema_overrides=_cut(self._schema, predicted)),
                pl.DataFrame(
                    {"record_id": names, _REASON: [reason for _, reason in refused]},
                    schema_overrides=_cut(self._schema, ("record_id", _REASON)),
                ),
            ],
            how="diagonal",
        ).select(*self._schema)
        with written_whole(self._path(part)) as partial:
            table.write_parquet(partial)

    def join(self, parts: int) -> tuple[list[str], npt.NDArray[np.float32], list[tuple[str, str]]]:
        """Of all parts: names and logits (record, class) predicted; names and reasons refused."""
        table = pl.concat(
            [pl.DataFrame(schema=self._schema)]
            + [pl.read_parquet(self._path(part)) for part in range(parts)]
        )
        predicted = table.filter(pl.col(_REASON).is_null())
        columns = [f"logit {name}" for name in self._classes]
        logits = np.ascontiguousarray(predicted.select(columns).to_numpy(), dtype=np.float32)
        refused = table.filter(pl.col(_REASON).is_not_null()).select("record_id", _REASON).rows()
        return predicted["record_id"].to_list(), logits.reshape(-1, len(columns)), refused

    def remove(self) -> None:
        """Delete the parts: they are published, or of something else."""
        # First: without it, what a kill leaves of the others is not gone on with.
        (self.folder / "key.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.parquet"

    def _read_key(self) -> Any:
        try:
            return json.loads((self.folder / "key.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def _key(
    cohort: Cohort, model: Model, rows: Sequence[int], batch: int, device: str
) -> dict[str, Any]:
    """What makes the numbers."""
    records = hashlib.sha256()
    chosen = cohort.records[list(rows)]
    for row in chosen.select("record_id", "signal_sha256", "age", "sex").iter_rows():
        records.update(json.dumps(row).encode())
    weights = hashlib.sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        weights.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    key = {
        "layout": 1,
        "version": __version__,
        "records": records.hexdigest(),
        "weights": weights.hexdigest(),
        "card": model.card.model_dump(mode="json"),
        "batch": batch,
        "device": device,
    }
    return dict(json.loads(json.dumps(key)))


def _cut(schema: dict[str, Any], names: Any) -> dict[str, Any]:
    return {name: schema[name] for name in names}

"""What an unfinished explanation leaves in `.explain.partial/`, and how the next run goes on.

The folder holds `key.json` (what is being made), `relevance.zarr`, one `rows-NNNNN.parquet` per
finished shard and `averages.npz` with the running averages and the number of shards that are in
them. The averages are written last: a shard counts once they say so, and what a kill left behind
them is written over. Parts that are explained apart lie in `.explain.parts/` in the same way.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import polars as pl

from leadlight.atomic import put_in_place, write_json, written_whole
from leadlight.locking import take_lock

PARTIAL = ".explain.partial"
PARTS = ".explain.parts"
LOCK = ".explain.lock"
_STORE, _FINDINGS, _READY = "relevance.zarr", "findings", "ready.json"


class Checkpoint:
    """The partial folder of one run, or of one part; one process at a time has it."""

    def __init__(self, study: Path, key: Mapping[str, Any], part: str = "") -> None:
        """Take the folder; what it holds of another key is dropped.

        Args:
            study: the study folder.
            key: what is being made, JSON-ready.
            part: name of a part that is explained apart.

        Raises:
            LeadlightError: another process has it.
        """
        self.study, self.folder = study, study / PARTS / part if part else study / PARTIAL
        lock = f"{LOCK}-{part}" if part else LOCK
        self._lock = take_lock(study / lock, f"explaining {part or 'all'} of {study}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store, self.findings = self.folder / _STORE, self.folder / _FINDINGS
        self.averages: dict[str, npt.NDArray[Any]] = {}
        self.n_shards = 0
        if self._read_key() != json.loads(json.dumps(key)) or not self._take_up():
            (self.folder / "key.json").unlink(missing_ok=True)
            for path in self.folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            write_json(self.folder / "key.json", key)

    @property
    def ready(self) -> bool:
        """Whether all is made and only its move to the final names was cut."""
        return is_ready(self.study)

    def commit(
        self, shards: Sequence[pl.DataFrame], averages: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Count more shards, whose relevance is written already; shards: the rows of each."""
        for number, rows in enumerate(shards, start=self.n_shards):
            with written_whole(self.folder / f"rows-{number:05d}.parquet") as partial:
                rows.write_parquet(partial)
        self.n_shards += len(shards)
        with written_whole(self.folder / "averages.npz") as partial, partial.open("wb") as stream:
            np.savez(stream, n_shards=np.array(self.n_shards), **averages)  # type: ignore[arg-type]

    def shards(self) -> list[pl.DataFrame]:
        """The rows of each finished shard, in order."""
        tables = [self.folder / f"rows-{n:05d}.parquet" for n in range(self.n_shards)]
        return [pl.read_parquet(table) for table in tables]

    def rows(self) -> pl.DataFrame:
        """The rows of all finished shards, in order."""
        return pl.concat(self.shards())

    def publish(self) -> None:
        """Move the results to their final names, the summary last, and drop the folder."""
        write_json(self.folder / _READY, True)
        final = self.study / _FINDINGS
        # A summary beside results of another run would be wrong unnoticed: it goes first.
        if (self.findings / "summary.json").exists():
            (final / "summary.json").unlink(missing_ok=True)
        if self.store.exists():
            put_in_place(self.store, self.study / _STORE)
        final.mkdir(exist_ok=True)
        if self.findings.exists():
            files = sorted(self.findings.iterdir(), key=lambda path: path.name == "summary.json")
            for file in files:
                put_in_place(file, final / file.name)
        # First: without it, what a kill leaves of the others is not gone on with.
        (self.folder / "key.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.study / PARTS, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Leave the folder for a later run."""
        self._lock.close()

    def _take_up(self) -> bool:
        """Read what is finished; whether it is sound."""
        saved = self.folder / "averages.npz"
        if not saved.is_file():
            return True
        try:
            with np.load(saved) as arrays:
                averages = {name: arrays[name] for name in arrays.files}
            n_shards = int(averages.pop("n_shards"))
            for n in range(n_shards):
                pl.read_parquet_schema(self.folder / f"rows-{n:05d}.parquet")
        except (ValueError, KeyError, EOFError, OSError, BadZipFile, pl.exceptions.PolarsError):
            return False
        self.averages, self.n_shards = averages, n_shards
        return True

    def _read_key(self) -> Any:
        try:
            return json.loads((self.folder / "key.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def is_ready(study: Path) -> bool:
    """Whether a finished explanation only waits for its move to the final names."""
    return (study / PARTIAL / _READY).is_file()

"""The store: one folder per run, named by the id of its spec, written whole or not at all.

    <root>/<id>/record.json  curve.csv  predictions.npz  weights.safetensors
    <root>/.work/<id>/checkpoint        of a run that is not finished
    <root>/.work/<id>/failed            its spec and why it failed, until it is trained to its end
    <root>/.locks/<id>                  while a process trains it
    <root>/.images/<key>/               that an SR net restored for a classifier; made again where missing
    <root>/.damaged-<id>-<number>/      a run that was not as it was written

Reports need no weights, which may be left out of what is shared or committed. How runs are read: see
lrbench.store.finished.
"""

from __future__ import annotations

import io
import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store import lock
from lrbench.store.files import TEMPORARY, new_folder, set_aside, write_atomic
from lrbench.store.finished import Finished
from lrbench.store.record_file import sha256, to_bytes
from lrbench.store.runs import CURVE, PREDICTIONS, RECORD, WEIGHTS

__all__ = ["CURVE", "PREDICTIONS", "RECORD", "WEIGHTS", "Store"]

FAILED, CHECKPOINT = "failed", "checkpoint"


class Store(Finished):
    """Finished and unfinished runs under one folder, to read and to write."""

    def get(self, spec: RunSpec, weights: bool = False) -> Record | None:
        """As `Finished.get`, and removes what a process left that was killed between the last steps of `save`."""
        record = super().get(spec, weights)
        if record is not None and self._own.has(spec.id, WEIGHTS):
            self._clear(spec.id)
        return record

    def save(self, record: Record, curve: str, predictions: dict[str, np.ndarray], weights: bytes) -> Record:
        """Write a finished run, replacing one whose weights were left out. Raises OSError."""
        archive = io.BytesIO()
        np.savez_compressed(archive, allow_pickle=False, **predictions)
        content = {CURVE: curve.encode(), PREDICTIONS: archive.getvalue(), WEIGHTS: weights}
        record = record.model_copy(update={"files": {name: sha256(data) for name, data in content.items()}})
        folder = self.root / record.id
        with new_folder(self.root / f".new-{record.id}") as new:
            for name, data in content.items():
                write_atomic(new / name, data)
            write_atomic(new / RECORD, to_bytes(record))
        if folder.exists():
            folder.rename(self._old(record.id))
        (self.root / f".new-{record.id}").rename(folder)
        self._clear(record.id)
        self._found[record.id] = self._own, record.files
        return record

    def work(self, run_id: str) -> Path:
        """The folder of an unfinished run."""
        return self.root / ".work" / run_id

    def write_failure(self, spec: RunSpec, why: str) -> None:
        """Remember that a run failed, until it is trained to its end. Raises OSError."""
        place = self.work(spec.id) / FAILED
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, json.dumps({"spec": spec.model_dump(mode="json"), "why": why}, indent=1).encode())

    def failures(self) -> list[tuple[RunSpec, str]]:
        """The runs that failed and have not been trained to their end since, each with why, in one line."""
        found = []
        for place in sorted(self.root.glob(f".work/*/{FAILED}")):
            with suppress(OSError, ValueError, KeyError):  # of another version, or gone by now
                content = json.loads(place.read_bytes())
                found.append((RunSpec.model_validate(content["spec"]), str(content["why"])))
        return found

    def read_checkpoint(self, run_id: str) -> Any | None:
        """The last checkpoint of an unfinished run, or None; a damaged or older one is named and set aside."""
        from lrbench.store import checkpoint  # here and below, not above: reports do without torch

        place = self.work(run_id) / CHECKPOINT
        if not place.exists():
            return None
        try:
            return checkpoint.unpack(place.read_bytes())
        except checkpoint.Damaged as error:
            set_aside(place, str(error), self.warn)
            return None

    def write_checkpoint(self, run_id: str, snapshot: Any) -> None:
        """Replace the checkpoint of an unfinished run. Raises OSError."""
        from lrbench.store import checkpoint

        write_atomic(self.work(run_id) / CHECKPOINT, checkpoint.pack(snapshot))

    @contextmanager
    def training(self, run_id: str) -> Iterator[None]:
        """Hold a run for training: another process that wants it waits until this one is done or dead.

        What a killed predecessor left half-written is removed first; a failure before the first
        checkpoint leaves the store as it was.
        """
        locks, work = self.root / ".locks", self.work(run_id)
        created = [path for path in (work, work.parent, locks, self.root, *self.root.parents) if not path.exists()]
        try:
            with lock.held(locks / run_id, lambda: self.warn(f"another process is training {run_id}; waiting for it")):
                self._clear_leftovers(run_id)
                work.mkdir(parents=True, exist_ok=True)
                yield
        finally:
            for folder in created:
                with suppress(OSError):  # it is in use, or gone already
                    folder.rmdir()

    def _clear_leftovers(self, run_id: str) -> None:
        """Remove what a killed predecessor left half-written."""
        of_run = self.root.glob(f"{TEMPORARY}*{run_id}*"), self.root.glob(f".new-{run_id}")
        for path in [*self.work(run_id).glob(f"{TEMPORARY}*"), *itertools.chain(*of_run)]:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _old(self, run_id: str) -> Path:
        """Where a finished run lies while the one that replaces it is put in its place."""
        return self.root / f"{TEMPORARY}{run_id}-old"

    def _clear(self, run_id: str) -> None:
        """Remove what a finished run has no more use for."""
        for path in (self._old(run_id), self.work(run_id)):
            if path.exists():
                shutil.rmtree(path, ignore_errors=True)

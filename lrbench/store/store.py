"""The store: a folder a run, named by the spec's id, written whole or not at all.

    <root>/<id>/record.json  curve.csv  predictions.npz  weights.safetensors
    <root>/.work/<id>/checkpoint        of a run that is not finished
    <root>/.work/<id>/failed            its spec and why it failed, until it is trained to its end
    <root>/.locks/<id>                  while a process trains it
    <root>/.images/<key>/images         that an SR net restored for a classifier; made again where missing
    <root>/.index/records               what the records say; made again where missing

Reports need no weights, which may be left out of what is shared or committed.

`get` reads every file of a run and checks it. `records` looks at every run's files, and reads and checks those
that are new or have changed in size, time or inode since they were last checked (see lrbench.store.index); what is read
later, `curve` and `predictions`, is checked then. So a file that changes without a trace in its folder, as on a
failing disk, is found by `get`, or when it is read, or by `records` once the index has been deleted.
"""

from __future__ import annotations

import gc
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from lrbench.errors import RunError
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store import index, lock
from lrbench.store.files import TEMPORARY, new_folder, write_atomic
from lrbench.store.index import Index

if TYPE_CHECKING:  # reports do without torch, which takes a second to import
    from torch import Tensor

RECORD, CURVE, PREDICTIONS, WEIGHTS = "record.json", "curve.csv", "predictions.npz", "weights.safetensors"
INDEXED = (RECORD, CURVE, PREDICTIONS)  # the files whose change is a change of the record
FAILED, CLASSES = "failed", "predicted_classes"
ID = re.compile("[0-9a-f]{16}")
REPLACING = 0.1  # seconds that another process may take to put a run in the place of another
MANY = 1_000  # runs that take seconds to read


class OtherVersion(Exception):
    """A record that is whole, but not of the form that this version writes."""


class Store:
    """Finished and unfinished runs under one folder. `warn` is told of what is set aside."""

    def __init__(
        self,
        root: Path,
        warn: Callable[[str], None] = lambda message: None,
        shown: Collection[str] | None = None,
    ) -> None:
        """shown: the ids that `records` is confined to; None for all."""
        self.root, self.warn, self.shown = root, warn, shown
        self._right: dict[str, np.ndarray] = {}  # by the predictions' checksum; packed: a bit an image

    def only(self, ids: Collection[str]) -> Store:
        """The same store, whose `records` are those of some runs."""
        return Store(self.root, self.warn, frozenset(ids))

    def get(self, spec: RunSpec, weights: bool = False) -> Record | None:
        """The finished run of a spec, or None; with `weights`, only if its weights are there too.

        A damaged run is named, set aside under another name, and counts as none.
        """
        folder = self.root / spec.id
        if not folder.exists():
            return None
        record = self._read(folder)
        whole = (folder / WEIGHTS).exists()
        if record is not None and whole:
            self._clear(spec.id)  # of a process killed between save's last steps
        return None if weights and not whole else record

    def records(self) -> list[Record]:
        """Every finished run, damaged ones set aside. Weights are not read: there may be gigabytes of them."""
        kept, states = Index(self.root), {}
        there = self._ids()
        for run in there:
            if self.shown is None or run in self.shown:
                states[run] = index.state(f"{self.root}/{run}", INDEXED)
        stale = sum(not kept.knows(run, state) for run, state in states.items())
        if stale >= MANY:
            self.warn(f"reading {stale:,} runs of {self.root} that are new or have changed")
        found = []
        with _uncollected():
            for run, state in states.items():
                record = (
                    self._known(kept, run) if kept.knows(run, state) else self._read(self.root / run, weights=False)
                )
                if record:
                    found.append(record)
                if record and state and stale >= index.WORTH and not kept.knows(run, state):
                    self._learn(kept, record, state)
        kept.write(there)
        return found

    def contents(self) -> list[dict[str, Any]]:
        """The JSON content of every finished run."""
        found = self.records()
        self._by_id = {record.id: record for record in found}
        return [record.model_dump(mode="json") for record in found]

    def _of(self, run):  # type: ignore
        return self._by_id[run] if isinstance(run, str) else run

    def _known(self, kept: Index, run: str) -> Record:
        record = kept.record(run)
        if (right := kept.right(run)) is not None:
            self._right[record.files[PREDICTIONS]] = right
        return record

    def _learn(self, kept: Index, record: Record, state: index.State) -> None:
        """Have the index know a run that was read in full, if nothing has changed since its files were in `state`."""
        if {*record.files} <= {*INDEXED, WEIGHTS}:
            right = None if record.restores else self._packed(record)
            if index.state(f"{self.root}/{record.id}", INDEXED) == state:
                kept.add(record.id, state, record, right)

    def weights(self, record: Record) -> bytes:
        """The weights of a run that `get(spec, weights=True)` returned: a safetensors file's content."""
        return (self.root / record.id / WEIGHTS).read_bytes()

    def predictions(self, record: Record) -> dict[str, np.ndarray]:
        """What the test showed, image by image, in the data set's canonical order.

        `predicted` and `label` (n,) of a classifier; psnr, ssim, psnr_y, ssim_y (n,) of an SR net, and
        `restored`, its images of the first few.
        """
        record = self._of(record)
        with np.load(io.BytesIO(self._content(record, PREDICTIONS)), allow_pickle=False) as arrays:
            return dict(arrays)

    def right(self, record: Record) -> np.ndarray:
        """Which test images a classifier got right: bool (n,), in the data set's canonical order."""
        record = self._of(record)
        content = record.files[PREDICTIONS]
        if content not in self._right:
            self._right[content] = self._packed(record)
        return np.unpackbits(self._right[content], count=record.data.test_images).view(bool)

    def counted(self, records: Iterable[Record]) -> list[Record]:
        """The same records, of older classifiers too with how many classes they predict, which theirs do not say.

        Counted where they are right on no more than half of the images: a network that predicts one class is.
        """
        return [self._counted(record) for record in records]

    def _counted(self, record: Record) -> Record:
        if record.restores or CLASSES in record.metrics or record.top1 > 50:
            return record
        classes = len(np.unique(self.predictions(record)["predicted"]))
        return record.model_copy(update={"metrics": {**record.metrics, CLASSES: classes}})

    def _packed(self, record: Record) -> np.ndarray:
        shown = self.predictions(record)
        return np.packbits(shown["predicted"] == shown["label"])

    def _content(self, record: Record, name: str) -> bytes:
        """A file of a run as it was when its record was read. Raises RunError where it has changed since."""
        data = (self.root / record.id / name).read_bytes()
        if record.files.get(name) not in (None, _sha256(data)):
            self._read(self.root / record.id, weights=False)  # which sets it aside, if it is not another whole run
            raise RunError(f"{name} of run {record.id} has changed since its record was read; run the command again")
        return data

    def curve(self, record: Record) -> str:
        """The learning curve, CSV: a row an epoch."""
        return self._content(self._of(record), CURVE).decode()

    def save(self, record: Record, curve: str, predictions: dict[str, np.ndarray], weights: bytes) -> Record:
        """Write a finished run, replacing one whose weights were left out. Raises OSError."""
        archive = io.BytesIO()
        np.savez_compressed(archive, allow_pickle=False, **predictions)
        content = {CURVE: curve.encode(), PREDICTIONS: archive.getvalue(), WEIGHTS: weights}
        record = record.model_copy(update={"files": {name: _sha256(data) for name, data in content.items()}})
        folder = self.root / record.id
        with new_folder(self.root / f".new-{record.id}") as new:
            for name, data in content.items():
                write_atomic(new / name, data)
            write_atomic(new / RECORD, _sign(record))
        if folder.exists():
            folder.rename(self._old(record.id))
        (self.root / f".new-{record.id}").rename(folder)
        self._clear(record.id)
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
        """The last checkpoint of an unfinished run, or None; a damaged one is named and set aside."""
        return self._unpack(self.work(run_id) / "checkpoint")

    def write_checkpoint(self, run_id: str, snapshot: Any) -> None:
        """Replace the checkpoint of an unfinished run. Raises OSError."""
        from lrbench.store import checkpoint

        write_atomic(self.work(run_id) / "checkpoint", checkpoint.pack(snapshot))

    def images(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """Images, uint8 (n, H, W, 3), that are made once and kept; damaged ones are set aside and made again.

        Another process that wants them waits. Raises OSError.
        """
        from lrbench.store import checkpoint

        place = self.root / ".images" / key / "images"
        with lock.held(place.with_name("lock"), lambda: self.warn(f"another process is making images {key}")):
            kept: Tensor | None = self._unpack(place)
            if kept is None:
                for leftover in place.parent.glob(f"{TEMPORARY}*"):  # of a killed predecessor
                    leftover.unlink(missing_ok=True)
                kept = make()
                write_atomic(place, checkpoint.pack(kept))
        return kept

    def _unpack(self, path: Path) -> Any | None:
        from lrbench.store import checkpoint

        if not path.exists():
            return None
        try:
            return checkpoint.unpack(path.read_bytes())
        except checkpoint.Damaged as error:
            self._set_aside(path, str(error))
            return None

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

    def _ids(self) -> list[str]:
        """The names of folders that are an id, sorted; whatever else lies in the store is the user's own."""
        try:
            with os.scandir(self.root) as entries:
                return sorted(entry.name for entry in entries if ID.fullmatch(entry.name) and entry.is_dir())
        except FileNotFoundError:
            return []

    def _read(self, folder: Path, weights: bool = True) -> Record | None:
        """The record in a folder if it and its files are whole, `weights` among them; else it is set aside."""
        for again in (True, False):
            try:
                return _verified(folder, weights)
            except OtherVersion:
                self.warn(f"{folder} is of another version of lrbench and is left out")
                return None
            except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
                if not again:
                    self._set_aside(folder, str(error).partition("\n")[0])
            time.sleep(REPLACING)
        return None

    def _set_aside(self, path: Path, why: str) -> None:
        places = (path.with_name(f".damaged-{path.name}-{number}") for number in range(1, 10_000))
        place = next(place for place in places if not place.exists())
        try:
            path.rename(place)
            self.warn(f"{path} is set aside as {place.name}: {why}")
        except OSError as error:
            self.warn(f"{path} is not read: {why} (and it cannot be set aside: {error.strerror})")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for garbage: of many records made and none dropped, that is a fifth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _sign(record: Record) -> bytes:
    """The record as JSON with the sha256 of its content in front, so that an altered one is noticed."""
    content = record.model_dump(mode="json")
    return json.dumps({"sha256": _sha256(_canonical(content)), **content}, indent=1).encode() + b"\n"


def _verified(folder: Path, weights: bool) -> Record:
    content = json.loads((folder / RECORD).read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"{RECORD} is not a record")
    if content.pop("sha256", None) != _sha256(_canonical(content)):
        raise ValueError(f"{RECORD} is not what was written")
    if content["id"] != folder.name:
        raise ValueError("its id is not the folder's name")
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        raise OtherVersion from error
    if record.spec.id != record.id:
        raise OtherVersion
    for name, digest in record.files.items():
        if name == WEIGHTS and not (weights and (folder / name).exists()):
            continue  # not asked for, or left out of what is shared
        if _sha256((folder / name).read_bytes()) != digest:
            raise ValueError(f"{name} is not what was written")
    return record


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""The store: one folder per run, named by the id of its spec, written whole or not at all.

    <root>/<id>/record.json  curve.csv  predictions.npz  weights.safetensors
    <root>/.work/<id>/checkpoint        of a run that is not finished
    <root>/.work/<id>/failed            its spec and why it failed, until it is trained to its end
    <root>/.locks/<id>                  while a process trains it
    <root>/.images/<key>/               that an SR net restored for a classifier; made again where missing
    <root>/.damaged-<id>-<number>/      a run that was not as it was written

Finished runs are read from other folders, too, into which nothing is ever written: what is shipped with the project, or
a colleague's. A run is taken from the store's own folder, and otherwise from the first of the others that has it.
Weights may be left out of what is shared or committed: reports need none. Every file is checked when it is read.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from lrbench.errors import RunError, named, out_of_memory, printable, raise_machines
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store import checkpoint, lock, record_file
from lrbench.store.files import TEMPORARY, Warn, new_folder, recover, set_aside, without_empty, write_atomic
from lrbench.store.record_file import CURVE, PREDICTIONS, RECORD, WEIGHTS, Content, OtherVersion, sha256

__all__ = ["CURVE", "PREDICTIONS", "RECORD", "WEIGHTS", "Store"]

FAILED, CHECKPOINT = "failed", "checkpoint"
ALL = (CURVE, PREDICTIONS, WEIGHTS)
ID = re.compile("[0-9a-f]{16}")
OTHER = "{} is of another version of lrbench and is left out"
REPLACING = 0.1  # seconds that another process may take to put a run in the place of another


class Store:
    """Runs under one folder, to read and to write, and finished ones of other folders, to read."""

    def __init__(
        self, root: Path, warn: Warn = lambda message: None, others: Sequence[Path] = (), check: Collection[str] = ()
    ) -> None:
        """warn: told once of each run that is damaged or of another version. others: the folders read beside it.

        check: the names of files whose damage counts in `contents`, too: those that are going to be read.
        """
        self.root, self.warn, self.others, self.check = root, cache(warn), tuple(others), check
        self._found: dict[str, tuple[Path, dict[str, str]]] = {}  # run -> where it was read, and its files' checksums
        self._right: dict[str, tuple[np.ndarray, int]] = {}  # predictions' checksum -> a bit per image, how many

    def __str__(self) -> str:
        """All its folders, for a message."""
        return printable(" or ".join(map(str, (self.root, *self.others))))

    def get(self, spec: RunSpec, weights: bool = False) -> Record | None:
        """The finished run of a spec, or None; with `weights`, only one whose weights are there too.

        All its files are read. A damaged run is named, and counts as none; in the store's own folder it is set aside.
        """
        for place in self._having(spec.id, WEIGHTS if weights else ""):
            content = self._content(place, spec.id, ALL)
            if content and (record := self._validated(place, content)):
                if not weights:
                    self._found[spec.id] = place, record.files
                if self.work(spec.id).exists() and self.root in self._having(spec.id, WEIGHTS):
                    recover(self.root / spec.id)  # `save` was killed before its last step
                    shutil.rmtree(self.work(spec.id), ignore_errors=True)
                return record
        return None

    def contents(self, ids: Collection[str] | None = None) -> list[Content]:
        """What record.json says of every finished run, as JSON values, sorted by id; its own checksum is left out.

        ids: of the runs that are wanted; all where None. Of an older run fields may be missing that came later. Damaged
        runs are set aside, or, in another folder, left out. No other files are read than those to check.
        """
        found: dict[str, Content] = {}
        for place in (self.root, *self.others):
            wanted = _ids(place) if ids is None else [one for one in ids if os.path.isdir(f"{place}/{one}")]
            for run_id in wanted:
                if run_id not in found and (content := self._content(place, run_id, self.check)):
                    found[run_id] = content
                    self._found[run_id] = place, content["files"]
        return [found[run_id] for run_id in sorted(found)]

    def records(self) -> list[Record]:
        """The same as objects, for those who train or look at specs."""
        found = [self._validated(self._found[content["id"]][0], content) for content in self.contents()]
        return [record for record in found if record]

    def origin(self, run_id: str) -> Path | None:
        """Which of the other folders a run is taken from; None for the store's own. Raises RunError for no run."""
        place, _ = self._known(run_id)
        return None if place == self.root else place

    def weights(self, run_id: str) -> bytes:
        """The weights, a safetensors file, of a run that `get(spec, weights=True)` returned. Raises RunError."""
        for place in self._having(run_id, WEIGHTS):
            with suppress(RunError):
                if content := self._content(place, run_id):
                    return self._file(run_id, WEIGHTS, place, content["files"])
        raise RunError(f"the weights of run {run_id} are not in {self}")

    def predictions(self, run_id: str) -> dict[str, np.ndarray]:
        """What the test showed, image by image, in the dataset's canonical order.

        `predicted` and `label` (n,) of a classifier; psnr, ssim, psnr_y, ssim_y (n,) of an SR net, and `restored`,
        its images of the first few. Raises RunError where there is no such run, or the file has changed.
        """
        data = self._file(run_id, PREDICTIONS, *self._known(run_id))
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return dict(arrays)
        except zlib.error as error:  # which is what it raises where memory runs out
            raise_machines(error, PREDICTIONS)
            raise

    def right(self, run_id: str) -> np.ndarray:
        """Which test images a classifier got right: bool (n,), in the dataset's canonical order. Raises RunError."""
        checksum = self._known(run_id)[1][PREDICTIONS]
        if checksum not in self._right:
            shown = self.predictions(run_id)
            right = shown["predicted"] == shown["label"]
            self._right[checksum] = np.packbits(right), len(right)
        packed, count = self._right[checksum]
        return np.unpackbits(packed, count=count).view(bool)

    def curve(self, run_id: str) -> str:
        """The learning curve, CSV: one row per epoch. Raises RunError."""
        return self._file(run_id, CURVE, *self._known(run_id)).decode()

    def save(self, record: Record, curve: str, predictions: dict[str, np.ndarray], weights: bytes) -> Record:
        """Write a finished run, replacing one whose weights were left out. Raises OSError."""
        archive = io.BytesIO()
        np.savez_compressed(archive, allow_pickle=False, **predictions)
        content = {CURVE: curve.encode(), PREDICTIONS: archive.getvalue(), WEIGHTS: weights}
        record = record.model_copy(update={"files": {name: sha256(data) for name, data in content.items()}})
        with new_folder(self.root / record.id, replace=True) as new:
            for name, data in content.items():
                write_atomic(new / name, data)
            write_atomic(new / RECORD, record_file.to_bytes(record))
        shutil.rmtree(self.work(record.id), ignore_errors=True)
        self._found[record.id] = self.root, record.files
        return record

    def work(self, run_id: str) -> Path:
        """The folder of an unfinished run."""
        return self.root / ".work" / run_id

    def write_failure(self, spec: RunSpec, why: str) -> None:
        """Remember that a run failed, until it is trained to its end. Raises OSError."""
        place = self.work(spec.id) / FAILED
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, json.dumps({"spec": spec.model_dump(mode="json"), "why": why}, indent=1))

    def failures(self) -> list[tuple[RunSpec, str]]:
        """The runs that failed and have not been trained to their end since, each with why, in one line."""
        found = []
        for place in sorted(self.root.glob(f".work/*/{FAILED}")):
            with (
                suppress(FileNotFoundError, ValueError, KeyError, TypeError),
                named(place),
            ):  # of another version, or gone by now
                content = json.loads(place.read_bytes())
                found.append((RunSpec.model_validate(content["spec"]), str(content["why"])))
        return found

    def read_checkpoint(self, run_id: str) -> Any | None:
        """The last checkpoint of an unfinished run, or None; a damaged or older one is named and set aside."""
        return checkpoint.read(self.work(run_id) / CHECKPOINT, self.warn)

    def write_checkpoint(self, run_id: str, snapshot: Any) -> None:
        """Replace the checkpoint of an unfinished run. Raises OSError."""
        checkpoint.write(self.work(run_id) / CHECKPOINT, snapshot)

    @contextmanager
    def training(self, run_id: str) -> Iterator[None]:
        """Hold a run for training: another process that wants it waits until this one is done or dead.

        What a killed predecessor left half-written is removed first; a failure before the first
        checkpoint leaves the store as it was.
        """
        locks, work = self.root / ".locks", self.work(run_id)
        waiting = f"another process is training {run_id}; waiting for it"
        with without_empty(locks, work), lock.held(locks / run_id, lambda way_out: self.warn(waiting + way_out)):
            recover(self.root / run_id)
            work.mkdir(parents=True, exist_ok=True)
            for leftover in work.glob(f"{TEMPORARY}*"):
                leftover.unlink(missing_ok=True)
            yield

    def _having(self, run_id: str, name: str = "") -> list[Path]:
        return [place for place in (self.root, *self.others) if os.path.exists(f"{place}/{run_id}/{name}")]

    def _content(self, place: Path, run_id: str, check: Collection[str] = ()) -> Content | None:
        """The record of a run whose folder is there; None where that or a file to check is damaged or unreadable."""
        for last in (False, True):
            try:
                return record_file.read(f"{place}/{run_id}", check)
            except OtherVersion:
                self.warn(OTHER.format(place / run_id))
                return None
            except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
                if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | IsADirectoryError):
                    if place == self.root or out_of_memory(error):
                        raise  # it cannot be read now, which does not say that it is damaged
                    self.warn(f"{place / run_id} cannot be read and is left out: {error.strerror or error}")
                    return None
                why = str(error).partition("\n")[0]
                if not last:
                    time.sleep(REPLACING)
                elif place == self.root:
                    set_aside(place / run_id, why, self.warn)
                else:
                    self.warn(f"{place / run_id} is damaged and is left out: {why}")
        return None

    def _validated(self, place: Path, content: Content) -> Record | None:
        try:
            return Record.model_validate(content)
        except ValidationError:  # its form is that of this version, its values are not
            self.warn(OTHER.format(place / content["id"]))
            return None

    def _known(self, run_id: str) -> tuple[Path, dict[str, str]]:
        """Where a run was read, or else is found now, and the checksums of its files. Raises RunError."""
        for place in () if run_id in self._found else self._having(run_id):
            if content := self._content(place, run_id):
                self._found[run_id] = place, content["files"]
                break
        if run_id not in self._found:
            raise RunError(f"there is no run {run_id} in {self}")
        return self._found[run_id]

    def _file(self, run_id: str, name: str, place: Path, checksums: dict[str, str]) -> bytes:
        """A file of a run. Raises RunError where it is not as a record says that was read before."""
        with suppress(FileNotFoundError):
            data = record_file.read_file(f"{place}/{run_id}", name)
            if checksums.get(name) in (None, sha256(data)):
                return data
        if (place / run_id).exists():
            self._content(place, run_id, ALL)  # which sets it aside, unless it has become another whole run
        raise RunError(f"{name} of run {run_id} has changed since its record was read; run the command again")


def _ids(place: Path) -> list[str]:
    """The names of folders that are an id, sorted; whatever else lies there is the user's own."""
    try:
        with os.scandir(place) as entries:
            return sorted(entry.name for entry in entries if ID.fullmatch(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []

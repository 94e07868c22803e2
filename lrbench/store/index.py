"""The index of a store: what its records say, so that a report need not read every file of every run.

    <root>/.index/records       one file, replaced whole; deleted, it is made again

A line of JSON, the records as JSON, and a bit for each test image that a classifier was right on. A run is taken
from here as long as its record, curve and predictions have the size, the times and the inodes that they had when
they were last read and their checksums were right: whatever is written, replaced or removed is read anew. What
changed while the clock stood too near to tell is not kept. Of another form than this code writes, or with a wrong
checksum, the whole index counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.files import TEMPORARY, write_atomic

FOLDER, NAME = ".index", "records"
SETTLED = 2.0  # seconds that a file must have lain still: the coarsest clock of a file system
WORTH = 64  # runs to be read anew before the index is written again: fewer take less time than writing it

State = list[int]  # size, times in nanoseconds and inode, of each file in turn


class Index:
    """What is known of the runs of one store. `get` and `add` speak of one run, `write` keeps it all."""

    def __init__(self, root: Path) -> None:
        """Read the index of a store; empty where there is none, or none that can be trusted."""
        self._path = root / FOLDER / NAME
        self._runs: dict[str, dict[str, Any]] = {}
        self._specs: dict[str, dict[str, Any]] = {}
        self._bits = memoryview(b"")
        self._built: dict[str, RunSpec] = {}
        self._new: dict[str, tuple[State, Record, np.ndarray | None]] = {}
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._runs, self._specs, self._bits = _read(self._path)

    def knows(self, run: str, state: State | None) -> bool:
        """Whether a run is here, and its files are as they were."""
        return state is not None and run in self._runs and self._runs[run]["state"] == state

    def record(self, run: str) -> Record:
        """The record of a run that the index knows."""
        return Record.model_validate({**self._runs[run]["record"], "spec": self._spec(run)})

    def right(self, run: str) -> np.ndarray | None:
        """Which test images a run got right, as packed bits; None where that is not known here."""
        if run in self._new:
            return self._new[run][2]
        place = self._runs[run]["right"] if run in self._runs else None
        return None if place is None else np.frombuffer(self._bits[place[0] : place[0] + place[1]], np.uint8)

    def add(self, run: str, state: State, record: Record, right: np.ndarray | None) -> None:
        """Learn a run that was read in full, its files being in this state before and after.

        right: packed bits; None for an SR net.
        """
        if max(state[1::4] + state[2::4]) < (time.time() - SETTLED) * 1e9:
            self._new[run] = state, record, right

    def write(self, there: Collection[str]) -> None:
        """Keep what was learnt, where the folder can be written; forget runs that are not `there`."""
        if not self._new:
            return
        with suppress(OSError):  # a full disk, or another's folder: the store is read without
            self._path.parent.mkdir(exist_ok=True)
            for leftover in self._path.parent.glob(f"{TEMPORARY}*"):  # of a killed process; a living one starts over
                leftover.unlink(missing_ok=True)
            write_atomic(self._path, self._packed(there))

    def _packed(self, there: Collection[str]) -> bytes:
        runs: dict[str, Any] = {}
        specs: dict[str, Any] = {}
        bits = bytearray()
        for run in there:
            if run in self._new:
                state, record, right = self._new[run]
                said = record.model_dump(mode="json", exclude={"spec"})
                for spec in record.spec.walk():
                    if spec.id not in specs:
                        specs[spec.id] = _flat(spec)
            elif run in self._runs:
                state, said, right = self._runs[run]["state"], self._runs[run]["record"], self.right(run)
                self._copy(run, specs)
            else:
                continue
            runs[run] = {"state": state, "record": said, "right": None}
            if right is not None:
                runs[run]["right"] = len(bits), right.nbytes
                bits += right.tobytes()
        text = json.dumps({"runs": runs, "specs": specs}, separators=(",", ":")).encode()
        content = text + bits
        head = {"form": _form(), "sha256": hashlib.sha256(content).hexdigest(), "text": len(text)}
        return json.dumps(head).encode() + b"\n" + content

    def _copy(self, run: str, specs: dict[str, Any]) -> None:
        if run not in specs:
            specs[run] = self._specs[run]
            for need in self._specs[run]["needs"].values():
                self._copy(need, specs)

    def _spec(self, run: str) -> RunSpec:
        """A spec, made once however many runs need it."""
        if run not in self._built:
            content = self._specs[run]
            needs = {role: self._spec(need) for role, need in content["needs"].items()}
            self._built[run] = spec = RunSpec.model_validate({**content, "needs": needs})
            vars(spec)["id"] = run  # where cached_property keeps it: hashing takes longer than all the rest
        return self._built[run]


def state(folder: str, names: Collection[str]) -> State | None:
    """What tells whether the files of a run have changed; None where one is missing."""
    found: State = []
    try:
        for name in names:
            about = os.stat(f"{folder}/{name}")
            found += about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino
    except OSError:
        return None
    return found


def _flat(spec: RunSpec) -> dict[str, Any]:
    """A spec as JSON, with the ids of its needs in place of their specs."""
    needs = {role: need.id for role, need in spec.needs.items()}
    return spec.model_dump(mode="json", exclude={"needs"}) | {"needs": needs}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any], memoryview]:
    """Runs, specs and bits. Any error means that there is no index that this code can use."""
    head, _, content = path.read_bytes().partition(b"\n")
    about = json.loads(head)
    if about["form"] != _form() or about["sha256"] != hashlib.sha256(content).hexdigest():
        raise ValueError("not an index of this form, or not what was written")
    kept = json.loads(content[: about["text"]])
    return kept["runs"], kept["specs"], memoryview(content)[about["text"] :]


@cache
def _form() -> str:
    """Changes with the code that says what a record is."""
    here = Path(__file__).parents[1]
    names = ("store/index", "spec/record", "spec/runspec", "spec/recipes")
    sources = ((here / f"{name}.py").read_bytes() for name in names)
    return hashlib.sha256(b"\0".join([pydantic.VERSION.encode(), *sources])).hexdigest()[:16]

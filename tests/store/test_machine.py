"""What the machine does not give, memory or a file's bytes: nothing is called damaged or set aside for it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.files import listing
from helpers.finished import put

from lrbench.store import arrays as shelf
from lrbench.store import record_file
from lrbench.store.record_file import CURVE, PREDICTIONS, RECORD
from lrbench.store.store import CHECKPOINT, FAILED, Store

UNREADABLE = Path("/proc/self/mem")  # a file whose first byte cannot be read: EIO, as of a broken disk


def unreadable(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(UNREADABLE)


READS: dict[str, tuple[str, Callable[[Store, str], object]]] = {
    "the record": (RECORD, lambda store, run: store.contents()),
    "a file to check": (CURVE, lambda store, run: Store(store.root, store.warn, check=[CURVE]).contents()),
    "a file": (CURVE, lambda store, run: store.curve(run)),
    "predictions": (PREDICTIONS, lambda store, run: store.predictions(run)),
    "a checkpoint": (CHECKPOINT, lambda store, run: store.read_checkpoint(run)),
    "a failure": (FAILED, lambda store, run: store.failures()),
}


@pytest.mark.parametrize("what", READS)
def test_a_file_that_the_disk_does_not_give(what: str, tmp_path: Path) -> None:
    warned: list[str] = []
    store = Store(tmp_path / "runs", warned.append)
    run, (name, read) = put(store).id, READS[what]
    path = (store.work(run) if name in (CHECKPOINT, FAILED) else store.root / run) / name
    unreadable(path)
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match="Input/output error") as caught:
        read(store, run)
    assert caught.value.filename == str(path)
    assert sorted(tmp_path.rglob("*")) == there and not warned


def test_a_run_of_a_folder_beside_the_store_is_left_out_as_unreadable(tmp_path: Path) -> None:
    beside, warned = Store(tmp_path / "beside"), list[str]()
    good, bad = put(beside, 0), put(beside, 1)
    unreadable(beside.root / bad.id / RECORD)
    store = Store(tmp_path / "runs", warned.append, others=[beside.root])
    assert [one["id"] for one in store.contents()] == [good.id]
    assert warned == [f"{beside.root / bad.id} cannot be read and is left out: Input/output error"]


def test_a_checkpoint_for_which_memory_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    store = Store(tmp_path / "runs", warned.append)
    store.work("0" * 16).mkdir(parents=True)
    store.write_checkpoint("0" * 16, {"epoch": 1})
    before = listing(tmp_path)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")

    monkeypatch.setattr(torch, "load", fails)
    with pytest.raises(MemoryError):
        store.read_checkpoint("0" * 16)
    assert listing(tmp_path) == before and not warned


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "Cannot allocate memory")])
def test_a_run_for_which_memory_is_too_small(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the store's own folder and in one beside it."""
    beside, warned = Store(tmp_path / "beside"), list[str]()
    put(beside)
    before = listing(tmp_path)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(record_file, "from_json", fails)
    for store in (Store(beside.root, warned.append), Store(tmp_path / "runs", warned.append, others=[beside.root])):
        with pytest.raises(type(error)):
            store.contents()
    assert listing(tmp_path) == before and not warned


def test_predictions_for_which_memory_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "runs")
    run = put(store).id

    def fails(*_: object, **__: object) -> None:
        raise zlib.error("Error -4 while decompressing data: insufficient memory")

    monkeypatch.setattr(np, "load", fails)
    with pytest.raises(MemoryError):
        store.predictions(run)


def test_arrays_that_the_disk_does_not_give_are_not_made_again_over_it(tmp_path: Path) -> None:
    shelf.arrays(tmp_path / "kept", lambda: {"a": np.arange(9)})
    for name in ("a.npy", shelf.CHECKSUMS):
        unreadable(tmp_path / "kept" / name)
        with pytest.raises(OSError, match="Input/output error"):
            shelf.arrays(tmp_path / "kept", lambda: pytest.fail("made again"))


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_what_goes_wrong_while_arrays_are_made_is_raised_at_once(error: Exception, tmp_path: Path) -> None:
    calls = []

    def make() -> dict[str, np.ndarray]:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        shelf.arrays(tmp_path / "kept", make)
    assert len(calls) == 1 and not list(tmp_path.iterdir())

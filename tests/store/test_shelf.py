"""Arrays that are kept and mapped, and the images that runs are prepared with from them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.deadly import killed_at

from lrbench.data import datasets, prepare
from lrbench.data.dataset import Split, build
from lrbench.data.degradation import degrade
from lrbench.data.prepare import PREPARED, Prepared
from lrbench.plan.plan import Protocol, plan
from lrbench.store import arrays as shelf

CPU = torch.device("cpu")
MADE = {"a": np.arange(3000).reshape(1000, 3).astype(np.uint8), "b": np.array([0.1, 1 / 3])}


class Maker:
    """Makes the arrays, and counts how often."""

    calls = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return MADE


def same(found: dict[str, np.ndarray]) -> bool:
    return list(found) == list(MADE) and all(
        (found[name] == MADE[name]).all() and found[name].dtype == MADE[name].dtype for name in MADE
    )


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "flipped": lambda folder: flip(folder / "a.npy"),
    "truncated": lambda folder: os.truncate(folder / "a.npy", 500),
    "empty": lambda folder: os.truncate(folder / "b.npy", 0),
    "gone": lambda folder: (folder / "b.npy").unlink(),
    "without checksums": lambda folder: (folder / shelf.CHECKSUMS).unlink(),
    "checksums no JSON": lambda folder: (folder / shelf.CHECKSUMS).write_bytes(b"\xff"),
    "checksums no object": lambda folder: (folder / shelf.CHECKSUMS).write_text("[]"),
}


def test_arrays_are_made_once_and_mapped(tmp_path: Path) -> None:
    make = Maker()
    for _ in range(3):
        found = shelf.arrays(tmp_path / "kept", make)
        assert same(found) and isinstance(found["a"], np.memmap) and make.calls == 1
    found["a"][0, 0] = 77  # stays with this process
    assert same(shelf.arrays(tmp_path / "kept", make))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_arrays_are_made_again(kind: str, tmp_path: Path) -> None:
    make = Maker()
    shelf.arrays(tmp_path / "kept", make)
    DAMAGE[kind](tmp_path / "kept")
    for _ in range(2):
        assert same(shelf.arrays(tmp_path / "kept", make)) and make.calls == 2


def test_where_nothing_can_be_kept_arrays_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    make = Maker()
    assert same(shelf.arrays(tmp_path / "file" / "kept", make)) and make.calls == 1  # no folder can be made there

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert same(shelf.arrays(tmp_path / "kept", make)) and make.calls == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_killed_at_any_step_of_writing_arrays_are_whole_or_made_again(tmp_path: Path) -> None:
    step, died = 0, True
    while died:
        step += 1
        folder = tmp_path / str(step) / "kept"
        calls = [(os, "fsync"), (os, "rename"), (np, "save")]
        died = killed_at(step, calls, lambda: shelf.arrays(folder, Maker()))  # noqa: B023
        make = Maker()
        assert same(shelf.arrays(folder, make)) and make.calls == died
        assert [path.name for path in folder.parent.iterdir()] == ["kept"]
    assert step - 1 == 2 * 2 + 1


def test_processes_that_want_the_same_arrays_make_them_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    made, answers = context.Value("i", 0), context.Queue()

    def make() -> dict[str, np.ndarray]:
        with made.get_lock():
            made.value += 1
        return MADE

    processes = [
        context.Process(target=lambda: answers.put(same(shelf.arrays(tmp_path / "kept", make)))) for _ in range(4)
    ]
    for process in processes:
        process.start()
    assert all(answers.get(timeout=60) for _ in processes) and made.value == 1


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """A data root with images of noise."""
    draw = np.random.default_rng(0)

    def split(n: int) -> Split:
        return Split(draw.integers(256, size=(n, 16, 16, 3)).astype(np.uint8), np.arange(n) % 3)

    datasets.save(build("toys", ("a", "b", "c"), {"train": split(60), "test": split(30)}, "a test"), tmp_path)
    return tmp_path


def prepared(root: Path, method: str = "lr-baseline", **changes: object) -> Prepared:
    protocol = Protocol(**{"data": datasets.info("toys", root), "scale": 4, "precision": "fp32"} | changes)
    return prepare.prepare(plan(method, {}, protocol), root, CPU)


@pytest.mark.parametrize("limits", [{}, {"limit_train": 30, "limit_test": 12, "select": "held-out"}])
def test_kept_images_are_those_that_were_made(toys: Path, limits: dict[str, object], monkeypatch) -> None:
    first = prepared(toys, **limits)
    monkeypatch.setattr(prepare, "degrade", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("read again"))
    again = prepared(toys, **limits)
    assert (again.facts, again.mean, again.std) == (first.facts, first.mean, first.std)
    for part in ("train", "test", *(["val"] if limits else [])):
        one, other = getattr(first, part), getattr(again, part)
        lr, up = degrade(one.hr.numpy(), 4)
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("hr", "lr", "up", "y"))
        assert (one.lr.numpy() == lr).all() and (one.up.numpy() == up).all()


def test_each_protocol_has_images_of_its_own_and_hr_is_kept_once(toys: Path) -> None:
    four, two, area = prepared(toys), prepared(toys, scale=2), prepared(toys, degradation="area")
    hr = prepared(toys, "hr-baseline")
    assert four.train.lr.shape[1] == 4 and two.train.lr.shape[1] == 8 and hr.train.lr is None
    assert not torch.equal(four.train.lr, area.train.lr)
    assert len(list((toys / PREPARED).glob("toys-train-*/hr.npy"))) == 1
    assert len(list((toys / PREPARED).glob("toys-train-*/lr.npy"))) == 3


def test_images_that_were_imported_anew_are_prepared_anew(toys: Path) -> None:
    first = prepared(toys)
    train, test = (Split(255 - split.hr.numpy(), split.y.numpy()) for split in (first.train, first.test))
    datasets.save(build("toys", ("a", "b", "c"), {"train": train, "test": test}, "a test"), toys)
    second = prepared(toys)
    rows = np.lexsort((255 - second.train.hr.numpy()).reshape(60, -1).T)
    before = np.lexsort(first.train.hr.numpy().reshape(60, -1).T)
    assert (255 - second.train.hr.numpy()[rows] == first.train.hr.numpy()[before]).all()
    assert not torch.equal(second.train.up, first.train.up)


@pytest.mark.parametrize("n", [1, 7, 300, 2000])
def test_colour_statistics_are_numpys_to_the_last_bit(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(n).integers(256, size=(n, 16, 16, 3)).astype(np.uint8)
    pixels = images.reshape(-1, 3) / 255
    for piece in (1 << 18, 1000, 37):
        monkeypatch.setattr(prepare, "PIECE", piece)
        found = prepare._statistics(images)
        assert (found["mean"] == pixels.mean(axis=0)).all() and (found["std"] == pixels.std(axis=0)).all()

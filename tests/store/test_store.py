"""The store: whole or not at all, whatever is damaged, full, concurrent or killed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import torch
from helpers.files import finished, listing
from helpers.finished import (
    CURVE_TEXT,
    DAMAGE,
    PREDICTED,
    TENSORS,
    flip,
    overwrite,
    put,
    record_of,
    truncate,
)
from safetensors.torch import load, save

from lrbench.execute import session
from lrbench.execute.progress import Progress
from lrbench.execute.session import Request
from lrbench.spec.runspec import RunSpec
from lrbench.store import lock
from lrbench.store.store import CURVE, RECORD, WEIGHTS, Store
from lrbench.testing import Interrupted, Watch

OPTIONS = {
    "dataset": "digits",
    "scale": 2,
    "width": 0.125,
    "recipe": "quick",
    "epochs": 4,
    "limit_train": 300,
    "limit_test": 100,
    "precision": "fp32",
    "device": "cpu",
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store; what it warns of is in `store.warned`."""
    warned: list[str] = []
    store = Store(tmp_path / "runs", warned.append)
    store.warned = warned  # type: ignore[attr-defined]
    return store


LOCKS = ".locks/"  # a process that is killed while it holds a lock leaves the empty file behind


def test_what_is_saved_comes_back(store: Store) -> None:
    saved = put(store)
    assert store.get(saved.spec) == store.get(saved.spec, weights=True) == saved
    assert store.records() == [saved]
    assert store.curve(saved.id) == CURVE_TEXT
    assert all((store.predictions(saved.id)[name] == PREDICTED[name]).all() for name in PREDICTED)
    assert torch.equal(load(store.weights(saved.id))["weight"], TENSORS["weight"])
    assert {path.name for path in store.root.rglob("*") if path.is_file()} == {*saved.files, RECORD}
    assert store.warned == []


def test_records_are_those_of_the_finished_runs(store: Store) -> None:
    assert store.records() == []
    saved = [put(store, seed) for seed in range(3)]
    store.work("0" * 16).mkdir(parents=True)
    (store.root / "figures").mkdir()
    (store.root / "backup").mkdir()  # hexadecimal to begin with, but no id
    assert {record.id for record in store.records()} == {record.id for record in saved}
    assert store.warned == []


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("reading", ["get", "records"])
def test_a_damaged_run_is_named_and_set_aside(kind: str, reading: str, store: Store) -> None:
    if reading == "records" and not kind.startswith(("record", "spec")):
        return  # its other files are read, and checked, when they are asked for
    good, bad = put(store, 0), put(store, 1)
    DAMAGE[kind](store.root / bad.id)
    damaged = listing(store.root / bad.id)
    if reading == "get":
        assert store.get(bad.spec) is None and store.get(bad.spec, weights=True) is None
    assert store.records() == [good]
    [warning] = store.warned
    assert bad.id in warning and f".damaged-{bad.id}-1" in warning and "\n" not in warning
    assert listing(store.root / f".damaged-{bad.id}-1") == damaged  # kept, for the user to look at
    assert put(store, 1).id == bad.id
    assert len(store.records()) == 2


def test_a_record_of_another_version_is_left_out_and_left_alone(store: Store) -> None:
    good, other = put(store, 0), put(store, 1)
    path = store.root / other.id / RECORD
    content = json.loads(path.read_text())
    del content["sha256"]
    content["spec"]["recipe"]["warmup"] = 3
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps({"sha256": hashlib.sha256(canonical.encode()).hexdigest(), **content}))
    before = listing(store.root)
    assert store.records() == [good] and store.get(other.spec) is None
    [warning] = store.warned  # twice, told once
    assert "another version of lrbench" in warning
    assert listing(store.root) == before


def test_damaged_runs_of_one_id_are_all_kept(store: Store) -> None:
    for _ in range(2):
        saved = put(store)
        truncate(store.root / saved.id)
        assert store.get(saved.spec) is None
    assert [name for name in sorted(os.listdir(store.root)) if "damaged" in name] == [
        f".damaged-{saved.id}-{number}" for number in (1, 2)
    ]


def test_a_run_under_the_id_of_another_is_set_aside(store: Store) -> None:
    saved, other = put(store, 0), record_of(1)
    (store.root / saved.id).rename(store.root / other.id)
    assert store.get(other.spec) is None
    assert other.id in store.warned[0] and f".damaged-{other.id}-1" in store.warned[0]
    assert store.records() == []


def test_a_run_without_weights_counts_for_reports_and_not_for_needs(store: Store) -> None:
    saved = put(store)
    (store.root / saved.id / WEIGHTS).unlink()
    assert store.records() == [saved] == [store.get(saved.spec)]
    assert store.get(saved.spec, weights=True) is None
    assert store.warned == []
    again = put(store)  # what is trained again for its weights replaces it
    assert store.get(saved.spec, weights=True) == again
    assert {path.name for path in store.root.rglob("*") if path.is_file()} == {*saved.files, RECORD}
    assert store.warned == []


def test_what_a_killed_predecessor_left_is_removed(store: Store) -> None:
    spec, other = record_of(0).spec, record_of(1).spec
    left = [store.work(spec.id) / ".tmp-x"]
    left += [store.root / f".tmp-new-{name}-{spec.id}" / CURVE for name in ("12345678", "abc_efgh")]
    kept = [store.work(spec.id) / "checkpoint", store.root / f".tmp-new-12345678-{other.id}" / CURVE]
    for path in left + kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    with store.training(spec.id):
        assert not any(path.exists() for path in (*left, left[1].parent, left[2].parent))
        assert all(path.exists() for path in kept)  # the last checkpoint, and what another process is writing


def test_a_full_disk_while_saving_leaves_the_store_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, 0)
    record = record_of(1)
    with store.training(record.id):
        store.write_checkpoint(record.id, {"epoch": 3})
    before = listing(store.root)
    for fails_at in range(1, 5):  # curve, predictions, weights, record
        full_after(monkeypatch, fails_at)
        with pytest.raises(OSError, match="No space left"), store.training(record.id):
            store.save(record, CURVE_TEXT, PREDICTED, save(TENSORS))
        monkeypatch.undo()
        assert listing(store.root) == before
    assert store.read_checkpoint(record.id) == {"epoch": 3}


def full_after(monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    """The disk is full from the given call of os.fsync on."""
    sync, calls = os.fsync, iter(range(1, 1_000_000))

    def full(handle: int) -> None:
        if next(calls) >= fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)


def request(results: Path, method: str = "lr-baseline", **options: Any) -> Request:
    return Request(method=method, results=results, **(OPTIONS | options))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of DFD, and so of its teacher, trained in one go in this process."""
    results = tmp_path_factory.mktemp("unbroken") / "runs"
    session.run(request(results, "dfd"), Progress())
    return results


def test_a_full_disk_in_training_loses_no_finished_epoch(
    tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = request(tmp_path / "deep" / "runs", "hr-baseline")
    full_after(monkeypatch, 1)
    with pytest.raises(OSError, match="No space left"):
        session.run(teacher, Progress())
    assert not (tmp_path / "deep").exists()  # nothing half-written, not even the folder
    monkeypatch.undo()
    full_after(monkeypatch, 3)
    with pytest.raises(OSError, match="No space left"):
        session.run(teacher, Progress())
    monkeypatch.undo()
    [work] = (teacher.results / ".work").iterdir()
    assert [path.name for path in work.iterdir()] == ["checkpoint"]
    assert Store(teacher.results).read_checkpoint(work.name)["state"]["epoch"] == 2
    session.run(teacher, Progress())
    same_runs(teacher.results, unbroken)


def same_runs(results: Path, reference: Path) -> None:
    """The finished runs of one store are those of another, byte for byte, and nothing else is left in it."""
    got, expected = finished(results), finished(reference)
    assert got and [name for name, data in got.items() if expected.get(name) != data] == []
    records = {f"{name.partition('/')[0]}/{RECORD}" for name in got}
    files = {name for name, data in listing(results).items() if data is not None}
    assert {name for name in files if not name.startswith(LOCKS)} == {*got, *records}


class Notes(Watch):
    """Keeps what the user is told."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__(stop_after)
        self.notes: list[str] = []
        self.began: list[int] = []  # the epochs that were done when a run was started

    def note(self, message: str) -> None:
        self.notes.append(message)

    def start(self, spec: RunSpec, title: str, done: int, images: int) -> None:
        super().start(spec, title, done, images)
        self.began.append(done)


@pytest.mark.parametrize("damage", [truncate, flip("checkpoint"), overwrite("checkpoint", b"")])
def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_anew(
    damage: Callable[[Path], None], tmp_path: Path, unbroken: Path
) -> None:
    teacher = request(tmp_path / "runs", "hr-baseline")
    with pytest.raises(Interrupted):
        session.run(teacher, Watch(stop_after=2))
    [work] = (teacher.results / ".work").iterdir()
    if damage is truncate:
        (work / "checkpoint").write_bytes((work / "checkpoint").read_bytes()[:-50])
    else:
        damage(work)
    progress = Notes()
    session.run(teacher, progress)
    assert progress.began == [0]
    assert ".damaged-checkpoint-1" in progress.notes[0] and work.name in progress.notes[0]
    same_runs(teacher.results, unbroken)


def test_a_need_without_weights_is_trained_again(tmp_path: Path, unbroken: Path) -> None:
    results = tmp_path / "runs"
    [teacher] = session.run(request(results, "hr-baseline"), Progress())
    (results / teacher.id / WEIGHTS).unlink()
    watch = Watch()
    session.run(request(results, "hr-baseline"), watch)
    assert watch.started == []
    session.run(request(results, "dfd"), watch)
    assert watch.started.count(teacher.id) == 1 and len(watch.started) == 2  # and its student
    same_runs(results, unbroken)


@pytest.mark.slow
def test_killed_before_any_write_and_started_again_a_run_ends_the_same(tmp_path: Path, unbroken: Path) -> None:
    """A process dies by SIGKILL before its first write to the disk, another before its second, and so on."""
    short = replace(request(tmp_path / "whole" / "runs", "hr-baseline"), epochs=2)
    session.run(short, Progress())
    fatal, died = 0, True
    while died:
        fatal += 1
        again = replace(short, results=tmp_path / str(fatal) / "runs")
        died = killed(lambda: session.run(again, Progress()), at_write=fatal)  # noqa: B023
        watch = Notes()
        session.run(again, watch)
        same_runs(again.results, short.results)
        assert not [note for note in watch.notes if "set aside" in note]
    # An fsync and a rename for each of 2 checkpoints and 4 files, one rename of the folder, one removal.
    assert fatal - 1 == 2 * 2 + 4 * 2 + 1 + 1


def test_killed_before_any_write_while_a_run_is_replaced_the_store_is_whole(tmp_path: Path) -> None:
    fatal, died = 0, True
    while died:
        fatal += 1
        store = Store(tmp_path / str(fatal))
        saved = put(store)
        (store.root / saved.id / WEIGHTS).unlink()
        died = killed(lambda: put(store), at_write=fatal)  # noqa: B023
        if store.get(saved.spec, weights=True) is None:
            assert store.get(saved.spec) in (saved, None)
            put(store)
        files = {name for name, data in listing(store.root).items() if data is not None}
        names = {Path(name).name for name in files if not name.startswith(LOCKS)}
        assert names == {*saved.files, RECORD}
    assert fatal - 1 == 4 * 2 + 2 + 2


@pytest.mark.slow
def test_killed_again_and_again_at_random_a_run_ends_the_same(tmp_path: Path, unbroken: Path) -> None:
    student = request(tmp_path / "runs", "dfd")
    for _ in range(8):
        killed(lambda: session.run(student, Progress()), after=random.uniform(0.05, 0.6))
    session.run(student, Progress())
    same_runs(student.results, unbroken)


def killed(action: Callable[[], Any], at_write: int | None = None, after: float | None = None) -> bool:
    """Call `action` in a child process until its nth write to the disk, or for so many seconds, and kill it.

    False where it ended before.
    """
    child = os.fork()
    if child:
        if after is not None:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    try:
        calls = iter(range(1, 1_000_000))

        def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*args: Any, **kwargs: Any) -> Any:
                if next(calls) == at_write:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return called

        os.fsync, os.replace, os.rename = deadly(os.fsync), deadly(os.replace), deadly(os.rename)
        shutil.rmtree = deadly(shutil.rmtree)  # type: ignore[assignment]
        action()
        os._exit(0)
    except BaseException:
        os._exit(1)


class Process:
    """`lrbench run --method dfd` as a process of its own, with its stderr line by line."""

    def __init__(self, results: Path) -> None:
        options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
        main = [sys.executable, "-c", "from lrbench.cli import main; main()"]
        call = [*main, "run", "--method=dfd", f"--results={results}", "--json", *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(call, env=environment, text=True, stdout=pipe, stderr=pipe)
        self.lines: list[str] = []
        self.queue: Queue[str | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stderr or []:
            self.queue.put(line)
        self.queue.put(None)

    def wait_for(self, *words: str) -> None:
        """Until a line on stderr has all of the words."""
        while (line := self.queue.get(timeout=300)) is not None:
            self.lines.append(line)
            if all(word in line for word in words):
                return
        raise AssertionError(f"no line with {words} in:\n{''.join(self.lines)}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def records(self) -> list[dict[str, Any]]:
        """What it prints, once it is done."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()  # not communicate(), which would take lines of stderr from the thread
        self.process.wait(timeout=300)
        while (line := self.queue.get(timeout=300)) is not None:
            self.lines.append(line)
        assert self.process.returncode == 0, "".join(self.lines)
        return json.loads(out)

    @property
    def trained(self) -> int:
        """How many runs it trained."""
        return sum(" epochs of " in line for line in self.lines)


@pytest.mark.slow
def test_killed_and_started_again_the_command_ends_the_same(tmp_path: Path, unbroken: Path) -> None:
    results = tmp_path / "runs"
    for words in [("hr-baseline", "epoch 1/"), ("dfd", "epoch 2/")]:
        process = Process(results)
        process.wait_for(*words)
        process.kill()
    last = Process(results)
    assert [record["spec"]["method"] for record in last.records()] == ["dfd"]
    same_runs(results, unbroken)
    assert len(finished(results)) == len(finished(unbroken))


@pytest.mark.slow
def test_two_processes_that_want_one_run_train_it_once(tmp_path: Path, unbroken: Path) -> None:
    results = tmp_path / "runs"
    (teacher,) = [record for record in Store(unbroken).records() if record.spec.method == "hr-baseline"]
    with lock.held(results / LOCKS / teacher.id, lambda _: None):  # so that neither can begin before the other is there
        first, second = Process(results), Process(results)
        for process in (first, second):
            process.wait_for("another process is training", teacher.id)
    assert first.records() == second.records()
    assert first.trained + second.trained == 2  # the teacher and its student
    same_runs(results, unbroken)


def test_a_checkpoint_of_the_form_before_this_one_is_set_aside(tmp_path: Path, unbroken: Path) -> None:
    """A checksum, then a safetensors file."""
    teacher = request(tmp_path / "runs", "hr-baseline")
    with pytest.raises(Interrupted):
        session.run(teacher, Watch(stop_after=2))
    [work] = (teacher.results / ".work").iterdir()
    content = save({"0": torch.ones(3)}, metadata={"tree": '{"dict": [["weight", {"tensor": 0}]]}'})
    (work / "checkpoint").write_bytes(hashlib.sha256(content).digest() + content)
    progress = Notes()
    session.run(teacher, progress)
    assert progress.began == [0] and "another version of lrbench" in progress.notes[0]
    same_runs(teacher.results, unbroken)

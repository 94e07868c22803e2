"""The index of the store: whatever happens to it or to the runs, records are what the runs' own files say."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import many
from helpers.deadly import killed_at

from lrbench.errors import RunError
from lrbench.spec.record import Record
from lrbench.store import index, store
from lrbench.store.index import Index
from lrbench.store.store import CURVE, PREDICTIONS, RECORD, Store

RUNS = 60
Written = tuple[Path, list[Record]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """A store of records that nobody trained, without an index, and the records by id."""
    root = tmp_path_factory.mktemp("many") / "runs"
    records = many.write(root, RUNS)
    return root, sorted(records, key=lambda record: record.id)


@pytest.fixture
def runs(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that store, of which every run may be indexed at once."""
    monkeypatch.setattr(index, "SETTLED", -1.0)
    monkeypatch.setattr(index, "WORTH", 1)
    shutil.copytree(written[0], tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were read in full, as they are read."""
    read: list[str] = []
    verified = store._verified
    monkeypatch.setattr(
        store, "_verified", lambda folder, weights: (read.append(folder.name), verified(folder, weights))[1]
    )
    return read


def index_of(root: Path) -> Path:
    return root / index.FOLDER / index.NAME


def warnings_of(root: Path) -> tuple[list[Record], list[str]]:
    """The records of a store, and what was warned of."""
    warned: list[str] = []
    return Store(root, warned.append).records(), warned


def test_the_index_says_what_the_files_say(runs: Path, written: Written, reads: list[str]) -> None:
    first = Store(runs).records()
    assert first == written[1] and len(reads) == RUNS
    reads.clear()
    stored = Store(runs)
    assert stored.records() == first and reads == []
    for kept, record in zip(stored.records(), written[1], strict=True):
        assert kept.model_dump() == record.model_dump()
        computed = type(kept.spec).model_validate(kept.spec.model_dump())  # whose id is hashed anew
        assert [one.id for one in kept.spec.walk()] == [one.id for one in computed.walk()]


def test_what_was_right_is_what_the_predictions_say(runs: Path) -> None:
    fresh = Store(runs)
    classifiers = [record for record in fresh.records() if not record.restores]
    kept = Store(runs)
    kept.records()
    for record in classifiers:
        shown = kept.predictions(record)
        for one in (fresh, kept, Store(runs)):  # made, from the index, from the predictions
            right = one.right(record)
            assert right.dtype == bool and (right == (shown["predicted"] == shown["label"])).all()
    assert not Store(runs).right(classifiers[0]).all()


def test_right_answers_are_those_of_the_record_that_is_asked_about(runs: Path) -> None:
    """Not of a run that has been replaced since this store was first read."""
    stored = Store(runs)
    before = next(record for record in stored.records() if not record.restores)
    old, shown = stored.right(before), stored.predictions(before)
    shutil.rmtree(runs / before.id)
    shown["predicted"] = np.where(old, shown["label"] + 1, shown["label"])
    after = stored.save(before, "epoch,loss\n1,1\n", shown, b"")
    assert (stored.right(after) == ~old).all()
    assert (stored.right(before) == old).all()


def test_right_answers_need_no_predictions_to_be_read(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(runs).records()
    stored = Store(runs)
    [record, *_] = [record for record in stored.records() if not record.restores]
    monkeypatch.setattr(Store, "predictions", lambda *_: pytest.fail("read"))
    assert round(100 * stored.right(record).mean(), 6) == round(record.top1, 6)


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def flip_keeping_size_and_time(path: Path) -> None:
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_another(path: Path) -> None:
    other = path.with_name("other")
    flip = bytearray(path.read_bytes())
    flip[len(flip) // 2] ^= 1
    other.write_bytes(flip)
    os.replace(other, path)


@pytest.mark.parametrize("damage", [rewrite, flip_keeping_size_and_time, replace_by_another, Path.unlink])
@pytest.mark.parametrize("name", [RECORD, CURVE, PREDICTIONS])
def test_a_run_damaged_after_it_was_indexed_is_named_and_set_aside(
    damage: Callable[[Path], None], name: str, runs: Path, written: Written, reads: list[str]
) -> None:
    Store(runs).records()
    reads.clear()
    bad = written[1][7]
    damage(runs / bad.id / name)
    found, [warning] = warnings_of(runs)
    assert found == [record for record in written[1] if record != bad]
    assert bad.id in warning and (runs / f".damaged-{bad.id}-1").is_dir()
    assert set(reads) == {bad.id}
    assert warnings_of(runs) == (found, [])


def test_runs_come_and_go(runs: Path, written: Written, reads: list[str], tmp_path: Path) -> None:
    gone, *rest = written[1]
    shutil.move(runs / gone.id, tmp_path / gone.id)
    assert Store(runs).records() == rest
    shutil.move(tmp_path / gone.id, runs / gone.id)
    reads.clear()
    assert Store(runs).records() == written[1] and reads == [gone.id]
    shutil.rmtree(runs / gone.id)
    assert Store(runs).records() == rest
    assert not Index(runs).knows("0" * 16, [0])


def test_a_copy_is_read_anew(runs: Path, tmp_path: Path, written: Written, reads: list[str]) -> None:
    Store(runs).records()
    shutil.copytree(runs, tmp_path / "copy")  # with its index, times and all
    reads.clear()
    assert Store(tmp_path / "copy").records() == written[1] and len(reads) == RUNS


def test_some_of_the_runs_leave_the_index_of_the_others_alone(runs: Path, written: Written, reads: list[str]) -> None:
    Store(runs).records()
    [first, second, *_] = written[1]
    os.utime(runs / first.id / CURVE)
    reads.clear()
    assert Store(runs).only([first.id, second.id]).records() == [first, second] and reads == [first.id]
    reads.clear()
    assert Store(runs).records() == written[1] and reads == []


def forge(path: Path) -> None:
    """Another number in the text, of the same length."""
    data = path.read_bytes()
    assert b'"epochs":100' in data
    path.write_bytes(data.replace(b'"epochs":100', b'"epochs":999', 1))


def older(path: Path) -> None:
    head, _, content = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps(json.loads(head) | {"form": "1"}).encode() + b"\n" + content)


def no_text(path: Path) -> None:
    head, _, content = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps(json.loads(head) | {"text": "all"}).encode() + b"\n" + content)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": rewrite,
    "flipped": flip_keeping_size_and_time,
    "forged": forge,
    "older": older,
    "without a length": no_text,
    "no JSON": lambda path: path.write_bytes(b"\xff\x00\n\n"),
    "no object": lambda path: path.write_bytes(b"[]\n"),
    "nested": lambda path: path.write_bytes(b"[" * 100_000 + b"\n"),
    "a folder": a_folder,
    "its folder gone": lambda path: shutil.rmtree(path.parent),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_index_counts_for_nothing_and_is_made_again(
    kind: str, runs: Path, written: Written, reads: list[str]
) -> None:
    Store(runs).records()
    reads.clear()
    DAMAGE[kind](index_of(runs))
    assert warnings_of(runs) == (written[1], []) and len(reads) == RUNS
    if kind != "a folder":  # which is somebody's own: it is left, and the store is read without
        reads.clear()
        assert warnings_of(runs) == (written[1], []) and reads == []


def test_the_form_changes_with_the_code(monkeypatch: pytest.MonkeyPatch, runs: Path, reads: list[str]) -> None:
    Store(runs).records()
    monkeypatch.setattr(index, "_form", lambda: "another")
    reads.clear()
    assert len(Store(runs).records()) == len(reads) == RUNS


def test_what_has_not_lain_still_is_not_kept(runs: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It could change again within one tick of the file system's clock, unseen."""
    monkeypatch.setattr(index, "SETTLED", 3600.0)
    for _ in range(2):
        reads.clear()
        assert len(Store(runs).records()) == len(reads) == RUNS
    assert not index_of(runs).exists()


def test_a_run_that_changes_while_it_is_read_is_not_kept(
    runs: Path, written: Written, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verified, touched = store._verified, written[1][3].id

    def slow(folder: Path, weights: bool) -> Record:
        record = verified(folder, weights)
        if folder.name == touched:
            os.utime(folder / CURVE)
        return record

    monkeypatch.setattr(store, "_verified", slow)
    Store(runs).records()
    monkeypatch.setattr(store, "_verified", verified)
    known = Index(runs)
    states = {record.id: index.state(f"{runs}/{record.id}", store.INDEXED) for record in written[1]}
    assert [run for run, state in states.items() if not known.knows(run, state)] == [touched]


def test_a_small_store_gets_no_index(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "SETTLED", -1.0)
    shutil.copytree(written[0], tmp_path / "runs")
    assert RUNS < index.WORTH and Store(tmp_path / "runs").records() == written[1]
    assert not index_of(tmp_path / "runs").parent.exists()


def test_a_file_that_changed_since_its_record_was_read_is_not_shown(runs: Path, written: Written) -> None:
    warned: list[str] = []
    stored = Store(runs, warned.append)
    record, other = stored.records()[:2]
    flip_keeping_size_and_time(runs / record.id / CURVE)
    flip_keeping_size_and_time(runs / other.id / PREDICTIONS)
    with pytest.raises(RunError, match=f"curve.csv of run {record.id} has changed"):
        stored.curve(record)
    with pytest.raises(RunError, match=f"predictions.npz of run {other.id} has changed"):
        stored.predictions(other)
    assert len(warned) == 2 and all("set aside" in warning for warning in warned)


def test_in_a_folder_that_cannot_be_written_records_are_read_without(runs: Path, written: Written) -> None:
    before = sorted(runs.rglob("*"))
    runs.chmod(0o555)
    child = os.fork()
    if not child:
        try:
            os.chdir(runs)
            if os.geteuid() == 0:
                os.setuid(65534)  # root may write anywhere; and nobody else may pass the folders above
            with pytest.raises(OSError):
                Path("x").touch()
            os._exit(0 if warnings_of(Path(".")) == (written[1], []) else 1)
        except BaseException:
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    runs.chmod(0o755)
    assert status == 0 and sorted(runs.rglob("*")) == before


def test_killed_at_any_step_of_writing_the_index_is_whole_or_not_there(
    runs: Path, written: Written, reads: list[str]
) -> None:
    step, died = 0, True
    while died:
        step += 1
        calls = [(os, "fsync"), (os, "replace"), (os, "chmod"), (Path, "mkdir")]
        died = killed_at(step, calls, Store(runs).records)
        assert not (died and index_of(runs).exists())
    assert step - 1 == 4 and [path.name for path in index_of(runs).parent.iterdir()] == [index.NAME]  # no leftovers
    assert Store(runs).records() == written[1] and reads == []


def reader(root: Path, seconds: float, answers: multiprocessing.Queue) -> None:
    """Read the store over and over; answers with all the sets of ids and sums of scores that it saw."""
    index.SETTLED, index.WORTH = -1.0, 1
    until, seen = time.monotonic() + seconds, set()
    while time.monotonic() < until:
        records = Store(root).records()
        seen.add((len(records), tuple(record.id for record in records), all(map(consistent, records))))
    answers.put(seen)


def consistent(record: Record) -> bool:
    return record.spec.id == record.id


def test_readers_and_writers_at_once_never_see_a_wrong_answer(runs: Path, written: Written) -> None:
    """Three processes read and index while a run goes and comes and the index is damaged; one of them is killed."""
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue = context.Queue()
    readers = [context.Process(target=reader, args=(runs, 4.0, answers)) for _ in range(3)]
    doomed = context.Process(target=reader, args=(runs, 60.0, answers))
    for process in (*readers, doomed):
        process.start()
    moving, ids = written[1][0].id, tuple(record.id for record in written[1])
    for turn in range(12):
        os.rename(runs / moving, runs.parent / moving)
        time.sleep(0.1)
        os.rename(runs.parent / moving, runs / moving)
        if index_of(runs).exists() and turn % 3 == 0:
            index_of(runs).write_bytes(b"{}\n" * turn)
        if turn == 6:
            doomed.kill()
        time.sleep(0.1)
    seen = set().union(*(answers.get(timeout=120) for _ in readers))
    for process in readers:
        process.join()
    assert {answer[1] for answer in seen} <= {ids, tuple(run for run in ids if run != moving)}
    assert all(answer[2] for answer in seen)
    assert warnings_of(runs) == (written[1], [])


def table_process(*words: str, cache: Path) -> tuple[str, str]:
    """`lrbench table 1` as a process: what it printed, and the modules that it had loaded."""
    code = (
        "import sys\nfrom lrbench.cli import cli\ntry: cli()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "table", "1", *words],
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.strip().rpartition("\n")[2]

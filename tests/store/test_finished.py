"""Reading a store: the records are what the runs' own files say, in the store's folder and in others beside it."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import many
from helpers.files import listing
from helpers.finished import CURVE_TEXT, DAMAGE, PREDICTED, put, record_of, truncate

from lrbench.errors import RunError
from lrbench.spec.record import Record
from lrbench.store.files import recover
from lrbench.store.record_file import sha256
from lrbench.store.store import CURVE, PREDICTIONS, RECORD, WEIGHTS, Store

RUNS = 60
Written = tuple[Path, list[Record]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A store of records that nobody trained, and the records by id."""
    root = tmp_path_factory.mktemp("many") / "runs"
    return root, sorted(many.write(root, RUNS), key=lambda record: record.id)


@pytest.fixture
def runs(written: Written, tmp_path: Path) -> Path:
    """A copy of that store."""
    shutil.copytree(written[0], tmp_path / "runs")
    return tmp_path / "runs"


def warnings_of(root: Path) -> tuple[list[Record], list[str]]:
    """The records of a store, and what was warned of."""
    warned: list[str] = []
    return Store(root, warned.append).records(), warned


def test_contents_and_records_are_what_the_files_say(runs: Path, written: Written) -> None:
    stored = Store(runs)
    assert stored.records() == written[1]
    assert stored.contents() == [record.model_dump(mode="json") for record in written[1]]
    assert [record.model_dump() for record in stored.records()] == [record.model_dump() for record in written[1]]
    assert all(stored.origin(record.id) is None for record in written[1])


def test_contents_are_read_by_themselves(runs: Path, written: Written) -> None:
    """Without curves and predictions."""
    for record in written[1]:
        (runs / record.id / CURVE).unlink()
        (runs / record.id / PREDICTIONS).unlink()
    assert Store(runs).records() == written[1]


def test_an_older_record_is_given_as_it_is(runs: Path, written: Written) -> None:
    """Without fields that came later, and with the id that it had."""
    old = written[1][0]
    path = runs / old.id / RECORD
    content = old.model_dump(mode="json")
    del content["about"], content["spec"]["dropout"]
    sign(path, content)
    expected = [old.model_copy(update={"about": None}), *written[1][1:]]
    assert Store(runs).contents()[0] == content and Store(runs).records() == expected


def sign(path: Path, content: dict) -> None:
    """Write a record as a version of lrbench would have that writes such ones."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps({"sha256": sha256(canonical.encode()), **content}))


@pytest.mark.parametrize(
    "other",
    [
        lambda content: content.update(new=1),
        lambda content: content.pop("metrics"),
        lambda content: content["spec"].update(new=1),
        lambda content: content["spec"].pop("backbone"),
        lambda content: content["spec"].update(seed=12345),  # that its id is not made of
        lambda content: content["spec"]["recipe"].update(new=1),
        lambda content: content["data"].pop("side"),
        lambda content: content.update(about={"label": "A", "new": 1}),
        lambda content: content.update(data=None),
        lambda content: next(iter(content["spec"]["needs"].values())).update(new=1),
    ],
)
def test_a_record_of_another_form_is_left_out_and_left_alone(
    other: Callable[[dict], object], runs: Path, written: Written
) -> None:
    changed = next(record for record in written[1] if record.spec.needs)
    content = changed.model_dump(mode="json")
    other(content)
    sign(runs / changed.id / RECORD, content)
    before, warned = listing(runs), []
    found = Store(runs, warned.append).contents()
    assert [one["id"] for one in found] == [record.id for record in written[1] if record != changed]
    assert len(warned) == 1 and changed.id in warned[0] and "another version of lrbench" in warned[0]
    assert listing(runs) == before


def test_right_is_what_the_predictions_say_and_read_once(
    runs: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Store(runs)
    classifiers = [record for record in written[1] if "top1" in record.metrics]
    for record in classifiers:
        shown, right = stored.predictions(record.id), stored.right(record.id)
        assert right.dtype == bool and (right == (shown["predicted"] == shown["label"])).all()
        assert round(100 * right.mean(), 6) == round(record.metrics["top1"], 6) and not right.all()
    monkeypatch.setattr(Store, "predictions", lambda *_: pytest.fail("read"))
    assert stored.right(classifiers[0].id).any()


def test_a_run_that_is_replaced_is_read_as_it_is_now(runs: Path) -> None:
    stored = Store(runs)
    before = next(record for record in stored.records() if "top1" in record.metrics)
    old, shown = stored.right(before.id), stored.predictions(before.id)
    shutil.rmtree(runs / before.id)
    shown["predicted"] = np.where(old, shown["label"] + 1, shown["label"])
    stored.save(before, "epoch,loss\n1,1\n", shown, b"")
    assert (stored.right(before.id) == ~old).all() and stored.curve(before.id) == "epoch,loss\n1,1\n"


def flip_keeping_size_and_time(path: Path) -> None:
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("damage", [flip_keeping_size_and_time, Path.unlink])
@pytest.mark.parametrize("known", [True, False])  # whether its record was read before
def test_a_file_that_is_not_as_its_record_says_is_not_shown(
    damage: Callable[[Path], None], known: bool, runs: Path, written: Written
) -> None:
    warned: list[str] = []
    stored = Store(runs, warned.append)
    one, other, third = [record.id for record in written[1] if "top1" in record.metrics][:3]
    if known:
        stored.contents()
    for run, name in ((one, CURVE), (other, PREDICTIONS), (third, PREDICTIONS)):
        damage(runs / run / name)
    with pytest.raises(RunError, match=f"curve.csv of run {one} has changed"):
        stored.curve(one)
    with pytest.raises(RunError, match=f"predictions.npz of run {other} has changed"):
        stored.predictions(other)
    with pytest.raises(RunError, match=f"predictions.npz of run {third} has changed"):
        stored.right(third)
    assert len(warned) == 3 and all("set aside" in warning for warning in warned)
    assert not {one, other, third} & {content["id"] for content in Store(runs).contents()}


def test_a_run_that_another_process_has_replaced_meanwhile_is_not_mixed_up(tmp_path: Path) -> None:
    reader, saved = Store(tmp_path), put(Store(tmp_path))
    reader.contents()
    shutil.rmtree(tmp_path / saved.id)
    Store(tmp_path).save(saved, "epoch,loss\n1,7\n", PREDICTED, b"")
    with pytest.raises(RunError, match="has changed since"):
        reader.curve(saved.id)
    assert (tmp_path / saved.id).exists()  # it is whole
    reader.contents()
    assert reader.curve(saved.id) == "epoch,loss\n1,7\n"


def test_a_run_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    stored = Store(tmp_path)
    for read in (stored.curve, stored.predictions, stored.right, stored.weights, stored.origin):
        with pytest.raises(RunError, match="0123456789abcdef"):
            read("0123456789abcdef")


def test_damaged_weights_are_not_given(tmp_path: Path) -> None:
    stored = Store(tmp_path)
    saved = put(stored)
    flip_keeping_size_and_time(tmp_path / saved.id / WEIGHTS)
    with pytest.raises(RunError, match=f"the weights of run {saved.id} are not in {tmp_path}"):
        stored.weights(saved.id)
    assert stored.get(saved.spec) is None


def test_in_a_folder_that_cannot_be_written_records_are_read(runs: Path, written: Written) -> None:
    before = listing(runs)
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
    assert status == 0 and listing(runs) == before


def reader(root: Path, seconds: float, answers: multiprocessing.Queue) -> None:
    """Read the store over and over; answers with all the sets of ids that it saw."""
    until, seen = time.monotonic() + seconds, set()
    while time.monotonic() < until:
        records = Store(root).records()
        seen.add((tuple(record.id for record in records), all(record.spec.id == record.id for record in records)))
    answers.put(seen)


def test_readers_see_each_run_whole_or_not_while_it_goes_and_comes(runs: Path, written: Written) -> None:
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue = context.Queue()
    readers = [context.Process(target=reader, args=(runs, 2.0, answers)) for _ in range(2)]
    for process in readers:
        process.start()
    moving, ids = written[1][0].id, tuple(record.id for record in written[1])
    for _ in range(10):
        os.rename(runs / moving, runs.parent / moving)
        time.sleep(0.05)
        os.rename(runs.parent / moving, runs / moving)
        time.sleep(0.05)
    seen = set().union(*(answers.get(timeout=120) for _ in readers))
    for process in readers:
        process.join()
    assert {answer[0] for answer in seen} <= {ids, tuple(run for run in ids if run != moving)}
    assert all(answer[1] for answer in seen)
    assert warnings_of(runs) == (written[1], [])


# --- other stores beside the own -----------------------------------------------------------------------------


class Beside:
    """An own store with runs 0 and 1, and two others that are read beside it, with runs 1, 2 and 2, 3."""

    def __init__(self, root: Path) -> None:
        self.first, self.second = root / "first", root / "second"
        self.warned: list[str] = []
        self.store = Store(root / "runs", self.warned.append, others=[self.first, self.second])
        self.ids = [record_of(seed).id for seed in range(4)]
        for place, seeds in ((self.store.root, (0, 1)), (self.first, (1, 2)), (self.second, (2, 3))):
            for seed in seeds:
                Store(place).save(record_of(seed), f"{CURVE_TEXT}{place.name}", PREDICTED, place.name.encode())
        self.before = self.others_listing()

    def others_listing(self) -> list[dict[str, bytes | None]]:
        return [listing(place) for place in (self.first, self.second)]


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    for name in ("runs", "first", "second"):
        (tmp_path / name).mkdir()
    return Beside(tmp_path)


def test_runs_of_other_stores_count_each_once_and_the_own_first(beside: Beside) -> None:
    store = beside.store
    assert [one["id"] for one in store.contents()] == [one.id for one in store.records()] == sorted(beside.ids)
    for stored in (store, Store(store.root, others=store.others)):  # with and without having read the records
        origins = [stored.origin(run) for run in beside.ids]
        assert origins == [None, None, beside.first, beside.second]
        names = ["runs", "runs", "first", "second"]
        assert [stored.curve(run) for run in beside.ids] == [f"{CURVE_TEXT}{name}" for name in names]
        assert [stored.weights(run).decode() for run in beside.ids] == names
        assert all((stored.predictions(run)["label"] == PREDICTED["label"]).all() for run in beside.ids)
        assert [stored.right(run).tolist() for run in beside.ids] == [[True, True, False]] * 4
    for seed, run in enumerate(beside.ids):
        found = store.get(record_of(seed).spec, weights=True)
        assert found is not None and found.id == run
    assert beside.warned == [] and beside.others_listing() == beside.before


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_run_of_another_store_is_named_and_left_alone(kind: str, beside: Beside) -> None:
    DAMAGE[kind](beside.second / beside.ids[3])
    before = beside.others_listing()
    assert beside.store.get(record_of(3).spec) is None
    [warning] = beside.warned
    assert str(beside.second / beside.ids[3]) in warning and "damaged" in warning and "set aside" not in warning
    assert beside.others_listing() == before


def test_a_damaged_own_run_is_set_aside_and_anothers_is_taken(beside: Beside) -> None:
    truncate(beside.store.root / beside.ids[1])
    assert [one["id"] for one in beside.store.contents()] == sorted(beside.ids)
    assert beside.store.origin(beside.ids[1]) == beside.first
    assert beside.store.curve(beside.ids[1]) == f"{CURVE_TEXT}first"
    assert len(beside.warned) == 1 and "set aside" in beside.warned[0]


def test_weights_are_taken_from_where_they_are(beside: Beside) -> None:
    spec, run = record_of(1).spec, beside.ids[1]
    (beside.store.root / run / WEIGHTS).unlink()
    beside.store.contents()
    with_weights = beside.store.get(spec, weights=True)
    assert with_weights is not None and with_weights.files[WEIGHTS] == sha256(b"first")
    assert beside.store.weights(run) == b"first"
    assert beside.store.origin(run) is None and beside.store.curve(run) == f"{CURVE_TEXT}runs"  # as the own record
    (beside.first / run / WEIGHTS).unlink()
    assert beside.store.get(spec, weights=True) is None and beside.store.get(spec) is not None
    with pytest.raises(RunError, match="weights"):
        beside.store.weights(run)


def test_other_stores_are_never_written(beside: Beside) -> None:
    spec, run = record_of(3).spec, beside.ids[3]
    with beside.store.training(run):
        beside.store.write_checkpoint(run, {"epoch": 1})
        assert beside.store.read_checkpoint(run) == {"epoch": 1}
        beside.store.write_failure(spec, "no reason")
        beside.store.save(record_of(3), "epoch,loss\n1,7\n", PREDICTED, b"own")
    assert beside.store.origin(run) is None and beside.store.weights(run) == b"own"
    assert beside.store.get(spec, weights=True).files[WEIGHTS] == sha256(b"own")
    assert beside.others_listing() == beside.before


def test_a_folder_beside_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    stored = Store(tmp_path / "runs", others=[tmp_path / "nowhere"])
    assert stored.contents() == [] and stored.get(record_of().spec) is None
    assert not list(tmp_path.iterdir())


def test_a_run_is_left_out_where_a_file_to_check_is_damaged_and_that_is_said_once(beside: Beside) -> None:
    own, shared, _, alone = beside.ids
    (beside.second / alone / PREDICTIONS).unlink()
    (beside.store.root / own / CURVE).write_text("epoch\n")
    (beside.store.root / shared / CURVE).unlink()
    before = beside.others_listing()
    store = Store(beside.store.root, beside.warned.append, beside.store.others, check=[CURVE, PREDICTIONS])
    for _ in range(2):
        assert [one["id"] for one in store.contents()] == sorted(beside.ids[1:3])
    assert store.curve(shared) == f"{CURVE_TEXT}first"  # which is taken instead
    assert len(beside.warned) == 3 and sum("set aside" in one for one in beside.warned) == 2
    assert beside.others_listing() == before and len(beside.store.contents()) == 3


def test_messages_name_all_folders_that_were_read(beside: Beside) -> None:
    with pytest.raises(RunError, match=f"in {beside.store.root} or {beside.first} or {beside.second}"):
        beside.store.curve("0123456789abcdef")


@pytest.mark.parametrize("name", ["x", "[x]*", "x-aaaaaaaa", ".x"])
def test_leftovers_of_a_folder_are_told_from_those_of_others_by_its_exact_name(name: str, tmp_path: Path) -> None:
    names = [name, f"{name}-aaaaaaaa", "x", f"x{name}"]
    kept = {tmp_path / f".tmp-{kind}{other}" for other in {*names} - {name} for kind in ("old-", "new-aaaaaaaa-")}
    for folder in (*kept, tmp_path / f".tmp-old-{name}", tmp_path / f".tmp-new-abcd_123-{name}"):
        folder.mkdir()
    recover(tmp_path / name)  # of a process that was killed when it had moved the old one away
    assert {*tmp_path.iterdir()} == {*kept, tmp_path / name}

"""The schedule: needs first, a failed run once more, the rest in spite of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import tiny
from rich.console import Console

from lrbench.execute.board import Board
from lrbench.execute.estimate import LATEST, Estimate, words
from lrbench.execute.executors import Event, Executor, Handle
from lrbench.execute.schedule import Schedule, State
from lrbench.plan.plan import graph
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store


class Scripted(Executor):
    """Ends runs in the order they were begun; those in `failing` fail as often as it says."""

    def __init__(self, slots: int = 1, failing: dict[str, int] | None = None) -> None:
        self.slots, self.failing = slots, dict(failing or {})
        self.begun: list[str] = []
        self.tasks: list[list[str]] = []
        self.running: list[RunSpec] = []
        self.most = 0

    def start(self, specs: Sequence[RunSpec]) -> None:
        self.tasks.append([spec.id for spec in specs])
        self.begun += self.tasks[-1]
        self.running += specs
        going = {spec.id for spec in self.running}
        self.most = max(self.most, sum(bool(going.intersection(task)) for task in self.tasks))

    def wait(self, handle: Handle, timeout: float) -> None:
        spec = self.running.pop(0)
        handle(Event(spec.id, "started"))
        handle(Event(spec.id, "epoch", 1, 100.0, {"train_top1": 50.0}))
        if self.failing.get(spec.id, 0):
            self.failing[spec.id] -= 1
            handle(Event(spec.id, "failed", text="no luck"))
        else:
            handle(Event(spec.id, "done", 100, row={"top1": 60.0}))

    def close(self) -> None:
        self.running.clear()


class Partly(Store):
    """Has the runs in `have`, those in `whole` with their weights."""

    have: set[str] = set()
    whole: set[str] = set()

    def get(self, spec: RunSpec, weights: bool = False):  # type: ignore[no-untyped-def]
        return spec if spec.id in (self.whole if weights else self.have | self.whole) else None


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Schedule, dict[str, str]]:
    """DFD from the LR-baseline on two backbones; names -> ids of the first one's runs."""
    started = {"init": "lr-baseline"}
    specs = [tiny.spec("dfd", started, backbone=backbone, data=tiny.info(32)) for backbone in ("resnet18", "alexnet")]
    names = {role: need.id for role, need in specs[0].needs.items()} | {"dfd": specs[0].id, "other": specs[1].id}
    return Schedule(graph(specs, Store(tmp_path))), names


def run(schedule: Schedule, executor: Scripted) -> list[Event]:
    seen: list[Event] = []
    schedule.run(executor, seen.append)
    return seen


def test_every_run_is_trained_once_after_its_needs(runs: tuple[Schedule, dict[str, str]]) -> None:
    schedule, _ = runs
    executor = Scripted(slots=3)
    run(schedule, executor)
    assert sorted(executor.begun) == sorted(schedule.graph.specs)
    order = {one: place for place, one in enumerate(executor.begun)}
    assert all(order[need] < order[one] for one in order for need in schedule.graph.below(one))
    assert set(schedule.states.values()) == {State.DONE}
    assert 1 < executor.most <= 3


def test_a_run_that_fails_once_is_tried_again(runs: tuple[Schedule, dict[str, str]]) -> None:
    schedule, names = runs
    executor = Scripted(failing={names["teacher"]: 1})
    run(schedule, executor)
    assert executor.begun.count(names["teacher"]) == 2
    assert set(schedule.states.values()) == {State.DONE}
    assert not schedule.causes


def test_a_run_that_fails_twice_stops_only_what_needs_it(runs: tuple[Schedule, dict[str, str]]) -> None:
    schedule, names = runs
    executor = Scripted(slots=2, failing={names["teacher"]: 9})
    run(schedule, executor)
    assert executor.begun.count(names["teacher"]) == 2
    assert names["dfd"] not in executor.begun
    assert schedule.states[names["teacher"]] is State.FAILED
    assert schedule.causes[names["teacher"]] == "no luck"
    assert schedule.states[names["dfd"]] is State.BLOCKED
    assert names["teacher"] in schedule.causes[names["dfd"]]
    assert schedule.states[names["init"]] is schedule.states[names["other"]] is State.DONE


def test_a_group_is_begun_at_once_where_every_slot_has_enough_to_do(tmp_path: Path) -> None:
    students = [tiny.spec("dfd", {"lam": lam, "init": "scratch"}, data=tiny.info(32)) for lam in (0.1, 1.0, 10.0)]
    elsewhere = tiny.spec("lr-baseline", data=tiny.info(32), seed=1)
    teacher, ids = students[0].needs["teacher"].id, [student.id for student in students]
    for slots, expected in (
        (1, [[elsewhere.id], [teacher], ids]),
        (2, [[elsewhere.id], [teacher], ids[:2], ids[2:]]),
        (9, [[elsewhere.id], [teacher], *([one] for one in ids)]),
    ):
        executor = Scripted(slots)
        run(Schedule(graph([elsewhere, *students], Store(tmp_path))), executor)
        assert executor.tasks == expected, slots


def test_the_time_left_of_runs_side_by_side_is_their_sum(tmp_path: Path) -> None:
    students = [tiny.spec("dfd", {"lam": lam, "init": "scratch"}, data=tiny.info(32)) for lam in (0.1, 1.0, 10.0)]
    store = Partly(tmp_path)
    store.whole = {students[0].needs["teacher"].id}
    schedule, estimate = Schedule(graph(students, store)), Estimate(lambda name: tiny.info(32))
    board, said = Board(schedule, estimate), set[str]()

    class Group(Scripted):
        def wait(self, handle: Handle, timeout: float) -> None:
            for spec in self.running:
                handle(Event(spec.id, "started"))
            for spec in self.running:
                handle(Event(spec.id, "epoch", 10, 1.0, {}))
            said.add(board.time_left())
            for spec in self.running:
                handle(Event(spec.id, "done", 100, row={"top1": 60.0}))

    schedule.run(Group(), board)
    assert said == {f"about {words(3 * 90 * 40)} left"}


def test_a_run_that_has_failed_is_tried_again_alone(tmp_path: Path) -> None:
    students = [tiny.spec("dfd", {"lam": lam, "init": "scratch"}, data=tiny.info(32)) for lam in (0.1, 1.0, 10.0)]
    teacher, ids = students[0].needs["teacher"].id, [student.id for student in students]
    executor = Scripted(failing={ids[1]: 1, ids[2]: 1})
    schedule = Schedule(graph(students, Store(tmp_path)))
    run(schedule, executor)
    assert executor.tasks[:2] == [[teacher], ids]
    assert sorted(executor.tasks[2:]) == sorted([[ids[1]], [ids[2]]])
    assert set(schedule.states.values()) == {State.DONE}


def test_the_board_says_what_happens_in_lines(
    runs: tuple[Schedule, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    schedule, names = runs
    board = Board(schedule, Estimate(lambda name: tiny.info(32)))
    schedule.run(Scripted(failing={names["teacher"]: 9, names["init"]: 1}), board)
    said = capsys.readouterr().err
    assert "failed and is tried again: no luck" in said
    assert "FAILED: no luck" in said
    assert "top-1 60.00 %" in said
    assert f"({len(schedule.graph.missing)} of {len(schedule.graph.missing)})" in said
    assert "\x1b" not in said


def test_the_board_says_what_is_of_no_run(
    runs: tuple[Schedule, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board(runs[0], Estimate(lambda name: tiny.info(32)))
    board(Event("", "note", text="another process is training it"))
    assert "another process is training it" in capsys.readouterr().err


def test_the_screen_of_a_suite_that_is_done_says_no_more_than_that(runs: tuple[Schedule, dict[str, str]]) -> None:
    schedule, _ = runs
    board, console = Board(schedule, Estimate(lambda name: tiny.info(32))), Console(width=200, file=io.StringIO())
    console.print(board)
    schedule.run(Scripted(), board)
    console.print(board)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    empty, before, full, after = text.splitlines()
    assert before == f"{len(schedule.graph.specs)} waiting; time left not known yet"
    assert after == f"{len(schedule.graph.specs)} done"
    assert not empty.strip() and full.strip() == "━" * 60


def test_in_a_notebook_the_screen_stands_in_the_cell(
    runs: tuple[Schedule, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    schedule, names = runs
    board, shown = Board(schedule, Estimate(lambda name: tiny.info(32))), list[str]()

    class Cell:
        def update(self, content: dict[str, str], raw: bool) -> None:
            shown.append(content["text/plain"])

    board.cell = Cell()
    schedule.run(Scripted(failing={names["init"]: 1}), board)
    assert any("running" in text and "waiting" in text for text in shown)
    assert shown[-1].splitlines()[-1] == f"{len(schedule.graph.specs)} done" and "━" * 60 in shown[-1]
    said = capsys.readouterr().err
    assert "failed and is tried again: no luck" in said and "started" not in said


def test_the_bar_of_a_suite_counts_epochs(tmp_path: Path) -> None:
    students = [tiny.spec("dfd", {"lam": lam, "init": "scratch"}, data=tiny.info(32)) for lam in (0.1, 1.0)]
    store = Partly(tmp_path)
    store.whole = {students[0].needs["teacher"].id}  # which is there, and no part of it
    schedule = Schedule(graph(students, store))
    board, parts = Board(schedule, Estimate(lambda name: tiny.info(32))), []
    epochs = students[0].recipe.epochs

    class Group(Scripted):
        def wait(self, handle: Handle, timeout: float) -> None:
            for spec in self.running:
                handle(Event(spec.id, "started"))
            handle(Event(self.running[0].id, "epoch", epochs // 2, 1.0, {}))
            parts.append(board.part_done())
            for spec in self.running:
                handle(Event(spec.id, "done", epochs, row={"top1": 60.0}))
                parts.append(board.part_done())

    schedule.run(Group(), board)
    assert parts == [(epochs // 2) / (2 * epochs), 0.5, 1.0]


def test_a_need_without_weights_is_trained_again_only_for_a_run_that_is_missing(tmp_path: Path) -> None:
    spec = tiny.spec("dfd", {"init": "scratch"})
    teacher = spec.needs["teacher"]

    store = Partly(tmp_path)
    store.have = {teacher.id, spec.id}
    assert graph([spec], store).missing == ()
    store.have = {teacher.id}
    assert graph([spec], store).missing == (teacher.id, spec.id)


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_need_that_is_there_needs_itself_is_waited_for(tmp_path: Path, fails: bool) -> None:
    """A student starts from one that started from another, whose weights are lost."""
    spec = tiny.spec("lr-baseline", {"init": "lr-baseline"})
    first = next(need for need in spec.walk() if not need.needs)
    student = tiny.spec("dfd", data=tiny.info(32))
    middle = spec.model_copy(update={"needs": {"init": first}})
    last = student.model_copy(update={"needs": {"init": middle}})
    store = Partly(tmp_path)
    store.whole = {middle.id}
    schedule = Schedule(graph([last], store))
    assert schedule.graph.missing == (first.id, last.id)
    executor = Scripted(slots=2, failing={first.id: 9} if fails else {})
    run(schedule, executor)
    assert executor.begun == ([first.id] * 2 if fails else [first.id, last.id])
    assert schedule.states[last.id] is (State.BLOCKED if fails else State.DONE)


def test_of_many_speeds_the_latest_count() -> None:
    known, spec = Estimate(lambda name: tiny.info()), tiny.spec("lr-baseline", epochs=10)
    for speed in (*[1.0] * 10_000, *[100.0] * LATEST):
        known.learn(spec, speed)
    assert known.seconds(spec) == pytest.approx(40 * 10 / 100)


def test_time_is_estimated_from_runs_alike() -> None:
    known = Estimate(lambda name: tiny.info())
    spec = tiny.spec("dfd", {"lam": 0.5}, epochs=10)
    assert known.seconds(spec) is None
    known.learn(tiny.spec("dfd", {"lam": 2.0}, epochs=3), 100.0)
    assert known.seconds(spec) == pytest.approx(40 * 10 / 100), "a weight changes no speed"
    assert known.seconds(spec, 5) == pytest.approx(2)
    assert known.seconds(tiny.spec("dfd", {"lam": 0.5, "init": "scratch"}, scale=2)), "its network sees one side"
    assert known.seconds(tiny.spec("dfd", {"lam": 0.5}, width=0.25)) is None
    assert known.seconds(tiny.spec("lr-baseline")) is None
    known.learn(tiny.spec("sr-espcn", {"sr_scale": 2}), 50.0)
    assert known.seconds(tiny.spec("sr-espcn", {"sr_scale": 4})) is None
    assert [words(seconds) for seconds in (0.4, 89, 600, 9000)] == ["0 s", "89 s", "10 min", "2.5 h"]


def test_records_that_tell_no_speed_are_left_out() -> None:
    import torch

    from lrbench import device

    cpu, known, spec = torch.device("cpu"), Estimate(lambda name: tiny.info()), tiny.spec()

    def record(images_per_second: float | None, method: str = spec.method) -> Record:
        run, env = spec.model_copy(update={"method": method}), {"device": device.describe(cpu)}
        values = {"spec": run, "data": tiny.FACTS, "env": env, "metrics": {"images_per_second": images_per_second}}
        return Record.model_construct(**values)

    known.learn_all([record(None), record(0.0), record(50.0, "not-installed")], cpu)
    assert known.seconds(spec) is None
    known.learn_all([record(40.0)], cpu)
    assert known.seconds(spec, 1) == pytest.approx(1)

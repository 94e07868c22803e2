"""Threads: how many cores are free, what is refused, and that a run keeps the number that it was begun with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny

from lrbench import device
from lrbench.errors import UserError
from lrbench.execute import session
from lrbench.execute.executors import Place, Pool
from lrbench.execute.progress import Progress
from lrbench.execute.runner import Runner
from lrbench.execute.session import Request
from lrbench.plan.suite import Overrides
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store
from lrbench.train import loop as cohort
from lrbench.train.training import Training

Machine, Order = Callable[..., None], Callable[..., session.Ordered]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes a machine of so many cores, of which others use so much; its control group may be limited."""
    monkeypatch.setattr(device, "STAT", tmp_path / "stat")
    monkeypatch.setattr(device, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(device, "GROUP", tmp_path / "group")
    monkeypatch.setattr(device, "MOST", 64)

    def make(*busy: float, limit: float | None = None, used: float = 0.0, version: int = 2, load: float = 0.0) -> None:
        monkeypatch.setattr(device, "_affinity", lambda: set(range(1, 1 + len(busy))))  # core 0 is not for us
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        folder = tmp_path / "groups" / ("below" if version == 2 else "cpu")
        folder.mkdir(parents=True)
        (tmp_path / "group").write_text("0::/below/mine\n" if version == 2 else "3:memory:/x\n1:cpu:/elsewhere\n")

        def write(ticks: int) -> None:
            lines = [
                f"cpu{n} {round(b * ticks)} 0 0 {round((1 - b) * ticks)} 0 0 0 0 0 0" for n, b in enumerate(busy, 1)
            ]
            (tmp_path / "stat").write_text("\n".join(["cpu 1 2 3 4", f"cpu0 {ticks} 0 0 0 0 0 0 0", *lines, "intr 5"]))
            spent = used * ticks / 100
            if version == 2:
                quota = "max" if limit is None else str(round(limit * 100_000))
                (folder / "cpu.max").write_text(f"{quota} 100000\n")
                (folder / "cpu.stat").write_text(f"usage_usec {round(spent * 1e6)}\nuser_usec 0\n")
            else:
                (folder / "cpu.cfs_quota_us").write_text("-1" if limit is None else str(round(limit * 50_000)))
                (folder / "cpu.cfs_period_us").write_text("50000")
                (folder / "cpuacct.usage").write_text(str(round(spent * 1e9)))

        write(1000)
        monkeypatch.setattr(device.time, "sleep", lambda seconds: write(1000 + round(100 * seconds)))

    return make


@pytest.mark.parametrize(
    ("busy", "free"),
    [
        ((0.0, 0.0), 2),
        ((1.0, 0.0), 1),
        ((0.5, 0.5), 1),  # one process, moved from core to core
        ((1.0, 1.0), 1),
        ((0.1, 0.1, 0.0, 0.0), 4),  # a little is no reason to leave a core alone
        ((1.0, 1.0, 0.1, 0.0), 2),
        ((0.0,), 1),
    ],
)
def test_auto_takes_the_cores_that_are_free(machine: Machine, busy: tuple[float, ...], free: int) -> None:
    machine(*busy)
    assert device.choose_threads("auto") == free


@pytest.mark.parametrize("version", [1, 2])
def test_a_limit_of_a_control_group_counts_and_what_others_use_of_it(machine: Machine, version: int) -> None:
    machine(*[0.0] * 8, limit=3, version=version)
    assert (device.cores(), device.choose_threads("auto")) == (3, 3)


@pytest.mark.parametrize("version", [1, 2])
def test_what_others_use_of_a_limit_is_not_free(machine: Machine, version: int) -> None:
    machine(*[0.0] * 8, limit=3, used=2, version=version)
    assert (device.cores(), device.choose_threads("auto")) == (3, 1)


def test_without_a_limit_all_cores_are_there(machine: Machine) -> None:
    machine(*[0.0] * 8, used=8)
    assert (device.cores(), device.choose_threads("auto")) == (8, 8)


def test_part_of_a_core_is_one(machine: Machine) -> None:
    machine(0.0, 0.0, limit=0.5)
    assert (device.cores(), device.choose_threads("auto")) == (1, 1)


def test_where_nothing_says_which_cores_are_busy_the_load_does(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(0.0, 0.0, 0.0, 0.0, load=2.1)
    monkeypatch.setattr(device, "STAT", tmp_path / "none")
    assert device.choose_threads("auto") == 2


def test_auto_never_takes_more_than_pytorch_would(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(0.0, 0.0, 0.0, 0.0)
    monkeypatch.setattr(device, "MOST", 3)  # OMP_NUM_THREADS=3
    assert device.choose_threads("auto") == 3
    assert device.choose_threads(4) == 4, "unless it is told to"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("5", "--threads 5: this machine has 4 cores; the most threads are 4"),
        ("0", "the fewest threads are 1"),
        ("-2", "the fewest threads are 1"),
        ("many", "--threads many is no number of threads; say one, or auto"),
        ("1.5", "say one, or auto"),
    ],
)
def test_what_cannot_be_is_refused(machine: Machine, asked: str, message: str) -> None:
    machine(0.0, 0.0, 0.0, 0.0)
    with pytest.raises(UserError, match=message):
        device.choose_threads(asked)


# --- in a run -------------------------------------------------------------------------------------------


@pytest.fixture
def two() -> Iterator[None]:
    """A machine that has two cores, for it is refused elsewhere; the number of this process is put back."""
    if device.cores() < 2:
        pytest.skip("this machine has one core")
    before = torch.get_num_threads()
    yield
    device.use_threads(before)


def request(path: Path, **changes: Any) -> Request:
    small = dict(width=0.125, recipe="quick", epochs=3, limit_train=300, limit_test=50, precision="fp32", device="cpu")
    return Request("lr-baseline", "digits", path / "runs", scale=2, **(small | changes))


class Broken(Progress):
    """Ends the process, as it were, after an epoch."""

    def epoch(self, row: Any, images_per_second: float) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_its_number_and_the_next_has_its_own(tmp_path: Path, two: None) -> None:
    seen: dict[int, set[int]] = {}
    update = Training.update

    def watched(training: Training, *args: Any) -> None:
        update(training, *args)
        seen.setdefault(training.spec.seed, set()).add(torch.get_num_threads())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "update", watched)
        with pytest.raises(KeyboardInterrupt):
            session.run(request(tmp_path, threads=2), Broken())
        both = session.run(request(tmp_path, threads=1, seeds=(0, 1)), Progress())
    assert seen == {0: {2}, 1: {1}}
    assert [record.env["threads"] for record in both] == [2, 1]


@pytest.mark.slow
def test_side_by_side_each_run_has_its_own_number(tmp_path: Path, two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One goes on after a break and was begun with two threads, the other is begun beside it with one."""
    narrow, wide = (request(tmp_path, width=width) for width in (0.125, 0.25))
    with pytest.raises(KeyboardInterrupt):
        session.run(replace(narrow, threads=2), Broken())
    specs: list[RunSpec] = []
    with monkeypatch.context() as patch:
        patch.setattr(session.Runner, "run", lambda runner, spec: specs.append(spec))
        for one in (narrow, wide):
            session.run(one, Progress())
    assert len({cohort.group_of(spec) for spec in specs}) == 1
    seen: set[tuple[float, int, int]] = set()
    update = Training.update

    def watched(training: Training, *args: Any) -> None:
        update(training, *args)
        seen.add((training.spec.width, training.history.epoch, torch.get_num_threads()))

    monkeypatch.setattr(Training, "update", watched)
    device.use_threads(1)
    ends: list[Any] = []
    runner = Runner(Store(tmp_path / "runs"), tmp_path, torch.device("cpu"), lambda spec: Progress())
    runner.run_group(specs, lambda spec, end: ends.append(end))
    assert seen == {(0.125, 1, 2), (0.125, 2, 2), *((0.25, epoch, 1) for epoch in range(3))}
    assert {(end.spec.width, end.env["threads"]) for end in ends} == {(0.125, 2), (0.25, 1)}


def test_the_number_is_in_the_record(tmp_path: Path, two: None) -> None:
    [record] = session.run(request(tmp_path, threads="2", epochs=1), Progress())
    assert record.env["threads"] == 2 and "2 thread(s)" in str(record.env["device"])


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """A suite of a run that is not there, ready to be trained."""
    (tmp_path / "one.toml").write_text(
        'title = "One"\n[[runs]]\nmethod = "lr-baseline"\ndataset = "digits"\nscale = 2\n'
    )

    def order(**options: Any) -> session.Ordered:
        return session.order(str(tmp_path / "one.toml"), Overrides(), Store(tmp_path / "runs"), device="cpu", **options)

    return order


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_runs_at_once_share_the_threads(jobs: int, two: None, order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Place] = []

    class Process:
        def __init__(self, target: Any, args: tuple[Place, Any], daemon: bool) -> None:
            given.append(args[0])

        def start(self) -> None:
            pass

    monkeypatch.setattr(
        "lrbench.execute.executors.multiprocessing.get_context", lambda kind: type("", (), {"Process": Process})
    )
    pool = order(threads="2", jobs=jobs).executor()
    assert isinstance(pool, Pool)
    pool._new(0)
    assert [one.threads for one in given] == [{1: 2, 2: 1, 5: 1}[jobs]]


@pytest.mark.parametrize(("options", "threads"), [({}, None), ({"threads": "2"}, 2)])
def test_with_ray_the_cluster_says_how_many_unless_the_user_does(
    options: dict[str, str],
    threads: int | None,
    order: Order,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Place] = []
    monkeypatch.setattr("lrbench.execute.cluster.Cluster", lambda place, *_: given.append(place))
    if device.cores() < 2:
        pytest.skip("this machine has one core")
    order(executor="ray", **options).executor()
    assert [place.threads for place in given] == [threads]


def test_a_checkpoint_of_before_has_the_number_of_now(two: None) -> None:
    run = tiny.spec("lr-baseline", epochs=2)
    training = Training(tiny.make(run), run, tiny.pairs(), None)
    old = training.snapshot()
    old["state"] = {name: value for name, value in old["state"].items() if name != "threads"}
    device.use_threads(2)
    training.restore(old)
    assert training.history.threads == 2

"""`lrbench reproduce` as a process: executors give equal runs, kills change nothing, a failure stops nobody else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lrbench.record import Record
from lrbench.store import PREDICTIONS, WEIGHTS, Store

COMMAND = [sys.executable, "-c", "from lrbench.cli import main; main()"]
SUITE = """
title = "Three runs"
tables = ["1"]
figures = ["curves"]

[[runs]]
method = "dfd"
dataset = "digits"
scale = 2
width = 0.25
recipe = "quick"
epochs = 6
"""
BROKEN = """
import torch
from lrbench_baselines.lr_baseline import LRBaseline


class Broken(LRBaseline):
    name = "broken"

    def loss(self, batch):
        return {name: term * float("nan") for name, term in super().loss(batch).items()}
"""
POOL, RAY = ["--jobs", "2"], ["--jobs", "2", "--executor", "ray"]


class Folder:
    """A working folder with the suite in it."""

    def __init__(self, path: Path) -> None:
        self.path, self.store = path, Store(path / "runs")
        path.mkdir(exist_ok=True)
        (path / "three.toml").write_text(SUITE)

    def start(self, *options: str, suite: str = "three.toml") -> subprocess.Popen[str]:
        """The command, begun, in a process group of its own, as a terminal begins it."""
        env = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "LRBENCH_RESULTS": str(self.path / "runs")}
        words = [*COMMAND, "reproduce", suite, "--device=cpu", "--precision=fp32", "--out=out", *options]
        return subprocess.Popen(
            words,
            cwd=self.path,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, *options: str, suite: str = "three.toml") -> subprocess.CompletedProcess[str]:
        """The command, ended."""
        return ended(self.start(*options, suite=suite))

    def scores(self) -> dict[str, tuple[float, str, str]]:
        """What two equal stores have in common: id -> top-1, predictions and weights, as hashes."""
        return {r.id: (r.top1, r.files[PREDICTIONS], r.files[WEIGHTS]) for r in self.store.records()}

    def wait_for_checkpoint(self, besides: tuple[str, ...] = ()) -> str:
        """The id of a run that has finished an epoch and not all of them."""

        def found() -> str | None:
            places = (self.path / "runs" / ".work").glob("*/checkpoint")
            return next((place.parent.name for place in places if place.parent.name not in besides), None)

        return wait_until(found, "a checkpoint")


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_until(found: Callable[[], str | None], what: str) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


def below(pid: int) -> Iterator[int]:
    """The processes that a process began, and theirs."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield int(child)
            yield from below(int(child))


def workers(pid: int) -> list[int]:
    """The worker processes that train something: those that have run for longest of CPU time, of a pool."""
    return [child for child in below(pid) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The suite, run by this process' workers without a break."""
    folder = Folder(tmp_path_factory.mktemp("unbroken"))
    done = folder.run(*POOL)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_runs_are_trained_and_the_tables_and_figures_written(unbroken: Folder) -> None:
    methods = [record.spec.method for record in unbroken.store.records()]
    assert sorted(methods) == ["dfd", "hr-baseline", "lr-baseline"]
    written = {path.name for path in (unbroken.path / "out").iterdir()}
    assert written == {*(f"table-1.{suffix}" for suffix in ("md", "csv", "tex", "json")), "curves.png", "curves.svg"}
    rows = json.loads((unbroken.path / "out" / "table-1.json").read_text())
    ours = {row["runs"]: row["top1_mean"] for row in rows if row["runs"]}
    assert ours == {record.id: round(record.top1, 4) for record in unbroken.store.records()}


def test_a_second_call_trains_nothing(unbroken: Folder) -> None:
    before = {path: path.stat().st_mtime_ns for path in (unbroken.path / "runs").glob("*/*")}
    done = unbroken.run(*POOL)
    assert done.returncode == 0
    assert "3 there" in done.stdout
    assert "started" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in (unbroken.path / "runs").glob("*/*")} == before


def test_this_process_alone_gives_the_same_runs(unbroken: Folder, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    done = folder.run()
    assert done.returncode == 0, done.stderr
    assert folder.scores() == unbroken.scores()


def test_a_dry_run_shows_the_graph_and_writes_nothing(unbroken: Folder, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    done = folder.run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "3 runs, 0 there, 3 to train" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["three.toml"]
    again = unbroken.run("--dry-run", "--seeds", "2")
    assert "6 runs, 3 there, 3 to train" in again.stdout
    teacher = next(line for line in done.stdout.splitlines() if line.startswith("| hr-baseline"))
    assert teacher.split("|")[-2].strip() == "1", "needed by DFD"


def test_a_killed_worker_fails_its_run_which_is_tried_again(unbroken: Folder, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    process = folder.start(*POOL)
    folder.wait_for_checkpoint()
    for worker in workers(process.pid):
        os.kill(worker, signal.SIGKILL)
    done = ended(process)
    assert done.returncode == 0, done.stderr
    assert "failed and is tried again: its worker was killed by SIGKILL" in done.stderr
    assert "started after epoch" in done.stderr
    assert folder.scores() == unbroken.scores()


def test_a_killed_driver_takes_its_workers_along_and_is_gone_on_from(unbroken: Folder, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    process = folder.start(*POOL)
    wait_until(lambda: "yes" if list((tmp_path / "runs").glob("*/record.json")) else None, "a finished run")
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/record.json")}
    folder.wait_for_checkpoint(tuple(path.parent.name for path in first))
    children = workers(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: None if any(map(alive, children)) else "yes", "the end of the workers")
    done = folder.run(*POOL)
    assert done.returncode == 0, done.stderr
    assert "started after epoch" in done.stderr
    assert folder.scores() == unbroken.scores()
    assert {path: path.stat().st_mtime_ns for path in first} == first, "a finished run was trained twice"


def test_ctrl_c_ends_all_and_is_gone_on_from(unbroken: Folder, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    process = folder.start(*POOL)
    folder.wait_for_checkpoint()
    children = workers(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    done = ended(process)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "run the same command again" in done.stderr
    wait_until(lambda: None if any(map(alive, children)) else "yes", "the end of the workers")
    assert folder.run(*POOL).returncode == 0
    assert folder.scores() == unbroken.scores()


def test_a_run_without_a_loss_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "four.toml").write_text(SUITE.replace('"dfd"', '["broken", "lr-baseline"]').replace("6", "2"))
    done = folder.run(*POOL, "--plugin", "broken.py:Broken", suite="four.toml")
    assert done.returncode == 1
    assert done.stderr.count("diverged in epoch 1: its loss is not a number") == 2, "it was tried twice"
    assert "1 done, 1 failed" in done.stdout
    assert "broken on digits x2, resnet18, seed 0" in done.stdout
    assert "Traceback" not in done.stderr
    assert [record.spec.method for record in folder.store.records()] == ["lr-baseline"]
    assert (tmp_path / "out" / "table-1.md").exists(), "what there is is shown"
    assert "diverged" in next((tmp_path / "runs" / ".work").glob("*/traceback")).read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--executor", "rey"], "'rey' is not one of"),
        (["--backbone", "resnet81"], "did you mean 'resnet18'"),
        (["--set", "lamda=1"], "did you mean 'lam'"),
        (["--dataset", "digits=digit"], "did you mean 'digits'"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    done = Folder(tmp_path).run(*options)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["three.toml"]


def of(record: Record) -> str:
    return record.spec.method


class TestRay:
    """Each call starts and ends a Ray of its own."""

    @pytest.fixture(autouse=True)
    def ray(self) -> None:
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'lrbench[ray]'")

    def test_it_gives_the_same_runs(self, unbroken: Folder, tmp_path: Path) -> None:
        folder = Folder(tmp_path)
        done = folder.run(*RAY)
        assert done.returncode == 0, done.stderr
        assert folder.scores() == unbroken.scores()

    def test_a_killed_worker_fails_its_run_which_is_tried_again(self, unbroken: Folder, tmp_path: Path) -> None:
        folder = Folder(tmp_path)
        process = folder.start(*RAY)
        folder.wait_for_checkpoint()
        training = [pid for pid in below(process.pid) if b"ray::" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        tasks = [pid for pid in training if b"Queue" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert tasks
        for pid in tasks:
            os.kill(pid, signal.SIGKILL)
        done = ended(process)
        assert done.returncode == 0, done.stderr
        assert "failed and is tried again: its Ray task died" in done.stderr
        assert folder.scores() == unbroken.scores()

    def test_a_killed_driver_is_gone_on_from(self, unbroken: Folder, tmp_path: Path) -> None:
        folder = Folder(tmp_path)
        process = folder.start(*RAY)
        folder.wait_for_checkpoint()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        done = folder.run(*RAY)
        assert done.returncode == 0, done.stderr
        assert folder.scores() == unbroken.scores()

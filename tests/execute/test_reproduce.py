"""`lrbench reproduce`: executors give equal runs, kills change nothing, a failure stops nobody else."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
from helpers.cli import COMMAND

from lrbench import cli
from lrbench.method import registry
from lrbench.store.store import CURVE, PREDICTIONS, WEIGHTS, Store

pytestmark = pytest.mark.slow

SUITE = """
title = "Five runs"
tables = ["1", "sr"]
figures = ["curves"]

[[runs]]
method = ["held", "espcn", "lr-baseline"]
dataset = "digits"
scale = 2
width = 0.125
recipe = "quick"
epochs = 6
limit_train = 500
"""
HELD = '''
import os
import time
from pathlib import Path

from steps import HELD_AT

from lrbench.method import registry

FOLDER = Path(__file__).parent


class Held(registry.method("dfd")):
    """DFD that stops in the second epoch it sees while there is a file `hold`, and says in which process."""

    name = "held"
    updates = 0

    def loss(self, batch):
        self.updates += 1
        if self.updates == HELD_AT and (FOLDER / "hold").exists():  # an epoch has three
            (FOLDER / f"held-{os.getpid()}").touch()
            while (FOLDER / "hold").exists():
                time.sleep(0.02)
        return super().loss(batch)
'''
STEPS = "HELD_AT = 5\n"  # beside it
BROKEN = """
import os
import signal
import torch
from lrbench.method import registry


class Endless(registry.method("lr-baseline")):
    name = "endless"

    def loss(self, batch):
        return {name: term * float("nan") for name, term in super().loss(batch).items()}


class Hungry(registry.method("lr-baseline")):
    name = "hungry"

    def loss(self, batch):
        return torch.empty(2**60, dtype=torch.uint8)  # more than any machine addresses


class Mortal(registry.method("lr-baseline")):
    name = "mortal"

    def loss(self, batch):
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory runs out


class Grasping(registry.method("dfd")):
    name = "grasping"

    def loss(self, batch):
        self.needs["teacher"].train()
        return super().loss(batch)


class Unstorable(registry.method("lr-baseline")):
    name = "unstorable"

    def get_extra_state(self):
        return {"steps": 3}


class Wrong(registry.method("lr-baseline")):
    name = "wrong"

    def loss(self, batch):
        return {}["logits"]
"""
FILES = ["five.toml", "held.py", "steps.py"]
PLUGIN = ["--plugin", "held.py:Held"]
POOL, RAY = ["--jobs", "2"], ["--jobs", "2", "--executor", "ray"]


class Folder:
    """A working folder with the suite in it, and the processes that were started there."""

    def __init__(self, path: Path) -> None:
        self.path, self.store = path, Store(path / "runs")
        self.processes: list[subprocess.Popen[str]] = []
        path.mkdir(exist_ok=True)
        (path / "five.toml").write_text(SUITE)
        self.write(HELD, STEPS)

    def write(self, held: str, steps: str) -> None:
        """The plugin, and what it imports."""
        (self.path / "held.py").write_text(held)
        (self.path / "steps.py").write_text(steps)

    def words(self, *options: str, suite: str = "five.toml") -> list[str]:
        return ["reproduce", suite, "--device=cpu", "--precision=fp32", "--out=out", "--results=runs", *options]

    def call(self, *options: str) -> subprocess.CompletedProcess[str]:
        """The command in this process, which has imported all it needs."""
        words, out, err = self.words(*PLUGIN, *options), io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.path)
            patch.setenv("COLUMNS", "200")
            patch.setattr(registry, "_drafts", {})
            patch.setattr(sys, "argv", ["lrbench", *words])
            with pytest.raises(SystemExit) as end:
                cli.main()
        return subprocess.CompletedProcess(words, int(end.value.code or 0), out.getvalue(), err.getvalue())

    def start(self, *options: str, suite: str = "five.toml") -> subprocess.Popen[str]:
        """The command, begun, in a process group of its own, as a terminal begins it."""
        with open(self.path / "stdout", "w") as out, open(self.path / "stderr", "w") as err:
            process = subprocess.Popen(
                [*COMMAND, *self.words(*options, suite=suite)],
                cwd=self.path,
                env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
                text=True,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        self.processes.append(process)
        return process

    def ended(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        process.wait(timeout=600)
        out, err = (self.path / "stdout").read_text(), (self.path / "stderr").read_text()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def held(self, process: subprocess.Popen[str]) -> int:
        """The process that has stopped in the middle of a run, waited for; the next call waits for another."""

        def found() -> int | None:
            for path in self.path.glob("held-*"):
                path.unlink()
                return int(path.name.removeprefix("held-"))
            assert process.poll() is None, (self.path / "stderr").read_text()
            return None

        return wait_until(found, "a held run")

    def contents(self) -> dict[str, list[str]]:
        """What two equal stores have in common: id -> hashes of curve, predictions and weights."""
        return {r.id: [r.files[name] for name in (CURVE, PREDICTIONS, WEIGHTS)] for r in self.store.records()}

    def times(self) -> dict[Path, int]:
        """When every file of a finished run was written."""
        return {path: path.stat().st_mtime_ns for path in (self.path / "runs").glob("[0-9a-f]*/*")}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    for process in folder.processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(found: Callable[[], int | None], what: str) -> int:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The suite, run by one process without a break."""
    folder = Folder(tmp_path_factory.mktemp("unbroken"))
    done = folder.call()
    assert done.returncode == 0, done.stderr
    return folder


def test_the_runs_are_trained_and_the_tables_and_figures_written(unbroken: Folder) -> None:
    records = {record.spec.method: record for record in unbroken.store.records()}
    assert sorted(records) == ["espcn", "held", "hr-baseline", "lr-baseline", "sr-espcn"]
    written = {path.name for path in (unbroken.path / "out").iterdir()}
    tables = {f"table-{name}.{suffix}" for name in ("1", "sr") for suffix in ("md", "csv", "tex", "json")}
    assert written >= {*tables, "curves.png", "curves.svg"}
    rows = json.loads((unbroken.path / "out" / "table-1.json").read_text())
    assert {row["published"] for row in rows} >= {64.08, 96.02} and not any(row["runs"] for row in rows)  # of digits
    rows = json.loads((unbroken.path / "out" / "table-sr.json").read_text())
    assert [row["runs"] for row in rows if row["runs"]] == [records["sr-espcn"].id]
    assert "sr-espcn" in (unbroken.path / "out" / "table-sr.json").read_text()


def test_a_second_call_trains_nothing(unbroken: Folder) -> None:
    before = unbroken.times()
    done = unbroken.call()
    assert done.returncode == 0
    assert "5 there" in done.stdout
    assert "started" not in done.stderr
    assert before and unbroken.times() == before


def test_folders_that_take_no_file_are_told_before_the_training(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    (tmp_path / "file").touch()
    done = folder.call("--out", "file/below")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "file" in done.stderr
    assert "started" not in done.stderr


def test_a_dry_run_shows_the_graph_and_writes_nothing(unbroken: Folder, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    done = folder.call("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "5 runs, 0 there, 5 to train, at least 0 s" in done.stdout and done.stdout.count("unknown") == 5
    assert "teacher of 1" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == FILES
    again = unbroken.call("--dry-run", "--seeds", "2")
    assert "10 runs, 5 there, 5 to train, about " in again.stdout


def test_a_dry_run_says_of_what_it_does_not_know_how_long_it_takes(unbroken: Folder) -> None:
    known = unbroken.call("--dry-run", "--seeds", "2").stdout
    assert "unknown" not in known and " to train, about " in known, "runs like them are there"
    other = unbroken.call("--dry-run", "--width", "0.25").stdout
    assert "5 runs, 1 there, 4 to train, at least 0 s" in other and other.count("unknown") == 4


def broken_twice_and_gone_on_from(folder: Folder, first: list[str], last: list[str], cause: str) -> None:
    """Kill a worker; end its second try with Ctrl-C; kill the driver; each time in mid-run. Then run to the end."""
    hold = folder.path / "hold"
    hold.touch()
    process = folder.start(*PLUGIN, *first)
    worker = folder.held(process)
    folder.write("an edit", "another")  # what was planned is what runs
    os.kill(worker, signal.SIGKILL)
    worker = folder.held(process)
    said = folder.path / "stderr"  # words by the way may come later than the run itself
    wait_until(lambda: 1 if "started after epoch 1" in said.read_text() else None, "the word of the second try")
    os.killpg(process.pid, signal.SIGINT)
    done = folder.ended(process)
    assert done.returncode == 130, done.stderr
    assert not done.stdout, "results only, and there are none"
    assert f"failed and is tried again: {cause}" in done.stderr
    assert "started after epoch 1" in done.stderr
    assert "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    wait_until(lambda: gone(worker), "the end of a worker after Ctrl-C")
    folder.write(HELD, STEPS)

    process = folder.start(*PLUGIN, *first)
    worker = folder.held(process)
    before = folder.times()
    process.kill()
    process.wait()
    wait_until(lambda: gone(worker), "the end of a worker after its driver's")

    hold.unlink()
    done = folder.ended(folder.start(*PLUGIN, *last))
    assert done.returncode == 0, done.stderr
    assert "started after epoch 3" in done.stderr
    after = folder.times()
    assert before and {path: after[path] for path in before} == before, "a finished run was trained twice"


def test_worker_processes_that_are_killed_change_nothing(unbroken: Folder, folder: Folder) -> None:
    broken_twice_and_gone_on_from(folder, POOL, POOL, "its worker was killed by SIGKILL (out of memory?)")
    assert folder.contents() == unbroken.contents()


def test_ray_tasks_that_are_killed_change_nothing(unbroken: Folder, folder: Folder) -> None:
    """On a running cluster, then on one of its own."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'lrbench[ray]'")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        broken_twice_and_gone_on_from(folder, [*RAY, "--address", cluster.address], RAY, "its Ray task died: Worker")
    finally:
        cluster.shutdown()
    assert folder.contents() == unbroken.contents()


def test_ray_trains_runs_that_share_their_batches_side_by_side(folder: Folder) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'lrbench[ray]'")
    lambdas = SUITE.replace(
        '["held", "espcn", "lr-baseline"]', '"dfd"\nset.init = "scratch"\nset.lam = [0.1, 0.5, 1, 2]'
    )
    (folder.path / "lambdas.toml").write_text(lambdas.replace("epochs = 6", "epochs = 1"))
    done = folder.ended(folder.start(*RAY, suite="lambdas.toml"))
    assert done.returncode == 0, done.stderr
    together = [record.metrics["side_by_side"] for record in folder.store.records() if record.spec.method == "dfd"]
    assert together == [2] * 4  # as many in each of two places


def test_a_run_that_dies_is_reported_with_its_cause_and_the_others_go_on(folder: Folder) -> None:
    methods = ["endless", "hungry", "mortal", "grasping", "unstorable", "wrong"]
    (folder.path / "broken.py").write_text(BROKEN)
    (folder.path / "bad.toml").write_text(
        SUITE.replace('["held", "espcn", "lr-baseline"]', json.dumps([*methods, "dfd", "lr-baseline"])).replace(
            "6", "1"
        )
    )
    plugins = [word for name in methods for word in ("--plugin", f"broken.py:{name.capitalize()}")]
    done = folder.ended(folder.start(*POOL, *plugins, suite="bad.toml"))
    assert done.returncode == 1, done.stderr
    assert "4 done (1 diverged), 5 failed" in done.stdout
    causes = {line.split()[0]: line for line in done.stdout.splitlines() if "] failed: " in line}
    assert "] diverged: its loss was no number in epoch 1" in done.stdout and "endless" not in causes
    assert "out of memory; a training with a smaller --width" in causes["hungry"]
    assert "its worker was killed by SIGKILL (out of memory?)" in causes["mortal"]
    assert "its teacher was put into training mode, but needed runs are frozen" in causes["grasping"]
    assert "its state '_extra_state' is a dict; make it a plain tensor" in causes["unstorable"]
    assert "KeyError: 'logits' (traceback: " in causes["wrong"]
    for name in methods[1:]:
        assert f"{name} on digits x2, resnet18, seed 0" in causes[name]
        assert len([line for line in done.stderr.splitlines() if line.startswith(name) and "tried again" in line]) == 1
    assert "Traceback" not in done.stderr
    assert {record.spec.method: record.status for record in folder.store.records()} == {
        "hr-baseline": "done",
        "dfd": "done",
        "lr-baseline": "done",
        "endless": "diverged",
    }
    assert (folder.path / "out" / "table-1.md").exists(), "what there is is shown"
    trace = Path(causes["wrong"].partition("traceback: ")[2].rstrip(")")).read_text()
    assert 'return {}["logits"]' in trace


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--executor", "rey"], "'rey' is not one of"),
        (["--backbone", "resnet81"], "did you mean 'resnet18'"),
        (["--set", "lamda=1"], "did you mean 'lam'"),
        (["--dataset", "digits=digit"], "did you mean 'digits'"),
        (["--dataset", "digit=digits"], "did you mean 'digits'"),
        (["--gpus-per-run", "0.25"], "add --executor ray"),
        (["--gpus-per-run", "2", "--executor", "ray"], "0<=x<=1"),
        (["--address", "127.0.0.1:6379"], "add --executor ray"),
        (["--address", "localhost", "--executor", "ray"], "HOST:PORT"),
        (["--address", "127.0.0.1:9", "--executor", "ray"], "ray start --head"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    if "ray" in options:
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'lrbench[ray]'")
    folder = Folder(tmp_path)
    done = folder.call(*options)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == FILES

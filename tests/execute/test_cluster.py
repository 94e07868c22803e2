"""What a task on Ray tells of its runs is heard once; Ray itself is in test_reproduce.py."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.cli import COMMAND

from lrbench.execute.cluster import Cluster, _places
from lrbench.execute.executors import Event


class Told(list[Event]):
    """The queue, as Ray's is asked."""

    def qsize(self) -> int:
        return len(self)

    def get_nowait_batch(self, n: int) -> list[Event]:
        taken, self[:n] = self[:n], []
        return taken


class Died(Exception):
    pass


@pytest.fixture
def cluster() -> Cluster:
    """Without Ray: references are names, `results` holds what the tasks that have ended raise, or None."""
    cluster = Cluster.__new__(Cluster)
    results: dict[str, Exception | None] = {}

    def get(reference: str) -> None:
        if found := results[reference]:
            raise found

    cluster.ray = SimpleNamespace(
        wait=lambda references, timeout: ([one for one in references if one in results], []),
        get=get,
        exceptions=SimpleNamespace(RayActorError=Died, RayError=Died),
    )
    cluster.results, cluster.told, cluster.running = results, Told(), {}  # type: ignore[attr-defined]
    return cluster


def heard(cluster: Cluster) -> list[tuple[str, str]]:
    events: list[tuple[str, str]] = []
    cluster.wait(lambda event: events.append((event.run, event.kind)), 0)
    return events


def test_an_end_is_heard_once_and_not_of_a_run_that_is_tried_again(cluster: Cluster) -> None:
    cluster.running["first"] = {"a", "b"}
    cluster.told += [Event("a", "failed"), Event("b", "started")]
    assert heard(cluster) == [("a", "failed"), ("b", "started")]
    cluster.running["second"] = {"a"}  # tried again while b is still trained
    cluster.told += [Event("b", "done")]
    cluster.results["first"] = None  # type: ignore[attr-defined]
    assert heard(cluster) == [("b", "done")]
    assert cluster.running == {"second": {"a"}}
    cluster.told += [Event("a", "done")]
    cluster.results["second"] = None  # type: ignore[attr-defined]
    assert heard(cluster) == [("a", "done")] and not cluster.running


def test_what_dies_with_its_task_has_failed_but_not_what_had_ended(cluster: Cluster) -> None:
    cluster.running["task"] = {"a", "b"}
    cluster.told.append(Event("a", "done"))
    cluster.results["task"] = Died("killed")  # type: ignore[attr-defined]
    assert heard(cluster) == [("a", "done"), ("b", "failed")]


def test_a_run_whose_end_was_not_heard_is_tried_again(cluster: Cluster) -> None:
    cluster.running["task"] = {"a"}
    cluster.results["task"] = None  # type: ignore[attr-defined]
    assert heard(cluster) == [("a", "failed")] and not cluster.running


def test_a_machine_has_room_for_as_many_as_its_cores_and_gpus_allow() -> None:
    assert _places({"CPU": 16, "GPU": 2}, 4, 0) == 4
    assert _places({"CPU": 16, "GPU": 2}, 2, 0.25) == 8
    assert _places({"CPU": 16, "GPU": 0.3}, 1, 0.1) == 3
    assert _places({"CPU": 16}, 1, 0.5) == 0


SUITE = """
title = "One run"
[[runs]]
method = "lr-baseline"
dataset = "digits"
scale = 2
width = 0.125
epochs = 1
limit_train = 300
"""
READ_ONLY = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'


@pytest.mark.slow
def test_shared_memory_that_cannot_be_written(tmp_path: Path) -> None:
    """As in some containers: Ray keeps its objects elsewhere."""
    apart = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    (tmp_path / "one.toml").write_text(SUITE)
    pytest.importorskip("ray")
    command = [*apart, *COMMAND, "reproduce", "one.toml", "--executor", "ray", "--device", "cpu", "--results", "runs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.startswith("1 done\n"), done.stderr

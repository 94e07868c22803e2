"""Ray: a task a run, on this machine or on a cluster whose machines share the store's folder."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from lrbench.errors import UserError, one_line
from lrbench.executors import Event, Executor, Handle, Place
from lrbench.spec import RunSpec

OBJECT_STORE = 100 * 2**20  # bytes; only ids and a few words travel, the runs are in the store


class Cluster(Executor):
    """Tasks wait in Ray for a place: all runs that are ready are begun at once.

    gpus: of a run, such as 0.25 for four on a GPU; cpus: of a run, which are also its threads.
    address: of a running cluster ("auto" for the one on this machine); None to start one here, ended by `close`.
    """

    slots = 10_000

    def __init__(self, place: Place, address: str | None, gpus: float, cpus: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
            from ray.util.queue import Queue
        except ImportError as error:
            raise UserError("--executor ray needs Ray; install it with: pip install 'lrbench[ray]'") from error
        quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if address is None:
            quiet |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
        try:
            ray.init(address=address or "local", **quiet)
        except ConnectionError as error:
            raise UserError(f"there is no Ray cluster at '{address}': {one_line(error)}") from error
        self.ray, self.place = ray, place
        self.told = Queue(actor_options={"num_cpus": 0})
        # a run that dies is tried again by the schedule, which also reports it
        self.task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_train)
        self.running: dict[Any, str] = {}  # object reference -> run
        self.finished: dict[str, Any] = {}  # run -> object reference

    def start(self, spec: RunSpec) -> None:
        needs = [self.finished[need.id] for need in spec.needs.values() if need.id in self.finished]
        task = self.task.options(name=f"{spec.method} {spec.id}")
        self.running[task.remote(self.place, spec.model_dump_json(), self.told, *needs)] = spec.id

    def wait(self, handle: Handle, timeout: float) -> None:
        ended, _ = self.ray.wait(list(self.running), timeout=timeout)
        with suppress(self.ray.exceptions.RayActorError):  # only the words between are lost with it
            for event in self.told.get_nowait_batch(self.told.qsize()):
                if event.run in self.running.values():
                    handle(event)
        for reference in ended:
            run = self.running.pop(reference)
            try:
                event = self.ray.get(reference)
                self.finished[run] = reference
            except self.ray.exceptions.RayError as error:
                event = Event(run, "failed", text=f"its Ray task died: {type(error).__name__}: {one_line(error)}"[:300])
            handle(event)

    def close(self) -> None:
        for reference in self.running:
            with suppress(self.ray.exceptions.RayError):
                self.ray.cancel(reference, force=True)
        self.ray.shutdown()


def _train(place: Place, spec: str, told: Any, *needs: Event) -> Event:
    """The task: trains a run, and returns how it ended. needs: how those ended that it waited for."""
    place.enter()
    ended: list[Event] = []

    def handle(event: Event) -> None:
        if event.kind in ("done", "failed"):
            ended.append(event)
        else:
            with suppress(Exception):  # words by the way; no run is lost for them
                told.put(event)

    place.train(RunSpec.model_validate_json(spec), handle)
    return ended[0]

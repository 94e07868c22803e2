"""Ray: one task per group of runs, on this machine or on a cluster whose machines share the store's folder."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lrbench.errors import UserError, one_line
from lrbench.execute.executors import Event, Executor, Handle, Place
from lrbench.execute.runner import LONG
from lrbench.spec.runspec import RunSpec

TIMEOUT = 5.0  # seconds that a cluster has to answer
SHARED = "/dev/shm"  # where Ray keeps objects
OBJECT_STORE = 100 * 2**20  # bytes; only ids and a few words travel, the runs are in the store


class Cluster(Executor):
    """As many tasks at once as the cluster's machines have places when it is made; where fewer are free, they wait.

    address: of a running cluster ("auto" for the one on this machine); None to start one here, ended by `close`.
    gpus: of a run, such as 0.25 for four on a GPU. jobs: runs that share the place's threads, or the cores of the
    largest machine; a run's cores are its threads.
    """

    def __init__(self, place: Place, address: str | None, gpus: float, jobs: int) -> None:
        """Raises UserError where there is no Ray, no such cluster, or no machine in it for such a run."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
            from ray.util.queue import Queue
        except ImportError as error:
            raise UserError("--executor ray needs Ray; install it with: pip install 'lrbench[ray]'") from error
        if address is not None:
            _check(address)
        options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if address is None:
            options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
            if not os.access(SHARED, os.W_OK | os.X_OK):  # in some containers, where Ray would try for most of a minute
                options["_plasma_directory"] = tempfile.gettempdir()
        try:
            ray.init(address=address or "local", **options)
        except Exception as error:  # Ray has no class of its own for it
            where = "does not start here" if address is None else f"does not answer at '{address}'"
            raise UserError(f"Ray {where}: {one_line(error)[:LONG]}") from error
        machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
        if gpus and gpus > max(machine.get("GPU", 0) for machine in machines):
            ray.shutdown()
            raise UserError(f"no machine of the Ray cluster has {gpus:g} of a GPU for a run; leave --gpus-per-run out")
        cores = int(max(machine.get("CPU", 0) for machine in machines))
        cpus = max(1, min(place.threads or cores, cores) // jobs)
        self.ray, self.place = ray, replace(place, threads=cpus)
        self.slots = max(1, sum(_places(machine, cpus, gpus) for machine in machines))
        self.told = Queue(actor_options={"num_cpus": 0})
        # a run that dies is tried again by the schedule, which also reports it
        self.task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_train)
        self.running: dict[Any, set[str]] = {}  # object reference -> runs that have not ended

    def start(self, specs: Sequence[RunSpec]) -> None:
        task = self.task.options(name=", ".join(f"{spec.method} {spec.id}" for spec in specs))
        self.running[task.remote(self.place, specs, self.told)] = {spec.id for spec in specs}

    def wait(self, handle: Handle, timeout: float) -> None:
        ended, _ = self.ray.wait(list(self.running), timeout=timeout)
        with suppress(self.ray.exceptions.RayActorError):  # the queue's, with which only words are lost
            for event in self.told.get_nowait_batch(self.told.qsize()):
                self._hear(event, handle)
        for reference in ended:
            why = "its Ray task ended without a word of it"
            try:
                self.ray.get(reference)
            except self.ray.exceptions.RayError as error:
                why = f"its Ray task died: {type(error).__name__}: {one_line(error)[:LONG]}"
            for run in sorted(self.running.pop(reference)):  # what it told of the others has been heard above
                handle(Event(run, "failed", text=why))

    def _hear(self, event: Event, handle: Handle) -> None:
        """Tell `handle`, unless the run has ended."""
        theirs = next((runs for runs in self.running.values() if event.run in runs), None)
        if theirs is None and event.run:
            return
        if theirs and event.is_end:
            theirs.discard(event.run)
        handle(event)

    def close(self) -> None:
        for reference in self.running:
            with suppress(self.ray.exceptions.RayError):
                self.ray.cancel(reference, force=True)
        self.ray.shutdown()


def _check(address: str) -> None:
    """Raise UserError where nothing listens at HOST:PORT: Ray would try for most of a minute, then end this process."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--address {address} is not HOST:PORT, as `ray start` prints it, nor auto")
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster answers at {address}: {error}; start one with: ray start --head") from error


def _places(machine: dict[str, float], cpus: int, gpus: float) -> int:
    """How many tasks a machine has room for."""
    places = int(machine.get("CPU", 0) // cpus)
    return min(places, int(machine.get("GPU", 0) / gpus + 1e-9)) if gpus else places


def _train(place: Place, specs: Sequence[RunSpec], told: Any) -> None:
    """The task: trains a group of runs."""
    os.environ.pop("MPLBACKEND", None)  # of a notebook that the cluster was started in
    place.enter()

    def handle(event: Event) -> None:
        with suppress(Exception):  # no run is lost for a word: one that has ended is in the store
            told.put(event)

    place.train(specs, handle)

"""Executors, which train the runs of a suite: in worker processes on this machine; in Ray's tasks, see cluster.py."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal

import torch

from lrbench import device as devices
from lrbench.errors import TRAINING_OUT_OF_MEMORY, Error, RunError
from lrbench.execute.progress import Progress
from lrbench.execute.runner import Runner, cause
from lrbench.method import registry
from lrbench.method.registry import Draft
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.files import write_atomic
from lrbench.store.store import Store

PATIENCE = 5.0  # seconds that a worker has to end when it is told to
TRACEBACK = "traceback"  # of a run that failed: a file beside its checkpoint


@dataclass(frozen=True)
class Event:
    """Something that has happened to a run. `row`: of its learning curve, or its record's metrics when it is done."""

    run: str  # its id; empty for a note on nothing in particular
    kind: Literal["started", "epoch", "done", "failed", "note"]
    epoch: int = 0  # epochs finished
    images_per_second: float = 0.0
    row: Mapping[str, float | int | None] = field(default_factory=dict)
    text: str = ""  # of a note; why it failed, or diverged

    @property
    def is_end(self) -> bool:
        """Whether nothing more comes of the run."""
        return self.kind in ("done", "failed")


Handle = Callable[[Event], None]


@dataclass(frozen=True)
class Place:
    """Where runs are trained and read from: what another process must be told besides their specs.

    threads: of the CPU, shared by all that is trained at once on a machine; None: as many as torch takes. A device is
    "cpu", "cuda" or "cuda:1". capture: steps in CUDA graphs, on a GPU. plugins, code: drafts, and of every method a
    hash of its source, as they were when the runs were planned.
    """

    results: Path
    data: Path
    device: str
    threads: int | None = None
    plugins: tuple[Draft, ...] = ()
    capture: bool = True
    code: Mapping[str, str | None] = field(default_factory=dict)
    others: tuple[Path, ...] = ()  # stores that are read beside `results`

    def enter(self) -> None:
        """Make this process ready to train here, once."""
        devices.use_threads(self.threads or devices.threads_in_use())
        registry.add_drafts(self.plugins)

    def _check(self, spec: RunSpec) -> None:
        """Raise RunError unless the methods of a run are as they were when it was planned."""
        for one in spec.walk():
            if one.method in self.code and registry.source_hash(registry.method(one.method)) != self.code[one.method]:
                what = f"the source of '{one.method}' is not what it was when this run was planned"
                way = "run the same command again, with another `version` if the edit moves scores"
                raise RunError(f"{what}; {way}: finished runs are found by it")

    def train(self, specs: Sequence[RunSpec], handle: Handle) -> None:
        """Train a group of runs, whose needs are finished; `handle` is told of all that happens, each end last."""
        going = {spec.id: spec for spec in specs}
        store = Store(self.results, lambda text: handle(Event("", "note", text=text)), others=self.others)

        def ended(spec: RunSpec, end: Record | Exception) -> None:
            del going[spec.id]
            if isinstance(end, Record):
                handle(Event(spec.id, "done", spec.recipe.epochs, row=end.metrics, text=end.why or ""))
                return
            why, place = cause(end), store.work(spec.id) / TRACEBACK
            with suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(place, "".join(traceback.format_exception(end)))
            told = isinstance(end, Error) or why == TRAINING_OUT_OF_MEMORY
            handle(Event(spec.id, "failed", text=why if told else f"{why} (traceback: {place})"))

        device = devices.enter(devices.pick(self.device))
        runner = Runner(store, self.data, device, lambda spec: _Telling(spec.id, handle), self.capture)
        for spec in specs:
            try:
                self._check(spec)
            except Error as error:
                ended(spec, error)
        try:
            runner.run_group(list(going.values()), ended)
        except Exception as error:  # of the store, say; what a method raises is its own run's end
            for spec in list(going.values()):
                ended(spec, error)
        torch.cuda.empty_cache()


class Executor(ABC):
    """Trains runs in `slots` places at once. After `close` nothing goes on."""

    slots: int

    @abstractmethod
    def start(self, specs: Sequence[RunSpec]) -> None:
        """Begin a group of runs, whose needs are in the store, in a slot where all earlier runs have ended."""

    @abstractmethod
    def wait(self, handle: Handle, timeout: float) -> None:
        """Tell `handle` what has happened, for up to about `timeout` seconds; sooner where a run ends."""

    def close(self) -> None:  # noqa: B027
        """Stop what is still running; it goes on from its last finished epoch when it is started again."""


class _Telling(Progress):
    """Turns what the runner reports into events."""

    def __init__(self, run: str, handle: Handle) -> None:
        self.run, self.handle = run, handle

    def note(self, message: str) -> None:
        self.handle(Event(self.run, "note", text=message))

    def start(self, spec: RunSpec, title: str, done: int, images: int) -> None:
        self.handle(Event(self.run, "started", done))

    def epoch(self, row: Mapping[str, float], images_per_second: float) -> None:
        self.handle(Event(self.run, "epoch", int(row["epoch"]), images_per_second, dict(row)))


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    runs: set[str] = field(default_factory=set)  # what it trains


class Pool(Executor):
    """`slots` worker processes, one or several per GPU; on the CPU the cores are divided among them.

    A worker that dies fails its runs and is replaced. Workers end with the process that started them.
    """

    def __init__(self, place: Place, slots: int) -> None:
        self.slots, self.place = slots, place
        self.workers: dict[int, _Worker] = {}  # by the number of their slot

    def start(self, specs: Sequence[RunSpec]) -> None:
        number = next(n for n in range(self.slots) if n not in self.workers or not self.workers[n].runs)
        if number not in self.workers or not self.workers[number].process.is_alive():
            self.workers[number] = self._new(number)
        self.workers[number].runs.update(spec.id for spec in specs)
        with suppress(OSError):  # it has just died, which `wait` will see
            self.workers[number].pipe.send(specs)

    def wait(self, handle: Handle, timeout: float) -> None:
        busy = {worker.pipe: number for number, worker in self.workers.items() if worker.runs}
        for pipe in wait(list(busy), timeout):
            number = busy[pipe]  # type: ignore[index]
            worker = self.workers[number]
            try:
                events: list[Event] = [worker.pipe.recv()]
            except (EOFError, OSError):
                why = _death(worker.process)
                events = [Event(run, "failed", text=why) for run in sorted(worker.runs)]
                del self.workers[number]
            for event in events:
                if event.is_end:
                    worker.runs.discard(event.run)
                handle(event)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.process.terminate()
        for worker in self.workers.values():
            worker.process.join(PATIENCE)
            worker.process.kill()
        self.workers.clear()

    def _new(self, number: int) -> _Worker:
        device, threads = self.place.device, self.place.threads or torch.get_num_threads()
        if device == "cuda":
            device = f"cuda:{number % torch.cuda.device_count()}"
        place = replace(self.place, device=device, threads=max(1, threads // self.slots))
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(place, theirs), daemon=True)
        resource_tracker.ensure_running()  # which would let signals through again once it has been started
        # it never sees Ctrl-C, which reaches the whole group of processes: its parent ends it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that its death ends the pipe
        return _Worker(process, ours)


def _death(process: SpawnProcess) -> str:
    process.join(PATIENCE)
    if process.exitcode is None or process.exitcode >= 0:
        return f"its worker ended with status {process.exitcode}"
    name = signal.Signals(-process.exitcode).name
    return f"its worker was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _work(place: Place, pipe: Connection) -> None:
    """A worker: trains what comes through the pipe, and tells through it what happens, until it is ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    place.enter()
    while True:
        place.train(pipe.recv(), pipe.send)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

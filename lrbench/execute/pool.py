"""Workers: processes on this machine that train several groups of runs at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from lrbench.execute.executors import Event, Executor, Handle, Place
from lrbench.spec.runspec import RunSpec

PATIENCE = 5.0  # seconds that a worker has to end when it is told to


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    runs: set[str]  # what it trains


class Pool(Executor):
    """`slots` worker processes, one or several per GPU; on the CPU the cores are divided among them.

    A worker that dies fails its runs and is replaced. Workers end with the process that started them.
    """

    def __init__(self, place: Place, slots: int) -> None:
        self.slots, self.place = slots, place
        self.workers: list[_Worker | None] = [None] * slots

    def start(self, specs: Sequence[RunSpec]) -> None:
        number, worker = next((n, w) for n, w in enumerate(self.workers) if w is None or not w.runs)
        if worker is None or not worker.process.is_alive():
            worker = self.workers[number] = self._new(number)
        worker.runs.update(spec.id for spec in specs)
        with suppress(OSError):  # it has just died, which `wait` will see
            worker.pipe.send(specs)

    def wait(self, handle: Handle, timeout: float) -> None:
        busy = {worker.pipe: number for number, worker in enumerate(self.workers) if worker and worker.runs}
        for pipe in wait(list(busy), timeout):
            number = busy[pipe]  # type: ignore[index]
            worker = self.workers[number]
            assert worker is not None
            try:
                events: list[Event] = [worker.pipe.recv()]
            except (EOFError, OSError):
                why = _death(worker.process)
                events = [Event(run, "failed", text=why) for run in sorted(worker.runs)]
                self.workers[number] = None
            for event in events:
                if event.is_end:
                    worker.runs.discard(event.run)
                handle(event)

    def close(self) -> None:
        living = [worker.process for worker in self.workers if worker]
        for process in living:
            process.terminate()
        for process in living:
            process.join(PATIENCE)
            process.kill()
        self.workers = [None] * self.slots

    def _new(self, number: int) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        device = self.place.device
        if device == "cuda":
            device = f"cuda:{number % torch.cuda.device_count()}"
        threads = self.place.threads or torch.get_num_threads()
        place = replace(self.place, device=device, threads=max(1, threads // self.slots))
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(place, theirs), daemon=True)
        with _without_interrupts():
            process.start()
        theirs.close()  # so that its death ends the pipe
        return _Worker(process, ours, set())


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started here never sees Ctrl-C, which reaches the whole group of processes: the parent ends it."""
    resource_tracker.ensure_running()  # which would let signals through again once it has been started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _death(process: SpawnProcess) -> str:
    process.join(PATIENCE)
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"its worker was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"its worker ended with status {code}"


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

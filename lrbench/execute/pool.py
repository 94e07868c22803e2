"""Workers: processes on this machine that train several groups of runs at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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

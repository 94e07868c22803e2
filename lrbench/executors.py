"""Where runs are trained: one small interface, and the plain way, in this process."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from lrbench import device as devices
from lrbench import registry
from lrbench.errors import OUT_OF_MEMORY, RunError, UserError, one_line, out_of_memory
from lrbench.files import write_atomic
from lrbench.progress import Progress
from lrbench.runner import Runner
from lrbench.spec import RunSpec
from lrbench.store import Store

TRACEBACK = "traceback"  # of a run that failed: a file beside its checkpoint
LONG = 300  # characters of an error's message, of which a library's may have thousands


@dataclass(frozen=True)
class Event:
    """What became known of a run. `row` is a row of its learning curve, or its record's metrics when done."""

    run: str  # its id; empty for a note on nothing in particular
    kind: Literal["started", "epoch", "done", "failed", "note"]
    epoch: int = 0  # epochs finished
    images_per_second: float = 0.0
    row: Mapping[str, float | int | None] = field(default_factory=dict)
    text: str = ""  # of a note; why it failed


Handle = Callable[[Event], None]


@dataclass(frozen=True)
class Place:
    """What whoever trains a run must know beside its spec; all of it can be sent to another process.

    threads: of the CPU, None to leave them as they are. A device is "cpu", "cuda" or "cuda:1".
    """

    results: Path
    data: Path
    device: str
    threads: int | None = None
    plugins: tuple[str, ...] = ()

    def enter(self) -> None:
        """Make this process ready to train here, once."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        for plugin in self.plugins:
            registry.add_draft(plugin)

    def train(self, spec: RunSpec, handle: Handle) -> None:
        """Train a run whose needs are finished; `handle` is told of all that happens, last of its end."""
        progress = _Telling(spec.id, handle)
        store = Store(self.results, progress.note)
        try:
            record = Runner(store, self.data, devices.pick(self.device), lambda _: progress).run(spec)
        except Exception as error:  # whatever a method may raise: other runs go on
            place = store.work(spec.id)
            with suppress(OSError):
                place.mkdir(parents=True, exist_ok=True)
                write_atomic(place / TRACEBACK, traceback.format_exc())
            torch.cuda.empty_cache()
            handle(Event(spec.id, "failed", text=_cause(error, place / TRACEBACK)))
        else:
            handle(Event(spec.id, "done", spec.recipe.epochs, row=record.metrics))


class Executor(ABC):
    """Trains runs, `slots` at once. A context manager: at its end, well or not, nothing goes on."""

    slots: int

    @abstractmethod
    def start(self, spec: RunSpec) -> None:
        """Begin a run whose needs are in the store with their weights; at most `slots` are begun and not ended."""

    @abstractmethod
    def wait(self, handle: Handle, timeout: float) -> None:
        """Tell `handle` what has happened, for up to about `timeout` seconds; sooner where a run ends."""

    @abstractmethod
    def close(self) -> None:
        """Stop what is still running; it goes on from its last finished epoch when it is started again."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Here(Executor):
    """In this process, one run after the other; `wait` returns when it has ended."""

    slots = 1

    def __init__(self, place: Place) -> None:
        self.place = place
        self.waiting: list[RunSpec] = []
        place.enter()

    def start(self, spec: RunSpec) -> None:
        self.waiting.append(spec)

    def wait(self, handle: Handle, timeout: float) -> None:
        if self.waiting:
            self.place.train(self.waiting.pop(), handle)

    def close(self) -> None:
        self.waiting.clear()


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


def _cause(error: Exception, more: Path) -> str:
    """Why a run failed, in one line; `more` says where."""
    if out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, (RunError, UserError)):
        return one_line(error)
    return f"{type(error).__name__}: {one_line(error)[:LONG]} (traceback: {more})"

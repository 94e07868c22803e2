"""Executors, which train runs: what they have in common, and the plain one, in this process."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from lrbench import device as devices
from lrbench.errors import OUT_OF_MEMORY, Error
from lrbench.execute.progress import Progress
from lrbench.execute.runner import Runner, cause
from lrbench.method import registry
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.files import write_atomic
from lrbench.store.store import Store

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
    "cpu", "cuda" or "cuda:1". capture: steps in CUDA graphs, on a GPU.
    """

    results: Path
    data: Path
    device: str
    threads: int | None = None
    plugins: tuple[str, ...] = ()
    capture: bool = True
    others: tuple[Path, ...] = ()  # stores that are read beside `results`

    def enter(self) -> None:
        """Make this process ready to train here, once."""
        devices.use_threads(self.threads or devices.threads_in_use())
        registry.add_drafts(self.plugins)

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
            told = isinstance(end, Error) or why == OUT_OF_MEMORY
            handle(Event(spec.id, "failed", text=why if told else f"{why} (traceback: {place})"))

        device = devices.enter(devices.pick(self.device))
        runner = Runner(store, self.data, device, lambda spec: _Telling(spec.id, handle), self.capture)
        try:
            runner.run_group(specs, ended)
        except Exception as error:  # of the store, say; what a method raises is its own run's end
            for spec in list(going.values()):
                ended(spec, error)
        torch.cuda.empty_cache()


class Executor(ABC):
    """Trains runs in `slots` places at once. A context manager: at its end, well or not, nothing goes on."""

    slots: int

    @abstractmethod
    def start(self, specs: Sequence[RunSpec]) -> None:
        """Begin a group of runs, whose needs are in the store, in a slot where all earlier runs have ended."""

    @abstractmethod
    def wait(self, handle: Handle, timeout: float) -> None:
        """Tell `handle` what has happened, for up to about `timeout` seconds; sooner where a run ends."""

    def close(self) -> None:  # noqa: B027
        """Stop what is still running; it goes on from its last finished epoch when it is started again."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Here(Executor):
    """In this process; `wait` returns when what was begun has ended."""

    slots = 1

    def __init__(self, place: Place) -> None:
        self.place = place
        place.enter()

    def start(self, specs: Sequence[RunSpec]) -> None:
        self.begun = specs

    def wait(self, handle: Handle, timeout: float) -> None:
        self.place.train(self.begun, handle)


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

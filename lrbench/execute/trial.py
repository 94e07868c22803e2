"""A method tried out: trained in a few seconds on small images, while all that it returns is looked at."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from lrbench.data import datasets
from lrbench.data.prepare import Prepared
from lrbench.execute import session
from lrbench.execute.job import Job
from lrbench.execute.progress import Progress
from lrbench.execute.runner import Runner
from lrbench.method.base import Batch, Method, Optimizer
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store

SMALL: dict[str, Any] = {"dataset": "digits", "scale": 2, "backbone": "resnet18", "width": 0.125, "recipe": "quick"}
SMALL |= {"epochs": 5, "limit_train": 600, "limit_test": 100, "device": "cpu", "precision": "fp32"}


class Interrupted(Exception):
    """Stands for whatever ends a process in the middle of an epoch."""


@dataclass
class Watch(Progress):
    """What is seen of the last run that was started; each run starts it afresh.

    stop_after: raise Interrupted at the first batch after that many finished epochs.
    """

    stop_after: int | None = None
    started: list[str] = field(default_factory=list)  # the ids of the runs that were trained, in order
    done: int = 0  # epochs
    method: Method | None = None
    data: Prepared | None = None  # what it was trained and tested on
    optimizers: list[Optimizer] = field(default_factory=list)
    terms: list[dict[str, Any]] = field(default_factory=list)  # what each step returned
    tested: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = field(default_factory=list)  # args, kwargs, result

    def start(self, spec: RunSpec, title: str, done: int, images: int) -> None:
        self.started.append(spec.id)
        self.done, self.method, self.terms, self.tested = done, None, [], []

    def step(self, images: int) -> None:
        if self.done == self.stop_after:
            raise Interrupted

    def epoch(self, row: Mapping[str, float], images_per_second: float) -> None:
        self.done += 1
        self.tested.clear()  # what is tested after the last epoch is what remains

    @contextmanager
    def over(self, cls: type[Method]) -> Iterator[None]:
        """Look at every call of the class's `step`, of its `forward` outside of training, and at a run's images."""
        forward, step, finish = cls.forward, cls.step, Job.finish

        def seen_step(this: Method, batch: Batch, optimizers: list[Optimizer]) -> Any:
            terms = step(this, batch, optimizers)
            self.method, self.optimizers = this, optimizers
            self.terms.append(terms)
            return terms

        def seen_forward(this: Method, *args: Any, **kwargs: Any) -> Any:
            if self.method is None and not cls.trains(this.config):
                self.method = this  # of which no step is ever seen
            copies = tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in args)
            result = forward(this, *args, **kwargs)
            if this is self.method and not this.training and not torch.is_grad_enabled():
                self.tested.append((copies, kwargs, result))
            return result

        def seen_finish(job: Job, side_by_side: int) -> Record:
            self.data = job.data
            return finish(job, side_by_side)

        looks = ((cls, "step", seen_step), (cls, "forward", seen_forward), (Job, "finish", seen_finish))
        with ExitStack() as patches:
            for of, name, seen in looks:
                patches.enter_context(patch.object(of, name, seen))
            yield


@dataclass(frozen=True)
class Trial:
    """A finished run of a method, and what was seen of it."""

    cls: type[Method]
    request: session.Request
    record: Record
    watch: Watch

    @property
    def store(self) -> Store:
        """Where the run and those it needs are."""
        return Store(self.request.results)

    @property
    def curve(self) -> list[dict[str, float]]:
        """The learning curve, a dict per epoch; a term that an epoch lacks is left out."""
        rows = csv.DictReader(io.StringIO(self.store.curve(self.record.id)))
        return [{name: float(value) for name, value in row.items() if value} for row in rows]

    @property
    def data(self) -> Prepared:
        """The images that the run was trained and tested on."""
        assert self.watch.data is not None, f"{self.cls.name}: nothing was trained"
        return self.watch.data

    def runner(self, name: str, device: torch.device, capture: bool = False) -> Runner:
        """With a new store, in which the runs that the trial's run needs are."""
        results = self.request.results.with_name(name)
        for need in self.record.spec.walk():
            if need != self.record.spec:
                shutil.copytree(self.request.results / need.id, results / need.id)
        return Runner(Store(results), datasets.data_root(self.request.data), device, lambda _: Progress(), capture)


def try_out(cls: type[Method], folder: Path, settings: Mapping[str, Any] | None = None, **options: Any) -> Trial:
    """Train a registered method in a new store below `folder`. options: fields of Request, instead of SMALL's."""
    results = Path(tempfile.mkdtemp(dir=folder)) / "runs"
    request = session.Request(method=cls.name, results=results, settings=settings or {}, **(SMALL | options))
    watch = Watch()
    with watch.over(cls):
        [record] = session.run(request, watch)
    assert watch.started[-1:] == [record.id], f"{cls.name}: nothing was trained for {record.id}"
    return Trial(cls, request, record, watch)

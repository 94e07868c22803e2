"""Ways of doing a case's work that are timed against each other: the bare step, lrbench's loop, its test loop."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch

from lrbench import device
from lrbench.bench.case import Case
from lrbench.data.batches import epoch
from lrbench.data.pairs import Pairs, to_float
from lrbench.spec.seeds import generator
from lrbench.train.capture import graph as capture
from lrbench.train.capture.graph import Captured
from lrbench.train.loop import one_epoch
from lrbench.train.tasks import EVAL_BATCH, task_of
from lrbench.train.training import Training


class Contender(ABC):
    """One way of doing a case's work. Building it is what a run does between its data and its first step."""

    name: ClassVar[str]
    trains: ClassVar[bool] = True

    def __init__(self, case: Case, pairs: Pairs) -> None:
        """pairs: the case's images, on the CPU."""
        self.case, self.device = case, device.pick(case.device)

    @abstractmethod
    def slice(self, after: Callable[[], None] = lambda: None) -> float:
        """Work through the case's images once, in whole batches; returns seconds. `after` is called after every step.

        The device has finished all its work before the clock starts and before it stops.
        """

    def close(self) -> None:  # noqa: B027
        """Give back what it holds besides memory."""


class Bare(Contender):
    """The limit: model, optimizer and frozen teacher on one batch, made beforehand, over and over."""

    name = "bare"

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        self.method = case.untrained().train()
        self.optimizers = self.method.optimizers(case.updates)
        view, batch = type(self.method).view, pairs.first(case.batch).to(self.device)
        draw = generator(case.spec.seed, "bench")
        self.draw = next(epoch(batch, case.spec.recipe, batch.scale, view == "lr", draw))
        self.batch = self.draw.batch(self.method.reads)
        self.graphs = capture.capture_group(self.device, case.capture, _warn)
        self.captured = Captured(self.method, self.graphs) if self.graphs else None

    def slice(self, after: Callable[[], None] = lambda: None) -> float:
        with Clock(self.device) as clock:
            for _ in range(self.case.updates):
                if self.graphs and self.captured:
                    self.graphs.gather([self.method])
                    self.captured(self.draw, self.optimizers)
                else:
                    self.method.step(self.batch, self.optimizers)
                after()
        return clock.seconds


class Loop(Contender):
    """lrbench's own loop, one epoch per slice, timed as a record's images_per_second is.

    So the measurement of the learning curve after each epoch, on 1,000 training images, is not in it.
    """

    name = "lrbench"

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        self.training = Training(case.untrained(), case.spec, pairs.to(self.device), None, 0)
        self.graphs = capture.capture_group(self.device, case.capture, _warn)

    def slice(self, after: Callable[[], None] = lambda: None) -> float:
        synchronise(self.device)
        before = self.training.history.seconds
        one_epoch([self.training], lambda *_: after(), capture=self.graphs)
        return self.training.history.seconds - before


class Evaluation(Contender):
    """lrbench's test loop over the case's images."""

    name = "evaluation"
    trains = False

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        self.method, self.images = case.untrained(), pairs.first(case.updates * case.batch).to(self.device)
        self.task = task_of(type(self.method))

    def slice(self, after: Callable[[], None] = lambda: None) -> float:
        with Clock(self.device) as clock:
            self.task.measure(self.method, self.images)
            after()
        return clock.seconds


class Forward(Contender):
    """The limit of a test: the bare forward passes over the case's images, made beforehand."""

    name = "forward"
    trains = False

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        self.method = case.untrained().eval()
        images = pairs.first(case.updates * case.batch).to(self.device).view(type(self.method).view)
        self.batches = [to_float(batch) for batch in images.split(EVAL_BATCH)]

    @torch.no_grad()
    def slice(self, after: Callable[[], None] = lambda: None) -> float:
        with Clock(self.device) as clock:
            for batch in self.batches:
                with self.method.context.autocast():
                    self.method(batch)
            after()
        return clock.seconds


def _warn(message: str) -> None:
    print(message, file=sys.stderr)


class Clock:
    """The seconds of a block, at whose start and end the device has done all that it was given."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, 0.0

    def __enter__(self) -> Clock:
        synchronise(self.device)
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        synchronise(self.device)
        self.seconds = time.perf_counter() - self._started


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

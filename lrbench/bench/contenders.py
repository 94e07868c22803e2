"""Ways of doing a case's work that are timed against each other: the bare step, lrbench's loops."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import ClassVar

import torch

from lrbench import device
from lrbench.bench.case import Case
from lrbench.data.batches import epoch
from lrbench.data.pairs import Pairs, to_float
from lrbench.spec.seeds import generator
from lrbench.train.capture import graph as capture
from lrbench.train.loop import one_epoch
from lrbench.train.tasks import EVAL_BATCH, task_of
from lrbench.train.training import Training


class Contender:
    """One way of doing a case's work. Building it is what a run does between its data and its first step."""

    name: ClassVar[str]
    trains: ClassVar[bool] = True

    def __init__(self, case: Case, pairs: Pairs) -> None:
        """pairs: the case's images, on the CPU."""
        self.case, self.device, self.method = case, device.pick(case.device), case.untrained()

    @cached_property
    def graphs(self) -> capture.CaptureGroup | None:
        """What captures the steps, where they are captured."""
        return capture.capture_group(self.device, self.case.capture, lambda message: print(message, file=sys.stderr))

    def steps(self) -> Iterator[None]:
        """Work through the case's images once, in whole batches, and yield after every step."""
        raise NotImplementedError

    def slice(self, after: Callable[[], None] = lambda: None) -> float:
        """The seconds that `steps` takes; `after` is called after every step.

        The device has finished all its work before the clock starts and before it stops.
        """
        synchronise(self.device)
        started = time.perf_counter()
        for _ in self.steps():
            after()
        synchronise(self.device)
        return time.perf_counter() - started


class Bare(Contender):
    """The limit: model, optimizer and frozen teacher on one batch, made beforehand, over and over."""

    name = "bare"

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        self.optimizers = self.method.train().optimizers(case.updates)
        view, batch = type(self.method).view, pairs.first(case.batch).to(self.device)
        draw = generator(case.spec.seed, "bench")
        self.draw = next(epoch(batch, case.spec.recipe, batch.scale, view == "lr", draw))
        self.batch = self.draw.batch(self.method.reads)
        self.captured = capture.Captured(self.method, self.graphs) if self.graphs else None

    def steps(self) -> Iterator[None]:
        for _ in range(self.case.updates):
            if self.graphs and self.captured:
                self.graphs.gather([self.method])
                self.captured(self.draw, self.optimizers)
            else:
                self.method.step(self.batch, self.optimizers)
            yield


class Loop(Contender):
    """lrbench's own loop, one epoch per slice, timed as a record's images_per_second is.

    So the measurement of the learning curve after each epoch, on 1,000 training images, is not in it.
    """

    name = "lrbench"

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        self.training = Training(self.method, case.spec, pairs.to(self.device), None)

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
        self.images = pairs.first(case.updates * case.batch).to(self.device)

    def steps(self) -> Iterator[None]:
        task_of(type(self.method)).measure(self.method, self.images)
        yield


class Forward(Evaluation):
    """The limit of a test: the bare forward passes over the case's images, made beforehand."""

    name = "forward"

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        self.batches = [to_float(batch) for batch in self.images.view(type(self.method).view).split(EVAL_BATCH)]

    @torch.no_grad()
    def steps(self) -> Iterator[None]:
        self.method.eval()
        for batch in self.batches:
            with self.method.context.autocast():
                self.method(batch)
        yield


def synchronise(on: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if on.type == "cuda":
        torch.cuda.synchronize(on)

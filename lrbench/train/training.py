"""One run being trained, of any method: an update, what is logged, its checkpoint. The loop itself is in loop.py."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrbench import device
from lrbench.data.batches import Draw, epoch
from lrbench.data.pairs import Pairs
from lrbench.errors import UserError
from lrbench.method.backbones import Dropout
from lrbench.method.base import Method, Optimizer, check_terms, deployed_state, load_deployed
from lrbench.method.registry import epochs_before
from lrbench.spec.runspec import RunSpec
from lrbench.spec.seeds import Stream, derive, generator
from lrbench.train.capture.graph import Captured
from lrbench.train.neighbours import undisturbed
from lrbench.train.tasks import task_of

TRAIN_SAMPLE = 1000  # training images that the curve's train_... is measured on, not augmented
COLUMNS = ("epoch", "loss", "train_top1", "val_top1", "train_psnr", "val_psnr")  # of the curve, beside the loss terms
HUGE = 1e12  # no loss is so large that still has something to say
GREW = 1000  # times its first epoch's; a loss of more than that is not coming back
SNAPSHOT = 1  # of a checkpoint's form; one of another form is not gone on from


@dataclass
class History:
    """How far a run has come: everything that a checkpoint holds besides weights and optimizers."""

    epoch: int = 0
    threads: int = field(default_factory=device.threads_in_use)  # of the CPU; more or fewer would round sums otherwise
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    collapsed: str | None = None  # why what it has learnt is nothing, where the last epoch counts
    best_weights: dict[str, Tensor] | None = None  # only with select="best-epoch"


class Average:
    """An exponential moving average of a method's weights, to be tested in their place.

    w <- d * w + (1 - d) * new, over weights and floating buffers; others are copied. d = min(decay, (1 + t) / (10 + t))
    after t updates, as TensorFlow's ExponentialMovingAverage has it, lest a short training test its random start.
    """

    def __init__(self, method: Method, decay: float) -> None:
        self.method, self.decay = method, decay
        self.weights = {name: value.detach().clone() for name, value in deployed_state(method).items()}

    @torch.no_grad()
    def update(self, done: int) -> None:
        """Take in the method's weights after update number `done`, counted from 0."""
        decay = min(self.decay, (1 + done) / (10 + done))
        live = deployed_state(self.method)
        floating = [name for name, value in live.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in floating], [live[name] for name in floating], 1 - decay)
        for name in live.keys() - floating:
            self.weights[name].copy_(live[name])

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The method with the averaged weights, for as long as the block lasts."""
        live = {name: value.detach().clone() for name, value in deployed_state(self.method).items()}
        load_deployed(self.method, self.weights)
        try:
            yield
        finally:
            load_deployed(self.method, live)


class Training:
    """One run being trained. `snapshot` and `restore` carry it over a kill, bit for bit on the CPU.

    code: a hash of the method's; a snapshot of other code is not gone on from.
    """

    def __init__(self, method: Method, spec: RunSpec, train: Pairs, val: Pairs | None, code: str | None = None) -> None:
        self.method, self.spec, self.train, self.val = method, spec, train, val
        self.epochs_before = epochs_before(spec)
        self.made_by = [SNAPSHOT, spec.id, code]
        self.task = task_of(type(method))
        self.epochs = spec.recipe.epochs if type(method).trains(method.config) else 0  # that it is trained for
        size = min(spec.recipe.batch_size, len(train))
        self.updates_per_epoch = len(train) // size
        self.images_per_epoch = self.updates_per_epoch * size
        self.optimizers: list[Optimizer] = method.optimizers(self.updates_per_epoch * spec.recipe.epochs)
        self.average = Average(method, spec.recipe.ema) if spec.recipe.ema else None
        self.history = History()
        self.captured: Captured | None = None  # stands in for the method's own step

    @property
    def done(self) -> bool:
        """Whether there is nothing more to train: the last epoch is finished, or it has diverged."""
        return self.history.epoch >= self.epochs or self.diverged() is not None

    @property
    def epoch(self) -> int:
        """How many are in the weights, with those of a run they started from; chance depends on this and the seed."""
        return self.epochs_before + self.history.epoch

    def batches(self) -> Iterator[Draw]:
        """Those of the next epoch."""
        chance = generator(self.spec.seed, "batches", self.epoch)
        return epoch(self.train, self.spec.recipe, self.train.scale, self.method.view == "lr", chance)

    def begin_epoch(self) -> None:
        """Get ready for the next epoch's batches. The runs of a group have one number of threads."""
        torch.set_num_threads(self.history.threads)
        device = self.train.y.device
        self.noise = Stream(derive(self.spec.seed, "noise", self.epoch), device)
        self.totals: dict[str, Tensor] = {}
        for number, module in enumerate(one for one in self.method.modules() if isinstance(one, Dropout)):
            module.reseed(derive(self.spec.seed, "dropout", self.epoch, number), device)
        with undisturbed(self.method.name, self.method.needs):
            self.method.train()
        if self.captured:
            self.captured.checked = False

    def update(self, place: int, draw: Draw) -> None:
        """Train on the batch at `place` in the epoch."""
        done = self.history.epoch * self.updates_per_epoch + place
        for optimizer in self.optimizers:
            optimizer.set_rate(done)
        self.method.progress.fill_(done / (self.updates_per_epoch * self.epochs))
        with self.noise.current():
            replays = self.captured and self.captured.replays  # then none of the method's code runs
            with nullcontext() if replays else undisturbed(self.method.name, self.method.needs):
                if self.captured:
                    terms = self.captured(draw, self.optimizers)
                else:
                    terms = self.method.step(draw.batch(self.method.reads), self.optimizers)
                check_terms(self.method.name, terms)
        if self.average:
            self.average.update(done)
        for name, term in terms.items():  # summed on the device: nothing waits for it within an epoch
            if name in COLUMNS:
                raise UserError(f"{self.method.name}: no loss term may be called '{name}'")
            self.totals[name] = self.totals.get(name, 0.0) + term.detach().double()

    def end_epoch(self, seconds: float) -> None:
        """Measure and log the epoch, which took so long."""
        history = self.history
        history.seconds += seconds
        history.epoch += 1
        losses = {name: total.item() / self.updates_per_epoch for name, total in self.totals.items()}
        row = {"epoch": history.epoch, "loss": sum(losses.values()), **losses}
        averaged = self.average.swapped() if self.average else nullcontext()
        with undisturbed(self.method.name, self.method.needs, whole=True), averaged:
            sample = self.train.first(TRAIN_SAMPLE)
            row[f"train_{self.task.score}"] = self.task.measure(self.method, sample)
            if self.val is not None:
                score = f"val_{self.task.score}"
                row[score] = self.task.measure(self.method, self.val)
                selects = self.spec.select == "best-epoch" and self.method.selects
                if selects and row[score] > max((past[score] for past in history.curve), default=-1.0):
                    history.best_epoch = history.epoch
                    history.best_weights = {name: value.clone() for name, value in deployed_state(self.method).items()}
            if history.epoch == self.epochs and history.best_epoch in (0, history.epoch):
                history.collapsed = self.task.collapsed(self.method, sample)
        history.curve.append(row)

    @property
    def images_per_second(self) -> float:
        """So far; 0 before the first epoch has ended."""
        return self.images_per_epoch * self.history.epoch / self.history.seconds if self.history.seconds else 0.0

    def finish(self) -> None:
        """Put the weights that count in place: the chosen epoch's with select="best-epoch", else the last's."""
        torch.set_num_threads(self.history.threads)
        if counted := self.history.best_weights or (self.average and self.average.weights):
            load_deployed(self.method, counted)

    def diverged(self) -> str | None:
        """Why it is of no use to train on, in words; None where it is."""
        if not self.history.curve:
            return None
        first, last, epoch = self.history.curve[0]["loss"], self.history.curve[-1]["loss"], len(self.history.curve)
        if not math.isfinite(last):
            return f"its loss was no number in epoch {epoch}"
        if abs(last) > HUGE:
            return f"its loss was {last:.3g} in epoch {epoch}"
        if self.method.steady and abs(last) > GREW * max(abs(first), 1.0):
            return f"its loss grew from {first:.3g} in epoch 1 to {last:.3g} in epoch {epoch}"
        return None

    def snapshot(self) -> dict[str, Any]:
        """The whole state, as plain values and tensors."""
        return {
            "made by": self.made_by,
            "state": vars(self.history),
            "method": dict(self.method.state_dict()),
            "average": self.average.weights if self.average else None,
            "optimizers": [one.optimizer.state_dict() for one in self.optimizers],
        }

    def restore(self, snapshot: dict[str, Any]) -> bool:
        """Go on from a snapshot; False where it is of another run or of other code, and nothing is changed."""
        if snapshot.get("made by") != self.made_by:
            return False
        self.history = History(**snapshot["state"])
        self.method.load_state_dict(snapshot["method"])
        if self.average:
            for name, value in snapshot["average"].items():
                self.average.weights[name].copy_(value)
        for one, saved in zip(self.optimizers, snapshot["optimizers"], strict=True):
            one.optimizer.load_state_dict(saved)
            for weight, values in one.optimizer.state.items():
                for name, value in values.items():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        # as the optimizer made it: on the weight's device, in the weight's memory order
                        values[name] = torch.empty_like(weight, requires_grad=False).copy_(value)
        return True

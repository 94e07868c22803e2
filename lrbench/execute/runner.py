"""Training runs in this process: one run with all that it needs, or a group of runs side by side."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from lrbench import device
from lrbench.data import pairs, prepare
from lrbench.data.prepare import Prepared
from lrbench.errors import TRAINING_OUT_OF_MEMORY, Error, UserError, one_line, out_of_memory
from lrbench.execute import provenance
from lrbench.execute.progress import Progress
from lrbench.method import naming, registry
from lrbench.method.base import Method, is_training_only
from lrbench.method.naming import title
from lrbench.method.registry import config_of
from lrbench.plan.plan import graph
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import WEIGHTS, Store
from lrbench.train import build
from lrbench.train.build import Frozen
from lrbench.train.capture import graph as capture
from lrbench.train.loop import one_epoch
from lrbench.train.neighbours import undisturbed
from lrbench.train.restored import see_through
from lrbench.train.training import Training

PAUSE = {"cpu": 0.0, "cuda": 60.0}  # seconds between checkpoints: an epoch may take less than writing one
COPIES = 4  # of a run's weights in memory: they, their gradients, an optimizer's state, a checkpoint being written
MEMORY = 0.25  # the part of the device's memory that the weights of a group may take
LONG = 300  # characters of an error's message, of which a library's may have thousands
Ended = Callable[[RunSpec, Record | Exception], None]


def cause(error: Exception) -> str:
    """Why a run failed, in one line."""
    if out_of_memory(error):
        return TRAINING_OUT_OF_MEMORY
    return one_line(error) if isinstance(error, Error) else f"{type(error).__name__}: {one_line(error)[:LONG]}"


class Job:
    """A run that is being trained. The runs that it needs are in the store, with their weights."""

    def __init__(self, spec: RunSpec, root: Path, frozen: Frozen, progress: Progress, data: Prepared | None) -> None:
        """Begins it, or goes on from its last checkpoint. Raises UserError for a method or data that cannot be run.

        root: of the datasets. data: of another run of its group, which has the same images; None for the first.
        """
        self.spec, self.store, self.progress = spec, frozen.store, progress
        self.device, self.started, self.written = frozen.device, time.perf_counter(), -math.inf
        needs = {role: frozen.get(need) for role, need in spec.needs.items()}
        found = ((role, self.store.get(need, weights=True)) for role, need in spec.needs.items())
        self.needs = {role: record for role, record in found if record}
        cls = registry.method(spec.method)
        config = config_of(cls, spec.config)
        restorer, start = cls.restored_by(config), cls.starts_from(config)
        if data is None:
            data = prepare.prepare(spec, root, self.device)
            if restorer:
                data = see_through(data, needs[restorer], self.needs[restorer], self.store)
        self.start = self.needs[start] if start else None
        self.data, self.source = data, registry.source_hash(cls)
        with undisturbed(spec.method, needs):
            self.method = method = build.build(spec, data.facts, needs, self.device, data.mean, data.std)
            if start:
                build.start_from(method, needs[start])
            self.training = Training(method, spec, data.train, data.val, self.source)
            image = data.test.view(cls.view)[:1]
            # all of it before training: mistakes show now
            self.macs, self.deployed = macs(method, image), deployed(method, image)
            sizes = [(weight.numel(), weight.requires_grad) for weight in method.parameters()]
            self.parameters = sum(size for size, trained in sizes if trained)
            self.training_only = sum(size for size, _ in sizes) - self.deployed
            self.shapes = build.check_weights(method)
        if restorer:
            before = self.needs[restorer].metrics
            self.macs += int(before["macs"] or 0)
            self.deployed += int(before.get("deployed_parameters") or before["parameters"] or 0)
        saved = self.store.read_checkpoint(spec.id)
        if saved is not None and not self.training.restore(saved):
            progress.note(f"{title(spec)}: its checkpoint is of other code; it starts anew")
        progress.start(spec, title(spec), self.training.history.epoch, self.training.images_per_epoch)

    @property
    def size(self) -> int:
        """Bytes that it holds between two updates, about."""
        own, needs = self.method.state_dict(), [need.state_dict() for need in self.method.needs.values()]
        return COPIES * sum(x.nbytes for x in own.values()) + sum(x.nbytes for need in needs for x in need.values())

    def keep(self) -> None:
        """Write down the epoch that has just been trained. Raises OSError."""
        training = self.training
        self.progress.epoch(training.history.curve[-1], training.images_per_second)
        if time.perf_counter() - self.written >= PAUSE[self.device.type]:
            with undisturbed(self.spec.method, self.method.needs):
                snapshot = training.snapshot()
            self._check_shapes()
            try:
                self.store.write_checkpoint(self.spec.id, snapshot)
            except UserError as error:
                raise UserError(f"{self.method.name}: {error}") from error
            self.written = time.perf_counter()

    def _check_shapes(self) -> None:
        """Raise UserError where the state that is to be stored is not of the form that it was built in."""
        before, now = self.shapes, build.shapes(self.method)
        for name in {**before, **now}:
            if before.get(name) != now.get(name):
                new, gone = "was not there when it was built", "is gone since it was built"
                what = (
                    new if name not in before else gone if name not in now else "has another shape than it was built in"
                )
                raise UserError(
                    f"{self.method.name}: its state '{name}' {what}; make all weights and buffers in __init__"
                )

    def finish(self, side_by_side: int) -> Record:
        """Test the trained method and save its record. side_by_side: how many runs its group had."""
        spec, training, method = self.spec, self.training, self.method
        self._check_shapes()
        training.finish()
        why = training.diverged() or training.history.collapsed
        with undisturbed(spec.method, method.needs, whole=True):
            metrics, outputs = training.task.test(method, self.data.test)
            weights = build.weights_file(method)
        start, history, score = self.start, training.history, training.task.score
        if not why and not training.epochs and start and start.diverged:
            why = f"its weights are those of {title(start.spec)}, which diverged"
        before = int(start.metrics["epochs_in_weights"] or 0) if start else 0  # fewer than planned, if it diverged
        finite = [row["loss"] for row in history.curve if math.isfinite(row["loss"])]
        ended = {"diverged_epoch": history.epoch, "last_finite_loss": finite[-1] if finite else None}
        counted = history.curve[(history.best_epoch or history.epoch) - 1] if history.curve else {}
        record = Record(
            id=spec.id,
            spec=spec,
            status="diverged" if why else "done",
            why=why,
            metrics={
                **{name: _number(value) for name, value in metrics.items()},
                **(ended if why else {}),
                f"train_{score}": _number(counted.get(f"train_{score}")),
                f"val_{score}": _number(counted.get(f"val_{score}")),  # None where no image is held out
                "best_epoch": history.best_epoch or None,
                "epochs": history.epoch,
                "epochs_in_weights": before + history.epoch,
                "images_per_second": training.images_per_second,
                "side_by_side": side_by_side,
                "train_seconds": history.seconds,
                "wall_seconds": time.perf_counter() - self.started,
                "parameters": self.parameters,
                "deployed_parameters": self.deployed,
                "training_only_parameters": self.training_only,
                "macs": self.macs,
                "peak_memory_mib": provenance.peak_memory_mib(self.device),
            },
            about=naming.about(spec.method),
            data=self.data.facts,
            env=provenance.environment(self.device)
            | {"captured": bool(training.captured and training.captured.in_use)},
            method_source=self.source,
            needs_weights={role: need.files[WEIGHTS] for role, need in self.needs.items()},
            files={},
        )
        record = self.store.save(record, curve_csv(history.curve), outputs, weights)
        said = f"diverged: {why}" if why else f"{score} {metrics[score]:.2f} {training.task.unit}"
        speed = f", {training.images_per_second:.0f} images/s" if training.images_per_second else ""
        self.progress.stop(f"{title(spec)}: {said}{speed}")
        return record


@dataclass
class Runner:
    """Trains in this process, on one device. progress: gives, for a run, who is told of all that happens to it."""

    store: Store
    data_root: Path
    device: torch.device
    progress: Callable[[RunSpec], Progress]
    capture: bool = True  # steps in CUDA graphs, on a GPU

    def run(self, spec: RunSpec) -> Record:
        """The record of a run, which is trained now if it is not in the store, and before it what it needs.

        Raises OSError where the store cannot be written, UserError where the data is missing, and what a method raises.
        """
        runs, records = graph([spec], self.store), list[Record]()
        if not runs.missing and (stored := self.store.get(spec)):
            return stored

        def ended(_: RunSpec, end: Record | Exception) -> None:
            if isinstance(end, Exception):
                raise end
            records.append(end)

        for run in runs.missing:
            try:
                self.run_group([runs.specs[run]], ended)
            except (UserError, OSError):
                raise
            except Exception as error:
                why = f"its {', '.join(runs.roles(run))}, {title(runs.specs[run])}, failed: {one_line(error)}"
                for other in runs.missing:
                    if run in runs.below(other):
                        self._remember(runs.specs[other], why)
                raise
        return records[-1]

    def run_group(self, specs: Sequence[RunSpec], ended: Ended) -> None:
        """Train a group of runs (see lrbench.train.loop), side by side as far as memory goes.

        What they need is in the store, with its weights. `ended` is told of each record, or why a run failed: unless it
        raises then, the others go on.
        """
        for spec in specs:
            for role, need in spec.needs.items():
                record = self.store.get(need, weights=True)
                if record and record.diverged:
                    self.progress(spec).note(f"{title(spec)}: its {role}, {title(need)}, diverged: {record.why}")
        with ExitStack() as locks:
            for spec in sorted(specs, key=lambda spec: spec.id):  # in one order: no deadlock between two processes
                locks.enter_context(self.store.training(spec.id))
            left = []
            for spec in specs:
                if record := self.store.get(spec, weights=True):  # another process has trained it meanwhile
                    ended(spec, record)
                    continue
                left.append(spec)
                if self.store.get(spec):
                    place = self.store.origin(spec.id) or self.store.root
                    said = f"{title(spec)} is in {place} without the weights that are needed: trained anew"
                    self.progress(spec).note(said)
            while left:
                left = self._train(left, ended)

    def _remember(self, spec: RunSpec, why: str) -> None:
        with suppress(OSError):
            self.store.write_failure(spec, why)

    def _train(self, specs: Sequence[RunSpec], ended: Ended) -> list[RunSpec]:
        """Train the first of some runs, and with it as many more as memory allows; returns the others."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        frozen, budget = Frozen(self.store, self.device), MEMORY * device.memory(self.device)
        jobs: dict[Training, Job] = {}
        left = list(specs)

        def failed(training: Training, error: Exception) -> None:
            jobs.pop(training).progress.stop()
            if not isinstance(error, OSError):
                self._remember(training.spec, cause(error))
            ended(training.spec, error)

        while left and (not jobs or sum(job.size for job in jobs.values()) * (len(jobs) + 1) / len(jobs) < budget):
            spec = left.pop(0)
            try:
                data = next((job.data for job in jobs.values()), None)  # one group has one set of images
                job = Job(spec, self.data_root, frozen, self.progress(spec), data)
            except Exception as error:  # whatever a method raises is its own run's end
                if not isinstance(error, (UserError, OSError)):
                    self._remember(spec, cause(error))
                ended(spec, error)
            else:
                jobs[job.training] = job
        side_by_side = len(jobs)
        graphs = capture.capture_group(self.device, self.capture, self.progress(specs[0]).note)
        try:
            while jobs:
                behind = min(training.epoch for training in jobs)  # after a break some may be ahead: these wait
                members = [training for training in jobs if training.epoch == behind and not training.done]
                members = [one for one in members if one.history.threads == members[0].history.threads]  # after a break
                if members:
                    one_epoch(members, lambda training, images: jobs[training].progress.step(images), failed, graphs)
                for training, job in list(jobs.items()):
                    try:
                        if training in members:
                            job.keep()
                        record = job.finish(side_by_side) if training.done else None
                    except Exception as error:
                        failed(training, error)
                    else:
                        if record:
                            del jobs[training]
                            ended(training.spec, record)
        finally:
            for job in jobs.values():
                job.progress.stop()
        return left


def _number(value: float | None) -> float | None:
    """A score, or None for one that is none: a record is JSON, which has no NaN."""
    return value if value is not None and math.isfinite(value) else None


@torch.no_grad()
def macs(method: Method, image: torch.Tensor) -> int:
    """Multiply-accumulates of one image's test path, uint8 (1, H, W, 3): half of PyTorch's FLOP count."""
    from torch.utils.flop_counter import FlopCounterMode  # here, not above: it brings triton

    with FlopCounterMode(display=False) as counter:
        method.eval()(pairs.to_float(image))
    return int(counter.get_total_flops()) // 2


@torch.enable_grad()
def deployed(method: Method, image: torch.Tensor) -> int:
    """The parameters that one image's test path, uint8 (1, H, W, 3), depends on, frozen ones among them.

    Raises UserError where one of these is in the method's `training_only`.
    """
    weights = {name: one for name, one in method.named_parameters() if one.is_floating_point() or one.is_complex()}
    frozen = [weight for weight in weights.values() if not weight.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        output = method.eval()(pairs.to_float(image))
        if not output.requires_grad:
            return sum(weight.numel() for weight in method.parameters())
        gradients = torch.autograd.grad(output.float().sum(), list(weights.values()), allow_unused=True)
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
    used = [name for name, found in zip(weights, gradients, strict=True) if found is not None]
    for name in used:
        if is_training_only(method, name):
            raise UserError(f"{method.name}: its forward depends on '{name}', which its training_only leaves out")
    return sum(weights[name].numel() for name in used)


def curve_csv(curve: list[dict[str, float]]) -> str:
    """The learning curve as CSV; floats are written so that they read back exactly.

    A term that is not in every epoch, of a loss with stages, is empty in the others.
    """
    out, columns = io.StringIO(), dict.fromkeys(name for row in curve for name in row)
    lines = [[row.get(name, "") for name in columns] for row in curve]
    csv.writer(out, lineterminator="\n").writerows([columns, *lines])
    return out.getvalue()

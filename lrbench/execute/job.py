"""Training one run: from its spec and the images to the record that is kept."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save as save_tensors

from lrbench.data import pairs, prepare
from lrbench.data.prepare import Prepared
from lrbench.execute import provenance
from lrbench.execute.progress import Progress
from lrbench.method import naming, registry
from lrbench.method.base import Method
from lrbench.method.naming import title
from lrbench.method.registry import config_of
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import WEIGHTS, Store
from lrbench.train import build
from lrbench.train.build import Frozen
from lrbench.train.restored import see_through
from lrbench.train.training import Training

PAUSE = {"cpu": 0.0, "cuda": 10.0}  # seconds between checkpoints: an epoch may take less than writing one
COPIES = 4  # of a run's weights in memory: they, their gradients, an optimizer's state, a checkpoint being written


class Job:
    """A run that is being trained. The runs that it needs are in the store, with their weights."""

    def __init__(
        self, spec: RunSpec, store: Store, data_root: Path, frozen: Frozen, progress: Progress, data: Prepared | None
    ) -> None:
        """Begins it, or goes on from its last checkpoint. Raises UserError for a method or data that cannot be run.

        data: of another run of its group, which has the same images; None for the first.
        """
        self.spec, self.store, self.progress = spec, store, progress
        self.device, self.started, self.written = frozen.device, time.perf_counter(), -math.inf
        needs = {role: frozen.get(need) for role, need in spec.needs.items()}
        found = ((role, store.get(need, weights=True)) for role, need in spec.needs.items())
        self.needs = {role: record for role, record in found if record}
        cls = registry.method(spec.method)
        config = config_of(cls, spec.config)
        restorer, start = cls.restored_by(config), cls.starts_from(config)
        if data is None:
            data = prepare.prepare(spec, data_root, self.device)
            if restorer:
                data = see_through(data, needs[restorer], self.needs[restorer], store)
        method = build.build(spec, data.facts, needs, self.device, data.mean, data.std)
        if start:
            build.start_from(method, needs[start])
        self.start = self.needs[start] if start else None
        self.data, self.method, self.source = data, method, registry.source_hash(cls)
        self.training = Training(method, spec, data.train, data.val, self.source)
        image = data.test.view(cls.view)[:1]
        self.macs, self.deployed = macs(method, image), deployed(method, image)  # before training: mistakes show now
        if restorer:
            before = self.needs[restorer].metrics
            self.macs += int(before["macs"] or 0)
            self.deployed += int(before.get("deployed_parameters") or before["parameters"] or 0)
        saved = store.read_checkpoint(spec.id)
        if saved is not None and not self.training.restore(saved):
            progress.note(f"{title(spec)}: its checkpoint is of other code; it starts anew")
        progress.start(spec, title(spec), self.training.history.epoch, self.training.images_per_epoch)

    @property
    def size(self) -> int:
        """Bytes that it holds between two updates, about."""
        return COPIES * sum(tensor.nbytes for tensor in self.method.state_dict().values())

    def keep(self) -> None:
        """Write down the epoch that has just been trained. Raises OSError."""
        training = self.training
        self.progress.epoch(training.history.curve[-1], training.images_per_second)
        if time.perf_counter() - self.written >= PAUSE[self.device.type]:
            self.store.write_checkpoint(self.spec.id, training.snapshot())
            self.written = time.perf_counter()

    def finish(self, side_by_side: int) -> Record:
        """Test the trained method and save its record. side_by_side: how many runs its group had."""
        spec, training, method = self.spec, self.training, self.method
        self.progress.stop()
        training.finish()
        why = training.diverged() or training.history.collapsed
        metrics, outputs = training.task.test(method, self.data.test)
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
                "parameters": sum(weight.numel() for weight in method.parameters()),
                "deployed_parameters": self.deployed,
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
        weights = {name: value.detach().cpu().contiguous().clone() for name, value in method.state_dict().items()}
        record = self.store.save(record, curve_csv(history.curve), outputs, save_tensors(weights))
        said = f"diverged: {why}" if why else f"{score} {metrics[score]:.2f} {training.task.unit}"
        speed = f", {training.images_per_second:.0f} images/s" if training.images_per_second else ""
        self.progress.finished(f"{title(spec)}: {said}{speed}")
        return record


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
    """The parameters that one image's test path, uint8 (1, H, W, 3), depends on: without what only training needs."""
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    output = method.eval()(pairs.to_float(image))
    if not output.requires_grad:
        return sum(weight.numel() for weight in method.parameters())
    gradients = torch.autograd.grad(output.float().sum(), weights, allow_unused=True)
    return sum(weight.numel() for weight, found in zip(weights, gradients, strict=True) if found is not None)


def curve_csv(curve: list[dict[str, float]]) -> str:
    """The learning curve as CSV; floats are written so that they read back exactly.

    A term that is not in every epoch, of a loss with stages, is empty in the others.
    """
    out, columns = io.StringIO(), dict.fromkeys(name for row in curve for name in row)
    lines = [[row.get(name, "") for name in columns] for row in curve]
    csv.writer(out, lineterminator="\n").writerows([columns, *lines])
    return out.getvalue()

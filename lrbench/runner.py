"""Runs specs on this machine: what is in the store is reused, what is missing is trained, needs first."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as save_tensors
from torch.utils.flop_counter import FlopCounterMode

from lrbench import build, cells, pairs, prepare, provenance, registry
from lrbench.backbones import NONE
from lrbench.errors import RunError
from lrbench.method import Method
from lrbench.plan import config_of
from lrbench.progress import Progress
from lrbench.record import Record
from lrbench.restored import see_through
from lrbench.spec import RunSpec
from lrbench.store import Store
from lrbench.train import Training


@dataclass
class Runner:
    """One process, one device."""

    store: Store
    data_root: Path
    device: torch.device
    progress: Progress

    def run(self, spec: RunSpec, weights: bool = False) -> Record:
        """The record of a spec's run, trained now if it is not in the store.

        weights: whether its weights must be there too, because another run needs them. Raises OSError
        where the store cannot be written, UserError where the data is missing, RunError where a loss is no longer
        a number.
        """
        if record := self._stored(spec, weights):
            if weights:  # a method is loaded with its own needs
                for need in spec.needs.values():
                    self.run(need, weights=True)
            return record
        needs = {role: self.run(need, weights=True) for role, need in spec.needs.items()}
        with self.store.training(spec.id):
            return self._stored(spec, weights) or self._train(spec, needs)

    def _stored(self, spec: RunSpec, weights: bool) -> Record | None:
        record = self.store.get(spec, weights)
        if record and record.method_source != registry.source_hash(registry.method(spec.method)):
            self.progress.note(
                f"{title(spec)} is reused, but the file of '{spec.method}' has changed since; "
                "raise its `version` if that moves scores"
            )
        return record

    def _train(self, spec: RunSpec, needed: dict[str, Record]) -> Record:
        started = time.perf_counter()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        data = prepare.prepare(spec, self.data_root, self.device)
        needs = {role: build.load_frozen(need, self.store, self.device) for role, need in spec.needs.items()}
        cls = registry.method(spec.method)
        config = config_of(cls, spec.config)
        restorer = cls.restored_by(config)
        if restorer:
            data = see_through(data, needs[restorer], needed[restorer], self.store)
        method = build.build(spec, data.facts, needs, self.device, data.mean, data.std)
        role = cls.starts_from(config)
        epochs_before = int(needed[role].metrics["epochs_in_weights"] or 0) if role else 0
        if role:
            build.start_from(method, needs[role])
        source = registry.source_hash(cls)
        training = Training(method, spec, data.train, data.val, epochs_before, source)
        cost = macs(method, data.test.view(cls.view)[:1])  # before training: its mistakes show now
        if restorer:
            cost += int(needed[restorer].metrics["macs"] or 0)
        saved = self.store.read_checkpoint(spec.id)
        if saved is not None and training.fits(saved):
            training.restore(saved)
        elif saved is not None:
            self.progress.note(f"{title(spec)}: its checkpoint is of other code; it starts anew")
        self.progress.start(spec, title(spec), training.state.epoch, training.images_per_epoch)
        try:
            while not training.done:
                training.one_epoch(self.progress)
                if training.diverged():
                    raise RunError(f"{title(spec)} diverged in epoch {training.state.epoch}: its loss is not a number")
                self.store.write_checkpoint(spec.id, training.snapshot())
        finally:
            self.progress.stop()
        training.finish()
        tested = training.task.test(method, data.test)
        state, score = training.state, training.task.score
        counted = state.curve[(state.best_epoch or state.epoch) - 1]
        record = Record(
            id=spec.id,
            spec=spec,
            metrics={
                **tested.metrics,
                f"train_{score}": counted[f"train_{score}"],
                f"val_{score}": counted.get(f"val_{score}"),  # None where no image is held out
                "best_epoch": state.best_epoch or None,
                "epochs": spec.recipe.epochs,
                "epochs_in_weights": spec.recipe.epochs + epochs_before,
                "images_per_second": spec.recipe.epochs * training.images_per_epoch / state.seconds,
                "train_seconds": state.seconds,
                "wall_seconds": time.perf_counter() - started,
                "parameters": sum(weight.numel() for weight in method.parameters()),
                "macs": cost,
                "peak_memory_mib": provenance.peak_memory_mib(self.device),
            },
            data=data.facts,
            env=provenance.environment(self.device),
            method_source=source,
            files={},
        )
        weights = {name: value.detach().cpu().contiguous().clone() for name, value in method.state_dict().items()}
        record = self.store.save(record, curve_csv(state.curve), tested.outputs, save_tensors(weights))
        value, speed = record.metrics[score], record.metrics["images_per_second"]
        self.progress.finished(f"{title(spec)}: {score} {value:.2f} {training.task.unit}, {speed:.0f} images/s")
        return record


def title(spec: RunSpec) -> str:
    """A run in a few words, for the user: its settings where they differ from the defaults."""
    config = "".join(f" {change}" for change in cells.changes(cells.row_key(spec)))
    size = f" x{spec.scale}" if spec.scale else " HR"
    backbone = "" if spec.backbone == NONE else f" {spec.backbone},"
    return f"{spec.method}{config} on {spec.dataset}{size},{backbone} seed {spec.seed} [{spec.id}]"


@torch.no_grad()
def macs(method: Method, image: torch.Tensor) -> int:
    """Multiply-accumulates of one image's test path, uint8 (1, H, W, 3): half of PyTorch's FLOP count."""
    with FlopCounterMode(display=False) as counter:
        method.eval()(pairs.to_float(image))
    return int(counter.get_total_flops()) // 2


def curve_csv(curve: list[dict[str, float]]) -> str:
    """The learning curve as CSV; floats are written so that they read back exactly.

    A term that is not in every epoch, of a loss with stages, is empty in the others.
    """
    out = io.StringIO()
    columns = dict.fromkeys(name for row in curve for name in row)
    writer = csv.DictWriter(out, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(curve)
    return out.getvalue()

"""Training runs in this process: one run with all that it needs, or a group of runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from lrbench import device
from lrbench.errors import OUT_OF_MEMORY, Error, UserError, one_line, out_of_memory
from lrbench.execute.job import Job
from lrbench.execute.progress import Progress
from lrbench.method import registry
from lrbench.method.naming import title
from lrbench.plan.plan import graph
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store
from lrbench.train.build import Frozen
from lrbench.train.capture import graph as capture
from lrbench.train.loop import one_epoch
from lrbench.train.training import Training

MEMORY = 0.25  # the part of the device's memory that the weights of a group may take
LONG = 300  # characters of an error's message, of which a library's may have thousands
Ended = Callable[[RunSpec, Record | Exception], None]


def cause(error: Exception) -> str:
    """Why a run failed, in one line."""
    if out_of_memory(error):
        return OUT_OF_MEMORY
    return one_line(error) if isinstance(error, Error) else f"{type(error).__name__}: {one_line(error)[:LONG]}"


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
        if not runs.missing and (stored := self._stored(spec, weights=False)):
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
                record = self._stored(need, weights=True)
                if record and record.diverged:
                    self.progress(spec).note(f"{title(spec)}: its {role}, {title(need)}, diverged: {record.why}")
        with ExitStack() as locks:
            for spec in sorted(specs, key=lambda spec: spec.id):  # in one order: no deadlock between two processes
                locks.enter_context(self.store.training(spec.id))
            left = []
            for spec in specs:
                if record := self._stored(spec, weights=True):  # another process has trained it meanwhile
                    ended(spec, record)
                    continue
                left.append(spec)
                if self.store.get(spec):
                    place = self.store.origin(spec.id) or self.store.root
                    said = f"{title(spec)} is in {place} without the weights that are needed: trained anew"
                    self.progress(spec).note(said)
            while left:
                left = self._train(left, ended)

    def _stored(self, spec: RunSpec, weights: bool) -> Record | None:
        record = self.store.get(spec, weights)
        # A draft's version is made of its code; the records of other stores were made with another commit's files.
        if not record or spec.method not in registry.installed(registry.METHODS) or self.store.origin(spec.id):
            return record
        if record.method_source != registry.source_hash(registry.method(spec.method)):
            self.progress(spec).note(
                f"{title(spec)} is reused, but the file of '{spec.method}' has changed since; "
                "raise its `version` if that moves scores"
            )
        return record

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

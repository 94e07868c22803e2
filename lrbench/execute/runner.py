"""Turning specs into records in this process: what is in the store is reused, the rest trained, needs first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from lrbench import device
from lrbench.errors import UserError, one_line
from lrbench.execute.job import Job
from lrbench.execute.progress import Progress
from lrbench.method import registry
from lrbench.method.naming import title
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store
from lrbench.train.build import Frozen
from lrbench.train.capture import graph as capture
from lrbench.train.loop import one_epoch
from lrbench.train.training import Training

MEMORY = 0.25  # the part of the device's memory that the weights of a group may take
Ended = Callable[[RunSpec, Record | Exception], None]


@dataclass
class Runner:
    """Trains in this process, on one device. progress: gives, for a run, who is told of all that happens to it."""

    store: Store
    data_root: Path
    device: torch.device
    progress: Callable[[RunSpec], Progress]
    capture: bool = True  # steps in CUDA graphs, on a GPU

    def run(self, spec: RunSpec, weights: bool = False) -> Record:
        """The record of a spec's run, trained now if it is not in the store.

        weights: whether its weights must be there too, because another run needs them. Raises OSError
        where the store cannot be written, UserError where the data is missing.
        """
        records: list[Record] = []

        def ended(_: RunSpec, end: Record | Exception) -> None:
            if isinstance(end, Exception):
                raise end
            records.append(end)

        self.run_group([spec], ended, weights)
        return records[0]

    def run_group(self, specs: Sequence[RunSpec], ended: Ended, weights: bool = False) -> None:
        """A group of runs (see lrbench.train.loop), side by side as far as memory goes; in all else as `run`.

        `ended` is told of each record, or why a run failed: unless it raises then, the others go on.
        """

        def told(spec: RunSpec, end: Record | Exception) -> None:
            if isinstance(end, Exception) and not isinstance(end, (UserError, OSError)):
                self._remember(spec, f"{type(end).__name__}: {one_line(end)}")
            ended(spec, end)

        def still_missing(specs: Sequence[RunSpec]) -> list[RunSpec]:
            missing = []
            for spec in specs:
                with _failing_alone(spec, told):
                    if record := self._stored(spec, weights):
                        ended(spec, record)
                    else:
                        missing.append(spec)
            return missing

        ready = []
        for spec in specs if weights else still_missing(specs):
            with _failing_alone(spec, ended):
                for role, need in spec.needs.items():  # where weights are wanted, a method is loaded with its own needs
                    try:
                        record = self.run(need, weights=True)
                    except (UserError, OSError):
                        raise
                    except Exception as error:
                        self._remember(spec, f"its {role}, {title(need)}, failed: {one_line(error)}")
                        raise
                    if record.diverged:
                        self.progress(spec).note(f"{title(spec)}: its {role}, {title(need)}, diverged: {record.why}")
                ready.append(spec)
        if not (missing := still_missing(ready) if weights else ready):
            return
        for spec in missing:
            if self.store.get(spec):
                place = self.store.origin(spec.id) or self.store.root
                self.progress(spec).note(
                    f"{title(spec)} is in {place} without the weights that are needed: trained anew"
                )
        with ExitStack() as locks:
            for spec in sorted(missing, key=lambda spec: spec.id):  # in one order: no deadlock between two processes
                locks.enter_context(self.store.training(spec.id))
            missing = still_missing(missing)  # another process may have trained one meanwhile
            while missing:
                missing = self._train(missing, told)

    def _remember(self, spec: RunSpec, why: str) -> None:
        with suppress(OSError):
            self.store.write_failure(spec, why)

    def _stored(self, spec: RunSpec, weights: bool) -> Record | None:
        record = self.store.get(spec, weights)
        if record and record.method_source != registry.source_hash(registry.method(spec.method)):
            self.progress(spec).note(
                f"{title(spec)} is reused, but the file of '{spec.method}' has changed since; "
                "raise its `version` if that moves scores"
            )
        return record

    def _train(self, specs: Sequence[RunSpec], ended: Ended) -> list[RunSpec]:
        """Train the first of some runs, and with it as many more as memory allows; returns the others."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        frozen, budget = Frozen(self.store, self.device), MEMORY * device.memory(self.device)
        jobs: dict[Training, Job] = {}
        left = list(specs)
        while left and (not jobs or sum(job.size for job in jobs.values()) * (len(jobs) + 1) / len(jobs) < budget):
            spec = left.pop(0)
            with _failing_alone(spec, ended):
                data = next((job.data for job in jobs.values()), None)  # one group has one set of images
                job = Job(spec, self.store, self.data_root, frozen, self.progress(spec), data)
                jobs[job.training] = job
        side_by_side = len(jobs)
        graphs = capture.capture_group(self.device, self.capture, self.progress(specs[0]).note)

        def failed(training: Training, error: Exception) -> None:
            jobs.pop(training).progress.stop()
            if isinstance(error, UserError):  # of a method that turns out to be wrong only when it is trained or tested
                self._remember(training.spec, str(error))
            ended(training.spec, error)

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
                        continue
                    if record:
                        del jobs[training]
                        ended(training.spec, record)
        finally:
            for job in jobs.values():
                job.progress.stop()
        return left


@contextmanager
def _failing_alone(spec: RunSpec, ended: Ended) -> Iterator[None]:
    """Whatever a method raises is its own run's end."""
    try:
        yield
    except Exception as error:
        ended(spec, error)

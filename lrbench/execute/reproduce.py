"""Carrying out a suite: from what the user asked for to finished runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lrbench import device as devices
from lrbench.data import datasets
from lrbench.errors import UserError
from lrbench.execute.board import Board
from lrbench.execute.estimate import Estimate
from lrbench.execute.executors import Executor, Here, Place
from lrbench.execute.pool import Pool
from lrbench.execute.schedule import Schedule, State
from lrbench.method import registry
from lrbench.method.naming import title
from lrbench.plan.graph import Graph, graph
from lrbench.plan.plan import Protocol
from lrbench.plan.suite import Overrides, Suite, load, specs
from lrbench.store.files import check_writable
from lrbench.store.store import Store


@dataclass(frozen=True)
class Resources:
    """What a suite is run with. address, gpus: of Ray only; `jobs` runs at once share a machine's cores."""

    executor: str = "local"
    jobs: int = 1
    address: str | None = None
    gpus: float | None = None  # None: a whole one where there are any
    precision: str = "auto"
    capture: bool = True  # steps in CUDA graphs, on a GPU
    threads: str | int = devices.AUTO  # of the CPU, for all runs at once on a machine
    device: str = "auto"

    def choose_threads(self) -> int | None:
        """Of the CPU, for all runs at once on a machine; None where Ray says, which counts the cores it gives away."""
        left_to_ray = self.executor == "ray" and self.threads == devices.AUTO
        return None if left_to_ray else devices.choose_threads(self.threads)


@dataclass(frozen=True)
class Ordered:
    """A suite that is ready to run: everything that the user said has been checked, nothing has been written."""

    suite: Suite
    graph: Graph
    estimate: Estimate
    resources: Resources
    place: Place
    store: Store

    def executor(self) -> Executor:
        """What trains the runs. Raises UserError where it is not there."""
        if self.resources.executor == "ray":
            from lrbench.execute.cluster import Cluster

            gpus = self.resources.gpus if self.resources.gpus is not None else float(self.place.device == "cuda")
            return Cluster(self.place, self.resources.address, gpus, self.resources.jobs)
        return Here(self.place) if self.resources.jobs == 1 else Pool(self.place, self.resources.jobs)


def order(
    name: str,
    overrides: Overrides,
    resources: Resources,
    store: Store,
    data: Path | None,
    plugins: tuple[str, ...],
) -> Ordered:
    """The runs of a suite, by name or file. Raises UserError."""
    registry.add_drafts(plugins)
    devices.check_threads(resources.threads)
    for option, value in (("--address", resources.address), ("--gpus-per-run", resources.gpus)):
        if value is not None and resources.executor != "ray":
            raise UserError(f"{option} is of Ray; add --executor ray")
    suite, root, chosen = load(name), datasets.data_root(data), devices.pick(resources.device)
    precision = devices.precision(resources.precision, chosen)
    info = cache(lambda dataset: datasets.info(dataset, root))
    wanted = specs(suite, overrides, lambda dataset: Protocol(info(dataset), 4, precision), store.warn)
    place = Place(  # whole paths: the current folder of another process may be another
        store.root.absolute(),
        root.absolute(),
        chosen.type,
        resources.choose_threads(),
        tuple(map(os.path.abspath, plugins)),
        resources.capture,
        tuple(folder.absolute() for folder in store.others),
    )
    runs, estimate = graph(wanted, store), Estimate(info)
    if runs.missing:
        estimate.learn_all(store.records(), chosen)
    return Ordered(suite, runs, estimate, resources, place, store)


def carry_out(ordered: Ordered) -> Schedule:
    """Train what is missing, and say on stderr how it goes. Raises OSError where the store takes no file."""
    schedule = Schedule(ordered.graph)
    if ordered.graph.missing:
        check_writable(ordered.store.root)
        with Board(schedule, ordered.estimate) as board, ordered.executor() as executor:
            schedule.run(executor, board)
        for run, why in schedule.causes.items():  # a worker that was killed could not write it itself
            ordered.store.write_failure(ordered.graph.specs[run], why)
    return schedule


def outcome(schedule: Schedule) -> str:
    """How it ended, in words: a line, and one for each run that diverged or failed."""
    specs, counts = schedule.graph.specs, []
    for state in (State.DONE, State.THERE, State.FAILED, State.BLOCKED):
        diverged = f" ({len(schedule.diverged)} diverged)" if schedule.diverged and state is State.DONE else ""
        if number := schedule.count(state):
            counts.append(f"{number} {state}{diverged}")
    lines = [", ".join(counts)]
    lines += [f"{title(specs[run])} diverged: {why}" for run, why in schedule.diverged.items()]
    lines += [f"{title(specs[run])} {schedule.states[run]}: {why}" for run, why in schedule.causes.items()]
    return "\n".join(lines) + "\n"

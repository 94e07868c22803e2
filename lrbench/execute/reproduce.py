"""Carrying out a suite: from what the user asked for to finished runs."""

from __future__ import annotations

import os
from collections.abc import Callable
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
class Ordered:
    """A suite that is ready to run: everything that the user said has been checked, nothing has been written.

    executor: makes what trains the runs, or raises UserError where it is not there.
    """

    suite: Suite
    graph: Graph
    estimate: Estimate
    executor: Callable[[], Executor]
    store: Store
    data: Path


def order(
    name: str,
    overrides: Overrides,
    store: Store,
    data: Path | None = None,
    plugins: tuple[str, ...] = (),
    executor: str = "local",
    jobs: int = 1,
    address: str | None = None,
    gpus: float | None = None,
    precision: str = "auto",
    capture: bool = True,
    threads: str | int = devices.AUTO,
    device: str = "auto",
) -> Ordered:
    """The runs of a suite, by name or file, and what they are trained with. Raises UserError.

    jobs: runs at once, which share a machine's cores. address, gpus: of Ray only; gpus of a run, a whole one for None
    where there are any. capture: steps in CUDA graphs, on a GPU. threads: of the CPU, for all runs at once on a
    machine; with Ray, which counts the cores that it gives away, `auto` is what it says.
    """
    registry.add_drafts(plugins)
    devices.check_threads(threads)
    for option, value in (("--address", address), ("--gpus-per-run", gpus)):
        if value is not None and executor != "ray":
            raise UserError(f"{option} is of Ray; add --executor ray")
    suite, root, chosen = load(name), datasets.data_root(data), devices.pick(device)
    arithmetic, info = devices.precision(precision, chosen), cache(lambda dataset: datasets.info(dataset, root))
    runs = graph(specs(suite, overrides, lambda dataset: Protocol(info(dataset), 4, arithmetic), store.warn), store)
    place = Place(  # whole paths: the current folder of another process may be another
        store.root.absolute(),
        root.absolute(),
        chosen.type,
        None if executor == "ray" and threads == devices.AUTO else devices.choose_threads(threads),
        tuple(map(os.path.abspath, plugins)),
        capture,
        tuple(folder.absolute() for folder in store.others),
    )

    def trainer() -> Executor:
        if executor == "ray":
            from lrbench.execute.cluster import Cluster

            return Cluster(place, address, float(place.device == "cuda") if gpus is None else gpus, jobs)
        return Here(place) if jobs == 1 else Pool(place, jobs)

    estimate = Estimate(info)
    if runs.missing:
        estimate.learn_all(store.records(), chosen)
    return Ordered(suite, runs, estimate, trainer, store, root)


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

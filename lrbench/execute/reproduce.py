"""One call of `lrbench reproduce`: from a suite to its runs, tables and figures."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lrbench import device, threads
from lrbench.data import datasets
from lrbench.errors import UserError
from lrbench.execute.board import Board
from lrbench.execute.estimate import Estimate, words
from lrbench.execute.executors import Executor, Here, Place
from lrbench.execute.pool import Pool
from lrbench.execute.runner import title
from lrbench.execute.schedule import Schedule, State
from lrbench.method import registry
from lrbench.plan.graph import Graph, graph
from lrbench.plan.plan import Protocol
from lrbench.plan.suite import Overrides, Suite, load, specs
from lrbench.report import outputs
from lrbench.report.formats import grid
from lrbench.store.files import check_writable
from lrbench.store.store import Store

Note = Callable[[str], None]


@dataclass(frozen=True)
class Resources:
    """What a suite is run with. address, gpus: of Ray only; `jobs` runs at once share a machine's cores."""

    executor: str = "local"
    jobs: int = 1
    address: str | None = None
    gpus: float | None = None  # None: a whole one where there are any
    device: str = "auto"
    precision: str = "auto"
    capture: bool = True  # steps in CUDA graphs, on a GPU
    threads: str | int = threads.AUTO  # of the CPU, for all runs at once on a machine

    def check(self) -> None:
        """Raise UserError for what the executor has no use for."""
        threads.check(self.threads)
        if self.executor != "ray":
            for option, value in (("--address", self.address), ("--gpus-per-run", self.gpus)):
                if value is not None:
                    raise UserError(f"{option} is of Ray; add --executor ray")


@dataclass(frozen=True)
class Ordered:
    """A suite that is ready to run: everything that the user said has been checked, nothing has been written."""

    suite: Suite
    graph: Graph
    estimate: Estimate
    resources: Resources
    place: Place
    store: Store


def order(
    name: str,
    overrides: Overrides,
    resources: Resources,
    results: Path,
    data: Path | None,
    plugins: tuple[str, ...],
    note: Note,
) -> Ordered:
    """The runs of a suite, by name or file. Raises UserError."""
    registry.add_drafts(plugins)
    resources.check()
    suite, root, chosen = load(name), datasets.data_root(data), device.pick(resources.device)
    outputs.check(suite)
    precision = device.precision(resources.precision, chosen)
    info = cache(lambda dataset: datasets.info(dataset, root))
    store = Store(results, note)
    wanted = specs(suite, overrides, lambda dataset: Protocol(info(dataset), 4, precision), note)
    # elsewhere the current folder is another
    place = Place(
        results.absolute(),
        root.absolute(),
        chosen.type,
        _threads(resources),
        tuple(map(os.path.abspath, plugins)),
        resources.capture,
    )
    return Ordered(suite, graph(wanted, store), Estimate(info), resources, place, store)


def _threads(resources: Resources) -> int | None:
    """Of the CPU, for all runs at once on a machine; None to let Ray, which counts the cores it gives away, say."""
    elsewhere = resources.executor == "ray" and resources.threads == threads.AUTO
    return None if elsewhere else threads.choose(resources.threads)


def preview(ordered: Ordered) -> str:
    """The graph as text: what is there, what is to be trained, what is shared, and for how long."""
    graph, on = ordered.graph, device.pick(ordered.resources.device)
    if ordered.place.threads is not None:  # speeds are measured as they will be
        threads.use(max(1, ordered.place.threads // ordered.resources.jobs))
    ordered.estimate.learn_all(ordered.store.records(), on)
    lines, total = [], 0.0
    for run, spec in graph.specs.items():
        missing = run in graph.missing
        if missing:
            ordered.estimate.probe(spec, on)
        seconds = ordered.estimate.seconds(spec) if missing else None
        total += seconds or 0
        shared = ", ".join(f"{role} of {count}" for role, count in graph.roles(run).items())
        needs = " ".join(f"{role} {need.id[:8]}" for role, need in spec.needs.items())
        state = "train" if missing else "there"
        lines.append([title(spec), state, words(seconds) if seconds else "-", needs or "-", shared or "-"])
    head = ["run", "state", "about", "needs", "shared as"]
    summary = (
        f"{ordered.suite.title}: {len(graph.specs)} runs, {len(graph.there)} there, {len(graph.missing)} to train, "
        f"about {words(total)} of training on this device"
    )
    return f"{grid(head, lines)}\n{summary}\n"


def carry_out(ordered: Ordered, out: Path, note: Note) -> Schedule:
    """Train what is missing, then write the suite's tables and figures of what there is to `out`. Raises OSError."""
    for folder in (out, ordered.store.root) if ordered.graph.missing else (out,):
        check_writable(folder)  # before the training, not after it
    schedule = Schedule(ordered.graph)
    if ordered.graph.missing:
        ordered.estimate.learn_all(ordered.store.records(), device.pick(ordered.resources.device))
        with Board(schedule, ordered.estimate) as board, _executor(ordered) as executor:
            schedule.run(executor, board)
        for run, why in schedule.causes.items():  # of a worker that was killed nobody else knows
            ordered.store.write_failure(ordered.graph.specs[run], why)
    outputs.write(ordered.suite, ordered.store.only(ordered.graph.specs), out, ordered.place.data, note)
    return schedule


def outcome(schedule: Schedule) -> str:
    """How it ended, in words: a line, and one for each run that diverged or failed."""
    counts = {state: schedule.count(state) for state in (State.DONE, State.THERE, State.FAILED, State.BLOCKED)}
    diverged = {State.DONE: f" ({len(schedule.diverged)} diverged)"} if schedule.diverged else {}
    lines = [", ".join(f"{number} {state}{diverged.get(state, '')}" for state, number in counts.items() if number)]
    lines += [f"{title(schedule.graph.specs[run])} diverged: {why}" for run, why in schedule.diverged.items()]
    lines += [
        f"{title(schedule.graph.specs[run])} {schedule.states[run]}: {why}" for run, why in schedule.causes.items()
    ]
    return "\n".join(lines) + "\n"


def _executor(ordered: Ordered) -> Executor:
    resources, place = ordered.resources, ordered.place
    if resources.executor == "ray":
        from lrbench.execute.cluster import Cluster

        gpus = resources.gpus if resources.gpus is not None else float(place.device == "cuda")
        return Cluster(place, resources.address, gpus, resources.jobs)
    return Here(place) if resources.jobs == 1 else Pool(place, resources.jobs)

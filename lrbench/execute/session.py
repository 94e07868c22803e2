"""From what the user asked for to finished runs: of one method, or of a whole suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from lrbench import device as devices
from lrbench.data import datasets
from lrbench.data.dataset import DatasetInfo
from lrbench.errors import UserError
from lrbench.execute.board import Board
from lrbench.execute.estimate import Estimate
from lrbench.execute.executors import Executor, Place, Pool
from lrbench.execute.progress import ConsoleProgress, Progress
from lrbench.execute.runner import Runner
from lrbench.execute.schedule import Schedule, State
from lrbench.method import registry
from lrbench.method.base import Method
from lrbench.method.naming import title
from lrbench.plan.plan import Conditions, Graph, Protocol, capped, edited, graph, plan
from lrbench.plan.suite import Overrides, Suite, load, specs
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.files import check_writable
from lrbench.store.store import Store
from lrbench.train import build


@dataclass(frozen=True)
class Request(Conditions):
    """What the user asked for; names and defaults are those of `lrbench run`. lrbench.api.request checks the types.

    plugins: methods that are not installed: "FILE.py:Class", or a class, such as one of a notebook's cell.
    """

    method: str
    dataset: str
    results: Path
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    settings: Mapping[str, Any] = field(default_factory=dict)
    cap_limits: bool = False  # a limit above the dataset's images means all of them; else it is a mistake
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    capture: bool = True  # steps in CUDA graphs, on a GPU
    threads: int | str = devices.AUTO
    plugins: tuple[str | type[Method], ...] = ()
    data: Path | None = None
    baselines: tuple[Path, ...] = ()  # stores that are read beside `results` and never written


def run(request: Request, progress: Progress | None = None) -> list[Record]:
    """The records of a request, one per seed. All is checked before anything is trained or written."""
    progress = progress or ConsoleProgress()
    registry.add_drafts(request.plugins)
    registry.method(request.method)
    threads = devices.choose_threads(request.threads)
    chosen, root = devices.enter(devices.pick(request.device)), datasets.data_root(request.data)
    info, precision = datasets.info(request.dataset, root), devices.precision(request.precision, chosen)
    wanted = Protocol(info, precision, **{one.name: getattr(request, one.name) for one in fields(Conditions)})
    if request.cap_limits:
        wanted = capped(wanted, progress.note)
    runs = [plan(request.method, request.settings, replace(wanted, seed=seed)) for seed in request.seeds]
    devices.use_threads(threads)
    store = Store(request.results, progress.note, others=request.baselines)
    for line in edited(runs, store):
        progress.note(line)
    for _, error in refused(graph(runs, store), lambda dataset: info):
        raise error
    runner = Runner(store, root, chosen, lambda spec: progress, request.capture)
    return [runner.run(spec) for spec in runs]


def refused(runs: Graph, info: Callable[[str], DatasetInfo]) -> Iterator[tuple[RunSpec, UserError]]:
    """The runs whose methods refuse to be built, such as for a backbone, and why; of several alike the first.

    Of those only that wait for runs to be trained: all others are built at once. info: name -> the dataset of a run.
    """
    missing, seen = set(runs.missing), set()
    for spec in map(runs.specs.__getitem__, runs.missing):
        data = info(spec.dataset)
        kind = (spec.method, str(spec.config), spec.backbone, spec.width, data.side, len(data.classes))
        if kind in seen or missing.isdisjoint(need.id for need in spec.needs.values()):
            continue
        seen.add(kind)
        facts = build.noise_facts(data, spec.limit_train or data.counts["train"])
        try:
            build.untrained(spec, facts, torch.device("cpu"))
        except UserError as error:
            yield spec, error
        except Exception:  # of a plugin: it will be said, with its place, when the run itself is built
            continue


@dataclass(frozen=True)
class Ordered:
    """A suite that is ready to run: everything that the user said has been checked, nothing has been written.

    executor: makes what trains the runs, or raises UserError where it is not there. renamed: of the suite,
    each dataset that another stands in for -> that one.
    """

    suite: Suite
    renamed: Mapping[str, str]
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
    chosen = None if executor == "ray" and threads == devices.AUTO else devices.choose_threads(threads)
    for option, value in (("--address", address), ("--gpus-per-run", gpus)):
        if value is not None and executor != "ray":
            raise UserError(f"{option} is of Ray; add --executor ray")
    suite, root, on = load(name), datasets.data_root(data), devices.pick(device)
    arithmetic, info = devices.precision(precision, on), cache(lambda dataset: datasets.info(dataset, root))
    runs = graph(specs(suite, overrides, lambda dataset: Protocol(info(dataset), arithmetic), store.warn), store)
    place = Place(  # whole paths: the current folder of another process may be another
        store.root.absolute(),
        root.absolute(),
        on.type,
        chosen,
        registry.as_read(),
        capture,
        {name: registry.source_hash(registry.method(name)) for name in {one.method for one in runs.specs.values()}},
        tuple(folder.absolute() for folder in store.others),
    )

    def trainer() -> Executor:
        if executor == "ray":
            from lrbench.execute.cluster import Cluster

            return Cluster(place, address, float(place.device == "cuda") if gpus is None else gpus, jobs)
        return Pool(place, jobs)

    for line in edited(runs.specs.values(), store):
        store.warn(line)
    for spec, error in refused(runs, info):
        store.warn(f"{title(spec)} will fail: {error}")
    estimate = Estimate(info)
    if runs.missing:
        estimate.learn_all(store.records(), on)
    return Ordered(suite, overrides.renamed, runs, estimate, trainer, store, root)


def carry_out(ordered: Ordered) -> Schedule:
    """Train what is missing, and say on stderr how it goes. Raises OSError where the store takes no file."""
    schedule = Schedule(ordered.graph)
    if ordered.graph.missing:
        check_writable(ordered.store.root)
        board = Board(schedule, ordered.estimate)
        with board.live or nullcontext(), closing(ordered.executor()) as executor:
            schedule.run(executor, board)
        for run, why in schedule.causes.items():  # a worker that was killed could not write it itself
            ordered.store.write_failure(ordered.graph.specs[run], why)
    return schedule


def outcome(schedule: Schedule) -> str:
    """How it ended, in words: a line, and one for each run that diverged or failed."""
    runs, counts = schedule.graph.specs, []
    for state in (State.DONE, State.THERE, State.FAILED, State.BLOCKED):
        diverged = f" ({len(schedule.diverged)} diverged)" if schedule.diverged and state is State.DONE else ""
        if number := schedule.count(state):
            counts.append(f"{number} {state}{diverged}")
    lines = [", ".join(counts)]
    lines += [f"{title(runs[run])} diverged: {why}" for run, why in schedule.diverged.items()]
    lines += [f"{title(runs[run])} {schedule.states[run]}: {why}" for run, why in schedule.causes.items()]
    return "\n".join(lines) + "\n"

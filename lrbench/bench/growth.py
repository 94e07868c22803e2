"""How cost grows: time and memory against images, width, batch size, runs side by side, records in the store."""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrbench.bench import timing
from lrbench.bench.alone import forget_peak, peak_memory_mib
from lrbench.bench.case import Case, CaseSpec
from lrbench.bench.contenders import Evaluation, Loop
from lrbench.data.degradation import DEFAULT, degrade
from lrbench.data.pairs import Pairs
from lrbench.errors import UserError
from lrbench.execute import provenance
from lrbench.method.backbones import NONE, TIMM
from lrbench.spec.record import DataFacts, Record
from lrbench.spec.runspec import RunSpec
from lrbench.store import store
from lrbench.train import build
from lrbench.train.capture import graph as capture
from lrbench.train.loop import one_epoch
from lrbench.train.remembering import Remembering
from lrbench.train.training import Training

IMAGES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
WIDTHS = (0.125, 0.25, 0.5, 1.0)
BATCHES = (32, 64, 128, 256, 512)
TOGETHER = (1, 2, 4, 7, 14)
RECORDS = (30, 100, 300, 1_000, 3_000)
STEEP = 1.15  # an exponent above it counts as steeper than linear; noise alone makes one of 1.1
TAIL = 3  # of an axis' points, the largest: below them fixed costs hide how cost grows


@dataclass(frozen=True)
class Point:
    """One cost at one place of an axis."""

    axis: str  # training images, width, batch size, runs side by side, records in the store
    x: float
    cost: str  # what was measured, with its unit
    y: float


@dataclass(frozen=True)
class Curve:
    """All points of one axis and cost, by x."""

    axis: str
    cost: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """p where cost grows as x**p, fitted to the TAIL largest x; NaN where a cost is 0."""
        x, y = (np.array(values[-TAIL:]) for values in (self.x, self.y))
        if len(x) < 2 or (y <= 0).any():
            return float("nan")
        return float(np.polyfit(np.log(x), np.log(y), 1)[0])

    @property
    def steep(self) -> bool:
        """Whether it is steeper than linear."""
        return self.exponent > STEEP


def curves(points: Sequence[Point]) -> list[Curve]:
    """Points by axis and cost, in the order in which they first came."""
    keys = dict.fromkeys((point.axis, point.cost) for point in points)
    found = []
    for axis, cost in keys:
        own = sorted((point.x, point.y) for point in points if (point.axis, point.cost) == (axis, cost))
        found.append(Curve(axis, cost, tuple(x for x, _ in own), tuple(y for _, y in own)))
    return found


def check(request: timing.Request) -> None:
    """Raise UserError for a request that is not about one case of noise."""
    for option in ("methods", "backbones", "widths"):
        if len(named := getattr(request, option)) > 1:
            raise UserError(f"--growth is about one case; give one --{option[:-1]}, such as {named[0]}")
    if request.dataset:
        raise UserError("--growth measures images of noise, as many as it wants; leave --dataset out")


def measure(request: timing.Request, rounds: int, note: Callable[[str], None]) -> list[Point]:
    """All axes, about the first case of a request, each point in a process of its own.

    Data is noise. rounds: of runs side by side, which are timed in turn with the same alone; medians. `note` is told
    what goes on. Raises UserError, as `check` does, before anything is measured.
    """
    check(request)
    own = request.images or timing.cases(request)[0].images
    planned: list[tuple[str, float, CaseSpec]] = [
        *(("training images", n, _case(request, images=n)) for n in IMAGES),
        *(("width", width, _case(request, images=own, widths=(width,))) for width in WIDTHS if _widens(request)),
        *(("batch size", size, _case(request, images=max(own, size), batch=size)) for size in BATCHES),
    ]
    points = []
    for axis, x, wanted in planned:
        note(f"{axis}: {x:g}")
        points += [Point(axis, x, cost, y) for cost, y in _apart(_train, wanted).items()]
    for n in TOGETHER:
        note(f"runs side by side: {n}")
        beside = _apart(_together, n, rounds, planned[0][2])
        points += [Point("runs side by side", n, cost, y) for cost, y in beside.items()]
    for n in RECORDS:
        note(f"records in the store: {n}")
        points += [Point("records in the store", n, cost, y) for cost, y in _apart(_keep, n, planned[0][2]).items()]
    return points


def _widens(request: timing.Request) -> bool:
    backbone = timing.cases(request)[0].spec.backbone
    return backbone != NONE and not backbone.startswith(TIMM)  # those come in one width


def _case(request: timing.Request, **changes: object) -> CaseSpec:
    return timing.cases(replace(request, **changes))[0]  # type: ignore[arg-type]


def _apart(task: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def _train(wanted: CaseSpec) -> dict[str, float]:
    """What one run costs: its LR images, an epoch (after a warm-up of a few batches), a test, the most memory held."""
    case = wanted.case()
    Loop(replace(case, pairs=case.pairs.first(2 * case.spec.recipe.batch_size))).slice()
    loop = Loop(case)
    forget_peak(case.device)
    if case.device.type == "cuda":
        loop.slice()  # its step is captured; what that holds is counted then
    hr = case.pairs.hr.numpy()
    started = time.perf_counter()
    degrade(hr, case.spec.scale or 1, case.spec.degradation or DEFAULT)
    degraded = time.perf_counter() - started
    epoch = loop.slice()
    return {
        "making LR images, s": degraded,
        "an epoch, s": epoch,
        "a step, s": epoch / case.updates,
        "a test of as many images, s": Evaluation(case).slice(),
        "peak memory, MiB": peak_memory_mib(case.device),
    }


def _together(n: int, rounds: int, wanted: CaseSpec) -> dict[str, float]:
    """What `n` runs of one company cost, side by side and one after the other, in turn; the most memory held."""
    case = wanted.case()
    members = company([case.spec] * n, build.noise_facts(case.info, len(case.pairs)), case.pairs.to(case.device))
    groups = [_SideBySide(members, case), *(_SideBySide([member], case) for member in members)]
    forget_peak(case.device)
    beside, alone = [], []
    for _ in range(1 + rounds):  # the first warms up
        beside.append(groups[0].epoch())
        alone.append(sum(group.epoch() for group in groups[1:]))
    ratios = [one / other for one, other in zip(beside[1:], alone[1:], strict=True)]
    return {
        "an epoch of all, s": statistics.median(beside[1:]),
        "the same one after the other, s": statistics.median(alone[1:]),
        "side by side / one after the other": statistics.median(ratios),
        "peak memory, MiB": peak_memory_mib(case.device),
    }


def company(specs: Sequence[RunSpec], facts: DataFacts, pairs: Pairs) -> list[Training]:
    """Runs that share what the first one needs, with new weights, on the pairs' device."""
    device = pairs.y.device
    untrained = build.untrained_needs(specs[0], facts, device)
    needs: dict[str, Any] = {role: Remembering(need) for role, need in untrained.items()}
    return [Training(build.build(spec, facts, needs, device), spec, pairs, None, 0) for spec in specs]


class _SideBySide:
    """Runs side by side, whose captured steps are theirs in this company only."""

    def __init__(self, members: Sequence[Training], case: Case) -> None:
        self.members, self.graphs = members, capture.capture_group(case.device, case.capture, print)
        self.captured: list[capture.Captured | None] = [None for _ in members]

    def epoch(self) -> float:
        """Train an epoch; returns the seconds of all, timed as a record's images_per_second is.

        So the measurement of the learning curve, which in an epoch as short as this one is a good part, is not in it.
        """
        for member, step in zip(self.members, self.captured, strict=True):
            member.captured = step
        before = sum(member.history.seconds for member in self.members)
        one_epoch(self.members, capture=self.graphs)
        self.captured = [member.captured for member in self.members]
        return sum(member.history.seconds for member in self.members) - before


def _keep(n: int, wanted: CaseSpec) -> dict[str, float]:
    """What a store of `n` runs costs: to read them all, to look one up, the most memory held."""
    cpu, folder = torch.device("cpu"), Path(tempfile.mkdtemp(prefix="lrbench-growth-"))
    try:
        kept = store.Store(folder)
        specs = list(fill(kept, wanted, n))
        forget_peak(cpu)
        started = time.perf_counter()
        records = kept.records()
        read = time.perf_counter() - started
        started = time.perf_counter()
        found = [kept.get(spec) for spec in specs[:: max(1, n // 30)]]
        looked_up = (time.perf_counter() - started) / len(found)
        assert len(records) == n and None not in found
        return {
            "reading every record, s": read,
            "looking one up, s": looked_up,
            "peak memory, MiB": peak_memory_mib(cpu),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill(kept: store.Store, wanted: CaseSpec, n: int) -> Iterator[RunSpec]:
    """Put `n` runs that differ in their seed into a store, as large as real ones but without their weights."""
    kept.root.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    outputs = {name: draw.integers(0, 10, 10_000) for name in ("predicted", "label")}
    curve = "epoch,loss,train_top1\n" + "".join(f"{epoch},{1 / epoch},{epoch / 2}\n" for epoch in range(1, 101))
    env = provenance.environment(torch.device("cpu"))
    for seed in range(n):
        spec = wanted.spec.model_copy(update={"seed": seed})
        record = Record(
            id=spec.id, spec=spec, metrics={"top1": 50.0}, data=build.noise_facts(wanted.info, wanted.images), env=env,
            method_source=None, files={},
        )  # fmt: skip
        kept.save(record, curve, outputs, b"")
        yield spec

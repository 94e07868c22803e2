"""`lrbench bench`: the bare step, lrbench's loop and the reference loop, timed in turn in one process."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrbench import device, threads
from lrbench.bench import reference
from lrbench.bench.alone import Alone, alone
from lrbench.bench.case import CaseSpec
from lrbench.bench.contenders import Bare, Contender, Evaluation, Forward, Loop
from lrbench.bench.reference import Reference
from lrbench.data import datasets
from lrbench.data.dataset import DatasetInfo
from lrbench.errors import UserError, did_you_mean
from lrbench.method import registry
from lrbench.plan.plan import Protocol, plan
from lrbench.spec.runspec import RunSpec

GROUP = "lrbench.bench"  # entry points: which methods, name -> settings, are timed where none is named
SIDE, CLASSES = 32, 10  # of images of noise
IMAGES = {"cpu": 1_024, "cuda": 51_200}  # a slice, unless the user says otherwise: about a second or more on each
WARM = 5  # steps, at least, before the first timed slice: a captured step is captured by then
WORKERS = 8  # most of the reference's, unless the user says otherwise; public code has 4 to 16


@dataclass(frozen=True)
class Request:
    """What the user asked for, in the command line's words."""

    methods: tuple[str, ...] = ()  # none: what the entry points say
    backbones: tuple[str, ...] = ("resnet18",)
    widths: tuple[float, ...] = (1.0,)
    dataset: str | None = None  # None: images of noise
    scale: int = 4
    batch: int = 128
    images: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    threads: int | None = None
    workers: int | None = None
    precision: str = "auto"
    capture: bool = True  # steps in CUDA graphs, on a GPU
    plugins: tuple[str, ...] = ()
    data: Path | None = None


@dataclass(frozen=True)
class Spread:
    """The median of some measurements, and their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        return cls(median, low, high)


@dataclass(frozen=True)
class Result:
    """A case timed: contender -> seconds of each of its slices of `images` images, a round each, and Alone."""

    spec: RunSpec
    images: int
    seconds: dict[str, list[float]]
    alone: dict[str, Alone]

    def speed(self, contender: str) -> Spread:
        """Images a second."""
        return Spread.of([self.images / seconds for seconds in self.seconds[contender]])

    def ratio(self, other: str, one: str = Loop.name) -> Spread | None:
        """The speed of one, lrbench's loop, as a multiple of another's, round by round; None where one did not run."""
        if other not in self.seconds or one not in self.seconds:
            return None
        return Spread.of([b / a for a, b in zip(self.seconds[one], self.seconds[other], strict=True)])


def cases(request: Request) -> list[CaseSpec]:
    """What a request asks to be timed. All is checked before anything is built. Raises UserError."""
    registry.add_drafts(request.plugins)
    chosen = device.pick(request.device)
    images = request.images or max(IMAGES[chosen.type], 2 * request.batch)
    root = None if request.dataset is None else datasets.data_root(request.data)
    info = noise_info(images) if request.dataset is None or root is None else datasets.info(request.dataset, root)
    if images > info.counts["train"]:
        most = info.counts["train"]
        raise UserError(
            f"--images {images}: {info.name} has {most} training images; the nearest valid number is {most}"
        )
    if request.threads is not None:
        threads.check(request.threads)
    if request.batch > images:
        raise UserError(f"--batch {request.batch} of --images {images}: the largest valid batch is {images}")
    methods = {name: dict(request.settings) for name in request.methods} or defaults(request.settings)
    known = {name: registry.method(name).Config.model_fields for name in methods}
    for setting in request.settings:
        if not any(setting in fields for fields in known.values()):
            names = {name for fields in known.values() for name in fields}
            raise UserError(f"none of these methods has a setting '{setting}'; {did_you_mean(setting, sorted(names))}")
    found = []
    for method, backbone, width in itertools.product(methods, request.backbones, request.widths):
        protocol = Protocol(
            data=info,
            scale=request.scale,
            precision=device.precision(request.precision, chosen),
            backbone=backbone,
            width=width,
            batch_size=request.batch,
            limit_train=images if root else None,
        )
        settings = {name: value for name, value in methods[method].items() if name in known[method]}
        found.append(
            CaseSpec(
                spec=plan(method, settings, protocol),
                info=info,
                images=images,
                root=root,
                device=chosen.type,
                threads=request.threads or torch.get_num_threads(),
                workers=min(WORKERS, threads.cores()) if request.workers is None else request.workers,
                plugins=request.plugins,
                capture=request.capture,
            )
        )
    return found


def defaults(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The methods that are timed where none is named, with their settings, from the entry points."""
    named: dict[str, dict[str, Any]] = {}
    for name in registry.installed(GROUP):
        named |= registry.load(GROUP, "benchmark", name)
    if not named:
        raise UserError("there is no method to time; name one with --method")
    return {name: {**own, **settings} for name, own in named.items()}


def noise_info(images: int) -> DatasetInfo:
    """A data set of so many training images of noise."""
    counts = {"train": images, "test": images}
    return DatasetInfo("noise", tuple(map(str, range(CLASSES))), SIDE, counts, {"train": "", "test": ""}, "chance")


def title(spec: RunSpec) -> str:
    """A case in a few words."""
    return f"{spec.method}, {spec.backbone}, width {spec.width:g}"


def contenders(spec: RunSpec) -> list[type[Contender]]:
    """Who takes part, in the order of each round."""
    covered = [Reference] if reference.covers(registry.method(spec.method)) else []
    return [Bare, Loop, *covered, Evaluation, Forward]


def time(wanted: CaseSpec, rounds: int, note: Callable[[str], None]) -> Result:
    """Time a case: after a round to warm up, `rounds` rounds in which each contender has one slice, in turn.

    Before it, each is measured in a process of its own. `note` is told what goes on.
    """
    spec, taking_part = wanted.spec, contenders(wanted.spec)
    note(f"{title(spec)}: {', '.join(one.name for one in taking_part)}")
    apart = {one.name: alone(one, wanted) for one in taking_part if one.trains}
    case = wanted.case()
    seconds = interleaved([one(case) for one in taking_part], rounds)
    gc.collect()
    if case.device.type == "cuda":
        torch.cuda.empty_cache()  # of this case's networks: the next one's memory is its own
    return Result(spec, case.images, seconds, apart)


def interleaved(running: Sequence[Contender], rounds: int) -> dict[str, list[float]]:
    """Contender -> seconds of each of its slices: A B A B, so that what disturbs one disturbs all."""
    seconds: dict[str, list[float]] = {one.name: [] for one in running}
    try:
        for one in running:
            for _ in range(-(-WARM // one.case.updates)):
                one.slice()  # to warm up
        for _ in range(rounds):
            for one in running:
                seconds[one.name].append(one.slice())
    finally:
        for one in running:
            one.close()
    return seconds

"""What `lrbench bench` times: cases, each a method, a backbone and a width, from what the user asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lrbench import device as devices
from lrbench.data import datasets
from lrbench.data.dataset import DatasetInfo
from lrbench.data.pairs import Pairs
from lrbench.data.prepare import prepare
from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.method.base import Method
from lrbench.plan.plan import Protocol, known_settings, plan
from lrbench.report import published
from lrbench.spec.runspec import RunSpec
from lrbench.train import build

GROUP = "lrbench.bench"  # entry points: which methods, name -> settings, are timed where none is named
SIDE, CLASSES = 32, 10  # of images of noise
IMAGES = {"cpu": 1_024, "cuda": 51_200}  # a slice, unless the user says otherwise: about a second or more on each


@dataclass(frozen=True)
class Case:
    """One method, backbone and width to be timed; it can be sent to another process."""

    spec: RunSpec
    info: DatasetInfo
    images: int  # training images
    root: Path | None  # of the datasets; None for images of noise
    device: str  # cpu or cuda
    threads: int = 1
    plugins: tuple[str, ...] = ()
    capture: bool = True  # steps in CUDA graphs, on a GPU

    def __str__(self) -> str:
        return f"{self.spec.method}, {self.spec.backbone}, width {self.spec.width:g}"

    @property
    def batch(self) -> int:
        """Images in a step."""
        return min(self.spec.recipe.batch_size, self.images)

    @property
    def updates(self) -> int:
        """Steps in a slice: those of an epoch, whose last, smaller batch is dropped."""
        return self.images // self.batch

    def enter(self) -> torch.device:
        """Make this process ready to time it: its methods and threads. Returns the device."""
        devices.use_threads(self.threads)
        registry.add_drafts(self.plugins)
        return devices.pick(self.device)

    def pairs(self) -> Pairs:
        """The case's images, made or read, on the CPU."""
        if self.root is None:
            return build.noise(self.spec, self.info, self.images)
        return prepare(self.spec, self.root, torch.device("cpu")).train.first(self.images)

    def untrained(self) -> Method:
        """The case's method with new weights, on the device."""
        return build.untrained(self.spec, build.noise_facts(self.info, self.images), devices.pick(self.device))


def cases(
    methods: Sequence[str] = (),
    backbones: Sequence[str] = ("resnet18",),
    widths: Sequence[float] = (1.0,),
    dataset: str | None = None,
    scale: int = 4,
    batch: int = 128,
    images: int | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    capture: bool = True,
    plugins: tuple[str, ...] = (),
    data: Path | None = None,
    note: Callable[[str], None] = lambda message: None,
) -> list[Case]:
    """What the user asked to be timed; names and defaults are those of `lrbench bench`.

    methods: none for those that the entry points say; `note` is told of one that does not load. dataset: None for
    images of noise. Raises UserError; all is checked before anything is built.
    """
    registry.add_drafts(plugins)
    chosen = devices.pick(device)
    images, settings = images or max(IMAGES[chosen.type], 2 * batch), settings or {}
    root = None if dataset is None else datasets.data_root(data)
    if dataset and root:
        info = datasets.info(dataset, root)
    else:
        counts, names = {"train": images, "test": images}, tuple(map(str, range(CLASSES)))
        info = DatasetInfo("noise", names, SIDE, counts, {"train": "", "test": ""}, "chance")
    if images > (most := info.counts["train"]):
        known = f"{info.name} has {most} training images"
        raise UserError(f"--images {images}: {known}; the nearest valid number is {most}")
    threads = devices.choose_threads(threads) if threads else torch.get_num_threads()
    installed = [] if methods else published.installed(GROUP, "benchmark", note, dict)
    defaults = {method: {**own, **settings} for _, group in installed for method, own in group.items()}
    wanted: Mapping[str, Mapping[str, Any]] = dict.fromkeys(methods, settings) or defaults
    if not wanted:
        raise UserError("there is no method to time; name one with --method")
    own = known_settings(wanted, settings)
    found, limit, arithmetic = [], images if root else None, devices.precision(precision, chosen)
    for method, backbone, width in itertools.product(wanted, backbones, widths):
        protocol = Protocol(
            info, arithmetic, scale=scale, backbone=backbone, width=width, batch_size=batch, limit_train=limit
        )
        spec = plan(method, {name: wanted[method][name] for name in own[method] & set(wanted[method])}, protocol)
        found.append(Case(spec, info, images, root, chosen.type, threads, plugins, capture))
    return found

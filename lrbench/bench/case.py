"""What `lrbench bench` times: one method, backbone and width, on images that are there or made of noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lrbench import device, threads
from lrbench.data.dataset import DatasetInfo
from lrbench.data.pairs import Pairs
from lrbench.data.prepare import prepare
from lrbench.method import registry
from lrbench.method.base import Method
from lrbench.spec.runspec import RunSpec
from lrbench.train import build


@dataclass(frozen=True)
class Case:
    """One method, backbone and width to be timed, on `pairs`, which lie on the CPU."""

    spec: RunSpec
    info: DatasetInfo
    pairs: Pairs
    device: torch.device
    workers: int  # of the reference loop's loader
    capture: bool = True  # steps in CUDA graphs, on a GPU

    @property
    def updates(self) -> int:
        """Steps in a slice: those of an epoch."""
        return len(self.pairs) // min(self.spec.recipe.batch_size, len(self.pairs))

    @property
    def images(self) -> int:
        """Images in a slice: an epoch's, whose last, smaller batch is dropped."""
        return self.updates * min(self.spec.recipe.batch_size, len(self.pairs))

    def untrained(self) -> Method:
        """The case's method with new weights, on the device."""
        return build.untrained(self.spec, build.noise_facts(self.info, len(self.pairs)), self.device)


@dataclass(frozen=True)
class CaseSpec:
    """What a case is made from, in this process or another."""

    spec: RunSpec
    info: DatasetInfo
    images: int  # training images
    root: Path | None  # of the data sets; None for images of noise
    device: str  # cpu or cuda
    threads: int
    workers: int
    plugins: tuple[str, ...] = ()
    capture: bool = True

    def case(self) -> Case:
        """The case, its images made or read. Sets the number of threads of this process."""
        threads.use(self.threads)
        registry.add_drafts(self.plugins)
        if self.root is None:
            pairs = build.noise(self.spec, self.info, self.images)
        else:
            pairs = prepare(self.spec, self.root, torch.device("cpu")).train.first(self.images)
        return Case(self.spec, self.info, pairs, device.pick(self.device), self.workers, self.capture)

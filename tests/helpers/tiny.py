"""Tiny runs for tests: a data set that exists only as facts, specs on it, methods and pairs made of noise."""

from __future__ import annotations

from typing import Any

import torch

from lrbench.data.dataset import DatasetInfo
from lrbench.data.pairs import Pairs
from lrbench.method.base import Batch, Method
from lrbench.plan.plan import Protocol, plan
from lrbench.spec.recipes import Recipe, recipe
from lrbench.spec.record import DataFacts
from lrbench.spec.runspec import RunSpec
from lrbench.train.build import build

CLASSES = ("ant", "bee", "cow")
SIDE = 16
FACTS = DataFacts(classes=CLASSES, side=SIDE, train_images=40, val_images=0, test_images=20)


def info(side: int = SIDE) -> DatasetInfo:
    """What is known of a data set of 40 + 20 images in three classes."""
    counts, fingerprint = {"train": 40, "test": 20}, {"train": "1a", "test": "2b"}
    return DatasetInfo("toys", CLASSES, side, counts, fingerprint, "a test")


def protocol(**changes: Any) -> Protocol:
    """A protocol on the tiny data set, fp32, with a ResNet-18 of 0.12 M parameters."""
    return Protocol(**({"data": info(), "scale": 4, "precision": "fp32", "width": 0.125} | changes))


def spec(method: str = "lr-baseline", settings: dict[str, Any] | None = None, **changes: Any) -> RunSpec:
    """The spec of a tiny run; `changes` are of its protocol."""
    return plan(method, settings or {}, protocol(**changes))


def make(run: RunSpec, side: int = SIDE) -> Method:
    """A run's method, not trained, with its needs made likewise and frozen."""
    facts = FACTS.model_copy(update={"side": side})
    needs = {role: make(need, side).requires_grad_(False).eval() for role, need in run.needs.items()}
    return build(run, facts, needs, torch.device("cpu"), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def method(
    name: str = "lr-baseline", settings: dict[str, Any] | None = None, side: int = SIDE, **changes: Any
) -> Method:
    """A tiny method, not trained."""
    return make(spec(name, settings, **({"data": info(side)} | changes)), side)


def batch(n: int = 6, seed: int = 0, side: int = SIDE) -> Batch:
    """A batch of noise, whose HR and LR images have nothing in common."""
    draw = torch.Generator().manual_seed(seed)
    hr, up = torch.rand(2, n, 3, side, side, generator=draw)
    lr = torch.rand(n, 3, side // 4, side // 4, generator=draw)
    y = torch.randint(len(CLASSES), (n,), generator=draw)
    return Batch(hr=hr, lr=lr, up=up, y=y, index=torch.arange(n))


def pairs(n: int = 20, side: int = SIDE, scale: int = 4, seed: int = 0) -> Pairs:
    """Pairs of noise; `hr` is `lr` with every pixel enlarged to a block, `up` is `hr`."""
    draw = torch.Generator().manual_seed(seed)
    small = side // scale
    lr = torch.randint(1, 256, (n, small, small, 3), generator=draw, dtype=torch.uint8)  # black is the padding's
    hr = lr.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    return Pairs(hr=hr, lr=lr, up=hr.clone(), y=torch.randint(len(CLASSES), (n,), generator=draw))


def training(**changes: Any) -> Recipe:
    """The paper's recipe with some of its fields changed."""
    return recipe("paper", "resnet18").model_copy(update=changes)

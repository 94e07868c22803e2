"""Stand-ins where only the speed of a run matters: methods that were never trained, and images of noise."""

from __future__ import annotations

import torch

from lrbench.data.dataset import DatasetInfo
from lrbench.data.pairs import Pairs
from lrbench.method.base import Method
from lrbench.method.restorer import magnification
from lrbench.spec.record import DataFacts
from lrbench.spec.runspec import RunSpec
from lrbench.train import build


def facts(info: DatasetInfo, images: int) -> DataFacts:
    """What a run of `images` training images would know of its data."""
    return DataFacts(classes=info.classes, side=info.side, train_images=images, val_images=0, test_images=images)


def untrained(spec: RunSpec, facts: DataFacts, on: torch.device) -> Method:
    """The method of a spec with new weights, and all that it needs with new weights too, frozen."""
    return build.build(spec, facts, needs(spec, facts, on), on)


def needs(spec: RunSpec, facts: DataFacts, on: torch.device) -> dict[str, Method]:
    """What a run needs, never trained, frozen."""
    return {role: untrained(need, facts, on).requires_grad_(False).eval() for role, need in spec.needs.items()}


def noise(spec: RunSpec, info: DatasetInfo, images: int) -> Pairs:
    """So many pairs as a run of this spec would see, of noise, on the CPU."""
    draw = torch.Generator().manual_seed(0)

    def pixels(side: int) -> torch.Tensor:
        return torch.randint(256, (images, side, side, 3), generator=draw, dtype=torch.uint8)

    labels = torch.randint(len(info.classes), (images,), generator=draw)
    if spec.scale is None:
        return Pairs(pixels(info.side), labels)
    small = info.side // spec.scale
    side = small * (magnification(spec) or spec.scale)
    return Pairs(pixels(side), labels, pixels(small), pixels(side))

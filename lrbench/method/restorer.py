"""The contract of super-resolution methods: a Method whose test path gives an image instead of logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lrbench.errors import UserError
from lrbench.method import base as method
from lrbench.method import registry
from lrbench.method.base import Method, Optimizer, View
from lrbench.spec.runspec import RunSpec


class Config(method.Config):
    """What all SR nets share: what they make and what they are trained on. A subclass with `lr` gets Adam."""

    sr_scale: int = Field(2, ge=2, description="Zhu et al. 2019, section 3.5: 8x8 to 16x16; --scale is the most")
    sr_pairs: Literal["limit", "all"] = Field(
        "limit",
        description="ours: train on the run's --limit-train images, or on all, the ones that --select holds out "
        "among them: an SR net needs no labels",
    )
    sr_epochs: int | None = Field(None, ge=1, description="ours: instead of the run's epochs")


class Restorer(Method):
    """An SR net: the LR image in, an image `sr_scale` times as large out.

    Its batches hold pairs at that size: `hr` is the HR image, brought down to it by the degradation protocol where
    that is smaller, and `up` is LR enlarged to it; `context.side` and `context.scale` are those of these pairs.
    Images are flipped but not cropped: a black border is nothing to learn to restore.
    """

    view: ClassVar[View] = "lr"  # or "up", for a net that works on the enlarged image
    steady: ClassVar[bool] = False  # the second stage of a GAN has another loss than the first
    Config = Config

    @classmethod
    def check(cls, config: Any, scale: int) -> None:
        check_sr_scale(cls.name, config.sr_scale, scale)

    @classmethod
    def own_protocol(cls, config: Any) -> Mapping[str, Any]:
        limits = {"limit_train": None} if config.sr_pairs == "all" else {}
        return limits if config.sr_epochs is None else limits | {"epochs": config.sr_epochs}

    def optimizers(self, updates: int) -> list[Optimizer]:
        """Adam at the config's `lr`, which falls as the recipe's schedule says."""
        return [self.scheduled(torch.optim.Adam(self.parameters(), lr=self.config.lr, fused=True), updates)]

    def forward(self, image: Tensor) -> Tensor:
        """The restored image (n, 3, side, side), from the one that `view` names alone. In [0, 1], or clipped."""
        raise UserError(f"{type(self).__name__} has no forward: write its test path, from an image to an image")


def check_sr_scale(name: str, sr_scale: int, scale: int) -> None:
    """Raise UserError, naming the nearest, unless `sr_scale` divides `scale`. name: of the method."""
    if scale % sr_scale:
        divisors = [d for d in range(2, scale + 1) if scale % d == 0]
        nearest = min(divisors, key=lambda d: abs(d - sr_scale), default=None)
        hint = f"the nearest sr_scale is {nearest}" if nearest else "there is nothing to restore"
        raise UserError(f"{name}: sr_scale={sr_scale} does not divide --scale {scale}; {hint}")


def magnification(spec: RunSpec) -> int | None:
    """How many times as large as LR the images are that a run restores; None for a run of another kind."""
    return spec.config["sr_scale"] if issubclass(registry.method(spec.method), Restorer) else None  # type: ignore[return-value]

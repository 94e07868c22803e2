"""A recogniser of LR images with one backbone, and the ways its training may start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from lrbench import method
from lrbench.method import Context, Method, Needs

Init = Literal["scratch", "lr-baseline", "teacher"]
START = {"lr-baseline": "lr-baseline", "teacher": "hr-baseline"}  # init -> the run that it starts from


class Config(method.Config):
    """Where the weights start. The record counts the epochs that went into them before."""

    init: Init = Field(
        "scratch", description="ours: random weights, those of the LR-baseline, or those of the HR-baseline"
    )


class Student(Method):
    """The base of methods whose student is one backbone, tested on the enlarged LR image."""

    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.backbone = context.backbone()

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        return {} if config.init == "scratch" else {"init": Needs(START[config.init])}

    @classmethod
    def starts_from(cls, config: Any) -> str | None:
        return None if config.init == "scratch" else "init"

    def forward(self, up: Tensor) -> Tensor:
        """Logits (n, classes) of enlarged LR images (n, 3, S, S)."""
        return self.backbone(up)

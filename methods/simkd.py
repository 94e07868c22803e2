"""SimKD: distillation with the reused teacher classifier (Chen et al., CVPR 2022)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from lrbench_methods import taught
from lrbench_methods.taught import Answer, MapsTaught, kl
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench.errors import UserError
from lrbench.method import Batch, Context, Method


class Config(taught.Config):
    """Those of the authors' code, whose loss has neither labels nor KD."""

    weight: float = Field(1.0, ge=0, description="of the distance of the maps; the authors' code, -b 1")
    ce: float = Field(0.0, ge=0, description="weight of the labels' cross-entropy; the authors' code, -c 0")


class SimKD(MapsTaught):
    """Trains a student's last feature map to be the teacher's, whose classifier it then uses; without labels.

    Its projector is deployed with it.
    """

    name = "simkd"
    label = "SimKD"
    paper = "Chen et al., CVPR 2022"
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        c = self.backbone.shapes[-1][0]
        self.projector = nn.Sequential(*_layer(c, c // 2, 1), *_layer(c // 2, c // 2, 3), *_layer(c // 2, c, 1))
        self.backbone.classifier = nn.Identity()  # type: ignore[assignment]
        self.classifier = copy.deepcopy(needs["teacher"].backbone.classifier).requires_grad_(False)

    @classmethod
    def check(cls, config: Any, scale: int) -> None:
        if not (config.weight or config.ce or config.kd):
            raise UserError(f"{cls.name}: weight, ce and kd are all 0, which trains nothing; the usual weight is 1")

    def maps(self, up: Tensor) -> Tensor:
        """The student's last maps (n, c, h, w), projected."""
        return self.projector(self.backbone.maps(up)[-1])

    def head(self, maps: Tensor) -> Tensor:
        """Maps (n, c, h, w) -> the teacher's classifier's logits, float32."""
        with self.exact(self.backbone.head(self.backbone.pool(maps))) as (features,):
            return self.classifier(features)

    def forward(self, up: Tensor) -> Tensor:
        return self.head(self.maps(up))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        config, t = self.config, Answer.of(self.needs["teacher"].backbone, batch.hr)
        f_s = self.maps(batch.up)
        terms = {"features": config.weight * F.mse_loss(f_s.float(), t.maps[-1].float())}
        if config.ce:
            terms["recognition"] = config.ce * self.cross_entropy(self.head(f_s), batch.y)
        if config.kd:
            terms["kd"] = config.kd * kl(self.head(f_s), t.logits)
        return terms


def _layer(before: int, after: int, size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, size, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]

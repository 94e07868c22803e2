"""ReviewKD: distilling knowledge via knowledge review (Chen et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from lrbench_methods import taught
from lrbench_methods.taught import Answer, MapsTaught
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench.method import Batch, Context, Method


class Config(taught.Config):
    """Those of the authors' code for CIFAR-100."""

    weight: float = Field(1.0, ge=0, description="of all stages; the authors' code, 0.6 to 8 by pair, 1 for ResNet-32")
    warmup: float = Field(
        20 / 240, ge=0, le=1, description="part of the training in which it grows; the authors' code: 20 of 240 epochs"
    )
    channels: int = Field(512, ge=1, description="of the fused maps, no more than the last has; the authors' code")


class ReviewKD(MapsTaught):
    """Trains a student's feature maps, each fused with all deeper ones, to be the teacher's.

    The teacher's maps are those after the ReLU, where the paper takes those before it: a deviation.
    """

    name = "reviewkd"
    label = "ReviewKD"
    paper = "Chen et al., CVPR 2021"
    training_only = ("fusions",)
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        channels = [shape[0] for shape in self.backbone.shapes]
        self.has_vector = len(channels) - 1 in self.places  # beside maps of one pixel it would say nothing new
        if self.has_vector:
            channels.append(self.backbone.dimension)
        middle = min(config.channels, channels[-1])
        deepest = len(channels) - 1
        self.fusions = nn.ModuleList(Fusion(c, middle, place == deepest) for place, c in enumerate(channels))

    def levels(self, answer: Answer) -> list[Tensor]:
        """The maps, and the pooled vector as maps of one pixel."""
        return [*answer.maps, *([answer.features[:, :, None, None]] if self.has_vector else [])]

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        deeper, losses = None, []
        for fusion, f_s, f_t in reversed(list(zip(self.fusions, self.levels(s), self.levels(t), strict=True))):
            fused, deeper = fusion(f_s, deeper)
            losses.append(hcl(fused.float(), f_t.float()))
        return {"review": self.config.weight * self.grown(self.config.warmup) * torch.stack(losses).sum()}


class Fusion(nn.Module):
    """ABF: attention based fusion of a map (n, c, h, w) with what comes from the deeper ones."""

    def __init__(self, c: int, middle: int, deepest: bool) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.Conv2d(c, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.attention = None if deepest else nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid())
        self.widen = nn.Sequential(nn.Conv2d(middle, c, 3, padding=1, bias=False), nn.BatchNorm2d(c))
        for layer in (self.narrow, self.widen):
            nn.init.kaiming_uniform_(layer[0].weight, a=1)  # the authors'

    def forward(self, x: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is compared with the teacher's map, and what goes on to the next shallower map."""
        x = self.narrow(x)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, size=x.shape[2:], mode="nearest")
            of_x, of_deeper = self.attention(torch.cat([x, deeper], dim=1)).chunk(2, dim=1)
            x = x * of_x + deeper * of_deeper
        return self.widen(x), x


def hcl(f_s: Tensor, f_t: Tensor) -> Tensor:
    """Hierarchical context loss of maps (n, c, h, w): the mean squares at full size and averaged to 4, 2, 1 pixels."""
    loss, weight, total = F.mse_loss(f_s, f_t), 1.0, 1.0
    for side in (4, 2, 1):
        if side < f_s.shape[2]:
            weight /= 2
            total += weight
            loss = loss + weight * F.mse_loss(F.adaptive_avg_pool2d(f_s, side), F.adaptive_avg_pool2d(f_t, side))
    return loss / total

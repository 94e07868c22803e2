"""VID: variational information distillation (Ahn et al., CVPR 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from lrbench_methods import taught
from lrbench_methods.taught import Answer, MapsTaught
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench.method import Batch, Context, Method, Optimizer

LEAST = 1e-5  # of a variance


class Config(taught.Config):
    """Those of RepDistiller and mdistiller; that variances have no weight decay is ours."""

    weight: float = Field(1.0, ge=0, description="of the information term; RepDistiller, mdistiller")
    variance: float = Field(5.0, gt=LEAST, description="at the start, of every channel; RepDistiller, mdistiller")


class VID(MapsTaught):
    """Trains a student's feature maps to be informative of the teacher's: likely under a Gaussian around them."""

    name = "vid"
    label = "VID"
    paper = "Ahn et al., CVPR 2019"
    training_only = ("means", "raw_variances")
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        v = config.variance - LEAST
        raw = v + math.log(-math.expm1(-v))  # softplus of it is v
        channels = [shape[0] for shape in self.backbone.shapes]
        self.means = nn.ModuleList(_regressor(c) for c in channels)
        self.raw_variances = nn.ParameterList(torch.full((c,), raw) for c in channels)

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        terms = [
            information(mean(f_s).float(), f_t.float(), F.softplus(raw) + LEAST)
            for mean, raw, f_s, f_t in zip(self.means, self.raw_variances, s.maps, t.maps, strict=True)
        ]
        return {"information": self.config.weight * torch.stack(terms).sum()}

    def optimizers(self, updates: int) -> list[Optimizer]:
        """SGD as the recipe says, without weight decay on the variances, which it would draw to 0.7."""
        [one] = super().optimizers(updates)
        [group] = one.optimizer.param_groups
        variances = list(self.raw_variances)
        group["params"] = [weight for weight in group["params"] if not any(weight is raw for raw in variances)]
        one.optimizer.add_param_group({"params": variances, "weight_decay": 0.0})
        return [one]


def information(mean: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """-log of the Gaussian (n, c, h, w) without its constant, variance (c,): mean over all elements."""
    variance = variance.view(1, -1, 1, 1)
    return ((mean - target).square() / variance + variance.log()).mean() / 2


def _regressor(c: int) -> nn.Module:
    """Three 1x1 convolutions, as RepDistiller's."""
    first, second, third = (nn.Conv2d(c, c, 1, bias=False) for _ in range(3))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

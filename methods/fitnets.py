"""FitNets: hints from a middle layer (Romero et al., ICLR 2015, arXiv:1412.6550), in one stage as RepDistiller does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lrbench_methods import taught
from lrbench_methods.taught import Answer, MapsTaught
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench.errors import UserError
from lrbench.method import Batch, Context, Method


class Config(taught.Config):
    """The paper trains for the hint first and for the labels then; RepDistiller and mdistiller for both at once."""

    weight: float = Field(100.0, ge=0, description="of the hint; RepDistiller, mdistiller")
    stage: int = Field(2, ge=1, description="of the backbone, whose map is the hint; RepDistiller and mdistiller: 2")
    regressor: Literal["conv", "none"] = Field(
        "conv", description="between the student's map and the teacher's: 1x1 convolution, normalisation and ReLU "
        "(RepDistiller's for equal shapes); or none (ours): DFD at another layer"
    )  # fmt: skip


class FitNets(MapsTaught):
    """Trains a student's feature map in the middle of the network to predict the teacher's (squared distance)."""

    name = "fitnets"
    label = "FitNets"
    paper = "Romero et al., ICLR 2015"
    training_only = ("regressor",)
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        shapes = self.backbone.shapes
        if config.stage > len(shapes):
            raise UserError(f"{self.name}: stage={config.stage}: the deepest of this backbone is stage={len(shapes)}")
        c = shapes[config.stage - 1][0]
        layers = [nn.Conv2d(c, c, 1), nn.BatchNorm2d(c), nn.ReLU()] if config.regressor == "conv" else []
        self.regressor = nn.Sequential(*layers)

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        """weight * the mean square of r(F_s) - F_t, over images, channels and pixels."""
        f_s, f_t = (answer.maps[self.config.stage - 1] for answer in (s, t))
        return {"hint": self.config.weight * F.mse_loss(self.regressor(f_s).float(), f_t.float())}

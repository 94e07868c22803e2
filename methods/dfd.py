"""DFD: deep feature distillation (Zhu et al., ICASSP 2019)."""

from __future__ import annotations

from typing import Any, Literal

from lrbench_baselines import student
from pydantic import Field
from torch import Tensor

from lrbench.method import Batch, Needs


class Config(student.Config):
    """The paper leaves `init` and `reduction` open; results/README.md has what speaks for the defaults."""

    lam: float = Field(2.0, ge=0, description="lambda of Eq. 4; best near 2 in Fig. 2")
    reduction: Literal["sum", "mean"] = Field(
        "mean",
        description="ours, over the d features of Eq. 1: their mean, as PyTorch's MSELoss takes it, which trains at "
        "every lambda of Fig. 2; or their sum, as the norm is written, which at lambda 2 makes AlexNet diverge",
    )


class DFD(student.Student):
    """Trains a student on LR images to have the features of a teacher on HR images (squared distance, last layer)."""

    name = "dfd"
    label = "DFD"
    paper = "Zhu et al., ICASSP 2019"
    reads = ("hr", "up")
    Config = Config

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        return super().needs_of(config) | {"teacher": Needs("hr-baseline")}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        f_s = self.backbone.features(batch.up)
        f_t = self.needs["teacher"].backbone.features(batch.hr)  # frozen: no gradient flows into it
        squares = (f_s - f_t).square()
        distance = squares.sum(dim=1) if self.config.reduction == "sum" else squares.mean(dim=1)
        distillation = distance.mean() / 2  # Eq. 1
        recognition = self.cross_entropy(self.backbone.head(f_s), batch.y)  # Eq. 2 and 3
        return {"recognition": recognition, "distillation": self.config.lam * distillation}  # Eq. 4

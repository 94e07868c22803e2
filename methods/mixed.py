"""Mixed: one network trained on HR and LR images alike; no teacher. It says how much of a gain is the HR data's."""

from __future__ import annotations

from typing import Literal

import torch
from lrbench_baselines import student
from pydantic import Field
from torch import Tensor

from lrbench.method import Batch


class Config(student.Config):
    """Mixed resolutions are model III of Wang et al., CVPR 2016 (arXiv:1601.04153); the settings are ours."""

    weight: float = Field(
        1.0, ge=0, description="ours, of the HR images; that of the LR images is 1, and they sum to 1"
    )
    passes: Literal["one", "two"] = Field(
        "one", description="ours: batch normalisation over HR and LR together, or over each by itself"
    )


class Mixed(student.Student):
    """Trains one network on LR and HR images together, without a teacher."""

    name = "mixed"
    label = "Mixed HR and LR"
    paper = "Wang et al., CVPR 2016, model III"
    reads = ("hr", "up")
    Config = Config

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L = (CE(up) + weight * CE(hr)) / (1 + weight)."""
        weight = self.config.weight
        if not weight:
            return {"low": self.cross_entropy(self.backbone(batch.up), batch.y)}
        if self.config.passes == "one":
            low, high = self.backbone(torch.cat([batch.up, batch.hr])).chunk(2)
        else:
            high, low = self.backbone(batch.hr), self.backbone(batch.up)
        return {
            "low": self.cross_entropy(low, batch.y) / (1 + weight),
            "high": self.cross_entropy(high, batch.y) * weight / (1 + weight),
        }

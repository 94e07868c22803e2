"""KD: knowledge distillation (Hinton, Vinyals & Dean 2015, arXiv:1503.02531), and standardised logits."""

from __future__ import annotations

from typing import Any

from lrbench_baselines import student
from lrbench_methods.taught import Taught, kl
from pydantic import Field
from torch import Tensor

from lrbench.errors import UserError
from lrbench.method import Batch


class Config(student.Config):
    """As Tian et al. 2020 have it; for standardised logits Sun et al. 2024 take T 2 and a weight of 9."""

    weight: float = Field(0.9, ge=0, description="of the distillation term; RepDistiller's scripts (Tian et al. 2020)")
    ce: float = Field(0.1, ge=0, description="weight of the labels' cross-entropy; RepDistiller's scripts")
    temperature: float = Field(4.0, gt=0, description="T; RepDistiller's scripts")
    standardise: bool = Field(False, description="the logits of each image to mean 0 and sd 1, Sun et al., CVPR 2024")


class KD(Taught):
    """Trains a student to predict the teacher's class probabilities, softened by a temperature."""

    name = "kd"
    label = "KD"
    paper = "Hinton et al. 2015"
    Config = Config

    @classmethod
    def check(cls, config: Any, scale: int) -> None:
        if not (config.weight or config.ce):
            raise UserError(
                f"{cls.name}: weight and ce are both 0, which trains nothing; the usual ones are 0.9 and 0.1"
            )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L = ce * CE(z_s, y) + weight * T^2 KL(p_t || p_s), p = softmax(z / T)."""
        s, t = self.answers(batch)
        z_s, z_t = s.logits, t.logits
        recognition = self.config.ce * self.cross_entropy(z_s, batch.y)
        if self.config.standardise:
            z_s, z_t = standardised(z_s), standardised(z_t)
        return {"recognition": recognition, "distillation": self.config.weight * kl(z_s, z_t, self.config.temperature)}


def standardised(z: Tensor) -> Tensor:
    """Logits (n, C), each image's to mean 0 and unbiased standard deviation 1, as the code of Sun et al. 2024."""
    return (z - z.mean(dim=1, keepdim=True)) / (1e-7 + z.std(dim=1, keepdim=True))

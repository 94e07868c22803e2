"""RKD: relational knowledge distillation (Park et al., CVPR 2019)."""

from __future__ import annotations

import torch
from lrbench_methods import taught
from lrbench_methods.taught import Answer, Taught
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lrbench.method import Batch


class Config(taught.Config):
    """Those of RepDistiller and mdistiller, out of the range that the authors searched."""

    weight: float = Field(1.0, ge=0, description="of both; ours")
    distance: float = Field(25.0, ge=0, description="of the distances of pairs; RepDistiller, mdistiller")
    angle: float = Field(50.0, ge=0, description="of the angles of triplets; RepDistiller, mdistiller")


class RKD(Taught):
    """Trains a student to keep the teacher's distances between pairs of images, and angles between triplets."""

    name = "rkd"
    label = "RKD"
    paper = "Park et al., CVPR 2019"
    Config = Config

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        weight = self.config.weight
        with self.exact(s.features, t.features) as (f_s, f_t):
            return {
                "distance": weight * self.config.distance * F.smooth_l1_loss(distances(f_s), distances(f_t)),
                "angle": weight * self.config.angle * F.smooth_l1_loss(angles(f_s), angles(f_t)),
            }


def distances(f: Tensor) -> Tensor:
    """Features (n, d) -> (n, n) Euclidean distances, by the mean of those that are not 0."""
    d = torch.cdist(f, f, compute_mode="donot_use_mm_for_euclid_dist")  # through products, near ones would be noise
    return d * (d > 0).sum() / d.sum().clamp(min=1e-12)


def angles(f: Tensor) -> Tensor:
    """Features (n, d) -> (n, n, n) cosines of the angles at each i between the directions to j and k."""
    directions = F.normalize(f[None] - f[:, None], dim=2)  # (n, n, d)
    return directions @ directions.transpose(1, 2)

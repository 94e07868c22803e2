"""DIST: knowledge distillation from a stronger teacher (Huang et al., NeurIPS 2022)."""

from __future__ import annotations

from lrbench_methods import taught
from lrbench_methods.taught import Answer, Taught
from pydantic import Field
from torch import Tensor

from lrbench.method import Batch


class Config(taught.Config):
    """Those of the authors' code for CIFAR-100 (hunto/image_classification_sota, dist_cifar.yaml).

    So is the factor tau^2, which the paper does not have.
    """

    weight: float = Field(2.0, ge=0, description="of both relations; the authors' code")
    beta: float = Field(1.0, ge=0, description="of the relation between classes; the authors' code")
    gamma: float = Field(1.0, ge=0, description="of the relation within a class; the authors' code")
    temperature: float = Field(4.0, gt=0, description="tau; the authors' code for CIFAR-100")


class DIST(Taught):
    """Trains a student's probabilities to correlate with the teacher's, over the classes and over the images."""

    name = "dist"
    label = "DIST"
    paper = "Huang et al., NeurIPS 2022"
    Config = Config

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        """tau^2 as in the authors' code; the paper has none."""
        tau, weight = self.config.temperature, self.config.weight
        p_s, p_t = (z.div(tau).softmax(dim=1) for z in (s.logits, t.logits))
        return {
            "inter": weight * self.config.beta * tau**2 * correlation_distance(p_s, p_t),
            "intra": weight * self.config.gamma * tau**2 * correlation_distance(p_s.t(), p_t.t()),
        }


def correlation_distance(a: Tensor, b: Tensor, eps: float = 1e-8) -> Tensor:
    """1 - Pearson's correlation of each row of a with that of b, mean over the rows."""
    a, b = (x - x.mean(dim=1, keepdim=True) for x in (a, b))
    return 1 - ((a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1) + eps)).mean()

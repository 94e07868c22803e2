"""SP: similarity-preserving knowledge distillation (Tung & Mori, ICCV 2019)."""

from __future__ import annotations

from lrbench_methods import taught
from lrbench_methods.taught import Answer, Taught
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lrbench.method import Batch


class Config(taught.Config):
    """That of RepDistiller, for our batches."""

    weight: float = Field(
        6000.0, ge=0, description="gamma; 3000 in RepDistiller, for batches of 64: it falls as 1 / n, so 6000 for 128"
    )  # fmt: skip


class SP(Taught):
    """Trains a student to find the same images of a batch alike as the teacher does."""

    name = "sp"
    label = "SP"
    paper = "Tung & Mori, ICCV 2019"
    Config = Config

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        with self.exact(s.maps[-1], t.maps[-1]) as (f_s, f_t):
            return {"similarity": self.config.weight * (similarity(f_s) - similarity(f_t)).square().mean()}


def similarity(maps: Tensor) -> Tensor:
    """Maps (n, c, h, w) -> G (n, n): the products of all pairs, the rows to length 1."""
    flat = maps.flatten(1)
    return F.normalize(flat @ flat.t(), dim=1)

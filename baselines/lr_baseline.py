"""LR-baseline: the network trained and tested on LR images (Zhu et al. 2019, Table 1, plain rows)."""

from __future__ import annotations

from lrbench_baselines.student import Student
from torch import Tensor

from lrbench.method import Batch


class LRBaseline(Student):
    """Trained and tested on enlarged LR images: the one to beat.

    With `init`, the control of equal budget of a student that starts so.
    """

    name = "lr-baseline"
    label = "LR-baseline"
    reads = ("up",)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"recognition": self.cross_entropy(self.backbone(batch.up), batch.y)}

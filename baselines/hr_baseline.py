"""HR-baseline: the network trained and tested on HR images (Zhu et al. 2019, Table 2); DFD's teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lrbench.method import Batch, Context, Method


class HRBaseline(Method):
    """Trained and tested on HR images: what could be reached, and the teacher of others. One run serves every scale."""

    name = "hr-baseline"
    label = "HR-baseline"
    view = "hr"
    reads = ("hr",)

    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.backbone = context.backbone()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"recognition": self.cross_entropy(self.backbone(batch.hr), batch.y)}

    def forward(self, hr: Tensor) -> Tensor:
        """Logits (n, classes) of HR images (n, 3, S, S)."""
        return self.backbone(hr)

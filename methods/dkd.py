"""DKD: decoupled knowledge distillation (Zhao et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from lrbench_methods import taught
from lrbench_methods.taught import Answer, Taught, kl
from pydantic import Field
from torch import Tensor

from lrbench.errors import UserError
from lrbench.method import Batch, Context, Method


class Config(taught.Config):
    """Those of mdistiller, the authors' code; its alpha, beta and warm-up are for CIFAR-100."""

    weight: float = Field(1.0, ge=0, description="of both parts; mdistiller")
    alpha: float = Field(1.0, ge=0, description="of the target class against all others; mdistiller")
    beta: float = Field(8.0, ge=0, description="of the other classes among themselves; mdistiller, 2 to 8 by pair")
    temperature: float = Field(4.0, gt=0, description="T; mdistiller")
    warmup: float = Field(
        20 / 240, ge=0, le=1, description="part of the training in which it grows; mdistiller: 20 of 240"
    )


class DKD(Taught):
    """KD in two parts: how likely the true class is, and how the other classes share what is left."""

    name = "dkd"
    label = "DKD"
    paper = "Zhao et al., CVPR 2022"
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        if context.classes < 3:
            raise UserError(
                f"{self.name}: of {context.classes} classes nothing is left beside the target; 3 are the fewest"
            )

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        target, others = parts(s.logits, t.logits, batch.y, self.config.temperature)
        weight = self.config.weight * self.grown(self.config.warmup)
        return {"target": weight * self.config.alpha * target, "others": weight * self.config.beta * others}


def parts(z_s: Tensor, z_t: Tensor, y: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD of logits (n, C): T^2 KL(b_t || b_s) and T^2 KL(q_t || q_s), means over the batch.

    b: the probabilities of the target and of all others; q: those of the others among themselves.
    """
    place = torch.arange(z_s.shape[1] - 1, device=y.device)
    rest = place + (place >= y[:, None])  # (n, C - 1): the classes beside the target

    def split(z: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of b and of q."""
        target, others = z.gather(1, y[:, None]), z.gather(1, rest)
        together = temperature * (others / temperature).logsumexp(dim=1, keepdim=True)
        return torch.cat([target, together], dim=1), others

    (b_s, q_s), (b_t, q_t) = split(z_s), split(z_t)
    return kl(b_s, b_t, temperature), kl(q_s, q_t, temperature)

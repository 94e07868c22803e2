"""PKT: probabilistic knowledge transfer (Passalis & Tefas, ECCV 2018)."""

from __future__ import annotations

from lrbench_methods import taught
from lrbench_methods.taught import Answer, Taught
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lrbench.method import Batch


class Config(taught.Config):
    """That of RepDistiller, for our batches; the paper trains without labels."""

    weight: float = Field(
        60_000.0, ge=0, description="30,000 in RepDistiller and mdistiller, for batches of 64: a mean over n^2 "
        "probabilities of about 1 / n falls as 1 / n, so twice that at 128"
    )  # fmt: skip


class PKT(Taught):
    """Trains a student so that images are as likely to be neighbours in its features as in the teacher's."""

    name = "pkt"
    label = "PKT"
    paper = "Passalis & Tefas, ECCV 2018"
    Config = Config

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        with self.exact(s.features, t.features) as (f_s, f_t):
            return {"neighbours": self.config.weight * divergence(neighbours(f_s), neighbours(f_t))}


def neighbours(f: Tensor) -> Tensor:
    """Features (n, d) -> P (n, n): (cosine + 1) / 2 of all pairs, each row by its sum."""
    f = F.normalize(f, dim=1)
    similar = (f @ f.t() + 1) / 2
    return similar / similar.sum(dim=1, keepdim=True)


def divergence(p_s: Tensor, p_t: Tensor, eps: float = 1e-7) -> Tensor:
    """The mean over all pairs of p_t log(p_t / p_s), as RepDistiller takes it."""
    return (p_t * ((p_t + eps) / (p_s + eps)).log()).mean()

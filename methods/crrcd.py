"""CRRCD: cross-resolution relational contrastive distillation (Zhang et al., TCSVT 2023, arXiv:2409.02555)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from lrbench_methods import taught
from lrbench_methods.taught import Answer, Taught
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench.method import Batch, Context, Method


class Config(taught.Config):
    """Negatives come from the batch, of all classes; the paper keeps a memory of them."""

    weight: float = Field(0.01, ge=0, description="ours: it sums over some hundred negatives of each pair")
    temperature: float = Field(0.07, gt=0, description="tau; ours, as CRD's")
    dimension: int = Field(128, ge=1, description="of a relation; ours, as CRD's embeddings")


class CRRCD(Taught):
    """Trains a student so that its features relate to the teacher's as the teacher's relate to each other.

    Only the paper's abstract and two ports by others could be read: what is marked as ours is not the paper's word.
    """

    name = "crrcd"
    label = "CRRCD"
    paper = "Zhang et al., TCSVT 2023 (in part)"
    training_only = ("relation_t", "relation_ts")
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        d, r = self.backbone.dimension, config.dimension
        self.relation_t, self.relation_ts = (
            nn.Sequential(nn.Linear(d, r), nn.ReLU(), nn.Linear(r, r)) for _ in range(2)
        )

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        """v_ij = W2 ReLU(W1 (e_i - e_j)): e_i the teacher's, e_j the teacher's or the student's."""
        with self.exact(s.features, t.features) as (f_s, f_t):
            v_t = self.relation_t(f_t[:, None] - f_t)
            v_ts = self.relation_ts(f_t[:, None] - f_s)
            v_t, v_ts = F.normalize(v_t, dim=2), F.normalize(v_ts, dim=2)
            similar = v_t @ v_ts.transpose(1, 2) / self.config.temperature
            return {"relations": self.config.weight * contrast(similar)}


def contrast(similar: Tensor) -> Tensor:
    """-[log h_jj + sum_k log(1 - h_jk)], h = sigmoid(similar), mean over all pairs of two images i, j.

    similar (n, n, n): at i, j, k the likeness of the relation of i to j and of i to k; k is neither i nor j. The
    sigmoid is both ports'; a noise ratio beside it would be 1, for all relations of the batch are negatives.
    """
    n = len(similar)
    other = ~torch.eye(n, dtype=torch.bool, device=similar.device)
    pairs, negatives = other, other[:, :, None] & other[:, None] & other  # i != j, i != k, j != k
    found = F.logsigmoid(similar.diagonal(dim1=1, dim2=2))
    told_apart = F.logsigmoid(-similar).where(negatives, 0.0).sum(dim=2)
    return -((found + told_apart).where(pairs, 0.0)).sum() / (n * (n - 1))

"""CRD: contrastive representation distillation (Tian, Krishnan & Isola, ICLR 2020, arXiv:1910.10699)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from lrbench_methods import taught
from lrbench_methods.taught import Answer, Taught
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench.method import Batch, Context, Method


class Config(taught.Config):
    """Those of the authors' code, RepDistiller."""

    weight: float = Field(0.8, ge=0, description="beta; RepDistiller's scripts")
    negatives: Literal["bank", "batch"] = Field(
        "bank", description="images that are contrasted: of a memory of the training set (the paper), or of the batch "
        "(ours: InfoNCE, van den Oord et al. 2018); of other classes only"
    )  # fmt: skip
    k: int = Field(16384, ge=1, description="negatives from the bank, no more than there are images; RepDistiller")
    temperature: float = Field(0.07, ge=0.02, description="tau; RepDistiller")
    momentum: float = Field(0.5, ge=0, lt=1, description="of the bank; RepDistiller")
    dimension: int = Field(128, ge=1, description="of the embeddings; RepDistiller")


class CRD(Taught):
    """Trains a student's features to be near the teacher's of the same image, and far from those of other classes.

    All images of a batch share their K negatives, drawn with replacement; those of an image's own class, a tenth where
    there are ten, are left out of its sum, where the authors draw K of other classes. Rows of unseen images count as of
    another class. Z is set by the first batch, as in the paper, against a bank of random rows: on digits the loss of a
    student that starts from trained weights (`init`) grew from there.
    """

    name = "crd"
    label = "CRD"
    paper = "Tian et al., ICLR 2020"
    training_only = ("embed_s", "embed_t", "bank_s", "bank_t", "classes_seen")
    Config = Config
    classes_seen: Tensor

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        images = context.train_images if config.negatives == "bank" else 0
        d = self.backbone.dimension
        self.embed_s, self.embed_t = nn.Linear(d, config.dimension), nn.Linear(d, config.dimension)
        self.bank_s, self.bank_t = Bank(images, config.dimension), Bank(images, config.dimension)
        self.register_buffer("classes_seen", torch.full((images,), -1))  # of the bank's rows

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        with self.exact(s.features, t.features) as (f_s, f_t):
            e_s, e_t = F.normalize(self.embed_s(f_s), dim=1), F.normalize(self.embed_t(f_t), dim=1)
            contrast = self._banks if self.config.negatives == "bank" else self._batch
            return {"contrast": self.config.weight * contrast(e_s, e_t, batch)}

    def _banks(self, e_s: Tensor, e_t: Tensor, batch: Batch) -> Tensor:
        """Each side against the bank of the other, which then takes in the batch."""
        self.classes_seen.index_copy_(0, batch.index, batch.y)
        rows = len(self.classes_seen)
        chosen = torch.randint(rows, (min(self.config.k, rows),), device=batch.y.device)
        of_others = self.classes_seen[chosen] != batch.y[:, None]
        tau = self.config.temperature
        sides = ((e_s, self.bank_t), (e_t, self.bank_s))
        loss = torch.stack([bank.contrast(e, batch.index, chosen, of_others, tau) for e, bank in sides]).sum()
        self.bank_s.take(e_s, batch.index, self.config.momentum)
        self.bank_t.take(e_t, batch.index, self.config.momentum)
        return loss

    def _batch(self, e_s: Tensor, e_t: Tensor, batch: Batch) -> Tensor:
        return info_nce(e_s, e_t, batch.y, self.config.temperature)


class Bank(nn.Module):
    """A memory of the embeddings of one side, of length 1."""

    rows: Tensor  # (M, dimension)
    z: Tensor  # (), what makes probabilities of exp(similarity / tau): set by the first batch and then kept

    def __init__(self, images: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("rows", (2 * torch.rand(images, dimension) - 1) / math.sqrt(dimension / 3))
        self.register_buffer("z", torch.zeros(()))

    def contrast(self, e: Tensor, index: Tensor, chosen: Tensor, of_others: Tensor, tau: float) -> Tensor:
        """The loss of embeddings (n, dimension) against their own rows and, where of_others (n, K), the chosen."""
        own = ((e * self.rows[index]).sum(dim=1) / tau).exp()
        other = (e @ self.rows[chosen].t() / tau).exp()
        with torch.no_grad():
            first = torch.cat([own, other.flatten()]).mean() * len(self.rows)
            self.z.copy_(torch.where(self.z > 0, self.z, first))
        return nce(own / self.z, other / self.z, of_others, len(chosen) / len(self.rows))

    @torch.no_grad()
    def take(self, e: Tensor, index: Tensor, momentum: float) -> None:
        """Move the rows of a batch to its embeddings."""
        self.rows.index_copy_(0, index, F.normalize(torch.lerp(e.detach(), self.rows[index], momentum), dim=1))


def nce(own: Tensor, other: Tensor, of_others: Tensor, noise: float, eps: float = 1e-7) -> Tensor:
    """Of probabilities, own (n,) and other (n, K), against noise, K / M: the sum over K, the mean over n."""
    found = (own / (own + noise + eps)).log()
    told_apart = (noise / (other + noise + eps)).log().where(of_others, 0.0)
    return -(found + told_apart.sum(dim=1)).mean()


def info_nce(e_s: Tensor, e_t: Tensor, y: Tensor, tau: float) -> Tensor:
    """Cross-entropy of finding an image's embedding among those of other classes, mean over both directions."""
    own = torch.eye(len(y), dtype=torch.bool, device=y.device)
    same = (y == y[:, None]) & ~own
    similar = (e_s @ e_t.t() / tau).masked_fill(same, -math.inf)
    return -(similar.log_softmax(dim=1).diagonal() + similar.log_softmax(dim=0).diagonal()).mean() / 2

"""F-SKD: feature-similarity knowledge distillation for LR recognition (Shin, Yu & Lee 2023, arXiv:2303.04681)."""

from __future__ import annotations

import torch
from lrbench_methods import taught
from lrbench_methods.taught import Answer, MapsTaught
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lrbench.method import Batch


class Config(taught.Config):
    """Those of the authors' code for SVHN at 8x8 (gist-ailab/feature-similarity-KD)."""

    weight: float = Field(2.0, ge=0, description="of the cosines of the maps; the authors' code")
    second: float = Field(0.4, ge=0, description="weight of the cosines of relations between images; the authors' code")


class FSKD(MapsTaught):
    """Trains a student's feature maps, at every stage, to point the way of the teacher's (cosine).

    The authors draw an image's partner from all images of its class that the teacher knows; here it is the next such
    image of the batch, and the mean is over the images that have one.
    """

    name = "f-skd"
    label = "F-SKD"
    paper = "Shin et al. 2023, arXiv:2303.04681"
    over_space = True
    Config = Config

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        first = torch.stack([cosine_distance(f_s, f_t).mean() for f_s, f_t in zip(s.maps, t.maps, strict=True)]).mean()
        place, known = self.places[-1], t.logits.argmax(dim=1) == batch.y
        partner, has_one = partners(batch.y, known)
        with self.exact(s.maps[place], t.maps[place]) as (f_s, f_t):
            relations = second_order(f_s, f_t, f_s[partner], f_t[partner])
        second = (relations * has_one).sum() / has_one.sum().clamp(min=1)
        return {"first_order": self.config.weight * first, "second_order": self.config.second * second}


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - the cosine of each of n tensors and its like, (n,)."""
    return 1 - F.cosine_similarity(a.float().flatten(1), b.float().flatten(1), dim=1)


def partners(y: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The next image (n,) of the same class, round the batch, of those that are known; whether there is one (n,)."""
    n, place = len(y), torch.arange(len(y), device=y.device)
    ahead = (place - place[:, None]) % n
    fits = (y == y[:, None]) & (known & known[:, None]) & (ahead > 0)
    ahead, partner = ahead.where(fits, n).min(dim=1)
    return partner, ahead < n


def second_order(f_l1: Tensor, f_h1: Tensor, f_l2: Tensor, f_h2: Tensor) -> Tensor:
    """For n pairs of images the cosines of their relations, (n,): of LR or HR maps of one to those of the other.

    R_ab = (F_a1 / |F_a1|)^T (F_b2 / |F_b2|), (h w, h w), |.| Frobenius's norm.
    """

    def relation(a: Tensor, b: Tensor) -> Tensor:
        return F.normalize(a.flatten(1), dim=1).view_as(a).flatten(2).transpose(1, 2) @ (
            F.normalize(b.flatten(1), dim=1).view_as(b).flatten(2)
        )

    both = relation(f_h1, f_h2)
    one = (cosine_distance(both, relation(f_h1, f_l2)) + cosine_distance(both, relation(f_l1, f_h2))) / 2
    return one + cosine_distance(both, relation(f_l1, f_l2))

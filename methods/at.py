"""AT: attention transfer (Zagoruyko & Komodakis, ICLR 2017, arXiv:1612.03928)."""

from __future__ import annotations

from typing import Literal

import torch
from lrbench_methods import taught
from lrbench_methods.taught import Answer, MapsTaught
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lrbench.method import Batch


class Config(taught.Config):
    """Those of the authors' code."""

    weight: float = Field(1000.0, ge=0, description="of the attention loss, the paper's beta; as in the authors' code")
    distance: Literal["square", "cosine"] = Field(
        "square", description="of two attention maps: their mean square difference (the authors' code; the paper has "
        "the norm, not squared), or 1 - their cosine, as in Shin et al., ECCV 2022, who compare attention modules; 1 "
        "is a weight for that (ours)"
    )  # fmt: skip


class AT(MapsTaught):
    """Trains a student to look where the teacher looks: at the pixels where its maps are large."""

    name = "at"
    label = "AT"
    paper = "Zagoruyko & Komodakis, ICLR 2017"
    over_space = True
    Config = Config

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        """The sum over the stages; those whose maps are one pixel, where all attention is alike, add nothing."""
        distance = square if self.config.distance == "square" else cosine
        distances = [distance(attention(s.maps[place]), attention(t.maps[place])) for place in self.places]
        return {"attention": self.config.weight * torch.stack(distances).sum()}


def attention(maps: Tensor) -> Tensor:
    """Maps (n, c, h, w) -> Q (n, h * w): the mean of their squares over the channels, to length 1."""
    return F.normalize(maps.float().square().mean(dim=1).flatten(1), dim=1)


def square(q_s: Tensor, q_t: Tensor) -> Tensor:
    """Mean over images and pixels, as the authors' code has it; the paper has the norm, not squared."""
    return (q_s - q_t).square().mean()


def cosine(q_s: Tensor, q_t: Tensor) -> Tensor:
    """1 - cosine of attention of length 1, mean over images."""
    return 1 - (q_s * q_t).sum(dim=1).mean()

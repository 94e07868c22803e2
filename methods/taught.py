"""What methods share whose student follows an HR teacher: its answers, and KD beside a loss of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from lrbench_baselines import student
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lrbench.errors import UserError
from lrbench.method import Batch, Context, Method, Needs
from lrbench.method.backbones import Backbone


class Config(student.Config):
    """What the settings of most methods have in common."""

    kd: float = Field(0.0, ge=0, description="weight of Hinton's KD (temperature 4), as many papers add it; ours: 0")


@dataclass(frozen=True)
class Answer:
    """What a network makes of n images."""

    maps: list[Tensor]  # (n, c, h, w) of each stage, shallow to deep
    features: Tensor  # (n, d), float32
    logits: Tensor  # (n, classes), float32

    @classmethod
    def of(cls, backbone: Backbone, images: Tensor) -> Answer:
        maps = backbone.maps(images)  # asked for alone: one answer of a teacher serves all methods that it teaches
        features = backbone.pool(maps[-1])
        return cls(maps, features, backbone.head(features))


class Taught(student.Student):
    """A student of LR images with the softmax loss, and terms that draw it to a frozen teacher of HR images."""

    reads = ("hr", "up")
    Config = Config

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        return super().needs_of(config) | {"teacher": Needs("hr-baseline")}

    def answers(self, batch: Batch) -> tuple[Answer, Answer]:
        """The student's, to batch.up, and the teacher's, to batch.hr: frozen, no gradient flows into it."""
        return Answer.of(self.backbone, batch.up), Answer.of(self.needs["teacher"].backbone, batch.hr)

    def grown(self, warmup: float) -> Tensor:
        """A factor from 0, at the start of the training, to 1 after the part `warmup` of it, update by update."""
        return (self.progress / warmup).clamp(max=1) if warmup else torch.ones_like(self.progress)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        s, t = self.answers(batch)
        terms = {"recognition": self.cross_entropy(s.logits, batch.y)} | self.distillation(s, t, batch)
        return terms | ({"kd": self.config.kd * kl(s.logits, t.logits)} if self.config.kd else {})

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        """The method's own terms, weighted. s: the student's answer to batch.up; t: the teacher's to batch.hr."""
        raise NotImplementedError


class MapsTaught(Taught):
    """One whose terms compare maps; `places` are those of maps of more than one pixel, shallow to deep."""

    over_space: ClassVar[bool] = False  # its terms are normalised over space, and say nothing of one pixel

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        shapes = self.backbone.shapes
        if any(len(shape) != 3 for shape in shapes):
            raise UserError(
                f"{self.name}: maps of {shapes[-1]} are no images (c, h, w); a convolutional backbone's are"
            )
        # The last maps of AlexNet and VGG-16 are of one pixel where images are 32x32.
        self.places = [place for place, (_, h, w) in enumerate(shapes) if h * w > 1]
        if self.over_space and not self.places:
            size = f"{context.side}x{context.side}"
            way = "take one that reduces them less, such as resnet18, or larger images"
            raise UserError(f"{self.name}: of {size} images no map of this backbone has more than one pixel; {way}")


def kl(z_s: Tensor, z_t: Tensor, temperature: float = 4.0) -> Tensor:
    """T^2 KL(p_t || p_s) of logits (n, C) in float32: summed over the classes, mean over the batch (Hinton et al.)."""
    log_p_s, log_p_t = (F.log_softmax(z / temperature, dim=1) for z in (z_s, z_t))
    return temperature**2 * F.kl_div(log_p_s, log_p_t, reduction="batchmean", log_target=True)

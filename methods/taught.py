"""What methods share whose student follows an HR teacher: its answers, and KD beside a loss of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrbench_baselines import student
from lrbench_methods.kd import kl
from pydantic import Field
from torch import Tensor

from lrbench.errors import UserError
from lrbench.method import Batch, Context, Method, Needs
from lrbench.method.backbones import Backbone


class Config(student.Config):
    """Every method has these settings; the defaults are the plain method."""

    kd: float = Field(0.0, ge=0, description="weight of KD at T 4 beside it, which many papers add; 0, ours, for none")


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

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        s, t = Answer.of(self.backbone, batch.up), Answer.of(self.needs["teacher"].backbone, batch.hr)
        terms = {"recognition": self.cross_entropy(s.logits, batch.y)} | self.distillation(s, t, batch)
        return terms | ({"kd": self.config.kd * kl(s.logits, t.logits)} if self.config.kd else {})

    def distillation(self, s: Answer, t: Answer, batch: Batch) -> dict[str, Tensor]:
        """The method's own terms, weighted. s: the student's answer to batch.up; t: the teacher's to batch.hr."""
        raise NotImplementedError


class MapsTaught(Taught):
    """One whose terms compare maps; `places` are those of the maps that it may take, shallow to deep."""

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        shapes = self.backbone.shapes
        if any(len(shape) != 3 for shape in shapes):
            raise UserError(
                f"{self.name}: maps of {shapes[-1]} are no images (c, h, w); a convolutional backbone's are"
            )
        # On one pixel what is normalised over space is constant: 32x32 images end so in AlexNet and VGG-16.
        self.places = [place for place, (_, h, w) in enumerate(shapes) if h * w > 1]
        if not self.places:
            raise UserError(
                f"{self.name}: no map of this backbone has more than one pixel; resnet18's have 16 and more"
            )

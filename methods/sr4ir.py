"""SR4IR: super-resolution for image recognition (Kim et al., CVPR 2024)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from lrbench_baselines import student
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lrbench import restorer
from lrbench.method import Batch, Context, Method, Needs, Optimizer
from lrbench.restorer import check_sr_scale

GRID = 4  # cells a side of the mask; the authors': 224 / 56


class Config(student.Config, restorer.Config):
    """Those of the authors' code for classification; the classifier's optimizer is the recipe's, as every method's."""

    net: Literal["espcn", "srresnet"] = Field(
        "espcn", description="ours: the SR net, trained before for its own loss; the authors take an EDSR"
    )
    pixel: float = Field(1.0, ge=0, description="weight of the L1 distance of the images; the authors' code")
    weight: float = Field(1.0, ge=0, description="of the task-driven perceptual loss; the authors' code")
    warmup: float = Field(
        20 / 200, ge=0, le=1, description="part of the training before it; the authors' code: 20 of 200"
    )
    recognition: float = Field(0.34, ge=0, description="weight of each of the three softmax losses; the authors' code")
    sr_lr: float = Field(
        1e-4,
        gt=0,
        description="of AdamW for the SR net: the authors' code; its weight decay is 0 there, 0.01 here (ours)",
    )


class SR4IR(student.Student):
    """Trains an SR net and a classifier of its images in turn, each for the other.

    The SR net starts from a run of its own, which needs no labels, and whose epochs no record counts as this one's.
    """

    name = "sr4ir"
    label = "SR4IR"
    paper = "Kim et al., CVPR 2024"
    view = "lr"
    reads = ("hr", "lr")
    falls = "restored"  # the perceptual loss comes in late, and its scale is the classifier's
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.restorer = copy.deepcopy(needs["restorer"]).requires_grad_(True)

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        settings = config.model_dump(include=set(restorer.Config.model_fields))
        return super().needs_of(config) | {"restorer": Needs(f"sr-{config.net}", settings)}

    @classmethod
    def check(cls, config: Any, scale: int) -> None:
        check_sr_scale(cls.name, config.sr_scale, scale)

    def restore(self, lr: Tensor) -> Tensor:
        """LR (n, 3, S/scale, S/scale) -> the restored image (n, 3, S, S), enlarged where the SR net's is smaller."""
        image, side = self.restorer(lr), self.context.side
        return image if image.shape[2] == side else F.interpolate(image, size=side, mode="bicubic")

    def forward(self, lr: Tensor) -> Tensor:
        return self.backbone(self.restore(lr))

    def optimizers(self, updates: int) -> list[Optimizer]:
        """AdamW for the SR net, at the recipe's schedule; for the classifier the recipe's SGD."""
        self.restorer.requires_grad_(False)
        [sgd] = super().optimizers(updates)
        self.restorer.requires_grad_(True)
        adam = torch.optim.AdamW(self.restorer.parameters(), lr=self.config.sr_lr, fused=True)
        return [self.scheduled(adam, updates), sgd]

    def step(self, batch: Batch, optimizers: list[Optimizer]) -> dict[str, Tensor]:
        """One update of the SR net through the classifier, which stands still; then one of the classifier."""
        adam, sgd = optimizers
        self.backbone.requires_grad_(False).eval()
        with self.context.autocast():
            restored = self.restore(batch.lr)
            likeness = self.likeness(restored, batch.hr)
        adam.minimize(torch.stack(list(likeness.values())).sum())
        self.backbone.requires_grad_(True).train()
        with self.context.autocast():
            with torch.no_grad():
                restored = self.restore(batch.lr)
            recognition = self.recognition(restored, batch)
        sgd.minimize(torch.stack(list(recognition.values())).sum())
        return likeness | recognition

    def likeness(self, restored: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """L1 distance of images (n, 3, S, S) and, after the warm-up, of the classifier's last maps of them."""
        with torch.no_grad():
            wanted = self.backbone.maps(hr)[-1].float()
        task = (self.backbone.maps(restored)[-1].float() - wanted).abs().mean()
        begun = (self.progress >= self.config.warmup).float()
        return {
            "pixel": self.config.pixel * (restored.float() - hr).abs().mean(),
            "task": self.config.weight * begun * task,
        }

    def recognition(self, restored: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The softmax losses of restored images, HR images and both mixed."""
        images = {"restored": restored, "hr": batch.hr, "mixed": mix(restored, batch.hr)}
        weight = self.config.recognition
        return {name: weight * self.cross_entropy(self.backbone(image), batch.y) for name, image in images.items()}


def mix(one: Tensor, other: Tensor) -> Tensor:
    """CQMix of images (n, 3, S, S): each cell of a 4x4 grid is of one or of the other, by chance."""
    cells = (torch.rand(len(one), 1, GRID, GRID, device=one.device) < 0.5).float()
    return torch.where(F.interpolate(cells, size=one.shape[2:], mode="nearest") > 0, one, other)

"""What a run is measured by: a classifier by its accuracy, an SR net by the quality of its images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lrbench.data import pairs
from lrbench.data.pairs import Pairs
from lrbench.errors import UserError
from lrbench.method.base import Method
from lrbench.method.restorer import Restorer
from lrbench.train.quality import psnr, quality

EVAL_BATCH = 500
CHANCE = 0.99  # of chance's cross-entropy: a network at that has learnt nothing
NEARLY_ALL = 0.99  # of the images: a network that predicts one class for so many has learnt no other
SHOWN = 16  # restored test images that are kept with the record, to be looked at


@dataclass(frozen=True)
class Tested:
    """What the test set showed: `metrics` for the record, `outputs` image by image; None for what is no number."""

    metrics: dict[str, float | None]
    outputs: dict[str, np.ndarray]


class Task(ABC):
    """How the runs of one kind are measured."""

    score: ClassVar[str]  # of the learning curve, as train_... and val_...; more is better
    unit: ClassVar[str]

    @abstractmethod
    def measure(self, method: Method, images: Pairs) -> float:
        """The score on some images."""

    @abstractmethod
    def test(self, method: Method, images: Pairs) -> Tested:
        """All that the record says of the test set."""

    def collapsed(self, method: Method, images: Pairs) -> str | None:
        """Why a trained method has learnt nothing of its training images, in words; None where it has learnt some."""
        return None


class Classification(Task):
    """Top-1 accuracy, in percent."""

    score, unit = "top1", "%"

    def measure(self, method: Method, images: Pairs) -> float:
        return top1(predict(method, images), images.y)

    def test(self, method: Method, images: Pairs) -> Tested:
        predicted = predict(method, images)
        outputs = {"predicted": predicted.cpu().numpy(), "label": images.y.cpu().numpy()}
        metrics: dict[str, float | None] = {
            "top1": top1(predicted, images.y),
            "predicted_classes": len(predicted.unique()),
        }
        return Tested(metrics, outputs)

    @torch.no_grad()
    def collapsed(self, method: Method, images: Pairs) -> str | None:
        """It predicts one class for nearly all images, at a cross-entropy of no less than chance's.

        Chance's is the entropy of the labels: ln C where all C classes are equally frequent.
        """
        logits = torch.cat([logits for logits, _ in _outputs(method, images.view(type(method).view))]).float()
        if logits.argmax(dim=1).bincount().max() < NEARLY_ALL * len(images):
            return None
        parts = images.y.bincount().double() / len(images)
        chance = -torch.special.xlogy(parts, parts).sum().item()
        loss = F.cross_entropy(logits, images.y).item()
        if not chance or loss < CHANCE * chance:
            return None
        return f"it ended predicting one class, at a cross-entropy of {loss:.3g}; chance is {chance:.3g}"


class Restoration(Task):
    """PSNR and SSIM against the HR images, beside those of plain enlargement; see lrbench.train.quality."""

    score, unit = "psnr", "dB"

    def measure(self, method: Method, images: Pairs) -> float:
        restored, true = (x.permute(0, 3, 1, 2).float() for x in (restore(method, images), images.hr))
        return psnr(restored, true).mean().item()

    def test(self, method: Method, images: Pairs) -> Tested:
        restored, shave = restore(method, images), images.scale or 0
        found = quality(restored, images.hr, shave)
        plain = quality(images.view("up"), images.hr, shave)
        metrics: dict[str, float | None] = dict.fromkeys(("psnr", "ssim", "psnr_y", "ssim_y"))
        metrics |= {f"bicubic_{name}": None for name in metrics}
        metrics |= {name: values.mean().item() for name, values in found.items()}
        metrics |= {f"bicubic_{name}": values.mean().item() for name, values in plain.items()}
        outputs = {name: values.float().numpy() for name, values in found.items()}
        return Tested(metrics, outputs | {"restored": restored[:SHOWN].cpu().numpy()})


def task_of(cls: type[Method]) -> Task:
    """How the runs of a method are measured."""
    return Restoration() if issubclass(cls, Restorer) else Classification()


@torch.no_grad()
def predict(method: Method, images: Pairs) -> Tensor:
    """Predicted classes (n,) int64. `forward` is given one view of the images, never another.

    Raises UserError for a method that returns anything but logits (n, classes).
    """
    classes = method.context.classes
    predicted = []
    for logits, n in _outputs(method, images.view(type(method).view)):
        if logits.shape != (n, classes):
            found, expected = tuple(logits.shape), (n, classes)
            raise UserError(f"{method.name}: forward returned {found}; logits (n, classes) would be {expected}")
        predicted.append(logits.argmax(dim=1))
    return torch.cat(predicted)


@torch.no_grad()
def restore(method: Method, images: Pairs) -> Tensor:
    """Restored images (n, side, side, 3), uint8, as they would be stored. `forward` is given one view only.

    Raises UserError for a method that returns anything but images (n, 3, side, side).
    """
    side = method.context.side
    restored = []
    for image, n in _outputs(method, images.view(type(method).view)):
        if image.shape != (n, 3, side, side):
            found, expected = tuple(image.shape), (n, 3, side, side)
            raise UserError(f"{method.name}: forward returned {found}; restored images would be {expected}")
        restored.append(pairs.to_uint8(image))
    return torch.cat(restored)


def _outputs(method: Method, images: Tensor) -> Iterator[tuple[Tensor, int]]:
    """What `forward` makes of uint8 images, a batch at a time, with the size of the batch."""
    method.eval()
    for chunk in images.split(EVAL_BATCH):
        with method.context.autocast():
            output = method(pairs.to_float(chunk))
        yield output, len(chunk)


def top1(predicted: Tensor, labels: Tensor) -> float:
    """Percent of predictions that are right."""
    return 100 * int((predicted == labels).sum()) / len(labels)

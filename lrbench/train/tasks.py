"""What a run is measured by: a classifier by its accuracy, an SR net by the quality of its images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lrbench.data import pairs
from lrbench.data.pairs import Pairs
from lrbench.errors import UserError
from lrbench.method.base import Method
from lrbench.method.restorer import Restorer

EVAL_BATCH = 500
CHANCE = 0.99  # of chance's cross-entropy: a network at that has learnt nothing
NEARLY_ALL = 0.99  # of the images: a network that predicts one class for so many has learnt no other
SHOWN = 16  # restored test images that are kept with the record, to be looked at
WINDOW = 11  # pixels: the side of SSIM's Gaussian window (Wang et al. 2004, section III.B)
MOST = 100.0  # dB: the PSNR of an image without an error, which would be infinite
CHUNK = 1_000  # images at a time in quality: bounds the float64 copies


Metrics = dict[str, float | None]  # for the record; None for what is no number
Outputs = dict[str, np.ndarray]  # image by image


class Classification:
    """Top-1 accuracy, in percent."""

    score, unit = "top1", "%"  # of the learning curve, as train_... and val_...; more is better

    def measure(self, method: Method, images: Pairs) -> float:
        """The score on some images."""
        return top1(predict(method, images), images.y)

    def test(self, method: Method, images: Pairs) -> tuple[Metrics, Outputs]:
        """All that the record says of the test set."""
        predicted = predict(method, images)
        metrics: Metrics = {"top1": top1(predicted, images.y), "predicted_classes": len(predicted.unique())}
        return metrics, {"predicted": predicted.cpu().numpy(), "label": images.y.cpu().numpy()}

    @torch.no_grad()
    def collapsed(self, method: Method, images: Pairs) -> str | None:
        """Why it has learnt nothing of its training images, in words; None where it has learnt some.

        It predicts one class for nearly all images, at a cross-entropy of no less than chance's: the entropy of the
        labels, ln C where all C classes are equally frequent.
        """
        logits = torch.cat(list(_outputs(method, images))).float()
        if logits.argmax(dim=1).bincount().max() < NEARLY_ALL * len(images):
            return None
        parts = images.y.bincount().double() / len(images)
        chance = -torch.special.xlogy(parts, parts).sum().item()
        loss = F.cross_entropy(logits, images.y).item()
        if not chance or loss < CHANCE * chance:
            return None
        return f"it ended predicting one class, at a cross-entropy of {loss:.3g}; chance is {chance:.3g}"


class Restoration:
    """PSNR and SSIM against the HR images, beside those of plain enlargement, see `quality`; otherwise the same."""

    score, unit = "psnr", "dB"

    def measure(self, method: Method, images: Pairs) -> float:
        restored, true = (x.permute(0, 3, 1, 2).float() for x in (restore(method, images), images.hr))
        return psnr(restored, true).mean().item()

    def test(self, method: Method, images: Pairs) -> tuple[Metrics, Outputs]:
        restored, shave = restore(method, images), images.scale or 0
        found, plain = (quality(candidate, images.hr, shave) for candidate in (restored, images.view("up")))
        metrics: Metrics = {}
        for kind, values in (("", found), ("bicubic_", plain)):
            for name in ("psnr", "ssim", "psnr_y", "ssim_y"):
                metrics[kind + name] = values[name].mean().item() if name in values else None
        outputs = {name: values.float().numpy() for name, values in found.items()}
        return metrics, outputs | {"restored": restored[:SHOWN].cpu().numpy()}

    def collapsed(self, method: Method, images: Pairs) -> str | None:
        return None


def task_of(cls: type[Method]) -> Classification | Restoration:
    """How the runs of a method are measured."""
    return Restoration() if issubclass(cls, Restorer) else Classification()


@torch.no_grad()
def predict(method: Method, images: Pairs) -> Tensor:
    """Predicted classes (n,) int64. Raises UserError for a method that returns anything but logits (n, classes)."""
    return torch.cat([logits.argmax(dim=1) for logits in _outputs(method, images)])


@torch.no_grad()
def restore(method: Method, images: Pairs) -> Tensor:
    """Restored images (n, side, side, 3), uint8. Raises UserError for anything but images (n, 3, side, side)."""
    return torch.cat([pairs.to_uint8(image) for image in _outputs(method, images)])


def _outputs(method: Method, images: Pairs) -> Iterator[Tensor]:
    """What `forward` makes of the one view of the images that it is given, a batch at a time."""
    shape: tuple[int, ...] = (method.context.classes,)
    kind = "logits (n, classes)"
    if isinstance(method, Restorer):
        shape, kind = (3, method.context.side, method.context.side), "restored images"
    method.eval()
    for chunk in images.view(method.view).split(EVAL_BATCH):
        with method.context.autocast():
            output = method(pairs.to_float(chunk))
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if found != (expected := (len(chunk), *shape)):
            raise UserError(f"{method.name}: forward returned {found}; {kind} would be {expected}")
        yield output


def top1(predicted: Tensor, labels: Tensor) -> float:
    """Percent of predictions that are right."""
    return 100 * int((predicted == labels).sum()) / len(labels)


def quality(restored: Tensor, true: Tensor, shave: int) -> dict[str, Tensor]:
    """PSNR (dB) and SSIM of each image: psnr and ssim over RGB, psnr_y and ssim_y over luma.

    restored, true: uint8 (n, H, W, 3). Over RGB the whole image counts; over luma, as SR papers report it, all but
    `shave` pixels at each border. Returns float64 (n,) on the CPU; a measure for which the images are too small (SSIM
    wants 11 pixels) is left out. As BasicSR's calculate_psnr and calculate_ssim; a perfect image has 100 dB.
    """
    parts: list[dict[str, Any]] = []
    for chunk in zip(restored.cpu().split(CHUNK), true.cpu().split(CHUNK), strict=True):
        a, b = (images.permute(0, 3, 1, 2).double() for images in chunk)
        parts.append({"psnr": psnr(a, b), "ssim": ssim(a, b)})
        a, b = (luma(x)[..., shave : x.shape[2] - shave, shave : x.shape[3] - shave] for x in (a, b))
        if a.numel():
            parts[-1] |= {"psnr_y": psnr(a, b), "ssim_y": ssim(a, b)}
    return {name: torch.cat([part[name] for part in parts]) for name, x in parts[0].items() if x is not None}


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """dB (n,) of images (n, C, H, W) in 0..255, from the mean square error over all their values."""
    from torchmetrics.functional.image import peak_signal_noise_ratio  # here: its import takes two seconds

    found: Tensor = peak_signal_noise_ratio(a, b, data_range=255.0, reduction="none", dim=(1, 2, 3))
    return found.clamp(max=MOST)


def ssim(a: Tensor, b: Tensor) -> Tensor | None:
    """SSIM (n,) of images (n, C, H, W) in 0..255 (Wang et al. 2004, Eq. 13), mean over channels.

    Over the places where the window lies within the image. None for images that are smaller than the window.
    """
    if min(a.shape[2:]) < WINDOW:
        return None
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, full = structural_similarity_index_measure(  # in float32: 25 times as fast, and within 1e-4
        a.float(), b.float(), gaussian_kernel=True, sigma=1.5, kernel_size=WINDOW, data_range=255.0,
        k1=0.01, k2=0.03, return_full_image=True,
    )  # fmt: skip
    border = WINDOW // 2  # where torchmetrics mirrors the image, the window leaves it
    return full[..., border:-border, border:-border].double().mean(dim=(1, 2, 3))


def luma(images: Tensor) -> Tensor:
    """RGB (n, 3, H, W) in 0..255 -> Y (n, 1, H, W) in 16..235 (ITU-R BT.601), as MATLAB's rgb2ycbcr, not rounded."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=images.dtype, device=images.device)
    return (images / 255 * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True) + 16

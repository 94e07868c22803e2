"""Training pairs that live on the training device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lrbench.method.base import View


@dataclass(frozen=True)
class Pairs:
    """The images of one split, uint8, channels last, on the training device.

    hr and up: (n, S, S, 3); lr: (n, s, s, 3). up and lr are None where no LR image may be seen.
    """

    hr: Tensor
    y: Tensor  # (n,) int64
    lr: Tensor | None = None
    up: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def scale(self) -> int | None:
        """hr side / lr side; None where there are no LR images."""
        return None if self.lr is None else self.hr.shape[1] // self.lr.shape[1]

    def to(self, device: torch.device) -> Pairs:
        """The same pairs on another device."""
        return Pairs(**{name: values.to(device) for name, values in vars(self).items() if values is not None})

    def first(self, n: int) -> Pairs:
        """The first `n` pairs."""
        return Pairs(**{name: values[:n] for name, values in vars(self).items() if values is not None})

    def view(self, view: View) -> Tensor:
        """The one kind of image that a method's `forward` gets, whole and not augmented."""
        images = getattr(self, view)
        if images is None:
            raise ValueError(f"these pairs hold no '{view}' images")
        return images


def to_float(images: Tensor) -> Tensor:
    """uint8 (n, H, W, 3) -> float32 (n, 3, H, W) in [0, 1], channels_last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def to_uint8(images: Tensor) -> Tensor:
    """float (n, 3, H, W) in [0, 1] -> uint8 (n, H, W, 3), rounded half to even; values outside are clipped."""
    return images.float().mul(255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).contiguous()

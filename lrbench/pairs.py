"""Training pairs that live on the training device, augmented there a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrbench.method import Batch, View
from lrbench.recipes import Recipe


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
        return self._each(lambda values: values.to(device))

    def first(self, n: int) -> Pairs:
        """The first `n` pairs."""
        return self._each(lambda values: values[:n])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Pairs:
        return Pairs(**{name: change(values) for name, values in vars(self).items() if values is not None})

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


def shift_and_flip(images: Tensor, dy: Tensor, dx: Tensor, flip: Tensor, reach: int) -> Tensor:
    """Crop each image, padded with black by `reach`, at its own shift, and mirror some.

    images (n, H, W, C); dy, dx (n,) int64 in [-reach, reach]; flip (n,) bool. The result has the
    size of `images`: its pixel (0, 0) was at (dy, dx), before the mirror.
    """
    n, height, width, channels = images.shape
    tall, wide = height + 2 * reach, width + 2 * reach
    # Each image beside its mirror, both padded. A row of a crop is then `width` pixels in one piece, flipped or
    # not: rows are copied whole, which is several times as fast as picking pixels.
    canvas = images.new_zeros(n, tall, 2, wide, channels)
    inside = canvas[:, reach : reach + height, :, reach : reach + width]
    inside[:, :, 0], inside[:, :, 1] = images, images.flip(2)
    top = torch.arange(n, device=images.device) * tall + reach + dy
    left = reach + torch.where(flip, wide - dx, dx)
    starts = (top[:, None] + torch.arange(height, device=images.device)) * (2 * wide) + left[:, None]
    rows = canvas.as_strided((n * tall * 2 * wide - width + 1, width * channels), (channels, 1))  # from every pixel on
    return rows.index_select(0, starts.flatten()).view(images.shape)


class Epoch(Sequence[Batch]):
    """The augmented batches of one epoch, in order; each is made when it is asked for, and made alike again."""

    def __init__(self, make: Callable[[int], Batch], batches: int) -> None:
        self.make, self.batches = make, batches

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, place: int) -> Batch:  # type: ignore[override]
        if not 0 <= place < self.batches:
            raise IndexError(place)
        return self.make(place)


def epoch(pairs: Pairs, recipe: Recipe, scale: int | None, on_grid: bool, generator: torch.Generator) -> Epoch:
    """One epoch of augmented batches, shuffled; the last, smaller batch is dropped.

    hr and up share crop and flip; lr's crop is theirs in whole LR pixels, rounded, and exact with
    `on_grid`, which draws crops in multiples of `scale`. All random numbers come from `generator` (on
    the CPU) before the first batch: nothing in the loop waits for the device.
    """
    n, side, device = len(pairs), pairs.hr.shape[1], pairs.hr.device
    size, stride = min(recipe.batch_size, n), scale if on_grid and scale else 1
    steps = -(-round(recipe.crop * side) // stride)  # on the grid, at least one LR pixel
    order = torch.randperm(n, generator=generator).to(device)
    shifts = (torch.randint(-steps, steps + 1, (2, n), generator=generator) * stride).to(device)
    flips = (torch.rand(n, generator=generator) < (0.5 if recipe.flip else 0.0)).to(device)
    reach = steps * stride

    def make(place: int) -> Batch:
        here = slice(place * size, (place + 1) * size)
        index, (dy, dx), flip = order[here].clone(), shifts[:, here], flips[here]  # its own: a method may write into it
        images = {"hr": shift_and_flip(pairs.hr.index_select(0, index), dy, dx, flip, reach)}
        if pairs.up is not None and pairs.lr is not None and scale is not None:
            images["up"] = shift_and_flip(pairs.up.index_select(0, index), dy, dx, flip, reach)
            lr_dy, lr_dx = (torch.round(shift / scale).long() for shift in (dy, dx))
            images["lr"] = shift_and_flip(pairs.lr.index_select(0, index), lr_dy, lr_dx, flip, -(-reach // scale))
        return Batch(y=pairs.y[index], index=index, **{view: to_float(image) for view, image in images.items()})

    return Epoch(make, n // size)

"""The augmented batches of an epoch, made on the training device, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor

from lrbench.data.pairs import Pairs, to_float
from lrbench.method.base import IMAGES, MISSING, Batch
from lrbench.spec.recipes import Recipe


@dataclass(frozen=True)
class Crops:
    """How to crop and mirror n square images. Each is padded with black by `reach` pixels on every side.

    An image lies beside its mirror on a canvas, below those before it: so a row of a crop, mirrored or not, is copied
    in one piece, which is several times as fast as picking pixels.
    """

    rows: Tensor  # (n, side) int64: the pixel of the canvas at which each row of each crop starts
    reach: int

    @classmethod
    def at(cls, dy: Tensor, dx: Tensor, flip: Tensor, side: int, reach: int, size: int) -> Crops:
        """Crops of which `of` is asked for `size` images at a time.

        dy, dx (n,) int64 in [-reach, reach]: where pixel (0, 0) of a crop was before the mirror; flip (n,) bool.
        """
        padded = side + 2 * reach
        above = torch.arange(len(dy), device=dy.device) % size * padded
        top, left = above + reach + dy, reach + torch.where(flip, padded - dx, dx)
        down = torch.arange(side, device=dy.device)
        return cls((top[:, None] + down) * (2 * padded) + left[:, None], reach)

    def of(self, images: Tensor) -> Tensor:
        """Images (n, side, side, C), cropped to their own size and mirrored."""
        n, side, _, channels = images.shape
        padded, inner = side + 2 * self.reach, slice(self.reach, self.reach + side)
        canvas = images.new_zeros(n, padded, 2, padded, channels)
        canvas[:, inner, 0, inner], canvas[:, inner, 1, inner] = images, images.flip(2)
        pixels = n * padded * 2 * padded
        from_each = canvas.as_strided((pixels - side + 1, side * channels), (channels, 1))  # pixel: a row from it on
        return from_each.index_select(0, self.rows.flatten()).view(images.shape)


class Draw:
    """One batch as chance drew it; its images are made when a run first asks for them, once for all runs of a group.

    index: (n,) int64, places in `pairs`. crops: how images are cropped and mirrored, by their side in pixels.
    """

    def __init__(self, pairs: Pairs, index: Tensor, crops: Mapping[int, Crops]) -> None:
        self.pairs, self.index, self.crops = pairs, index, crops
        self.shared = False  # by several runs
        self._made: dict[str, tuple[Tensor, int, Tensor | None]] = {}  # each with its version, and a copy where shared

    def __len__(self) -> int:
        return len(self.index)

    def each(self, change: Callable[[Tensor], Tensor]) -> Draw:
        """With every tensor changed, such as to a part of the images."""
        crops = {side: Crops(change(one.rows), one.reach) for side, one in self.crops.items()}
        return Draw(self.pairs, change(self.index), crops)

    def copy_(self, other: Draw) -> None:
        """Make it as another of as many images."""
        self.index.copy_(other.index)
        for side, crops in self.crops.items():
            crops.rows.copy_(other.crops[side].rows)

    def fields(self, reads: Sequence[str] = IMAGES) -> list[str]:
        """The fields of a batch for a method that reads these images: of them those that there are."""
        return ["y", "index", *(name for name in reads if getattr(self.pairs, name) is not None)]

    def make(self, field: str) -> Tensor:
        """A field of the batch, made anew."""
        if field == "index":
            return self.index.clone()  # its own: a method may write into it
        values: Tensor = getattr(self.pairs, field).index_select(0, self.index)
        return values if field == "y" else to_float(self.crops[values.shape[1]].of(values))

    def batch(self, reads: Sequence[str] = IMAGES) -> Batch:
        """The batch for a method that reads these images. What a method has written into is made anew."""
        if self.is_written:
            self._made.clear()
        for name in (fields := self.fields(reads)):
            if name not in self._made:
                tensor = self.make(name)
                copy = tensor.clone() if self.shared and tensor.device.type == "cpu" else None
                self._made[name] = tensor, tensor._version, copy
        return Batch(**{"hr": MISSING} | {name: self._made[name][0] for name in fields})

    @property
    def is_written(self) -> bool:
        """Whether a method has written into one of the tensors that it was given; through `.data`, too, on the CPU."""
        return any(
            tensor._version != version or (copy is not None and not torch.equal(tensor, copy))
            for tensor, version, copy in self._made.values()
        )


def epoch(pairs: Pairs, recipe: Recipe, scale: int | None, on_grid: bool, generator: torch.Generator) -> Iterator[Draw]:
    """The batches of one epoch, augmented and shuffled; the last, smaller one is dropped.

    hr and up share crop and flip; lr's crop is theirs in whole LR pixels, rounded, and exact with `on_grid`, which
    draws crops in multiples of `scale`. All random numbers come from `generator`, on the CPU, before the first batch.
    """
    n, side, device = len(pairs), pairs.hr.shape[1], pairs.hr.device
    size, stride = min(recipe.batch_size, n), scale if on_grid and scale else 1
    steps = -(-round(recipe.crop * side) // stride)  # on the grid, at least one LR pixel
    order = torch.randperm(n, generator=generator)
    dy, dx = torch.randint(-steps, steps + 1, (2, n), generator=generator) * stride
    flips = torch.rand(n, generator=generator) < (0.5 if recipe.flip else 0.0)
    order, dy, dx, flips = (values.to(device) for values in (order, dy, dx, flips))
    crops = {side: Crops.at(dy, dx, flips, side, steps * stride, size)}
    if scale:
        low_dy, low_dx = (torch.round(shift / scale).long() for shift in (dy, dx))
        crops[side // scale] = Crops.at(low_dy, low_dx, flips, side // scale, -(-steps * stride // scale), size)
    drawn = Draw(pairs, order, crops)
    return (drawn.each(itemgetter(slice(end - size, end))) for end in range(size, n + 1, size))

"""Random crops and mirrors of many images at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Crops:
    """How to crop and mirror n square images. Each is padded with black by `reach` pixels on every side.

    An image lies beside its mirror on a canvas, both padded, below those before it. A row of a crop is then pixels in
    one piece, mirrored or not: rows are copied whole, which is several times as fast as picking pixels.
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

    def each(self, change: Callable[[Tensor], Tensor]) -> Crops:
        """Of other images, or in another place."""
        return Crops(change(self.rows), self.reach)

    def of(self, images: Tensor) -> Tensor:
        """Images (n, side, side, C), cropped to their own size and mirrored."""
        n, side, _, channels = images.shape
        padded, inner = side + 2 * self.reach, slice(self.reach, self.reach + side)
        canvas = images.new_zeros(n, padded, 2, padded, channels)
        canvas[:, inner, 0, inner], canvas[:, inner, 1, inner] = images, images.flip(2)
        pixels = n * padded * 2 * padded
        from_each = canvas.as_strided((pixels - side + 1, side * channels), (channels, 1))  # pixel: a row from it on
        return from_each.index_select(0, self.rows.flatten()).view(images.shape)

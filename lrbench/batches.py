"""The augmented batches of an epoch, made on the training device, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lrbench.method import MISSING, Batch
from lrbench.pairs import Pairs, to_float
from lrbench.recipes import Recipe


class Draw:
    """What chance says of a batch: which images, where the crop of each lies, which are mirrored.

    index (n,) int64; dy, dx (n,) int64 in [-reach, reach]; flip (n,) bool. Images are padded with black by `reach`.
    Pixel (0, 0) of a crop was at (dy, dx), before the mirror.
    """

    def __init__(self, index: Tensor, dy: Tensor, dx: Tensor, flip: Tensor, reach: int) -> None:
        self.index, self.dy, self.dx, self.flip, self.reach = index, dy, dx, flip, reach
        self._starts: dict[tuple[int, int], Tensor] = {}

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.index, self.dy, self.dx, self.flip

    def each(self, change: Callable[[Tensor], Tensor]) -> Draw:
        """With every tensor changed: to other images, or to another place."""
        return Draw(change(self.index), change(self.dy), change(self.dx), change(self.flip), self.reach)

    def copy_(self, other: Draw) -> None:
        """Make it as another of as many images."""
        for mine, theirs in zip(self.tensors, other.tensors, strict=True):
            mine.copy_(theirs)
        self._starts.clear()

    def by(self, scale: int) -> Draw:
        """The same of images that many times smaller, in whole pixels, rounded."""
        dy, dx = (torch.round(shift / scale).long() for shift in (self.dy, self.dx))
        return Draw(self.index, dy, dx, self.flip, -(-self.reach // scale))

    def of(self, images: Tensor) -> Tensor:
        """The chosen ones of all images (m, H, W, C), cropped to their own size and mirrored: (n, H, W, C)."""
        return self.move(images.index_select(0, self.index))

    def move(self, images: Tensor) -> Tensor:
        """Crop and mirror images (n, H, W, C), which are the chosen ones already."""
        n, height, width, channels = images.shape
        tall, wide = height + 2 * self.reach, width + 2 * self.reach
        # Each image beside its mirror, both padded. A row of a crop is then `width` pixels in one piece, flipped or
        # not: rows are copied whole, which is several times as fast as picking pixels.
        canvas = images.new_zeros(n, tall, 2, wide, channels)
        inside = canvas[:, self.reach : self.reach + height, :, self.reach : self.reach + width]
        inside[:, :, 0], inside[:, :, 1] = images, images.flip(2)
        rows = canvas.as_strided((n * tall * 2 * wide - width + 1, width * channels), (channels, 1))  # from every pixel
        return rows.index_select(0, self._starts_of(height, width)).view(images.shape)

    def _starts_of(self, height: int, width: int) -> Tensor:
        """Where in all pixels of the canvas each row of each crop starts; it is asked for by every view."""
        if (height, width) not in self._starts:
            n, device = len(self.dy), self.dy.device
            tall, wide = height + 2 * self.reach, width + 2 * self.reach
            top = torch.arange(n, device=device) * tall + self.reach + self.dy
            left = self.reach + torch.where(self.flip, wide - self.dx, self.dx)
            starts = (top[:, None] + torch.arange(height, device=device)) * (2 * wide) + left[:, None]
            self._starts[height, width] = starts.flatten()
        return self._starts[height, width]


@dataclass(frozen=True)
class Maker:
    """Makes what a batch holds of what was drawn for it."""

    pairs: Pairs
    scale: int | None

    def make(self, name: str, draw: Draw) -> Tensor:
        """A field of Batch; MISSING for an image that the method must not see."""
        if name == "index":
            return draw.index.clone()  # its own: a method may write into it
        if name == "y":
            return self.pairs.y[draw.index]
        images: Tensor | None = getattr(self.pairs, name)
        if images is None or (name != "hr" and self.scale is None):
            return MISSING
        return to_float((draw.by(self.scale) if name == "lr" and self.scale else draw).of(images))


class Lazy(Batch):
    """A batch whose tensors are made when they are first read: most methods read one or two of the three images."""

    hr: Tensor = cached_property(lambda self: self._read("hr"))  # type: ignore[assignment]
    lr: Tensor = cached_property(lambda self: self._read("lr"))  # type: ignore[assignment]
    up: Tensor = cached_property(lambda self: self._read("up"))  # type: ignore[assignment]
    y: Tensor = cached_property(lambda self: self._read("y"))  # type: ignore[assignment]
    index: Tensor = cached_property(lambda self: self._read("index"))  # type: ignore[assignment]
    maker: Maker
    draw: Draw
    _versions: dict[str, int]

    def __new__(cls, *args: Any, **fields: Any) -> Any:
        """A plain batch where its fields are given, as dataclasses.replace does."""
        return Batch(*args, **fields) if args or fields else super().__new__(cls)

    def __reduce__(self) -> tuple[Any, ...]:
        return Batch, (self.hr, self.y, self.index, self.lr, self.up)

    @classmethod
    def of(cls, maker: Maker, draw: Draw) -> Lazy:
        """The batch that was drawn."""
        batch: Lazy = cls.__new__(cls)
        vars(batch).update(maker=maker, draw=draw, _versions={})
        return batch

    def __len__(self) -> int:
        return len(self.draw.index)

    def _read(self, name: str) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():  # whoever reads it next may need its gradient
            tensor = self.maker.make(name, self.draw)
        if tensor is not MISSING:
            self._versions[name] = tensor._version
        return tensor

    @property
    def made(self) -> dict[str, Tensor]:
        """The tensors that have been read by now, by name."""
        return {name: vars(self)[name] for name in self._versions}

    @property
    def is_written(self) -> bool:
        """Whether somebody has written into one of its tensors since it was made."""
        return any(tensor._version != self._versions[name] for name, tensor in self.made.items())


class Epoch(Sequence[Lazy]):
    """The augmented batches of one epoch, in order; each is made when it is asked for, and made alike again."""

    def __init__(self, maker: Maker, drawn: Draw, size: int) -> None:
        """drawn: for all images of the epoch. size: of a batch; the last, smaller one is dropped."""
        self.maker, self.drawn, self.size = maker, drawn, size

    def __len__(self) -> int:
        return len(self.drawn.index) // self.size

    def __getitem__(self, place: int) -> Lazy:  # type: ignore[override]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return Lazy.of(self.maker, self.drawn.each(lambda values: values[place * self.size : (place + 1) * self.size]))


def epoch(pairs: Pairs, recipe: Recipe, scale: int | None, on_grid: bool, generator: torch.Generator) -> Epoch:
    """One epoch of augmented batches, shuffled; the last, smaller batch is dropped.

    hr and up share crop and flip; lr's crop is theirs in whole LR pixels, rounded, and exact with
    `on_grid`, which draws crops in multiples of `scale`. All random numbers come from `generator` (on
    the CPU) before the first batch: nothing in the loop waits for the device.
    """
    n, side, device = len(pairs), pairs.hr.shape[1], pairs.hr.device
    size, stride = min(recipe.batch_size, n), scale if on_grid and scale else 1
    steps = -(-round(recipe.crop * side) // stride)  # on the grid, at least one LR pixel
    order = torch.randperm(n, generator=generator)
    dy, dx = torch.randint(-steps, steps + 1, (2, n), generator=generator) * stride
    flips = torch.rand(n, generator=generator) < (0.5 if recipe.flip else 0.0)
    drawn = Draw(order, dy, dx, flips, steps * stride).each(lambda values: values.to(device))
    return Epoch(Maker(pairs, scale), drawn, size)

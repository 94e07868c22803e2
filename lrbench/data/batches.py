"""The augmented batches of an epoch, made on the training device, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lrbench.data.crops import Crops
from lrbench.data.pairs import Pairs, to_float
from lrbench.method.base import MISSING, Batch
from lrbench.spec.recipes import Recipe


@dataclass(frozen=True)
class Draw:
    """What chance says of a batch: which images, and how those of each side in pixels are cropped and mirrored."""

    index: Tensor  # (n,) int64
    crops: dict[int, Crops]

    def each(self, change: Callable[[Tensor], Tensor]) -> Draw:
        """With every tensor changed: to other images, or to another place."""
        return Draw(change(self.index), {side: crops.each(change) for side, crops in self.crops.items()})

    def copy_(self, other: Draw) -> None:
        """Make it as another of as many images."""
        self.index.copy_(other.index)
        for side, crops in self.crops.items():
            crops.rows.copy_(other.crops[side].rows)


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
            return self.pairs.y.index_select(0, draw.index)
        images: Tensor | None = getattr(self.pairs, name)
        if images is None or (name != "hr" and self.scale is None):
            return MISSING
        return to_float(draw.crops[images.shape[1]].of(images.index_select(0, draw.index)))


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
    order, dy, dx, flips = (values.to(device) for values in (order, dy, dx, flips))
    crops = {side: Crops.at(dy, dx, flips, side, steps * stride, size)}
    if scale:
        low_dy, low_dx = (torch.round(shift / scale).long() for shift in (dy, dx))
        crops[side // scale] = Crops.at(low_dy, low_dx, flips, side // scale, -(-steps * stride // scale), size)
    return Epoch(Maker(pairs, scale), Draw(order, crops), size)

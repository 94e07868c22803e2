"""Training pairs that live on the training device, augmented there a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lrbench.method import MISSING, Batch, View
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


class Moves:
    """Where the crop of each of some images lies, padded with black by `reach`, and which are mirrored.

    dy, dx (n,) int64 in [-reach, reach]; flip (n,) bool. Pixel (0, 0) of a crop was at (dy, dx), before the mirror.
    """

    def __init__(self, dy: Tensor, dx: Tensor, flip: Tensor, reach: int) -> None:
        self.dy, self.dx, self.flip, self.reach = dy, dx, flip, reach
        self._starts: dict[tuple[int, int], Tensor] = {}

    def by(self, scale: int) -> Moves:
        """The same on images that many times smaller, in whole pixels, rounded."""
        dy, dx = (torch.round(shift / scale).long() for shift in (self.dy, self.dx))
        return Moves(dy, dx, self.flip, -(-self.reach // scale))

    def apply(self, images: Tensor) -> Tensor:
        """Crop and mirror images (n, H, W, C); the result is as large as they are."""
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


class Lazy(Batch):
    """A batch whose images are made when they are first read: most methods read one or two of the three."""

    hr: Tensor = cached_property(lambda self: self._view("hr"))  # type: ignore[assignment]
    lr: Tensor = cached_property(lambda self: self._view("lr"))  # type: ignore[assignment]
    up: Tensor = cached_property(lambda self: self._view("up"))  # type: ignore[assignment]
    _make: Callable[[View], Tensor]
    _versions: dict[str, int]

    def __new__(cls, *args: Any, **fields: Any) -> Any:
        """A plain batch where its fields are given, as dataclasses.replace does."""
        return Batch(*args, **fields) if args or fields else super().__new__(cls)

    def __reduce__(self) -> tuple[Any, ...]:
        return Batch, (self.hr, self.y, self.index, self.lr, self.up)

    @classmethod
    def of(cls, make: Callable[[View], Tensor], y: Tensor, index: Tensor) -> Lazy:
        """make: gives a view, or MISSING where the method must not see it."""
        batch: Lazy = cls.__new__(cls)
        vars(batch).update(y=y, index=index, _make=make, _versions={"y": y._version, "index": index._version})
        return batch

    def _view(self, view: View) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():  # whoever reads it next may need its gradient
            image = self._make(view)
        if image is not MISSING:
            self._versions[view] = image._version
        return image

    @property
    def made(self) -> dict[str, Tensor]:
        """The tensors that are there by now, by name."""
        return {name: vars(self)[name] for name in self._versions}

    @property
    def is_written(self) -> bool:
        """Whether somebody has written into one of its tensors since it was made."""
        return any(tensor._version != self._versions[name] for name, tensor in self.made.items())


class Epoch(Sequence[Lazy]):
    """The augmented batches of one epoch, in order; each is made when it is asked for, and made alike again."""

    def __init__(self, make: Callable[[int], Lazy], batches: int) -> None:
        self.make, self.batches = make, batches

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, place: int) -> Lazy:  # type: ignore[override]
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

    def make(place: int) -> Lazy:
        here = slice(place * size, (place + 1) * size)
        index = order[here].clone()  # its own: a method may write into it
        chosen = index.clone()
        dy, dx = shifts[:, here]
        moves = Moves(dy, dx, flips[here], reach)

        def view(name: View) -> Tensor:
            images: Tensor | None = getattr(pairs, name)
            if images is None or (name != "hr" and scale is None):
                return MISSING
            moved = moves.by(scale) if name == "lr" and scale else moves
            return to_float(moved.apply(images.index_select(0, chosen)))

        return Lazy.of(view, pairs.y[index], index)

    return Epoch(make, n // size)

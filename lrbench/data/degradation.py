"""How low-resolution images are made: the named protocols, each a way down and a way back up.

LR is made once from the whole HR image, before any augmentation, and is uint8 as a stored image would be.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from lrbench.errors import UserError, unknown

Images = npt.NDArray[np.uint8]  # (n, side, side, 3), 0..255
Resize = Callable[[Images, int], Images]  # images, new side -> images

DEFAULT = "pil-bicubic"
CHUNK = 2_000  # images at a time: bounds the float copies (50 MB for 32x32 RGB in float64)
SUPPORT = 4.0  # width of the cubic kernel of imresize, in pixels


class Degradation(NamedTuple):
    """One protocol: `down` makes LR from HR; `up` enlarges LR to the network's input and sees no HR."""

    down: Resize
    up: Resize


def degrade(images: Images, scale: int, protocol: str = DEFAULT) -> tuple[Images, Images]:
    """Make LR images and their enlargements.

    images: uint8 (n, S, S, 3), 0..255. Returns `lr` uint8 (n, S/scale, S/scale, 3) and `up` uint8 (n, S, S, 3), new
    arrays, `up` made from `lr` alone. Raises UserError for an unknown protocol or a scale that does not divide S,
    ValueError for images of another type or shape.
    """
    if protocol not in DEGRADATIONS:
        raise unknown("degradation", protocol, DEGRADATIONS)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (images.shape[1],) * 2 + (3,):
        raise ValueError(f"expected uint8 images (n, S, S, 3), got {images.dtype} {images.shape}")
    side, chosen = images.shape[1], DEGRADATIONS[protocol]
    check_scale(side, scale)
    lr = chosen.down(images, side // scale)
    return lr, chosen.up(lr, side)


def check_scale(side: int, scale: int) -> None:
    """Raise UserError, naming the nearest scales that would do, unless `scale` >= 1 divides `side`."""
    divisors = [d for d in range(1, side + 1) if side % d == 0]
    if scale not in divisors:
        below, above = [d for d in divisors if d < scale], [d for d in divisors if d > scale]
        nearest = ", ".join(map(str, below[-1:] + above[:1]))
        raise UserError(f"scale {scale} does not divide {side}-pixel images; the nearest that do: {nearest}")


def pil_bicubic(images: Images, side: int) -> Images:
    """Pillow's BICUBIC (a = -0.5, antialiased when shrinking, fixed point), image by image."""
    out = np.empty((len(images), side, side, 3), np.uint8)
    for old, new in zip(images, out, strict=True):
        new[:] = np.asarray(Image.fromarray(old).resize((side, side), Image.Resampling.BICUBIC))
    return out


def block_mean(images: Images, side: int) -> Images:
    """The mean of each block of pixels, rounded half up, in exact integers; `side` divides the old side."""
    scale = images.shape[1] // side
    sums = images.reshape(-1, side, scale, side, scale, 3).sum(axis=(2, 4), dtype=np.uint32)
    means: Images = ((sums + scale**2 // 2) // scale**2).astype(np.uint8)
    return means


def torch_bicubic(images: Images, side: int, antialias: bool) -> Images:
    """torch's bicubic, rounded half to even. Its kernel has a = -0.5 with `antialias`, even upwards, else -0.75."""
    import torch  # here, not above: the command line must answer before torch is loaded
    from torch.nn.functional import interpolate

    out = np.empty((len(images), side, side, 3), np.uint8)
    for start in range(0, len(images), CHUNK):
        chunk = torch.tensor(images[start : start + CHUNK]).permute(0, 3, 1, 2).float()
        resized = interpolate(chunk, size=side, mode="bicubic", antialias=antialias, align_corners=False)
        out[start : start + CHUNK] = resized.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return out


def imresize(images: Images, side: int) -> Images:
    """Resize images (n, S, S, C) uint8 to (n, side, side, C) uint8 as MATLAB's imresize(I, [side side]) does.

    The standard of the super-resolution field. Bicubic, antialiased when it shrinks. Both axes are done in float64 and
    the result is rounded once, half away from zero, and clipped to 0..255: imresize of im2double(I), then im2uint8.
    (Given uint8, MATLAB also rounds between the two axes, which moves some pixels by 1.) Source: imresize.m, Image
    Processing Toolbox; BasicSR's port of it gives the same numbers.
    """
    count, old, _, channels = images.shape
    rows = resize_weights(old, side)
    # Kronecker with the channels: a plain matrix product on the layout in memory, no transposed copies.
    columns = np.kron(rows, np.eye(channels)).T
    out = np.empty((count, side, side, channels), np.uint8)
    for start in range(0, count, CHUNK):
        chunk = images[start : start + CHUNK].reshape(-1, old, old * channels)
        resized = (rows @ chunk.astype(np.float64)) @ columns
        # After the clip nothing is negative, so floor(x + 0.5) is "half away from zero".
        rounded = np.floor(resized.clip(0, 255) + 0.5).astype(np.uint8)
        out[start : start + CHUNK] = rounded.reshape(-1, side, side, channels)
    return out


def resize_weights(size: int, new_size: int) -> npt.NDArray[np.float64]:
    """The matrix (new_size, size) that resizes one axis; each row sums to 1. For scales of 2**k it is exact."""
    scale = new_size / size
    shrink = min(scale, 1.0)  # antialiasing: the kernel is 1 / scale times as wide when shrinking
    support = SUPPORT / shrink
    centre = (np.arange(new_size) + 0.5) / scale - 0.5  # of each new pixel, in old pixels
    first = np.floor(centre - support / 2).astype(np.int64)
    taps = first[:, None] + np.arange(int(np.ceil(support)) + 2)
    values = cubic(shrink * (centre[:, None] - taps))
    values /= values.sum(axis=1, keepdims=True)
    mirrored = taps % (2 * size)  # ... c b a | a b c | c b a ...: a symmetric border of any depth
    mirrored = np.minimum(mirrored, 2 * size - 1 - mirrored)
    matrix = np.zeros((new_size, size))
    np.add.at(matrix, (np.arange(new_size)[:, None], mirrored), values)
    return matrix


def cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5 (Keys 1981, eq. 15); zero from |x| = 2 on."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


DEGRADATIONS: dict[str, Degradation] = {
    DEFAULT: Degradation(pil_bicubic, pil_bicubic),
    "matlab-bicubic": Degradation(imresize, imresize),
    "area": Degradation(block_mean, pil_bicubic),
    "torch-bicubic-aa": Degradation(partial(torch_bicubic, antialias=True), partial(torch_bicubic, antialias=False)),
}

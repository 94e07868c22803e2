"""MATLAB's imresize (bicubic), for batches: the degradation that super-resolution papers use."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CHUNK = 2_000  # images at a time: bounds the float64 copies (50 MB for 32x32 RGB)
SUPPORT = 4.0  # width of the cubic kernel, in pixels


def imresize(images: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Resize images (n, H, W, C) uint8 to (n, height, width, C) uint8 as MATLAB's imresize(I, [h w]) does.

    Bicubic, antialiased when an axis shrinks. Both axes are done in float64 and the result is rounded
    once, half away from zero, and clipped to 0..255: imresize of im2double(I), then im2uint8. (Given
    uint8, MATLAB also rounds between the two axes, which moves some pixels by 1.)

    Source: imresize.m, Image Processing Toolbox; BasicSR's port of it gives the same numbers.
    Raises ValueError where an axis is empty or would be.
    """
    count, old_height, old_width, channels = images.shape
    rows = weights(old_height, height)
    # Kronecker with the channels: a plain matrix product on the layout in memory, no transposed copies.
    columns = np.kron(weights(old_width, width), np.eye(channels)).T
    out = np.empty((count, height, width, channels), np.uint8)
    for start in range(0, count, CHUNK):
        chunk = images[start : start + CHUNK].reshape(-1, old_height, old_width * channels)
        resized = (rows @ chunk.astype(np.float64)) @ columns
        # After the clip nothing is negative, so floor(x + 0.5) is "half away from zero".
        rounded = np.floor(resized.clip(0, 255) + 0.5).astype(np.uint8)
        out[start : start + CHUNK] = rounded.reshape(-1, height, width, channels)
    return out


def weights(size: int, new_size: int) -> npt.NDArray[np.float64]:
    """The matrix (new_size, size) that resizes one axis; each row sums to 1.

    For integer scales that are powers of two every weight is exact in binary, and so is the result.
    """
    if size < 1 or new_size < 1:
        raise ValueError(f"cannot resize {size} pixels to {new_size}")
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

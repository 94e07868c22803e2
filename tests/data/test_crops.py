"""Crops and mirrors, against the same done with numpy, an image at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrbench.data.batches import Crops

N, SIZE = 24, 12


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("reach", [0, 1, 3])
def test_a_crop_is_pad_crop_mirror(side, reach):
    draw = np.random.RandomState(reach)
    images = draw.randint(1, 256, (N, side, side, 3), dtype=np.uint8)
    shifts = draw.randint(-reach, reach + 1, (2, N))
    shifts[:, :2] = [[-reach, reach], [reach, -reach]]  # the corners
    shifts[:, -2:] = [[-reach, reach], [reach, -reach]]
    flips = draw.rand(N) < 0.5
    crops = Crops.at(*map(torch.tensor, (*shifts, flips)), side, reach, SIZE)
    for place in (slice(0, SIZE), slice(SIZE, N)):
        out = Crops(crops.rows[place], reach).of(torch.tensor(images[place]))
        assert out.dtype == torch.uint8 and out.shape == (SIZE, side, side, 3)
        for made, image, dy, dx, flip in zip(out, images[place], *shifts[:, place], flips[place], strict=True):
            padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)))
            cropped = padded[reach + dy : reach + dy + side, reach + dx : reach + dx + side]
            assert np.array_equal(made, cropped[:, ::-1] if flip else cropped)
    assert flips.any() and not flips.all()

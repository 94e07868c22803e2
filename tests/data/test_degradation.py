"""Every protocol against an independent computation, and imresize against BasicSR's."""

import hashlib
import importlib.util
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrbench.data.degradation import DEFAULT, DEGRADATIONS, check_scale, degrade, imresize
from lrbench.errors import UserError


def noise(*shape):
    """Seeded uint8 noise; RandomState's stream is frozen for good, so the golden values stay valid."""
    return np.random.RandomState(0).randint(0, 256, shape, dtype=np.uint8)


def test_pil_bicubic_is_pillow_image_by_image():
    images = noise(5, 32, 32, 3)
    lr, up = degrade(images, 4, "pil-bicubic")
    for i, image in enumerate(images):
        small = Image.fromarray(image).resize((8, 8), Image.BICUBIC)
        assert np.array_equal(lr[i], np.asarray(small))
        assert np.array_equal(up[i], np.asarray(small.resize((32, 32), Image.BICUBIC)))


@pytest.mark.parametrize("scale", [2, 4])
def test_area_is_the_block_mean_rounded_half_up(scale):
    images = noise(2, 32, 32, 3)
    lr, up = degrade(images, scale, "area")
    for n, row, column, channel in np.ndindex(lr.shape):
        top, left = row * scale, column * scale
        block = images[n, top : top + scale, left : left + scale, channel]
        mean = Fraction(sum(map(int, block.flat)), scale**2)
        assert lr[n, row, column, channel] == math.floor(mean + Fraction(1, 2))
    enlarged = [np.asarray(Image.fromarray(image).resize((32, 32), Image.BICUBIC)) for image in lr]
    assert np.array_equal(up, enlarged)


def test_area_rounds_a_tie_up_and_holds_white():
    images = np.full((1, 2, 2, 3), 255, np.uint8)
    assert (degrade(images, 2, "area")[0] == 255).all()
    images[:, 0] = 254
    assert (degrade(images, 2, "area")[0] == 255).all()  # 254.5


def test_torch_bicubic_aa_is_interpolate_one_image_at_a_time():
    images = noise(3, 32, 32, 3)
    lr, up = degrade(images, 2, "torch-bicubic-aa")
    for i, image in enumerate(images):
        x = torch.tensor(image).movedim(-1, 0)[None].float()
        small = torch.nn.functional.interpolate(x, (16, 16), mode="bicubic", antialias=True)
        small = small.round().clamp(0, 255)
        large = torch.nn.functional.interpolate(small, (32, 32), mode="bicubic").round().clamp(0, 255)
        assert np.array_equal(lr[i], small[0].movedim(0, -1).numpy())
        assert np.array_equal(up[i], large[0].movedim(0, -1).numpy())


@pytest.mark.parametrize("protocol", DEGRADATIONS)
class TestEveryProtocol:
    @pytest.mark.parametrize("side, scale", [(32, 2), (32, 4), (28, 2), (32, 1), (8, 8)])
    def test_shapes_and_types(self, protocol, side, scale):
        images = noise(3, side, side, 3)
        lr, up = degrade(images, scale, protocol)
        assert lr.dtype == up.dtype == np.uint8
        assert lr.shape == (3, side // scale, side // scale, 3) and up.shape == images.shape
        assert np.array_equal(images, noise(3, side, side, 3)), "the HR images were changed"
        assert not np.shares_memory(images, lr) and not np.shares_memory(images, up)

    def test_up_is_made_from_lr_alone(self, protocol):
        lr, up = degrade(noise(3, 32, 32, 3), 4, protocol)
        assert np.array_equal(up, DEGRADATIONS[protocol].up(lr.copy(), 32))

    def test_each_image_is_degraded_by_itself(self, protocol):
        images = noise(3, 32, 32, 3)
        for whole, alone in zip(degrade(images, 2, protocol), degrade(images[1:2], 2, protocol), strict=True):
            assert np.array_equal(whole[1:2], alone)

    def test_more_images_than_one_chunk(self, protocol):
        images = noise(2_003, 4, 4, 3)
        for whole, tail in zip(degrade(images, 2, protocol), degrade(images[-5:], 2, protocol), strict=True):
            assert np.array_equal(whole[-5:], tail)

    def test_flat_stays_flat_and_scale_1_changes_nothing(self, protocol):
        flat = np.full((1, 32, 32, 3), 77, np.uint8)
        assert all((made == 77).all() for made in degrade(flat, 4, protocol))
        images = noise(2, 16, 16, 3)
        assert all(np.array_equal(made, images) for made in degrade(images, 1, protocol))

    def test_no_images(self, protocol):
        lr, up = degrade(noise(0, 32, 32, 3), 2, protocol)
        assert lr.shape == (0, 16, 16, 3) and up.shape == (0, 32, 32, 3)


def test_the_protocols_are_different_benchmarks():
    images = noise(4, 32, 32, 3)
    assert DEFAULT == "pil-bicubic"
    assert np.array_equal(degrade(images, 2)[1], degrade(images, 2, DEFAULT)[1])
    assert len({degrade(images, 2, protocol)[1].tobytes() for protocol in DEGRADATIONS}) == 4


@pytest.mark.parametrize(
    "side, scale, nearest",
    [(32, 3, "2, 4"), (28, 8, "7, 14"), (32, 0, "1"), (32, -2, "1"), (32, 64, "32"), (32, 2.5, "2, 4")],
)
def test_a_scale_that_does_not_divide_names_the_nearest(side, scale, nearest):
    with pytest.raises(UserError) as error:
        check_scale(side, scale)
    assert str(error.value) == (f"scale {scale} does not divide {side}-pixel images; the nearest that do: {nearest}")


def test_mistakes_are_refused():
    images = noise(2, 32, 32, 3)
    with pytest.raises(UserError, match="no degradation 'matlab'; did you mean 'matlab-bicubic'"):
        degrade(images, 2, "matlab")
    with pytest.raises(UserError, match="scale 5 does not divide 32-pixel images"):
        degrade(images, 5)
    for wrong in (images / 255, images[0], images[:, :16], images[..., :1]):
        with pytest.raises(ValueError, match="expected uint8 images"):
            degrade(wrong, 2)


def test_importing_it_does_not_load_torch():
    code = "import sys, lrbench.data.degradation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# imresize against BasicSR 1.4.2 (basicsr/utils/matlab_functions.py). The golden values are
# floor(clip(255 * imresize(image / 255, scale), 0, 255) + 0.5) of each image, by that file as published on
# PyPI, under torch 2.14.1; SHA256 holds the first 16 digits of sha256 over the uint8 result, C order.
# It was checked that no value lies within 1e-4 of a tie (x.5) where the two could round apart, but for
# 3 and 1 values of the two enlargements by 4 and 2, which round alike.
NOISE_8_TO_4 = [
    [[111, 113, 149, 161], [131, 132, 155, 195], [72, 125, 189, 137], [67, 121, 159, 64]],
    [[99, 155, 153, 124], [134, 132, 134, 177], [140, 159, 93, 118], [62, 63, 120, 152]],
    [[122, 78, 102, 96], [145, 159, 101, 146], [154, 174, 114, 111], [180, 150, 72, 137]],
]
SHA256 = {  # (shape of the images, new side)
    ((3, 32, 32, 3), 16): "bad8083756d7107c",
    ((3, 32, 32, 3), 8): "3d0efff137929295",
    ((3, 28, 28, 3), 14): "bc1882335f5925ec",
    ((3, 28, 28, 3), 4): "f630f64f746aebf1",
    ((3, 12, 12, 3), 4): "66a477cdc08295e0",
    ((3, 8, 8, 3), 32): "9fd5ff4109b8c026",
    ((3, 16, 16, 3), 32): "7367b4036869002c",
    ((3, 4, 4, 3), 12): "386121f2ea96c2ef",
}


def agrees_with_golden_values(shape, side):
    result = imresize(noise(*shape), side)
    assert hashlib.sha256(result.tobytes()).hexdigest()[:16] == SHA256[shape, side]


def agrees_with_installed_basicsr(shape, side):
    """The same after rounding, border included, wherever the value is not within 1e-4 of a tie."""
    package = Path(importlib.util.find_spec("basicsr").origin).parent
    # The one file by its path: importing the package fails with today's torchvision.
    spec = importlib.util.spec_from_file_location("matlab_functions", package / "utils/matlab_functions.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    images = noise(*shape)
    exact = 255.0 * np.stack([module.imresize(image / 255, side / shape[1]) for image in images])
    clear = np.abs(exact - np.floor(exact) - 0.5) >= 1e-4
    rounded = np.floor(exact.clip(0, 255) + 0.5).astype(np.uint8)
    assert np.array_equal(imresize(images, side)[clear], rounded[clear])
    assert clear.mean() > 0.99


# Without basicsr there is one reference less, not a skipped test.
REFERENCES = [agrees_with_golden_values]
if importlib.util.find_spec("basicsr"):
    REFERENCES.append(agrees_with_installed_basicsr)


@pytest.mark.parametrize("agrees", REFERENCES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("shape, side", SHA256)
def test_imresize_is_basicsrs(agrees, shape, side):
    agrees(shape, side)


def test_imresize_border_and_inner_pixels():
    assert imresize(noise(3, 8, 8, 1), 4)[..., 0].tolist() == NOISE_8_TO_4


def test_imresize_rounds_half_away_from_zero_and_clips():
    edge = np.array([[0, 0, 255, 255]] * 4, np.uint8).reshape(1, 4, 4, 1)
    # Twice as wide, each side of the edge overshoots and is clipped.
    row = imresize(edge, 8)[0, 0, :, 0].tolist()
    assert row[:3] == [0, 0, 0] and row[-3:] == [255, 255, 255]
    pair = np.array([[10, 11]] * 2, np.uint8).reshape(1, 2, 2, 1)
    assert imresize(pair, 1).item() == 11  # 10.5, exactly

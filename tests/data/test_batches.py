"""The batched augmentation against one image at a time in plain numpy; crops and flips that pairs share."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from helpers import tiny

from lrbench.data.batches import epoch
from lrbench.data.pairs import Pairs, to_float
from lrbench.errors import UserError
from lrbench.method.base import MISSING
from lrbench.spec.seeds import generator


def batches(pairs, recipe, scale=4, on_grid=False, seed=0):
    return [draw.batch() for draw in draws(pairs, recipe, scale, on_grid, seed)]


def draws(pairs, recipe, scale=4, on_grid=False, seed=0):
    return list(epoch(pairs, recipe, scale, on_grid, generator(seed, "a test")))


def enlarged(images: torch.Tensor, scale: int) -> torch.Tensor:
    """(n, 3, s, s) with every pixel as a block."""
    return images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)


def positions(n: int, side: int) -> torch.Tensor:
    """Images whose red and green say in which row and column a pixel is, counted from 1."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    image = torch.stack([row + 1, column + 1, torch.full_like(row, 9)], dim=-1)
    return image.to(torch.uint8).expand(n, -1, -1, -1).clone()


def moves(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The (dy, dx, flip) by which `positions` were moved, from the middle of each image of a batch."""
    pixels = (images * 255).round().long()
    mid = images.shape[2] // 2
    here, next_to_it = pixels[:, :, mid, mid], pixels[:, :, mid, mid - 1]
    flip = here[:, 1] < next_to_it[:, 1]
    unmirrored = torch.where(flip, pixels.shape[3] - 1 - mid, mid)
    return here[:, 0] - 1 - mid, here[:, 1] - 1 - unmirrored, flip


def test_to_float_is_a_unit_range_in_channels_last():
    images = torch.arange(2 * 4 * 5 * 3, dtype=torch.uint8).reshape(2, 4, 5, 3) * 2
    images[0, 0, 0, 0], images[0, 0, 0, 1] = 0, 255
    before = images.clone()
    out = to_float(images)
    assert out.dtype == torch.float32 and out.shape == (2, 3, 4, 5)
    assert (out.min(), out.max()) == (0, 1)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, before.permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(images, before)  # the split is not written into


@pytest.mark.parametrize("on_grid", [False, True])
def test_hr_and_up_share_crop_and_flip(on_grid):
    pairs, recipe = tiny.pairs(40), tiny.training(batch_size=16)
    for batch in batches(pairs, recipe, on_grid=on_grid):
        assert torch.equal(batch.hr, batch.up)
        assert not torch.equal(batch.hr, to_float(pairs.hr[batch.index]))


def test_images_and_labels_stay_together():
    n = 50
    numbers = torch.arange(n)

    def marked(side, channel):
        images = torch.zeros(n, side, side, 3, dtype=torch.uint8)
        images[..., channel] = (numbers + 1).to(torch.uint8)[:, None, None]
        return images

    pairs = Pairs(hr=marked(16, 0), lr=marked(4, 1), up=marked(16, 2), y=numbers * 7)
    for batch in batches(pairs, tiny.training(batch_size=16)):
        assert torch.equal(batch.y, batch.index * 7)
        for images, channel, middle in ((batch.hr, 0, 8), (batch.lr, 1, 2), (batch.up, 2, 8)):
            assert torch.equal((images[:, channel, middle, middle] * 255).round().long(), batch.index + 1)


@pytest.mark.parametrize(("side", "scale", "crop"), [(32, 2, 0.125), (32, 4, 0.125), (32, 4, 0.25), (24, 3, 0.25)])
def test_lr_lines_up_with_hr_on_the_grid(side, scale, crop):
    pairs, recipe = tiny.pairs(48, side, scale), tiny.training(batch_size=24, crop=crop)
    shifts = []
    for batch in batches(pairs, recipe, scale, on_grid=True):
        assert torch.equal(enlarged(batch.lr, scale), batch.hr)  # borders included
        shifts.append((batch.hr[:, :, 0].sum(dim=(1, 2)) == 0).float().mean())
    assert sum(shifts) > 0  # some crops did reach over the border


@pytest.mark.parametrize("scale", [2, 4])
def test_grid_crops_are_multiples_of_the_scale_and_reach_both_ends(scale):
    n = 200
    pairs = Pairs(hr=positions(n, 32), y=torch.zeros(n, dtype=torch.long))
    dy, dx, flip = moves(batches(pairs, tiny.training(batch_size=n), scale, on_grid=True)[0].hr)
    assert set(dy.tolist()) == set(dx.tolist()) == set(range(-4, 5, scale))
    assert 60 < flip.sum() < 140


def test_without_the_grid_lr_is_moved_by_the_nearest_whole_pixels():
    n, scale = 200, 4
    hr, lr = positions(n, 32), positions(n, 8)
    pairs = Pairs(hr=hr, lr=lr, up=hr.clone(), y=torch.zeros(n, dtype=torch.long))
    (batch,) = batches(pairs, tiny.training(batch_size=n), scale)
    dy, dx, flip = moves(batch.hr)
    assert set(dy.tolist()) == set(dx.tolist()) == set(range(-4, 5))  # 4 pixels of 32, every one of them
    assert not torch.equal(dy, dx)
    assert 60 < flip.sum() < 140
    lr_dy, lr_dx, lr_flip = moves(batch.lr)
    assert torch.equal(lr_flip, flip)
    for low, high in ((lr_dy, dy), (lr_dx, dx)):
        assert (2 * (scale * low - high).abs() <= scale).all()
    assert torch.equal(batch.up, batch.hr)


def test_lr_is_exact_only_on_the_grid():
    pairs, recipe = tiny.pairs(48, 32), tiny.training(batch_size=48)
    (batch,) = batches(pairs, recipe, on_grid=False)
    assert not torch.equal(enlarged(batch.lr, 4), batch.hr)


@pytest.mark.parametrize(("n", "size", "used"), [(50, 16, 48), (48, 16, 48), (10, 128, 10), (7, 1, 7)])
def test_an_epoch_shows_every_image_once_but_for_the_dropped_rest(n, size, used):
    got = batches(tiny.pairs(n), tiny.training(batch_size=size))
    index = torch.cat([batch.index for batch in got])
    assert {len(batch.y) for batch in got} == {min(size, n)}
    assert len(index) == used == len(index.unique()) and index.max() < n
    assert n < 10 or not torch.equal(index, index.sort().values)  # shuffled


def test_the_generator_is_the_only_chance():
    pairs, recipe = tiny.pairs(40), tiny.training(batch_size=8)
    state = torch.get_rng_state()
    first, again, other = (batches(pairs, recipe, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    for one, same in zip(first, again, strict=True):
        for name in ("hr", "lr", "up", "y", "index"):
            assert torch.equal(getattr(one, name), getattr(same, name))
    assert not torch.equal(first[0].index, other[0].index)
    moved, moved_otherwise = (moves_of(pairs, seed) for seed in (0, 1))
    assert not torch.equal(moved, moved_otherwise)


def moves_of(pairs: Pairs, seed: int) -> torch.Tensor:
    """(dy, dx, flip) of every image of an epoch, in the epoch's order."""
    n = len(pairs)
    marked = Pairs(hr=positions(n, 32), y=pairs.y)
    return torch.stack(moves(batches(marked, tiny.training(batch_size=n), seed=seed)[0].hr))


def test_without_crop_and_flip_images_stay_as_they_are():
    pairs, recipe = tiny.pairs(30), tiny.training(batch_size=10, crop=0.0, flip=False)
    for on_grid in (False, True):
        for batch in batches(pairs, recipe, on_grid=on_grid):
            for name in ("hr", "lr", "up"):
                assert torch.equal(getattr(batch, name), to_float(getattr(pairs, name)[batch.index]))


def test_flip_alone_and_crop_alone():
    n = 100
    pairs = Pairs(hr=positions(n, 32), y=torch.zeros(n, dtype=torch.long))
    dy, dx, flip = moves(batches(pairs, tiny.training(batch_size=n, crop=0.0))[0].hr)
    assert not dy.any() and not dx.any() and 25 < flip.sum() < 75
    dy, dx, flip = moves(batches(pairs, tiny.training(batch_size=n, flip=False))[0].hr)
    assert dy.any() and dx.any() and not flip.any()


@pytest.mark.parametrize("on_grid", [False, True])
def test_pairs_without_lr_give_batches_without_lr(on_grid):
    pairs = replace(tiny.pairs(), lr=None, up=None)
    for batch in batches(pairs, tiny.training(batch_size=8), scale=None, on_grid=on_grid):
        assert batch.lr is MISSING and batch.up is MISSING and batch.hr.shape == (8, 3, 16, 16)
    for view in ("lr", "up"):
        with pytest.raises(ValueError, match=view):
            pairs.view(view)


def test_batches_are_channels_last_floats():
    (batch,) = batches(tiny.pairs(8), tiny.training())
    for images, side in ((batch.hr, 16), (batch.lr, 4), (batch.up, 16)):
        assert images.dtype == torch.float32 and images.shape == (8, 3, side, side)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.min() >= 0 and 0.9 < images.max() <= 1


def test_first_and_to_keep_pairs_together():
    pairs = tiny.pairs(20)
    few = pairs.first(3).to(torch.device("cpu"))
    assert len(pairs) == 20 and len(few) == 3
    for name in ("hr", "lr", "up", "y"):
        assert torch.equal(getattr(few, name), getattr(pairs, name)[:3])
    for view in ("hr", "lr", "up"):
        assert pairs.view(view) is getattr(pairs, view)
    assert replace(pairs, up=None).first(2).up is None


def test_an_image_is_made_once_for_all_that_read_it_and_only_then(monkeypatch):
    (draw,) = draws(tiny.pairs(16), tiny.training(batch_size=16))
    made, make = [], draw.make
    monkeypatch.setattr(draw, "make", lambda name: made.append(name) or make(name))
    first, second, third = draw.batch(["up"]), draw.batch(["hr", "up"]), draw.batch(["hr"])
    assert sorted(made) == ["hr", "index", "up", "y"] and len(draw) == 16
    assert first.up is second.up and second.hr is third.hr and first.y is third.y and first.index is second.index
    assert first.hr is first.lr is second.lr is third.up is MISSING


def test_a_batch_knows_that_it_was_written_into_and_is_made_anew():
    for name in ("hr", "lr", "up", "y", "index"):
        (draw,) = draws(tiny.pairs(16), tiny.training(batch_size=16))
        wanted = getattr(draw.batch(), name).clone()
        assert not draw.is_written
        getattr(draw.batch(), name).add_(1)
        assert draw.is_written
        assert torch.equal(getattr(draw.batch(), name), wanted)
        assert not draw.is_written


def test_an_index_that_is_written_into_moves_no_image():
    one, other = (draws(tiny.pairs(16), tiny.training(batch_size=16))[0] for _ in range(2))
    one.batch(["lr"]).index.zero_()
    assert torch.equal(one.batch().up, other.batch().up)


def test_a_method_may_replace_an_image_of_its_batch():
    (batch,) = batches(tiny.pairs(16), tiny.training(batch_size=16))
    changed = replace(batch, up=torch.zeros_like(batch.up))
    assert not changed.up.any() and torch.equal(changed.hr, batch.hr) and torch.equal(changed.index, batch.index)


def test_a_batch_can_be_copied_and_sent():
    (draw,) = draws(tiny.pairs(16), tiny.training(batch_size=16))
    batch = draw.batch(["hr", "lr"])
    for other in (copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
        assert other.up is MISSING
        for name in ("hr", "lr", "y", "index"):
            assert torch.equal(getattr(other, name), getattr(batch, name))


@pytest.mark.parametrize(
    "read",
    [
        lambda image: image.shape,
        lambda image: torch.ones(3) - image,
        lambda image: torch.nn.functional.conv2d(image, torch.ones(1, 3, 1, 1)),
        lambda image: torch.nn.functional.mse_loss(image, torch.ones(3)),
    ],
)
def test_an_image_that_is_not_there_says_why(read):
    (draw,) = draws(tiny.pairs(16), tiny.training(batch_size=16))
    with pytest.raises(UserError, match="names in `reads`"):
        read(draw.batch(["hr"]).up)


def test_a_method_that_may_see_no_lr_image_is_given_none():
    pairs = Pairs(hr=tiny.pairs(16).hr, y=torch.zeros(16, dtype=torch.long))
    (batch,) = batches(pairs, tiny.training(batch_size=16), scale=None)
    assert batch.lr is MISSING and batch.up is MISSING and len(batch.hr) == 16

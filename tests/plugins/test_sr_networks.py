"""The SR nets as their papers draw them: layers, sizes and numbers of weights, from formulas written out here."""

import pytest
import torch
from helpers import tiny
from lrbench_baselines.srgan import Discriminator, halvings
from lrbench_baselines.srresnet import Generator
from torch import nn


def weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def conv(before: int, after: int, side: int) -> int:
    """The number of weights of a convolution with a bias."""
    return before * after * side**2 + after


def layers(module: nn.Module, kind: type[nn.Module]) -> list:
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def trace(module: nn.Module, image: torch.Tensor) -> list[tuple[int, ...]]:
    """The shape of what each convolution returns, without the batch."""
    shapes = []
    hooks = [
        layer.register_forward_hook(lambda layer, args, out: shapes.append(tuple(out.shape[1:])))
        for layer in layers(module, nn.Conv2d)
    ]
    module(image)
    for hook in hooks:
        hook.remove()
    return shapes


def test_vdsr_as_it_comes_has_20_layers_and_668227_weights():
    vdsr = tiny.method("sr-vdsr", {"sr_scale": 4})
    found = [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in layers(vdsr, nn.Conv2d)]
    inner = [(64, 64, (3, 3), (1, 1))] * 18
    assert found == [(3, 64, (3, 3), (1, 1)), *inner, (64, 3, (3, 3), (1, 1))]
    assert weights(vdsr) == conv(3, 64, 3) + 18 * conv(64, 64, 3) + conv(64, 3, 3) == 668_227


@pytest.mark.parametrize(("depth", "channels"), [(2, 1), (5, 8), (7, 12)])
def test_vdsr_has_the_depth_and_channels_of_its_config(depth, channels):
    vdsr = tiny.method("sr-vdsr", {"depth": depth, "channels": channels})
    assert len(layers(vdsr, nn.Conv2d)) == depth
    expected = conv(3, channels, 3) + (depth - 2) * conv(channels, channels, 3) + conv(channels, 3, 3)
    assert weights(vdsr) == expected


def test_vdsr_adds_a_residual_to_the_enlarged_image():
    vdsr, up = tiny.method("sr-vdsr", {"depth": 4, "channels": 8}), tiny.batch().up
    before = vdsr(up)
    assert not torch.equal(before, up)
    with torch.no_grad():
        vdsr.convolutions[-1].bias += torch.tensor([0.25, -0.5, 1.0])
    moved = vdsr(up) - before
    assert torch.allclose(moved, torch.tensor([0.25, -0.5, 1.0]).view(1, 3, 1, 1).expand_as(moved), atol=1e-5)
    with torch.no_grad():
        vdsr.convolutions[-1].weight.zero_()
        vdsr.convolutions[-1].bias.zero_()
    assert torch.equal(vdsr(up), up)


def test_vdsr_rectifies_all_layers_but_the_last():
    vdsr, up = tiny.method("sr-vdsr", {"depth": 3, "channels": 6}), tiny.batch().up
    first, second, third = vdsr.convolutions
    expected = up + third(second(first(up).clamp(min=0)).clamp(min=0))
    assert torch.allclose(vdsr(up), expected, atol=1e-6)


@pytest.mark.parametrize(("r", "published"), [(2, 26_796), (4, 37_200)])
def test_espcn_has_the_layers_of_section_3_2(r, published):
    espcn = tiny.method("sr-espcn", {"sr_scale": r})
    expected = conv(3, 64, 5) + conv(64, 32, 3) + conv(32, 3 * r**2, 3)
    assert weights(espcn) == expected == published


def test_espcn_halves_its_channels():
    espcn = tiny.method("sr-espcn", {"sr_scale": 2, "channels": 10})
    assert weights(espcn) == conv(3, 10, 5) + conv(10, 5, 3) + conv(5, 12, 3)


@pytest.mark.parametrize("r", [2, 4])
def test_espcn_works_in_lr_space(r):
    espcn = tiny.method("sr-espcn", {"sr_scale": r})
    assert trace(espcn, torch.rand(2, 3, 4, 4)) == [(64, 4, 4), (32, 4, 4), (3 * r**2, 4, 4)]
    assert espcn(torch.rand(2, 3, 4, 4)).shape == (2, 3, 4 * r, 4 * r)


@pytest.mark.parametrize("r", [2, 4])
def test_espcn_shuffles_pixels_as_equation_4(r):
    espcn, lr = tiny.method("sr-espcn", {"sr_scale": r, "channels": 4}), torch.rand(2, 3, 4, 5)
    one, two, three = layers(espcn, nn.Conv2d)
    t = three(two(one(lr - 0.5).tanh()).tanh()) + 0.5  # about mid-grey
    expected = torch.full((2, 3, 4 * r, 5 * r), torch.nan)
    for c in range(3):  # Eq. 4; the order of T's channels, which training is free to permute, is PyTorch's
        for y in range(4 * r):
            for x in range(5 * r):
                expected[:, c, y, x] = t[:, c * r**2 + r * (y % r) + x % r, y // r, x // r]
    assert torch.allclose(espcn(lr), expected, atol=1e-6)


def srresnet_weights(channels: int, blocks: int, factors: list[int]) -> int:
    """Of Fig. 4: a PReLU has one weight, a normalisation two a channel."""
    head = conv(3, channels, 9) + 1
    block = 2 * (conv(channels, channels, 3) + 2 * channels) + 1
    trunk = conv(channels, channels, 3) + 2 * channels
    enlarge = sum(conv(channels, channels * factor**2, 3) + 1 for factor in factors)
    return head + blocks * block + trunk + enlarge + conv(channels, 3, 9)


def test_srresnet_as_it_comes_has_1549462_weights_at_x4():
    srresnet = tiny.method("sr-srresnet", {"sr_scale": 4})
    assert weights(srresnet) == srresnet_weights(64, 16, [2, 2]) == 1_549_462


@pytest.mark.parametrize(("scale", "factors"), [(2, [2]), (3, [3]), (4, [2, 2]), (6, [2, 3]), (7, [7]), (8, [2, 2, 2])])
def test_srresnet_enlarges_by_any_factor_a_prime_at_a_time(scale, factors):
    generator = Generator(channels=4, blocks=2, scale=scale)
    assert weights(generator) == srresnet_weights(4, 2, factors)
    assert generator(torch.rand(2, 3, 5, 4)).shape == (2, 3, 5 * scale, 4 * scale)
    assert [layer.upscale_factor for layer in layers(generator, nn.PixelShuffle)] == factors


def test_srresnet_has_the_skips_of_figure_4():
    generator = Generator(channels=4, blocks=2, scale=2).eval()
    with torch.no_grad():
        for layer in layers(generator, nn.BatchNorm2d):  # all that the skips go around is then nothing
            layer.weight.zero_()
    lr = torch.rand(2, 3, 4, 4)
    assert torch.allclose(generator(lr), generator.tail(generator.enlarge(generator.head(lr))), atol=1e-6)
    with torch.no_grad():
        generator.blocks[1][-1].bias.fill_(0.5)  # of the last block: only the trunk, which is still nothing, sees it
        assert torch.allclose(generator(lr), generator.tail(generator.enlarge(generator.head(lr))), atol=1e-6)
        generator.trunk[1].weight.fill_(1.0)
        expected = generator.head(lr) + generator.trunk(generator.head(lr) + 0.5)
    assert torch.allclose(generator(lr), generator.tail(generator.enlarge(expected)), atol=1e-6)


@pytest.mark.parametrize("name", ["sr-srresnet", "sr-srgan"])
def test_the_generators_images_are_brought_from_minus_1_1_to_0_1(name):
    method, lr = tiny.method(name, {"sr_scale": 4, "channels": 4, "blocks": 1}).eval(), tiny.batch().lr
    assert torch.equal(method(lr), (method.generator(lr) + 1) / 2)
    with torch.no_grad():
        method.generator.tail.weight.zero_()
        method.generator.tail.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    red, green, blue = method(lr).unbind(dim=1)
    assert (red.unique().item(), green.unique().item(), blue.unique().item()) == (0.0, 0.5, 1.0)


def test_the_discriminator_at_96_pixels_is_the_papers():
    with torch.device("meta"):
        discriminator, image = Discriminator(96), torch.empty(2, 3, 96, 96)
    shapes = [(64, 96), (64, 48), (128, 48), (128, 24), (256, 24), (256, 12), (512, 12), (512, 6)]
    assert trace(discriminator, image) == [(channels, side, side) for channels, side in shapes]
    assert [layer.stride[0] for layer in layers(discriminator, nn.Conv2d)] == [1, 2, 1, 2, 1, 2, 1, 2]
    assert {layer.kernel_size for layer in layers(discriminator, nn.Conv2d)} == {(3, 3)}
    assert [layer.num_features for layer in layers(discriminator, nn.BatchNorm2d)] == [64, 128, 128, 256, 256, 512, 512]
    assert [layer.negative_slope for layer in layers(discriminator, nn.LeakyReLU)] == [0.2] * 9
    dense = [(layer.in_features, layer.out_features) for layer in layers(discriminator, nn.Linear)]
    assert dense == [(6 * 6 * 512, 1024), (1024, 1)]


@pytest.mark.parametrize(
    ("side", "times", "left", "channels"),
    [
        (8, 1, 4, 64), (16, 2, 4, 128), (28, 2, 7, 128), (32, 3, 4, 256),
        (64, 4, 4, 512), (96, 4, 6, 512), (224, 4, 14, 512),
    ],
)  # fmt: skip
def test_the_discriminator_halves_small_images_down_to_4_pixels(side, times, left, channels):
    assert halvings(side) == times
    with torch.device("meta"):
        discriminator, image = Discriminator(side), torch.empty(2, 3, side, side)
    assert trace(discriminator, image)[-1] == (channels, left, left)
    assert discriminator(image).shape == (2, 1)


def test_the_discriminator_takes_images_of_an_odd_side():
    assert Discriminator(9)(torch.rand(3, 3, 9, 9)).shape == (3, 1)

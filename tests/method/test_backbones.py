"""Every backbone: its size, its parts, its normalisation, the images it takes."""

import pytest
import torch

from lrbench.errors import UserError
from lrbench.method import backbones
from lrbench.method.backbones import BACKBONES, create

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
TIMM = ("timm:mobilenetv3_small_050", "timm:resnet10t", "timm:vit_tiny_patch16_224")


def make(name: str, side: int = 32, width: float | None = None, classes: int = 5) -> backbones.Backbone:
    """A small backbone in eval mode, the same each time."""
    torch.manual_seed(0)
    small = 1.0 if name.startswith("timm:") else 0.125
    return create(name, small if width is None else width, side, classes, MEAN, STD).eval()


def images(side: int = 32, n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def size(name: str, width: float) -> int:
    net = create(name, width, 32, 10, MEAN, STD)
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize(
    ("name", "width", "parameters"),
    [
        ("resnet18", 1.0, 11_173_962),
        ("vgg16", 1.0, 14_728_266),
        ("alexnet", 1.0, 2_472_266),
        ("resnet18", 0.25, 701_466),
    ],
)
def test_sizes_are_the_known_ones(name, width, parameters):
    assert size(name, width) == parameters


def test_widths_are_multiples_of_8():
    assert [backbones._channels(64, width) for width in (0.01, 0.125, 0.2, 0.25, 1, 1.5)] == [8, 8, 16, 16, 64, 96]


@torch.no_grad()
@pytest.mark.parametrize("name", [*BACKBONES, *TIMM])
def test_a_backbone_is_its_head_on_its_features(name):
    net, x = make(name), images()
    features, maps, logits = net.features(x), net.maps(x), net(x)
    assert logits.shape == (2, 5) and features.shape == (2, net.dimension)
    assert net.classifier.in_features == net.dimension
    assert torch.equal(net.head(features), logits)
    assert torch.equal(net.pool(maps[-1]), features)
    assert torch.allclose(logits, features @ net.classifier.weight.T + net.classifier.bias, atol=1e-5)
    assert not torch.allclose(logits[0], logits[1])


@torch.no_grad()
@pytest.mark.parametrize("name", [*BACKBONES, "timm:mobilenetv3_small_050"])
def test_features_and_logits_are_float32_under_autocast(name):
    with torch.autocast("cpu", torch.bfloat16):
        net = make(name)
        assert net.features(images()).dtype == net(images()).dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet18", [(8, 32), (16, 16), (32, 8), (64, 4)]),
        ("vgg16", [(8, 16), (16, 8), (32, 4), (64, 2), (64, 1)]),
        ("alexnet", [(8, 4), (24, 2), (32, 1)]),
    ],
)
def test_maps_are_those_of_each_stage(name, shapes):
    net, seen = make(name), []
    for stage in net.stages:
        stage.register_forward_hook(lambda module, given, out: seen.append(out.clone()))
    maps = net.maps(images())
    assert [(m.shape[1], m.shape[2]) for m in maps] == shapes
    assert all(m.shape[0] == 2 and m.shape[2] == m.shape[3] for m in maps)
    for kept, made in zip(maps, seen, strict=True):
        assert torch.equal(kept, made)  # no later stage has written into it


@torch.no_grad()
@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize("name", [*BACKBONES, *TIMM])
def test_shapes_are_those_of_the_maps(name, side):
    net = make(name, side)
    assert net.shapes == [tuple(maps.shape[1:]) for maps in net.maps(images(side))]


@pytest.mark.parametrize("name", ["resnet18", "timm:mobilenetv3_small_050"])
def test_looking_at_the_shapes_leaves_no_mark(name):
    torch.manual_seed(0)
    net = create(name, 1.0 if name.startswith("timm:") else 0.125, 32, 5, MEAN, STD)
    assert net.training and all(weight.device.type == "cpu" for weight in net.state_dict().values())
    counters = [value for key, value in net.state_dict().items() if key.endswith("num_batches_tracked")]
    assert counters and not any(counters)


@torch.no_grad()
@pytest.mark.parametrize("side", [8, 16, 28, 32, 64])
@pytest.mark.parametrize("name", BACKBONES)
def test_images_of_many_sides_go_through(name, side):
    logits = make(name, side)(images(side))
    assert logits.shape == (2, 5) and logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])


@torch.no_grad()
@pytest.mark.parametrize(("name", "side"), [("timm:mobilenetv3_small_050", 28), ("timm:vit_tiny_patch16_224", 64)])
def test_timm_takes_other_sides(name, side):
    assert make(name, side)(images(side)).shape == (2, 5)


@pytest.mark.parametrize("name", [*BACKBONES, "timm:mobilenetv3_small_050"])
def test_normalisation_is_inside(name):
    net = make(name)
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    of_mean = mean.expand(2, 3, 32, 32)
    assert torch.equal(net.normalise(of_mean), torch.zeros(2, 3, 32, 32))
    assert torch.allclose(net.normalise(of_mean + 2 * std), torch.full((2, 3, 32, 32), 2.0))
    with torch.no_grad():
        before, raw = net(images()), net.normalise(images())
        for buffer in (net.mean, net.std):
            kept = buffer.clone()
            buffer.add_(0.3)
            assert not torch.allclose(net(images()), before)
            buffer.copy_(kept)
        net.mean.zero_()
        net.std.fill_(1)
        assert torch.equal(net(raw), before)  # once, and nowhere else


def test_normalisation_travels_with_the_weights_and_is_not_trained():
    net = make("alexnet")
    assert torch.equal(net.state_dict()["mean"].flatten(), torch.tensor(MEAN))
    assert torch.equal(net.state_dict()["std"].flatten(), torch.tensor(STD))
    assert not {"mean", "std"} & {name for name, _ in net.named_parameters()}


@pytest.mark.parametrize("name", [*BACKBONES, "timm:vit_tiny_patch16_224"])
def test_every_weight_learns(name):
    net = make(name).train()
    torch.nn.functional.cross_entropy(net(images(n=4)), torch.arange(4)).backward()
    idle = [key for key, weight in net.named_parameters() if weight.grad is None or not weight.grad.isfinite().all()]
    assert not idle
    dead = [key for key, weight in net.named_parameters() if weight.ndim > 1 and not weight.grad.any()]
    assert not dead


def test_resnet18_has_the_cifar_stem():
    net = make("resnet18")
    stem = next(module for module in net.modules() if isinstance(module, torch.nn.Conv2d))
    assert (stem.kernel_size, stem.stride, stem.padding, stem.bias) == ((3, 3), (1, 1), (1, 1), None)
    assert not any(isinstance(module, torch.nn.MaxPool2d) for module in net.modules())


def test_alexnet_has_the_known_layers():
    layers = [module for module in make("alexnet", width=1.0).modules() if isinstance(module, torch.nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0], c.padding[0]) for c in layers] == [
        (64, 11, 4, 5),
        (192, 5, 1, 2),
        (384, 3, 1, 1),
        (256, 3, 1, 1),
        (256, 3, 1, 1),
    ]


def test_timm_models_come_without_a_head_of_their_own():
    net = make("timm:mobilenetv3_small_050")
    assert isinstance(net.net.get_classifier(), torch.nn.Identity)
    assert net.training is False and make("timm:mobilenetv3_small_050").train().net.training is True


@pytest.mark.parametrize(
    ("name", "width", "says"),
    [
        ("resnet19", 1.0, "no backbone 'resnet19'; did you mean 'resnet18'?"),
        ("RESNET18", 1.0, "no backbone 'RESNET18'; did you mean 'resnet18'?"),
        ("", 1.0, "timm:NAME"),
        ("timm:resnet999", 1.0, "timm has no model 'resnet999'; did you mean 'resnet"),
        ("timm:resnet10t", 0.5, "leave --width at 1"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_line(name, width, says):
    for refuse in (lambda: create(name, width, 32, 5, MEAN, STD), lambda: backbones.check_backbone(name, width, 32)):
        with pytest.raises(UserError) as caught:
            refuse()
        assert says in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_too_small_for_a_timm_model_is_refused_in_a_line():
    with pytest.raises(UserError) as caught:
        backbones.check_backbone("timm:inception_v3", 1.0, 8)
    assert "does not take 8x8 images" in str(caught.value) and "\n" not in str(caught.value)
    backbones.check_backbone("timm:resnet10t", 1.0, 32)

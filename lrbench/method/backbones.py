"""Backbones: networks that give features, logits and feature maps, and own their normalisation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lrbench.errors import UserError, did_you_mean, one_line, unknown
from lrbench.spec.recipes import NONE as NONE

TIMM = "timm:"
Colour = Sequence[float]  # red, green, blue
Stages = tuple[Iterable[nn.Module], int]  # of a network, and the channels of the last one's maps: its features


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with random numbers of its own, so that nothing else that is drawn moves them.

    `part`: the probability of each value to be dropped. A captured step would repeat its numbers: it is not captured.
    """

    def __init__(self) -> None:
        super().__init__()
        self.part = 0.0
        self.generator: torch.Generator | None = None

    def reseed(self, seed: int, device: torch.device) -> None:
        """Draw from `seed` on, as from the beginning of an epoch."""
        self.generator = torch.Generator(device).manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.part:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.part, generator=self.generator)
        return x * kept / (1 - self.part)


class Backbone(nn.Module):
    """A classifier taken apart: `head(features(x))` are its logits.

    Images come in [0, 1]; the backbone subtracts `mean` and divides by `std` (RGB) itself.
    """

    mean: Tensor
    std: Tensor
    shapes: list[tuple[int, ...]]  # of its maps of S x S images, such as (c, h, w), shallow to deep

    def __init__(self, stages: Iterable[nn.Module], dimension: int, classes: int, mean: Colour, std: Colour) -> None:
        super().__init__()
        self.dimension = dimension
        self.dropout = Dropout()
        self.classifier = nn.Linear(dimension, classes)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        self.stages = nn.ModuleList(stages)

    def normalise(self, x: Tensor) -> Tensor:
        """(n, 3, S, S) in [0, 1] to zero mean and unit variance."""
        return (x - self.mean) / self.std

    def maps(self, x: Tensor) -> list[Tensor]:
        """x (n, 3, S, S) in [0, 1] -> the maps (n, c, h, w) of each stage, shallow to deep; timm's give the last."""
        maps, x = [], self.normalise(x)
        for stage in self.stages:
            maps.append(x := stage(x))
        return maps

    def pool(self, last: Tensor) -> Tensor:
        """The deepest feature maps -> features (n, d), float32."""
        return last.mean(dim=(2, 3), dtype=torch.float32)

    def features(self, x: Tensor) -> Tensor:
        """x (n, 3, S, S) in [0, 1] -> the last feature layer (n, d), float32."""
        return self.pool(self.maps(x)[-1])

    def head(self, features: Tensor) -> Tensor:
        """features (n, d) -> logits (n, classes), computed in float32: in bf16 many images end in exact ties."""
        with torch.autocast(features.device.type, enabled=False):
            return self.classifier(self.dropout(features.float()))

    def forward(self, x: Tensor) -> Tensor:
        """x (n, 3, S, S) in [0, 1] -> logits (n, classes), float32."""
        return self.head(self.features(x))


def _channels(at_full_width: int, width: float) -> int:
    """Channels at a width: a multiple of 8, at least 8."""
    return max(8, 8 * round(at_full_width * width / 8))


def resnet18(width: float) -> Stages:
    """ResNet-18 (He et al. 2016), timm's, with the CIFAR stem: 3x3 stride 1 and no max-pool."""
    import timm

    channels = tuple(_channels(c, width) for c in (64, 128, 256, 512))
    # timm widens the stem only for its "deep" one, whose convolutions are then replaced by the CIFAR stem.
    # A last normalisation started at zero, timm's default, cost 5 points in 20 epochs: measured, so not here.
    net = timm.create_model(
        "resnet18", stem_type="deep", stem_width=channels[0] // 2, channels=channels, zero_init_last=False
    )
    stem = nn.Conv2d(3, channels[0], 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    parts = dict(net.named_children())
    first = nn.Sequential(stem, parts["bn1"], parts["act1"], parts["layer1"])
    return [first, *(parts[f"layer{n}"] for n in (2, 3, 4))], channels[-1]


def vgg16(width: float) -> Stages:
    """VGG-16 (Simonyan & Zisserman 2015) with batch normalisation: torchvision's features, one linear layer."""
    from torchvision.models.vgg import cfgs, make_layers

    plan = [_channels(item, width) if isinstance(item, int) else item for item in cfgs["D"]]
    stages: list[list[nn.Module]] = [[]]
    for layer in make_layers(plan, batch_norm=True):
        stages[-1].append(layer)
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True  # no difference at 32 pixels; lets smaller images through
            stages.append([])
    net = nn.ModuleList(nn.Sequential(*stage) for stage in stages[:-1])
    _kaiming(net)
    return net, _channels(512, width)


def alexnet(width: float, batch_norm: bool = False) -> Stages:
    """The AlexNet for 32x32 images known at 77.2 % on CIFAR-10 (bearpaw/pytorch-classification)."""
    c = [_channels(channels, width) for channels in (64, 192, 384, 256, 256)]

    def layer(inputs: int, outputs: int, size: int, stride: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
        return [convolution, *([nn.BatchNorm2d(outputs)] if batch_norm else []), nn.ReLU(inplace=True)]

    pool = partial(nn.MaxPool2d, 2, ceil_mode=True)  # no difference at 32 pixels; lets smaller images through
    net = nn.ModuleList([
        nn.Sequential(*layer(3, c[0], 11, stride=4), pool()),
        nn.Sequential(*layer(c[0], c[1], 5), pool()),
        nn.Sequential(*layer(c[1], c[2], 3), *layer(c[2], c[3], 3), *layer(c[3], c[4], 3), pool()),
    ])  # fmt: skip
    _kaiming(net)  # PyTorch's smaller start costs the plain one 2 points in 20 epochs
    return net, c[4]


def alexnet_bn(width: float) -> Stages:
    """The same AlexNet with batch normalisation after each convolution."""
    return alexnet(width, batch_norm=True)


def _kaiming(net: nn.Module) -> None:
    """Kaiming's start, fan-out, as torchvision has it for VGG: without it sixteen layers start too small to learn."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class TimmBackbone(Backbone):
    """Any timm model, through forward_features and forward_head(pre_logits=True), not pretrained."""

    def __init__(self, name: str, side: int, classes: int, mean: Colour, std: Colour) -> None:
        import timm

        net: Any  # forward_features and forward_head are timm's, not nn.Module's
        try:  # transformers must be told the image's side; convolutional networks do not know the word
            net = timm.create_model(name, num_classes=0, img_size=side)
        except TypeError:
            net = timm.create_model(name, num_classes=0)
        with torch.no_grad():  # the width of the pre-logits layer, which some models keep under no common name
            features = net.eval().forward_head(net.forward_features(torch.zeros(1, 3, side, side)), pre_logits=True)
        super().__init__((), features.shape[1], classes, mean, std)
        self.net = net.train()

    def maps(self, x: Tensor) -> list[Tensor]:
        return [self.net.forward_features(self.normalise(x))]

    def pool(self, last: Tensor) -> Tensor:
        return self.net.forward_head(last, pre_logits=True).float()


Maker = Callable[[float], Stages]
BACKBONES: dict[str, Maker] = {"alexnet": alexnet, "alexnet-bn": alexnet_bn, "vgg16": vgg16, "resnet18": resnet18}


def check_backbone(name: str, width: float, side: int) -> None:
    """Raise UserError for a backbone that `create` would not make for images of that side."""
    _check_name(name, width)
    if name.startswith(TIMM):
        try:
            with torch.device("meta"):
                TimmBackbone(name.removeprefix(TIMM), side, 2, (0.0,) * 3, (1.0,) * 3)
        except Exception as error:  # each model has its own words for an image that is too small
            raise UserError(f"{name} does not take {side}x{side} images: {one_line(error)}") from error


def _check_name(name: str, width: float) -> None:
    if not name.startswith(TIMM):
        if name not in BACKBONES:
            raise unknown("backbone", name, [*BACKBONES, TIMM + "NAME"])
        return
    import timm

    if not timm.is_model(model := name.removeprefix(TIMM)):
        raise UserError(f"timm has no model '{model}'; {did_you_mean(model, timm.list_models())}")
    if width != 1:
        raise UserError(f"{name} comes in one width: leave --width at 1")


def create(
    name: str, width: float, side: int, classes: int, mean: Colour, std: Colour, dropout: float = 0.0
) -> Backbone:
    """A new backbone for `side` x `side` images with values in [0, 1] of that mean and std a channel.

    dropout: the part of the features that is dropped in training. Raises UserError for a name or width there is not.
    """
    _check_name(name, width)
    if name.startswith(TIMM):
        net: Backbone = TimmBackbone(name.removeprefix(TIMM), side, classes, mean, std)
    else:
        net = Backbone(*BACKBONES[name](width), classes, mean, std)
    net.dropout.part = dropout
    abstract = copy.deepcopy(net).to("meta").eval()
    with torch.no_grad():
        net.shapes = [tuple(one.shape[1:]) for one in abstract.maps(torch.empty(1, 3, side, side, device="meta"))]
    return net

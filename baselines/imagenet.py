"""ImageNet's VGG-19 as a feature extractor: SRGAN's VGG5,4 (Ledig et al. 2017, section 2.2.1)."""

from __future__ import annotations

from functools import cache
from urllib.error import URLError

import torch
from torch import Tensor, nn

from lrbench.errors import UserError

LAYERS = 36  # of torchvision's `features`: up to the ReLU after the 4th convolution before the 5th max-pool
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which torchvision's weights expect


@cache
def vgg19_features(device: torch.device) -> nn.Module:
    """The frozen network on a device: (n, 3, H, W) in [0, 1] -> (n, 512, H/16, W/16).

    Raises UserError where its weights cannot be had.
    """
    from torchvision.models import VGG19_Weights, vgg19

    try:
        layers = vgg19(weights=VGG19_Weights.IMAGENET1K_V1).features[:LAYERS]
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: a file with a wrong checksum
        raise UserError(f"ImageNet's VGG-19 cannot be fetched ({error}); vgg=hr-baseline needs none") from error
    return Normalised(layers).requires_grad_(False).eval().to(device)


class Normalised(nn.Module):
    """Layers that see images as ImageNet's networks expect them."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers((image - self.mean) / self.std).float()

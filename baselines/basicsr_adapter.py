"""The only place that imports BasicSR, an unmaintained library of restoration networks (the extra `sr`)."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

from torch import nn

from lrbench.errors import UserError, unknown

SHIM = "torchvision.transforms.functional_tensor"  # gone from torchvision; BasicSR wants one function of it


@cache
def basicsr(module: str) -> ModuleType:
    """A module of BasicSR, such as "metrics.psnr_ssim". Raises UserError where it cannot be had."""
    if SHIM not in sys.modules:
        from torchvision.transforms.functional import rgb_to_grayscale

        shim = ModuleType(SHIM)
        shim.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
        sys.modules[SHIM] = shim
    try:
        return importlib.import_module(f"basicsr.{module}")
    except ModuleNotFoundError as error:
        if error.name != "basicsr":
            raise UserError(f"BasicSR does not import: {error}; install it with: pip install 'lrbench[sr]'") from error
        if sys.version_info >= (3, 13):
            raise UserError(
                "BasicSR 1.4.2, which nobody maintains, does not build on Python 3.13 and newer; use 3.11 or 3.12"
            ) from error
        raise UserError("this needs BasicSR; install it with: pip install 'lrbench[sr]'") from error


def network(arch: str, scale: int, side: int, args: Mapping[str, Any]) -> nn.Module:
    """A network that BasicSR registers, for RGB images in [0, 1].

    scale: of the enlargement; side: of the LR image in pixels. They and the three colours are given to the
    parameters that the network has for them, and SwinIR's `upsampler` is set, where `args` does not say
    otherwise. Raises UserError for an unknown network or argument.
    """
    cls = arch_class(arch)
    own = inspect.signature(cls).parameters
    known = {
        "num_in_ch": 3, "num_out_ch": 3, "in_chans": 3, "in_channels": 3, "out_channels": 3, "colors": 3,
        "upscale": scale, "scale": scale, "img_size": side, "upsampler": "pixelshuffle",
    }  # fmt: skip
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values())
    for name in args:
        if name not in own and not free:
            raise unknown(f"argument of BasicSR's {arch}", name, own)
    try:
        return cls(**{name: value for name, value in known.items() if name in own} | dict(args))
    except Exception as error:  # a network's own words for arguments that it does not take
        raise UserError(f"BasicSR's {arch} cannot be built: {type(error).__name__}: {error}") from error


def arch_class(arch: str) -> type[nn.Module]:
    """The class of a network that BasicSR registers. Raises UserError, naming the nearest, for another name."""
    basicsr("archs")  # which fills the registry
    registered = dict(iter(basicsr("utils.registry").ARCH_REGISTRY))
    if arch not in registered:
        raise unknown("network of BasicSR", arch, registered)
    found: type[nn.Module] = registered[arch]
    return found

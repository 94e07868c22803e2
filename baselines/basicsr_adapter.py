"""The only place that imports BasicSR, an unmaintained library of restoration networks (the extra `sr`)."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import nn

from lrbench.errors import UserError, one_line, unknown

SUFFIX = "_basicsr"  # of networks that BasicSR registers under another name than their class's
LARGEST_WINDOW = 8  # pixels: SwinIR's (Liang et al. 2021, section 4.1)
SHIM = "torchvision.transforms.functional_tensor"  # gone from torchvision; BasicSR wants one function of it


@cache
def basicsr(module: str) -> ModuleType:
    """A module of BasicSR, such as "metrics.psnr_ssim". Raises UserError where it cannot be had."""
    if SHIM not in sys.modules:
        from torchvision.transforms.functional import rgb_to_grayscale

        shim = ModuleType(SHIM)
        shim.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
        sys.modules[SHIM] = shim
    warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)  # SwinIR's use of it
    try:
        return importlib.import_module(f"basicsr.{module}")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] == "basicsr"
        if not missing:  # it is there, but something that it imports is not
            raise UserError(f"BasicSR does not import: {one_line(error)}") from error
        if sys.version_info >= (3, 13):
            raise UserError(
                "BasicSR 1.4.2, which nobody maintains, does not build on Python 3.13 and newer; use 3.11 or 3.12"
            ) from error
        raise UserError(
            "this needs BasicSR; install it with: pip install 'lrbench[sr]', or in a checkout: pip install -e '.[sr]'"
        ) from error


def network(arch: str, scale: int, side: int, args: Mapping[str, Any]) -> nn.Module:
    """A network that BasicSR registers, which makes RGB images of `scale` times the side, in [0, 1].

    scale: of the enlargement; side: of the LR image in pixels. They and the three colours are given to the
    parameters that the network has for them, with SwinIR's `upsampler` and a `window_size` that fits, where
    `args` does not say otherwise. Raises UserError for an unknown network or argument, and for a network
    that makes something else.
    """
    cls = checked(arch, args)
    own = inspect.signature(cls).parameters
    known = {
        "num_in_ch": 3, "num_out_ch": 3, "in_chans": 3, "in_channels": 3, "out_channels": 3, "colors": 3,
        "upscale": scale, "scale": scale, "img_size": side, "upsampler": "pixelshuffle",
        "window_size": max(d for d in range(1, LARGEST_WINDOW + 1) if side % d == 0),
    }  # fmt: skip
    expected = (1, 3, scale * side, scale * side)
    try:
        net = cls(**{name: value for name, value in known.items() if name in own} | dict(args))
        with torch.no_grad():
            made = net.eval()(torch.zeros(1, 3, side, side))
    except Exception as error:  # a network's own words for arguments, or images, that it does not take
        why = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"BasicSR's {arch} does not enlarge {side}x{side} images by {scale}: {why}") from error
    found = tuple(made.shape) if isinstance(made, torch.Tensor) else type(made).__name__
    if found != expected:
        raise UserError(f"BasicSR's {arch} makes {found} of {side}x{side} images; an SR net makes {expected}")
    return net.train()


def checked(arch: str, args: Mapping[str, Any]) -> type[nn.Module]:
    """The class of a network that BasicSR registers.

    Raises UserError, naming the nearest, for another name and for an argument that it does not have.
    """
    basicsr("archs")  # which fills the registry
    registered = {name.removesuffix(SUFFIX): cls for name, cls in basicsr("utils.registry").ARCH_REGISTRY}
    if arch not in registered:
        raise unknown("network of BasicSR", arch, registered)
    cls: type[nn.Module] = registered[arch]
    own = [name for name, one in inspect.signature(cls).parameters.items() if one.kind is not one.VAR_KEYWORD]
    for name in args:
        if name not in own:
            raise unknown(f"argument of BasicSR's {arch}", name, own)
    return cls

"""Presets: several options of `lrbench run` and `reproduce` at once, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrbench.errors import unknown

# name -> option -> value, None: as without it; `width` may be a table over backbones; `seeds` are so many, from 0
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "mini": {
        "recipe": "quick",
        "epochs": None,
        "batch_size": None,
        "lr": None,
        "limit_train": 10_000,
        "limit_test": None,
        "width": {"resnet18": 0.25, "vgg16": 0.25, "default": 1.0},  # AlexNet is the cheapest even so
        "seeds": 3,
    },
}
HELP = (  # of the option; the same in words
    "paper: the defaults; mini: recipe quick, 10,000 train images, all test images, "
    "width 0.25 for resnet18, 0.25 for vgg16, 1 for all others, seeds 0 to 2."
)


def preset(name: str) -> Mapping[str, Any]:
    """What a preset sets: option -> value. Raises UserError for an unknown name."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]

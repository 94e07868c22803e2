"""Presets: protocols by name, as data; what the options of `lrbench run` and `reproduce` are where one is asked for."""

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


def preset(name: str) -> Mapping[str, Any]:
    """What a preset sets: option -> value. Raises UserError for an unknown name."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]


def words(name: str) -> str:
    """What a preset sets, in the words of the options, for a help text."""
    said = [_said(option, value) for option, value in PRESETS[name].items()]
    return ", ".join(filter(None, said)) or "the defaults"


def _said(option: str, value: Any) -> str:
    if option == "seeds":
        return f"seeds 0 to {value - 1}"
    if option.startswith("limit_"):
        return f"{'all' if value is None else format(value, ',')} {option.removeprefix('limit_')} images"
    if value is None:
        return ""  # as the recipe has it
    if isinstance(value, Mapping):
        value = ", ".join(f"{one:g} for {'all others' if name == 'default' else name}" for name, one in value.items())
    return f"{option} {value}"


HELP = "; ".join(f"{name}: {words(name)}" for name in PRESETS) + "."

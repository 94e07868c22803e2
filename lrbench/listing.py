"""What there is to choose from, as the listing commands print it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from lrbench import datasets as data
from lrbench import registry
from lrbench.backbones import BACKBONES, TIMM
from lrbench.dataset import DatasetInfo
from lrbench.datasets import Missing


def methods() -> str:
    """Each method with its origin, what it needs by default, and its settings; a broken one with its error."""
    lines = []
    for listing in registry.methods():
        if listing.cls is None:
            lines.append(f"{listing.name}  [{listing.origin}]  BROKEN: {listing.error}")
            continue
        cls = listing.cls
        lines.append(f"{cls.name}  [{listing.origin}]  {_first_line(cls)}")
        for name, field in cls.Config.model_fields.items():
            default = _default(field.get_default(call_default_factory=True))
            lines.append(f"    --set {name}={default}  {field.description or ''}".rstrip())
    return "".join(line + "\n" for line in lines)


def datasets(root: Path) -> str:
    """Each data set that is known or imported; for one that is not there, what to do."""
    lines = [f"{one.name}: {one.why}" if isinstance(one, Missing) else dataset(one) for one in data.available(root)]
    return "".join(line + "\n" for line in lines)


def dataset(info: DatasetInfo) -> str:
    """One data set in a line."""
    counts = ", ".join(f"{count:,} {split}" for split, count in info.counts.items())
    return f"{info.name}: {counts} images of {info.side}x{info.side}, {len(info.classes)} classes, {info.source}"


def backbones() -> str:
    """Each backbone, and how to name timm's."""
    lines = [f"{name}  {_first_line(make)}" for name, make in BACKBONES.items()]
    return "".join(line + "\n" for line in [*lines, f"{TIMM}NAME  Any timm model, not pretrained, at --width 1."])


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _default(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

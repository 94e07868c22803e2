"""What there is to choose from, as the listing commands print it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrbench.data import datasets as data
from lrbench.data.dataset import DatasetInfo
from lrbench.data.datasets import Missing
from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.method.backbones import BACKBONES, TIMM
from lrbench.method.base import Method


def methods() -> str:
    """Each method with its origin and its settings; a broken one with its error.

    Settings that a method takes over from another's config as they are, are named by that method only.
    """
    found: dict[str, type[Method]] = {}
    broken: dict[str, UserError] = {}
    for name in registry.methods():
        try:
            found[name] = registry.method(name)
        except UserError as error:
            broken[name] = error
    lines = []
    for method, origin in registry.methods().items():
        if method in broken:
            lines.append(f"{method}  [{origin}]  BROKEN: {broken[method]}")
            continue
        cls = found[method]
        lines.append(f"{method}  [{origin}]  {_first_line(cls)}")
        base, shared = _taken_over(cls, list(found.values()))
        if shared:
            lines.append(
                f"    the settings of {base}" + (", and:" if len(shared) < len(cls.Config.model_fields) else "")
            )
        for name, field in cls.Config.model_fields.items():
            if name not in shared:
                default = _default(field.get_default(call_default_factory=True))
                lines.append(f"    --set {name}={default}  {field.description or ''}".rstrip())
    return "".join(line + "\n" for line in lines)


def _taken_over(cls: type[Method], others: Sequence[type[Method]]) -> tuple[str, set[str]]:
    """The method whose config is a base of this one's and gives it most settings, two at least, and those."""
    own, found = cls.Config.model_fields, ("", set[str]())
    for other in others:
        theirs = other.Config.model_fields
        if other.Config is not cls.Config and issubclass(cls.Config, other.Config):
            same = {name for name in theirs if repr(own[name]) == repr(theirs[name])}
            if same == set(theirs) and len(same) > max(1, len(found[1])):
                found = other.name, same
    return found


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

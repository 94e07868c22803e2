"""What runs are called in tables and messages: a method's label, and the settings that differ from its defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from lrbench.method import registry
from lrbench.spec import RunSpec
from lrbench.spec.recipes import NONE
from lrbench.spec.record import About


def about(method: str) -> About:
    """What reports need of a method, from its class, which loads torch; a record has it already.

    Its name and nothing else where the method is not installed, or faulty.
    """
    try:
        return _of_class(registry.method(method))  # type: ignore[arg-type]
    except Exception:  # whatever a faulty class may raise
        return About(label=method)


def descriptions(method: str) -> dict[str, str]:
    """Of each setting, as far as the method is installed and not faulty."""
    try:
        fields = registry.method(method).Config.model_fields
        return {name: str(field.description or "") for name, field in fields.items()}
    except Exception:
        return {}


@cache  # a store may hold thousands of runs of one
def _of_class(cls: Any) -> About:
    try:
        defaults = cls.Config().model_dump(mode="json")
    except ValueError:  # it has a setting without a default
        defaults = None
    fields = cls.Config.model_fields.items()
    shown = tuple(name for name, field in fields if field.json_schema_extra == {"shown": True})
    view: Literal["lr", "hr"] = "hr" if cls.view == "hr" else "lr"
    return About(label=cls.label or cls.name, tested_on=view, defaults=defaults, shown=shown)


def changes(config: Mapping[str, Any], about: About) -> list[str]:
    """The settings that differ from the defaults, and those always shown, as --set takes them: "lam=0.5"."""
    defaults = about.defaults or {}
    return [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in config.items()
        if key in about.shown or defaults.get(key) != value
    ]


def parsed(value: str) -> Any:
    """A setting's value as `changes` and --set write it: JSON where it reads as JSON, else text."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def name(spec: RunSpec, method: About | None = None) -> str:
    """A way of training as tables call it: the method's label and the settings that differ: "DFD lam=0.5"."""
    method = method or about(spec.method)
    return " ".join([method.label, *changes(spec.config, method)])


def network(backbone: str, width: float) -> str:
    """A backbone with its width where that is not 1: "resnet18 x0.25"."""
    return backbone if width == 1 else f"{backbone} x{width:g}"


def title(spec: RunSpec) -> str:
    """A run as progress messages call it, by the method's own name, with its id at the end."""
    way = " ".join([spec.method, *changes(spec.config, about(spec.method))])
    size = f"x{spec.scale}" if spec.scale else "HR"
    backbone = "" if spec.backbone == NONE else f" {spec.backbone},"
    return f"{way} on {spec.dataset} {size},{backbone} seed {spec.seed} [{spec.id}]"


def in_epochs(count: int) -> str:
    """A number of epochs in words: "1 epoch", "20 epochs"."""
    return f"{count} epoch{'' if count == 1 else 's'}"

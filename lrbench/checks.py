"""What a user of the Python interface gives, made what its types say, or refused in a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import JsonValue, TypeAdapter, ValidationError

from lrbench.errors import UserError

SEVERAL = ("seeds", "baselines", "plugins", "datasets", "methods", "backbones")  # options of several values, or of one


def several(given: Any) -> tuple[Any, ...]:
    """One value, or several, as a tuple; numbers of NumPy as Python's."""
    every = given if isinstance(given, Iterable) and not isinstance(given, str | Mapping) else [given]
    return tuple(one.item() if isinstance(one, np.generic) else one for one in every)


def instead(datasets: Any) -> tuple[list[str], dict[str, str]]:
    """Of some datasets those that are plainly named, and those that stand in the place of another: OLD=NEW, by OLD."""
    every = several(datasets)
    return [one for one in every if "=" not in one], dict(one.split("=", 1) for one in every if "=" in one)


def checked(given: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """Options, each of its type, or of JSON where it has none. Raises UserError that says what is valid."""
    found = {}
    for name, value in given.items():
        if name in SEVERAL and name in types:
            value = several(value)
        elif isinstance(value, np.generic):
            value = value.item()
        try:
            found[name] = TypeAdapter(types.get(name, JsonValue)).validate_python(value, strict=True)
        except ValidationError as error:
            valid = error.errors()[0]["msg"]
            raise UserError(f"{name}={' '.join(repr(value).split()):.80}: {valid}") from error
    return found

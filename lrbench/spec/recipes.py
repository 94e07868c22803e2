"""Recipes: the settings of the training loop. Those that come with lrbench, and a user's own, as a TOML file:

    base = "quick"                  # what is left out below is as in this one of RECIPES; without it, as in paper
    epochs = 40                     # any field of Recipe
    lr = {alexnet = 0.05}           # a number, or a table over backbones

In a table `default` stands for all backbones that it does not name.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lrbench.errors import UserError, expanded, named, unknown

FILE = ".toml"  # a recipe whose name ends so, or in capitals, is a file of the user's
BASE = "paper"  # the recipe that a file starts from which names none
DEFAULT = "default"
NONE = "none"  # what stands for the backbone in the spec of an SR net, which has none
OURS = "ours"  # the source of a value that no paper states
PAPER = "Zhu et al. 2019, section 3.2"


class Recipe(BaseModel):
    """The settings of the training loop for one backbone. Every field is part of the spec, and so of a run's id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1, description="passes over the training set")
    batch_size: int = Field(ge=2, description="images per step; the last, smaller batch of an epoch is dropped")
    lr: float = Field(gt=0, allow_inf_nan=False, description="peak learning rate of SGD")
    momentum: float = Field(ge=0, lt=1)
    nesterov: bool
    weight_decay: float = Field(ge=0, allow_inf_nan=False, description="on every parameter")
    schedule: Literal["step", "one-cycle", "cosine"] = Field(description="see lrbench.spec.schedules")
    crop: float = Field(ge=0, lt=0.5, description="random crop: padding as a fraction of the image's side")
    flip: bool = Field(description="random horizontal flip")
    label_smoothing: float = Field(ge=0, lt=1)
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights that are tested; 0 for none")


# name -> field -> (value, source). `lr` may be a table over backbones.
RECIPES: dict[str, dict[str, tuple[Any, str]]] = {
    "paper": {
        "epochs": (100, PAPER),
        "batch_size": (128, PAPER),
        "lr": ({DEFAULT: 0.1, "alexnet": 0.01, "alexnet-bn": 0.05}, OURS),
        "momentum": (0.9, PAPER),
        "nesterov": (False, OURS),
        "weight_decay": (5e-4, PAPER),
        "schedule": ("step", OURS),
        "crop": (0.125, f"{PAPER}; its width, 4 pixels of 32: {OURS}"),
        "flip": (True, PAPER),
        "label_smoothing": (0.0, PAPER),
        "ema": (0.0, PAPER),
    },
}
RECIPES["quick"] = RECIPES["paper"] | {
    "epochs": (20, OURS),
    "lr": ({DEFAULT: 0.1, "alexnet": 0.05, "alexnet-bn": 0.05}, f"{OURS}; at 0.01 20 epochs are too few for AlexNet"),
    "schedule": ("one-cycle", f"{OURS}, after Smith 2018, arXiv:1803.09820"),
}
RECIPES["strong"] = RECIPES["paper"] | {
    "epochs": (200, OURS),
    "nesterov": (True, OURS),
    "schedule": ("cosine", f"{OURS}, after Loshchilov & Hutter 2017, arXiv:1608.03983"),
    "label_smoothing": (0.1, "Szegedy et al. 2016, arXiv:1512.00567"),
    "ema": (0.999, OURS),
}


def recipe(
    name: str, backbone: str, epochs: int | None = None, batch_size: int | None = None, lr: float | None = None
) -> Recipe:
    """The recipe of a name or file, resolved for a backbone. The other arguments override its own. Raises UserError."""
    values = fields(name)
    values["lr"] = for_backbone(values["lr"], backbone)
    own = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    values |= {field: value for field, value in own.items() if value is not None}
    if values["nesterov"] is True and values["momentum"] == 0:
        raise UserError(f"{name}: nesterov = true needs a momentum above 0, such as 0.9")
    try:
        return Recipe.model_validate(values, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{name}: {first['loc'][0]} = {_text(first['input'])}: {first['msg']}") from error


def fields(name: str) -> dict[str, Any]:
    """The fields of a recipe, by name or file, of which `lr` may be a table over backbones. Raises UserError."""
    if is_file(name):
        return _read(expanded(name))
    if name not in RECIPES:
        raise unknown("recipe", name, [*RECIPES, f"FILE{FILE}"])
    return {field: value for field, (value, _) in RECIPES[name].items()}


def is_file(name: str) -> bool:
    """Whether the name of a recipe or suite means a file of the user's."""
    return name.lower().endswith(FILE)


def for_backbone(value: Any, backbone: str) -> Any:
    """A value itself, or, where it is a table over backbones, its entry for this one; None where it has none."""
    return value.get(backbone, value.get(DEFAULT)) if isinstance(value, Mapping) else value


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a user's file, which is UTF-8 whatever the locale, as TOML is. Raises UserError, and OSError."""
    if not path.is_file():
        raise UserError(f"there is no file '{path}'")
    with named(path):
        content = path.read_bytes()
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # some editors begin a file with a mark of order
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not TOML: it is not UTF-8, at byte {error.start}; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    given = read_toml(path)
    base = str(given.pop("base", BASE))
    if base not in RECIPES:
        raise UserError(f"{path}: base: {unknown('recipe', base, RECIPES)}")
    for field in given:
        if field not in Recipe.model_fields:
            raise UserError(f"{path}: there is {unknown('field', field, ['base', *Recipe.model_fields])}")
    values = fields(base)
    if isinstance(given.get("lr"), dict):
        given["lr"] = values["lr"] | given["lr"]
    return values | given


@lru_cache
def name_of(resolved: Recipe, backbone: str) -> str:
    """Which of RECIPES this is, whatever its epochs and batch size; if none, "custom (quick, lr 0.05)", say."""
    ways = []
    for name in RECIPES:
        known = recipe(name, backbone, resolved.epochs, resolved.batch_size)
        if backbone == NONE and not resolved.crop:  # images that are restored are not cropped
            known = known.model_copy(update={"crop": 0.0})
        differs = [f"{field} {_text(value)}" for field, value in resolved if value != getattr(known, field)]
        ways.append([name, *differs])
    nearest = min(ways, key=len)
    return f"custom ({', '.join(nearest)})" if len(nearest) > 1 else nearest[0]


def _text(value: Any) -> str:
    """A value as one would write it in a recipe's file."""
    return value if isinstance(value, str) else json.dumps(value)

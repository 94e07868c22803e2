"""Recipes: how a network is trained, as data, each value beside its source."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lrbench.errors import unknown

OURS = "ours"
PAPER = "Zhu et al. 2019, section 3.2"


class Recipe(BaseModel):
    """What the training loop does, resolved for one backbone. Every field enters the run's hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1, description="passes over the training set")
    batch_size: int = Field(ge=1, description="images a step; the last, smaller batch of an epoch is dropped")
    lr: float = Field(gt=0, description="peak learning rate of SGD")
    momentum: float = Field(ge=0, lt=1)
    nesterov: bool
    weight_decay: float = Field(ge=0, description="on every parameter")
    schedule: Literal["step", "one-cycle", "cosine"] = Field(description="see lrbench.schedules")
    crop: float = Field(ge=0, lt=0.5, description="random crop: padding as a fraction of the image's side")
    flip: bool = Field(description="random horizontal flip")
    label_smoothing: float = Field(ge=0, lt=1)
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights that are tested; 0 for none")

    def without_crop(self) -> Recipe:
        """The same recipe for images that are not cropped."""
        return self.model_copy(update={"crop": 0.0})


# name -> field -> (value, source). `lr` may be a table over backbones, with None for all the others.
RECIPES: dict[str, dict[str, tuple[Any, str]]] = {
    "paper": {
        "epochs": (100, PAPER),
        "batch_size": (128, PAPER),
        "lr": ({None: 0.1, "alexnet": 0.01, "alexnet-bn": 0.05}, OURS),
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
    "lr": ({None: 0.1, "alexnet": 0.05, "alexnet-bn": 0.05}, f"{OURS}; at 0.01 20 epochs are too few for AlexNet"),
    "schedule": ("one-cycle", f"{OURS}, after Smith 2018, arXiv:1803.09820"),
}
RECIPES["strong"] = RECIPES["paper"] | {
    "epochs": (200, OURS),
    "nesterov": (True, OURS),
    "schedule": ("cosine", f"{OURS}, after Loshchilov & Hutter 2017, arXiv:1608.03983"),
    "label_smoothing": (0.1, "Szegedy et al. 2016, arXiv:1512.00567"),
    "ema": (0.999, OURS),
}


def recipe(name: str, backbone: str, epochs: int | None = None, batch_size: int | None = None) -> Recipe:
    """The named recipe, resolved for a backbone; `epochs` and `batch_size` override its own.

    Raises UserError for an unknown name.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    values = {field: value for field, (value, _) in RECIPES[name].items()}
    values["lr"] = values["lr"].get(backbone, values["lr"][None])
    own = {"epochs": epochs, "batch_size": batch_size}
    values |= {field: value for field, value in own.items() if value is not None}
    return Recipe(**values)


@lru_cache
def name_of(resolved: Recipe, backbone: str) -> str:
    """The name under which `resolved` is known, whatever its epochs and batch, with or without crops, or "custom"."""
    for name in RECIPES:
        known = recipe(name, backbone, resolved.epochs, resolved.batch_size)
        if resolved in (known, known.without_crop()):
            return name
    return "custom"

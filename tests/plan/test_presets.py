"""Presets: what they set, what stands above them, and that their names are known."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from helpers import tiny

from lrbench.errors import UserError
from lrbench.method.backbones import BACKBONES
from lrbench.plan import presets, suite
from lrbench.plan.plan import Protocol, check_table
from lrbench.plan.presets import PRESETS
from lrbench.spec.recipes import RECIPES


def test_mini_is_what_the_design_says() -> None:
    mini = presets.preset("mini")
    assert (mini["recipe"], mini["limit_train"], mini["limit_test"], mini["seeds"]) == ("quick", 10_000, None, 3)
    widths = {backbone: mini["width"].get(backbone, mini["width"]["default"]) for backbone in BACKBONES}
    assert all(width == (0.25 if name in ("resnet18", "vgg16") else 1) for name, width in widths.items())


def test_a_preset_names_what_there_is() -> None:
    options = {one.name for one in fields(Protocol)} | {"seeds"}
    for name, preset in PRESETS.items():
        assert preset.keys() <= options
        assert preset.get("recipe", "paper") in RECIPES
        check_table(name, preset.get("width", 1.0))
        assert f"{name}: " in presets.HELP


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(UserError, match="no preset 'mimi'; did you mean 'mini'"):
        presets.preset("mimi")


def test_in_a_suite_each_backbone_gets_its_own_width() -> None:
    grid = suite.Grid(method=["lr-baseline"], dataset=["toys"], backbone=["alexnet", "vgg16", "resnet18"])
    one = suite.Suite(title="Mine", runs=[grid])
    info = replace(tiny.info(32), counts={"train": 50_000, "test": 10_000})
    chosen = {name: [value] for name, value in presets.preset("mini").items() if name != "seeds"}
    found = suite.specs(one, suite.Overrides(chosen), lambda dataset: tiny.protocol(data=info), print)
    assert {(spec.backbone, spec.width) for spec in found} == {("alexnet", 1), ("vgg16", 0.25), ("resnet18", 0.25)}
    assert {(spec.recipe.epochs, spec.recipe.schedule, spec.limit_train) for spec in found} == {
        (20, "one-cycle", 10_000)
    }

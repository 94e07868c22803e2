"""From the user's words to a graph of specs, and every line that refuses."""

import random
import time
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from helpers import tiny
from pydantic import BaseModel, Field, PlainSerializer, SecretStr, create_model

from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.method.base import Config, Method, Needs
from lrbench.plan.plan import plan
from lrbench.spec.runspec import RunSpec


@pytest.fixture
def draft(monkeypatch):
    """Registers a method that needs what it is told to, for the length of a test."""

    def register(name: str, **needs: Needs) -> None:
        class Toy(Method):
            @classmethod
            def needs_of(cls, config):
                return needs

        Toy.name = name
        monkeypatch.setitem(registry._drafts, name, (Toy, "a test"))

    return register


def test_needs_inherit_the_protocol():
    changes = dict(
        degradation="area",
        backbone="alexnet",
        width=0.5,
        recipe="quick",
        epochs=7,
        seed=3,
        select="best-epoch",
        limit_train=30,
        limit_test=10,
        precision="bf16",
        scale=2,
    )
    student = tiny.spec("dfd", {"init": "lr-baseline"}, **changes)
    assert set(student.needs) == {"init", "teacher"}
    assert (student.recipe.epochs, student.recipe.lr, student.recipe.schedule) == (7, 0.05, "one-cycle")
    kept = set(RunSpec.model_fields) - {"method", "version", "config", "needs"}
    for role, also_differs in (("init", set()), ("teacher", {"degradation", "scale"})):
        need = student.needs[role]
        for field in kept - also_differs - {"recipe"}:
            assert getattr(need, field) == getattr(student, field), (role, field)
        epochs = {"init": 7, "teacher": 14}[role]  # a teacher's are all that go into its student's weights
        assert need.recipe == student.recipe.model_copy(update={"epochs": epochs})
    assert student.needs["init"].method == "lr-baseline" and student.needs["init"].config == {"init": "scratch"}
    assert student.needs["teacher"].method == "hr-baseline" and student.needs["teacher"].config == {}
    for name in (
        "degradation",
        "backbone",
        "width",
        "seed",
        "select",
        "limit_train",
        "limit_test",
        "scale",
        "precision",
    ):
        assert getattr(student, name) == changes[name], name
    assert student.fingerprint == tiny.info().fingerprint and student.dataset == "toys"


def test_one_hr_baseline_serves_every_scale_and_degradation():
    alone = tiny.spec("hr-baseline", scale=2)
    assert (alone.scale, alone.degradation) == (None, None)
    assert tiny.spec("hr-baseline", scale=4, degradation="area").id == alone.id
    two, four = (tiny.spec("dfd", scale=scale) for scale in (2, 4))
    assert two.id != four.id
    assert two.needs["teacher"].id == four.needs["teacher"].id == alone.id


def test_two_roles_of_one_run_are_one_run(draft):
    draft("twice", teacher=Needs("hr-baseline"), again=Needs("hr-baseline"))
    student = tiny.spec("twice")
    assert student.needs["again"] == student.needs["teacher"]
    assert [spec.method for spec in student.walk()] == ["hr-baseline", "twice"]


def test_settings_that_are_the_defaults_are_no_settings():
    config = tiny.spec("dfd").config
    assert tiny.spec("dfd", dict(config)).id == tiny.spec("dfd").id
    assert tiny.spec("dfd", {"lam": 1}).id == tiny.spec("dfd", {"lam": 1.0}).id != tiny.spec("dfd", {"lam": 3}).id


def test_limits_at_the_whole_set_are_no_limits():
    whole = tiny.spec("dfd")
    assert tiny.spec("dfd", limit_train=40, limit_test=20).id == whole.id
    assert whole.limit_train is None and whole.limit_test is None
    for limits in ({"limit_train": 39}, {"limit_test": 19}):
        less = tiny.spec("dfd", **limits)
        assert less.id != whole.id and less.needs["teacher"].id != whole.needs["teacher"].id


def test_overrides_change_a_need_and_what_it_needs(draft):
    draft("middle", deep=Needs("hr-baseline"))
    draft(
        "top", plain=Needs("middle"), other=Needs("middle", overrides={"epochs": 3, "backbone": "alexnet", "seed": 8})
    )
    top = tiny.spec("top", epochs=5, seed=1)
    for need in (top.needs["other"], top.needs["other"].needs["deep"]):
        assert (need.recipe.epochs, need.recipe.lr, need.backbone, need.seed) == (3, 0.01, "alexnet", 8)
        assert need.width == 0.125
    for need in (top.needs["plain"], top.needs["plain"].needs["deep"]):
        assert (need.recipe.epochs, need.recipe.lr, need.backbone, need.seed) == (5, 0.1, "resnet18", 1)


def test_a_needs_config_is_its_own(draft):
    draft("top", student=Needs("dfd", {"lam": 5.0}))
    assert tiny.spec("top").needs["student"].config["lam"] == 5.0


@pytest.mark.parametrize(
    ("need", "says"),
    [
        (Needs("hr-baseline", overrides={"epoch": 3}), "'epochs'"),
        (Needs("hr-baseline", overrides={"backbone": "resnet19"}), "'resnet18'"),
        (Needs("lr-baseline", overrides={"scale": 3}), "2, 4"),
        (Needs("hr-baselin"), "'hr-baseline'"),
        (Needs("dfd", {"lamb": 1}), "'lam'"),
    ],
    ids=str,
)
def test_a_need_that_cannot_be_is_refused(draft, need, says):
    draft("top", role=need)
    assert says in refusal("top")


def test_a_method_that_needs_itself_is_refused(draft):
    draft("narcissus", mirror=Needs("narcissus"))
    draft("hen", egg=Needs("egg"))
    draft("egg", hen=Needs("hen"))
    assert "narcissus needs itself" in refusal("narcissus")
    assert "hen needs itself" in refusal("hen")


def test_a_method_may_need_itself_with_another_config(monkeypatch):
    class Generations(Method):
        name = "generations"

        class Config(Config):
            left: int = 2

        @classmethod
        def needs_of(cls, config):
            return {"parent": Needs("generations", {"left": config.left - 1})} if config.left else {}

    monkeypatch.setitem(registry._drafts, "generations", (Generations, "a test"))
    assert [spec.config["left"] for spec in tiny.spec("generations").walk()] == [0, 1, 2]


def refusal(method: str, settings=None, **changes) -> str:
    """The line that a user gets."""
    with pytest.raises(UserError) as caught:
        tiny.spec(method, settings, **changes)
    line = str(caught.value)
    assert line and "\n" not in line
    return line


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"method": "dfdd"}, "no method 'dfdd'; did you mean 'dfd'?"),
        ({"settings": {"lamb": 1}}, "dfd has no setting 'lamb'; did you mean 'lam'?"),
        ({"settings": {"lam": -1}}, "lam=-1: Input should be greater than or equal to 0"),
        ({"settings": {"lam": "much"}}, "lam='much': Input should be a valid number"),
        ({"settings": {"lam": float("inf")}}, "lam=inf: Input should be a finite number"),
        ({"settings": {"lam": float("nan")}}, "lam=nan"),
        ({"settings": {"init": "lr-baselin\n"}}, "'lr-baseline'"),
        ({"settings": {"reduction": "max"}}, "'sum' or 'mean'"),
        ({"scale": 3}, "scale 3 does not divide 16-pixel images; the nearest that do: 2, 4"),
        ({"scale": 0}, "the nearest that do: 1"),
        ({"scale": -4}, "the nearest that do: 1"),
        ({"scale": 99}, "the nearest that do: 16"),
        ({"backbone": "resnet19"}, "no backbone 'resnet19'; did you mean 'resnet18'?"),
        ({"backbone": "timm:resnet999", "width": 1}, "timm has no model 'resnet999'; did you mean 'resnet"),
        ({"backbone": "timm:resnet10t", "width": 0.5}, "timm:resnet10t comes in one width"),
        ({"recipe": "papper"}, "no recipe 'papper'; did you mean 'paper'?"),
        ({"recipe": "xyz"}, "choose from paper, quick, strong"),
        ({"degradation": "pil-bicubik"}, "no degradation 'pil-bicubik'; did you mean 'pil-bicubic'?"),
        ({"select": "best-epok"}, "no selection 'best-epok'; did you mean 'best-epoch'?"),
        (
            {"batch_size": 0},
            "batch size 0: there are 40 training images, and batch normalisation needs two",
        ),
        ({"lr": 0.0}, "learning rate 0 is not a positive number"),
        ({"lr": float("nan")}, "learning rate nan is not a positive number"),
        ({"width": 0}, "width 0 is not above 0 and at most 16; the smallest useful one is 0.125"),
        ({"width": -1.0}, "0.125"),
        ({"width": float("nan")}, "0.125"),
        ({"width": float("inf")}, "0.125"),
        ({"epochs": 0}, "0 epochs train nothing; the fewest are 1"),
        ({"epochs": -3}, "the fewest are 1"),
        ({"limit_train": 0}, "--limit-train 0: toys has 40 train images of 3 classes; the nearest valid limit is 3"),
        ({"limit_train": 41}, "the nearest valid limit is 40"),
        ({"limit_train": 2}, "the nearest valid limit is 3"),
        ({"limit_train": 3, "select": "held-out"}, "the nearest valid limit is 4"),
        ({"limit_test": 2}, "the nearest valid limit is 3"),
        ({"limit_test": 0}, "--limit-test 0: toys has 20 test images of 3 classes; the nearest valid limit is 3"),
        ({"limit_test": 21}, "the nearest valid limit is 20"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_with_the_nearest_valid_value(wrong, says):
    assert says in refusal(**({"method": "dfd"} | wrong))


LONG_TAIL = {"train": [900, 60, 3, 1], "test": [50, 47, 0, 3]}


@pytest.mark.parametrize("method", ["dfd", "sr-espcn"])
@pytest.mark.parametrize("limit", [{"limit_train": 60}, {"limit_test": 10}], ids=str)
def test_a_limit_that_would_leave_a_class_out_makes_another_run(method, limit):
    """Before this field such a subset lacked the class: what is stored of it is no result of the one that has it."""
    known = replace(tiny.info(), classes=tuple("abcd"), counts={"train": 964, "test": 100}, per_class=LONG_TAIL)
    spec = tiny.spec(method, data=known, **limit)
    before = tiny.spec(method, data=replace(known, per_class={}), **limit)
    for one, other in zip(spec.walk(), before.walk(), strict=True):
        assert one.rare_classes == "kept" and one.id != other.id
        assert one.model_copy(update={"rare_classes": "by share", "needs": other.needs}).id == other.id
    for images in ({}, {"limit_train": 964, "limit_test": 100}, {"limit_train": 900, "limit_test": 60}):
        others = tiny.spec(method, data=replace(known, per_class={}), **images)
        assert tiny.spec(method, data=known, **images).id == others.id  # each class has its share: the run of before


def test_the_least_limit_is_an_image_of_each_class_that_the_split_has():
    known = replace(tiny.info(), classes=tuple("abcd"), counts={"train": 964, "test": 100}, per_class=LONG_TAIL)
    assert tiny.spec("dfd", data=known, limit_test=3).limit_test == 3
    said = "--limit-test 2: toys has 100 test images of 3 classes; the nearest valid limit is 3"
    assert said in refusal("dfd", data=known, limit_test=2)
    assert "the nearest valid limit is 4" in refusal("dfd", data=known, limit_train=3)


def test_the_least_that_is_valid_is_accepted():
    spec = tiny.spec("dfd", {"lam": 0}, epochs=1, limit_train=3, limit_test=3, scale=16)
    assert (spec.recipe.epochs, spec.limit_train, spec.limit_test, spec.scale) == (1, 3, 3, 16)
    assert tiny.spec("dfd", scale=1).scale == 1


class Colour(Enum):
    RED = "red"


class Plain(BaseModel):
    values: list[int] = [1]


class Unordered(BaseModel):
    values: frozenset[int] = frozenset({1, 2})


@pytest.fixture
def with_setting(monkeypatch):
    """Registers a method with one setting, of a kind and a default."""

    def register(kind: Any, default: Any) -> None:
        cls = type("Odd", (Method,), {"name": "odd", "Config": create_model("Odd", __base__=Config, x=(kind, default))})
        monkeypatch.setitem(registry._drafts, "odd", (cls, "a test"))

    return register


@pytest.mark.parametrize(
    ("kind", "default", "says"),
    [
        (set[str], {"conv1", "conv2"}, "x is a set, whose order changes from process to process; use a tuple"),
        (tuple[Unordered, ...], (Unordered(),), "x is a set"),
        (dict[str, frozenset[str]], {"layers": frozenset("ab")}, "x is a set"),
        (
            Annotated[frozenset[str], PlainSerializer(list)],
            frozenset({"conv1", "conv2", "conv3", "conv4"}),
            "x is a set",
        ),
        (Any, float("nan"), "cannot be kept as JSON"),
        (Any, torch.nn.ReLU, "cannot be kept as JSON"),
        (SecretStr, SecretStr("a key"), "x does not come back from JSON as it was"),
        (bytes, b"\xff", "cannot be kept as JSON"),
        (float, Field(default_factory=random.random), "x has another default each time"),
        (float, Field(default_factory=time.monotonic_ns), "x has another default each time"),
    ],
)
def test_a_setting_that_would_give_another_id_elsewhere_is_refused(with_setting, kind, default, says):
    with_setting(kind, default)
    with pytest.raises(UserError, match=says) as caught:
        plan("odd", {}, tiny.protocol())
    assert str(caught.value).startswith("odd: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "default"),
    [(tuple[str, ...], ("b", "a")), (Colour, Colour.RED), (Path, Path("a/b")), (Plain, Plain()), (dict, {"b": 1})],
)
def test_a_setting_of_another_kind_has_an_id(with_setting, kind, default):
    with_setting(kind, default)
    spec = plan("odd", {}, tiny.protocol())
    assert spec.id == plan("odd", {"x": default}, tiny.protocol()).id
    assert spec.id == plan("odd", spec.config, tiny.protocol()).id

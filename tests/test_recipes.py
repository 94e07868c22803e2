"""The recipes against the paper, and the schedules against torch's and the words that define them."""

import itertools
import math
import re

import pytest
import torch

from lrbench import schedules
from lrbench.errors import UserError
from lrbench.recipes import OURS, PAPER, RECIPES, Recipe, name_of, recipe
from lrbench.schedules import SCHEDULES, factor


def test_paper_has_the_papers_values():
    paper = recipe("paper", "resnet18")
    stated = {"epochs": 100, "batch_size": 128, "momentum": 0.9, "weight_decay": 5e-4, "flip": True}
    for field, value in stated.items():
        assert getattr(paper, field) == value
        assert RECIPES["paper"][field] == (value, PAPER)
    assert round(paper.crop * 32) == 4 and PAPER in RECIPES["paper"]["crop"][1]


def test_what_the_paper_leaves_out_is_said_to_be_ours():
    paper = recipe("paper", "resnet18")
    assert (paper.lr, paper.nesterov, paper.schedule) == (0.1, False, "step")
    for field in ("lr", "nesterov", "schedule"):
        assert RECIPES["paper"][field][1] == OURS
    assert OURS in RECIPES["paper"]["crop"][1]  # its width
    assert (paper.label_smoothing, paper.ema) == (0, 0)


@pytest.mark.parametrize("name", RECIPES)
def test_alexnet_has_a_tenth_of_the_learning_rate(name):
    assert recipe(name, "alexnet").lr == 0.01
    for backbone in ("resnet18", "vgg16", "timm:resnet10t"):
        assert recipe(name, backbone).lr == 0.1


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_of_every_recipe_has_a_source(name):
    assert set(RECIPES[name]) == set(Recipe.model_fields)
    for field, (_, source) in RECIPES[name].items():
        assert source == OURS or re.search(r"\b(19|20)\d\d\b", source), (field, source)


def test_recipes_differ_where_they_should():
    paper, quick, strong = (recipe(name, "vgg16") for name in ("paper", "quick", "strong"))
    assert quick == paper.model_copy(update={"epochs": quick.epochs, "schedule": "one-cycle"})
    assert quick.epochs < paper.epochs < strong.epochs
    assert strong.ema > 0 and strong.label_smoothing > 0 and strong.nesterov and strong.schedule == "cosine"


def test_epochs_override_nothing_else():
    assert recipe("strong", "vgg16", 3) == recipe("strong", "vgg16").model_copy(update={"epochs": 3})


@pytest.mark.parametrize("backbone", ["resnet18", "alexnet"])
@pytest.mark.parametrize("name", RECIPES)
def test_name_of_finds_a_recipe_whatever_its_epochs(name, backbone):
    assert name_of(recipe(name, backbone), backbone) == name
    assert name_of(recipe(name, backbone, 7), backbone) == name
    assert name_of(recipe(name, backbone).model_copy(update={"lr": 0.3}), backbone) == "custom"


def test_a_recipe_for_one_backbone_is_not_anothers():
    assert name_of(recipe("paper", "alexnet"), "resnet18") == "custom"


def test_an_unknown_recipe_is_refused():
    with pytest.raises(UserError, match="did you mean 'strong'"):
        recipe("stron", "resnet18")


def test_one_cycle_is_torchs():
    total, up = 200, schedules.ONE_CYCLE_UP
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total, cycle_momentum=False, final_div_factor=1e9)
    top = up * total - 1  # torch counts steps and ends its phases on one: its top is at this step
    for number in range(total):
        rise, fall = number / top, (number - top) / (total - 1 - top)
        progress = rise * up if number <= top else up + fall * (1 - up)
        assert schedules.one_cycle(progress) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-8)
        optimizer.step()
        if number < total - 1:
            scheduler.step()


def test_one_cycle_has_its_corners():
    ends = [schedules.one_cycle(progress) for progress in (0.0, 0.3, 1.0)]
    assert ends == pytest.approx([1 / 25, 1.0, 0.0])
    assert schedules.one_cycle(0.15) == pytest.approx((1 + 1 / 25) / 2)


def test_step_drops_at_half_and_at_three_quarters():
    for progress, rate in ((0, 1), (0.4999, 1), (0.5, 0.1), (0.7499, 0.1), (0.75, 0.01), (1, 0.01)):
        assert schedules.step(progress) == pytest.approx(rate)


def test_step_drops_between_epochs_of_the_papers_recipe():
    a_epoch, epochs = 390, 100  # CIFAR-10 in batches of 128

    def rates(epoch):
        return {round(factor("step", epoch * a_epoch + i, epochs * a_epoch), 9) for i in range(a_epoch)}

    assert [rates(epoch) for epoch in (0, 49, 50, 74, 75, 99)] == [{1}, {1}, {0.1}, {0.1}, {0.01}, {0.01}]


def test_cosine_warms_up_and_falls_to_nothing():
    up = schedules.COSINE_WARMUP
    for progress, rate in ((0, 0), (up / 2, 0.5), (up, 1), (up + (1 - up) / 2, 0.5), (1, 0)):
        assert schedules.cosine(progress) == pytest.approx(rate, abs=1e-12)
    third = up + (1 - up) / 3
    assert schedules.cosine(third) == pytest.approx((1 + math.cos(math.pi / 3)) / 2)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_lies_between_nothing_and_the_peak(name):
    values = [SCHEDULES[name](i / 1000) for i in range(1001)]
    assert all(0 <= value <= 1 for value in values)
    assert max(values) == pytest.approx(1)
    if name != "step":  # no jump
        assert max(abs(a - b) for a, b in itertools.pairwise(values)) < 0.05


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("total", [1, 3, 400])
def test_every_update_has_the_rate_of_its_middle(name, total):
    for done in range(total):
        assert 0 < factor(name, done, total) == SCHEDULES[name]((2 * done + 1) / (2 * total)) <= 1

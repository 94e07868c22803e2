"""The recipes against the paper, and the schedules against torch's and the words that define them."""

import itertools
import json
import math
import re

import pytest
import torch
from helpers import tiny

from lrbench.errors import UserError
from lrbench.spec import schedules
from lrbench.spec.recipes import NONE, OURS, PAPER, RECIPES, Recipe, name_of, recipe
from lrbench.spec.schedules import SCHEDULES, factor


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
def test_alexnets_have_rates_of_their_own(name):
    assert recipe(name, "alexnet").lr == (0.05 if name == "quick" else 0.01)
    assert recipe(name, "alexnet-bn").lr == 0.05
    for backbone in ("resnet18", "vgg16", "timm:resnet10t"):
        assert recipe(name, backbone).lr == 0.1


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_of_every_recipe_has_a_source(name):
    assert set(RECIPES[name]) == set(Recipe.model_fields)
    for field, (_, source) in RECIPES[name].items():
        assert source.startswith(OURS) or re.search(r"\b(19|20)\d\d\b", source), (field, source)


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
    changed = recipe(name, backbone).model_copy(update={"lr": 0.3, "nesterov": True, "momentum": 0.8})
    words = "lr 0.3, momentum 0.8" + ", nesterov true" * (name != "strong")
    assert name_of(changed, backbone) == f"custom ({name}, {words})"


def test_a_recipe_for_one_backbone_is_not_anothers():
    other = name_of(recipe("paper", "alexnet"), "resnet18")
    assert other == f"custom (paper, lr {recipe('paper', 'alexnet').lr:g})"


def test_a_classifier_without_crops_has_a_recipe_of_its_own_and_an_sr_net_has_not():
    assert name_of(recipe("quick", "vgg16").model_copy(update={"crop": 0.0}), "vgg16") == "custom (quick, crop 0.0)"
    assert name_of(recipe("quick", NONE).model_copy(update={"crop": 0.0}), NONE) == "quick"


# --- files ----------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    """Writes a file and gives its path."""

    def write(text):
        (tmp_path / "own.toml").write_text(text)
        return str(tmp_path / "own.toml")

    return write


def test_a_file_changes_any_field_of_the_recipe_that_it_starts_from(own):
    values = {"epochs": 7, "batch_size": 64, "lr": 0.3, "momentum": 0.8, "nesterov": True, "weight_decay": 1e-4}
    values |= {"schedule": "cosine", "crop": 0.25, "flip": False, "label_smoothing": 0.05, "ema": 0.99}
    assert values.keys() == Recipe.model_fields.keys()
    for field, value in values.items():
        word = json.dumps(value)
        for base in RECIPES:
            path = own(f'base = "{base}"\n{field} = {word}\n')
            assert recipe(path, "vgg16") == recipe(base, "vgg16").model_copy(update={field: value})
    assert recipe(own("epochs = 3"), "vgg16") == recipe("paper", "vgg16", 3)


def test_a_rate_may_be_a_table_over_backbones(own):
    path = own('base = "quick"\n[lr]\nresnet18 = 0.2\n"timm:resnet10t" = 1')
    assert [recipe(path, name).lr for name in ("resnet18", "timm:resnet10t")] == [0.2, 1.0]
    for left_out in ("vgg16", "alexnet"):
        assert recipe(path, left_out).lr == recipe("quick", left_out).lr
    assert recipe(own("lr = {default = 0.3}"), "vgg16").lr == 0.3
    assert recipe(own("lr = 0.3"), "alexnet").lr == 0.3


def test_options_stand_above_a_file(own):
    path = own("epochs = 3\nbatch_size = 64\nlr = 0.3")
    changed = recipe(path, "vgg16", 5, 32, 0.02)
    assert (changed.epochs, changed.batch_size, changed.lr) == (5, 32, 0.02)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "there is no field 'epoch'; did you mean 'epochs'"),
        ("bas = 'quick'", "did you mean 'base'"),
        ("base = 'quik'", "base: no recipe 'quik'; did you mean 'quick'"),
        ("base = 3", "base: no recipe '3'"),
        ("base = ['quick']", "base: no recipe"),
        ("epochs = 0", "epochs = 0: Input should be greater than or equal to 1"),
        ("batch_size = 1", "batch_size = 1: Input should be greater than or equal to 2"),
        ("lr = -1", "lr = -1: Input should be greater than 0"),
        ("lr = inf", "lr = .*finite"),
        ("lr = {vgg16 = 0}", "lr = 0: Input should be greater than 0"),
        ("epochs = '3'", "epochs = 3: Input should be a valid integer"),
        ("crop = {vgg16 = 0.1}", "crop = .*: Input should be a valid number"),
        ("schedule = 'cosin'", "schedule = cosin: Input should be 'step', 'one-cycle' or 'cosine'"),
        ("momentum = 0.0\nnesterov = true", "needs a momentum above 0"),
        ("epochs: 3", "own.toml is not TOML"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(own, text, message):
    with pytest.raises(UserError, match=message) as error:
        recipe(own(text), "vgg16")
    assert "\n" not in str(error.value) and "own.toml" in str(error.value)


@pytest.mark.parametrize("name", ["own.toml", "own.TOML", "Own.Toml"])
def test_a_file_is_utf_8_with_or_without_a_mark_and_its_name_in_any_case(name, tmp_path):
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / name).write_bytes(mark + "# größer\r\nepochs = 3\r\n".encode())
        assert recipe(str(tmp_path / name), "vgg16") == recipe("paper", "vgg16", 3)
    for code in ("latin-1", "utf-16"):
        (tmp_path / name).write_bytes("# größer\nepochs = 3\n".encode(code))
        with pytest.raises(UserError, match=f"{name} is not TOML: it is not UTF-8") as error:
            recipe(str(tmp_path / name), "vgg16")
        assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        recipe(str(tmp_path / "none.toml"), "vgg16")
    with pytest.raises(UserError, match="there is no file"):
        recipe(str(tmp_path) + "/.toml", "vgg16")


def test_a_backbone_that_is_not_there_is_named(own):
    path = own("lr = {alexnt = 0.1}")
    with pytest.raises(UserError, match=r"own\.toml: lr: no backbone 'alexnt'; did you mean 'alexnet'"):
        tiny.spec(recipe=path)


def test_runs_that_are_needed_inherit_what_differs(own):
    path = own('base = "strong"\nmomentum = 0.8')
    student = tiny.spec("dfd", {"init": "lr-baseline"}, recipe=path, epochs=2, batch_size=16, lr=0.05)
    assert student.recipe == recipe(path, "resnet18", 2, 16, 0.05)
    for need in student.needs.values():
        assert need.recipe == student.recipe.model_copy(update={"epochs": need.recipe.epochs})


def test_a_rate_of_classifiers_trains_no_sr_net_again():
    plain, changed = tiny.spec("espcn"), tiny.spec("espcn", lr=0.05)
    assert plain.id != changed.id and changed.recipe.lr == 0.05
    (net,) = (role for role, need in plain.needs.items() if need.method.startswith("sr-"))
    assert plain.needs[net].id == changed.needs[net].id


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


def test_an_sr_net_does_not_depend_on_the_classifiers_rate(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "quick"\nlr = 0.05\n')
    nets = [tiny.spec("sr-espcn", recipe=name, epochs=2) for name in ("quick", str(path))]
    assert nets[0].id == nets[1].id

"""What an SR net and the classifier of its images are planned as, and the pairs that an SR net is given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import tiny

from lrbench.data import datasets, prepare
from lrbench.data.degradation import DEGRADATIONS
from lrbench.data.importing import import_dataset
from lrbench.errors import UserError
from lrbench.execute import session
from lrbench.execute.progress import Progress
from lrbench.plan.plan import plan
from lrbench.train.build import build

CPU = torch.device("cpu")


def by_method(spec):
    """Every run that a spec asks for, by its method, in the order of training."""
    return {one.method: one for one in spec.walk()}


def test_vdsr_plans_its_net_and_then_the_classifier():
    spec = tiny.spec("vdsr")
    assert [one.method for one in spec.walk()] == ["sr-vdsr", "vdsr"]
    assert spec.needs["restorer"].method == "sr-vdsr"


def test_srgan_plans_its_first_stage_the_vgg_its_second_stage_and_then_the_classifier():
    spec = tiny.spec("srgan")
    assert [one.method for one in spec.walk()] == ["hr-baseline", "sr-srresnet", "sr-srgan", "srgan"]
    found = by_method(spec)
    assert found["hr-baseline"].backbone == "vgg16" and spec.backbone == "resnet18"
    assert set(spec.needs) == {"restorer"} and set(found["sr-srgan"].needs) == {"init", "vgg"}


def test_srgan_with_imagenets_vgg_needs_no_hr_baseline():
    assert [one.method for one in tiny.spec("srgan", {"vgg": "imagenet"}).walk()] == [
        "sr-srresnet",
        "sr-srgan",
        "srgan",
    ]


def test_the_second_stage_starts_from_the_srresnet_that_srresnet_itself_uses():
    settings = {"channels": 8, "blocks": 1, "lr": 0.01}
    srgan = tiny.spec("srgan", settings | {"gan_lr": 0.5})
    assert by_method(srgan)["sr-srresnet"] == tiny.spec("srresnet", settings).needs["restorer"]


@pytest.mark.parametrize("method", ["vdsr", "espcn", "srresnet"])
def test_one_sr_net_serves_every_backbone_and_width(method):
    nets = [
        tiny.spec(method, backbone=backbone, width=width).needs["restorer"]
        for backbone, width in [("resnet18", 0.125), ("alexnet", 0.125), ("resnet18", 1.0)]
    ]
    assert {(net.backbone, net.width) for net in nets} == {("none", 1.0)}
    assert len({net.id for net in nets}) == 1


def test_srgans_vgg_takes_the_width_of_the_run():
    narrow, wide = (by_method(tiny.spec("srgan", width=width)) for width in (0.125, 0.5))
    assert (narrow["hr-baseline"].width, wide["hr-baseline"].width) == (0.125, 0.5)
    assert narrow["sr-srresnet"] == wide["sr-srresnet"] and narrow["sr-srgan"] != wide["sr-srgan"]
    assert (wide["sr-srgan"].backbone, wide["sr-srgan"].width) == ("none", 1.0)


def test_all_pairs_lift_the_limit_for_the_sr_nets_only():
    found = by_method(tiny.spec("srgan", {"sr_pairs": "all"}, limit_train=30, limit_test=10))
    limits = {method: spec.limit_train for method, spec in found.items()}
    assert limits == {"sr-srresnet": None, "hr-baseline": 30, "sr-srgan": None, "srgan": 30}
    assert {spec.limit_test for spec in found.values()} == {10}
    limited = by_method(tiny.spec("srgan", limit_train=30))
    assert {spec.limit_train for spec in limited.values()} == {30}


def test_sr_epochs_are_those_of_the_sr_nets_only():
    found = by_method(tiny.spec("srgan", {"sr_epochs": 7}, epochs=3))
    epochs = {method: spec.recipe.epochs for method, spec in found.items()}
    assert epochs == {"sr-srresnet": 7, "hr-baseline": 3, "sr-srgan": 7, "srgan": 3}
    assert {spec.recipe.epochs for spec in tiny.spec("srgan", epochs=3).walk()} == {3}


def test_gan_epochs_are_those_of_the_second_stage_only():
    found = by_method(tiny.spec("srgan", {"sr_epochs": 7, "gan_epochs": 5}, epochs=3))
    epochs = {method: spec.recipe.epochs for method, spec in found.items()}
    assert epochs == {"sr-srresnet": 7, "hr-baseline": 3, "sr-srgan": 5, "srgan": 3}


@pytest.mark.parametrize("recipe", ["paper", "quick", "strong"])
def test_sr_nets_are_not_trained_on_crops_and_all_others_are(recipe):
    found = by_method(tiny.spec("srgan", recipe=recipe))
    crops = {method: spec.recipe.crop for method, spec in found.items()}
    assert crops == {"sr-srresnet": 0.0, "hr-baseline": 0.125, "sr-srgan": 0.0, "srgan": 0.125}


def test_the_classifiers_start_is_no_setting_of_its_net():
    scratch, trained = tiny.spec("espcn"), tiny.spec("espcn", {"init": "lr-baseline"})
    assert [one.method for one in trained.walk()] == ["lr-baseline", "sr-espcn", "espcn"]
    assert scratch.needs["restorer"] == trained.needs["restorer"]


def test_other_seeds_have_other_sr_nets():
    nets = [{one.id for one in tiny.spec("srgan", seed=seed).walk()} for seed in (0, 1)]
    assert len(nets[0]) == len(nets[1]) == 4 and not nets[0] & nets[1]


@pytest.mark.parametrize("scale", [2, 4])
def test_an_sr_net_is_of_its_scale_and_degradation(scale):
    net = tiny.spec("espcn", scale=scale, degradation="area").needs["restorer"]
    assert (net.scale, net.degradation) == (scale, "area")


@pytest.mark.parametrize("method", ["vdsr", "srgan", "sr-espcn"])
@pytest.mark.parametrize(
    ("scale", "sr_scale", "hint"),
    [
        (2, 3, "the nearest sr_scale is 2"),
        (4, 8, "the nearest sr_scale is 4"),
        (8, 3, "the nearest sr_scale is 2"),
        (16, 7, "the nearest sr_scale is 8"),
        (1, 2, "there is nothing to restore"),
    ],
)
def test_an_sr_scale_that_does_not_divide_the_scale_is_refused(method, scale, sr_scale, hint):
    with pytest.raises(UserError) as caught:
        tiny.spec(method, {"sr_scale": sr_scale}, scale=scale)
    line = str(caught.value)
    assert f"sr_scale={sr_scale} does not divide --scale {scale}; {hint}" in line and "\n" not in line


@pytest.mark.parametrize(("scale", "sr_scale"), [(2, 2), (4, 2), (4, 4), (8, 4), (16, 16)])
def test_an_sr_scale_that_divides_the_scale_is_accepted(scale, sr_scale):
    assert tiny.spec("espcn", {"sr_scale": sr_scale}, scale=scale).needs["restorer"].config["sr_scale"] == sr_scale


def test_an_sr_scale_is_refused_before_anything_is_trained(tmp_path):
    class Silent(Progress):
        def start(self, *_):
            raise AssertionError("a run was started")

    request = session.Request("srgan", "digits", tmp_path / "runs", scale=2, settings={"sr_scale": 3}, device="cpu")
    with pytest.raises(UserError, match="the nearest sr_scale is 2"):
        session.run(request, Silent())
    assert not list(tmp_path.iterdir())
    with pytest.raises(AssertionError, match="a run was started"):  # it would have been
        session.run(replace(request, settings={}), Silent())


# --- the pairs ------------------------------------------------------------------------------------------


@pytest.fixture
def toys(tmp_path):
    """A root with a data set of 30 + 12 images of 16x16, smooth enough for the ways down to differ."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (42, 8, 8, 3), dtype=np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    labels = np.arange(42) % 3
    arrays = {"train_images": images[:30], "train_labels": labels[:30]}
    np.savez(tmp_path / "toys.npz", **arrays, test_images=images[30:], test_labels=labels[30:])
    import_dataset("toys", tmp_path / "toys.npz", tmp_path / "data")
    return tmp_path / "data"


def planned(root, method="sr-espcn", settings=None, **changes):
    return plan(method, settings or {}, tiny.protocol(data=datasets.info("toys", root), **changes))


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_pairs_of_an_sr_net_are_made_by_the_degradation_protocol(degradation, toys):
    data = prepare.prepare(planned(toys, degradation=degradation), toys, CPU)
    protocol, splits = DEGRADATIONS[degradation], datasets.load("toys", toys).splits
    for pairs, images in ((data.train, splits["train"].images), (data.test, splits["test"].images)):
        lr = protocol.down(images, 4)
        assert np.array_equal(pairs.hr, protocol.down(images, 8))  # not cut out, not made from LR
        assert np.array_equal(pairs.lr, lr)
        assert np.array_equal(pairs.up, protocol.up(lr, 8))


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_at_the_full_scale_the_pairs_are_those_of_a_classifier(degradation, toys):
    net = prepare.prepare(planned(toys, settings={"sr_scale": 4}, degradation=degradation), toys, CPU)
    student = prepare.prepare(planned(toys, "lr-baseline", degradation=degradation), toys, CPU)
    assert np.array_equal(net.train.hr, datasets.load("toys", toys).splits["train"].images)
    for one, other in ((net.train, student.train), (net.test, student.test)):
        assert all(torch.equal(one.view(view), other.view(view)) for view in ("hr", "lr", "up"))


def test_a_classifier_of_restored_images_is_given_whole_images(toys):
    spec = planned(toys, "espcn")
    assert prepare.prepare(spec, toys, CPU).train.hr.shape == (30, 16, 16, 3)
    assert prepare.prepare(spec.needs["restorer"], toys, CPU).train.hr.shape == (30, 8, 8, 3)


def test_pairs_held_out_are_small_too(toys):
    data = prepare.prepare(planned(toys, select="best-epoch"), toys, CPU)
    assert data.val.hr.shape == (3, 8, 8, 3) and data.train.hr.shape == (27, 8, 8, 3)


@pytest.mark.parametrize(("sr_scale", "side"), [(2, 8), (4, 16)])
@pytest.mark.parametrize("method", ["sr-espcn", "sr-vdsr", "sr-srresnet"])
def test_the_context_is_that_of_the_pairs(method, sr_scale, side, toys):
    spec = planned(toys, method, {"sr_scale": sr_scale})
    data = prepare.prepare(spec, toys, CPU)
    context = build(spec, data.facts, {}, CPU).context
    assert (context.side, context.scale) == (side, sr_scale)
    assert (data.train.hr.shape[1], data.train.scale) == (side, sr_scale)


def test_the_context_of_a_classifier_is_the_whole_image(toys):
    spec = planned(toys, "espcn")
    context = build(spec, prepare.prepare(spec, toys, CPU).facts, {}, CPU).context
    assert (context.side, context.scale) == (16, 4)

"""results/bench/reference.py, the usual loop of public code: it does the work of lrbench's. Nothing here is timed."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import tiny
from torch.utils.data import default_collate

from lrbench.bench import timing
from lrbench.bench.contenders import Loop
from lrbench.data import pairs
from lrbench.data.degradation import degrade
from lrbench.errors import UserError
from lrbench.method.base import Batch, Method
from lrbench.plan.plan import plan

SCRIPT = Path(__file__).parents[2] / "results" / "bench" / "reference.py"
loading = importlib.util.spec_from_file_location("reference", SCRIPT)
reference = sys.modules["reference"] = importlib.util.module_from_spec(loading)
loading.loader.exec_module(reference)


def case(method="dfd", batch_size=6, **changes) -> reference.Case:
    """A tiny method that is to be timed on 20 images of noise; fp32."""
    spec = plan(method, {}, tiny.protocol(batch_size=batch_size, **changes))
    return reference.Case(spec, tiny.info(), images=20, root=None, device="cpu")


def images(one: reference.Case) -> pairs.Pairs:
    """The case's images."""
    found = tiny.pairs(20)
    return found if one.spec.scale else replace(found, lr=None, up=None)


def gradients(method: Method) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in method.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("method", ["dfd", "lr-baseline", "hr-baseline"])
def test_the_reference_takes_the_same_step(method):
    one = case(method)
    ours, theirs = one.untrained().train(), reference.Reference(one, images(one))
    theirs.method.train()
    batch = tiny.batch()
    if one.spec.scale is None:
        batch = Batch(hr=batch.hr, y=batch.y, index=batch.index)
    optimizers = ours.optimizers(one.updates)
    optimizers[0].set_rate(0)
    before = [weight.detach().clone() for weight in ours.parameters()]
    terms = ours.step(batch, optimizers)
    loss = theirs.step(batch)
    torch.testing.assert_close(loss, sum(terms.values()), rtol=1e-5, atol=1e-6)
    wanted, found = gradients(ours), gradients(theirs.method)
    assert wanted.keys() == found.keys() and any(gradient.abs().max() > 1e-4 for gradient in wanted.values())
    for name, gradient in wanted.items():
        # the layouts sum in another order
        assert (found[name] - gradient).norm() < 1e-3 * gradient.norm() + 1e-4
    for weight, same, was in zip(theirs.method.parameters(), ours.parameters(), before, strict=True):
        torch.testing.assert_close(weight, same, rtol=1e-4, atol=1e-4)
        assert not weight.requires_grad or not torch.equal(weight, was)


def test_the_reference_normalises_in_the_loader_what_the_backbone_does_elsewhere():
    one = case("lr-baseline")
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    recipe = one.spec.recipe.model_copy(update={"crop": 0.0, "flip": False})
    noise = images(one)
    hr, up, label, index = reference.PairDataset(noise.hr.numpy(), noise.y.tolist(), 4, recipe, mean, std)[3]
    backbone = tiny.method().backbone
    expected = backbone.normalise(pairs.to_float(noise.hr[3:4]))[0]
    torch.testing.assert_close(hr, expected)
    assert (label, index) == (noise.y[3], 3) and up.shape == hr.shape
    assert not torch.equal(up, hr)  # enlarged from a quarter of the side


def test_the_reference_makes_lr_as_the_default_degradation_does():
    one = case("lr-baseline")
    recipe = one.spec.recipe.model_copy(update={"crop": 0.0, "flip": False})
    hr = images(one).hr.numpy()
    data = reference.PairDataset(hr, images(one).y.tolist(), 4, recipe, (0.0,) * 3, (1.0,) * 3)
    _, up = degrade(hr, 4)
    for n in range(4):
        assert torch.equal((data[n][1] * 255).round().byte(), torch.tensor(up[n]).permute(2, 0, 1))


def test_the_reference_crops_and_flips_a_pair_alike():
    one = case("lr-baseline")
    data = reference.PairDataset(images(one).hr.numpy(), images(one).y.tolist(), 1, one.spec.recipe)
    seen = [data[0] for _ in range(20)]  # at scale 1, LR is HR
    for hr, low, *_ in seen:
        assert torch.equal(hr, low)
    assert len({hr.numpy().tobytes() for hr, *_ in seen}) > 10


def test_the_reference_without_lr_gives_none():
    one = case("hr-baseline")
    data = reference.PairDataset(images(one).hr.numpy(), images(one).y.tolist(), None, one.spec.recipe)
    assert [len(values) for values in default_collate([data[0], data[1]])] == [2, 2, 2]


def test_the_reference_is_in_the_default_layout_and_without_autocast():
    one = case("dfd", precision="bf16")
    theirs = reference.Reference(one, images(one))
    for method in (theirs.method, theirs.method.needs["teacher"]):
        kernels = [weight for weight in method.parameters() if weight.ndim == 4 and weight.shape[2] > 1]
        assert kernels and all(weight.is_contiguous() for weight in kernels)
    kernels = [weight for weight in one.untrained().parameters() if weight.ndim == 4 and weight.shape[2] > 1]
    assert not any(weight.is_contiguous() for weight in kernels)
    features = []
    theirs.method.backbone.stages[0].register_forward_hook(lambda module, given, made: features.append(made.dtype))
    theirs.step(tiny.batch())
    assert features == [torch.float32]


def test_a_slice_is_an_epoch_of_updates():
    one = case()
    running, steps = reference.Reference(one, images(one)), []
    before = {name: weight.clone() for name, weight in running.method.named_parameters()}
    assert running.slice(lambda: steps.append(1)) > 0
    assert len(steps) == one.updates == 3
    assert all(not torch.equal(before[name], weight) for name, weight in running.method.named_parameters())


def test_each_epoch_has_the_same_images_as_lrbenchs_loop(monkeypatch):
    one = case(batch_size=10)  # so that none is dropped
    theirs, ours, seen = reference.Reference(one, images(one)), Loop(one, images(one)), {}
    for name, method in (("theirs", theirs.method), ("ours", ours.training.method)):
        loss, labelled = method.loss, seen.setdefault(name, [])

        def noted(batch, loss=loss, labelled=labelled):
            labelled.extend(zip(batch.index.tolist(), batch.y.tolist(), strict=True))
            return loss(batch)

        monkeypatch.setattr(method, "loss", noted)
    theirs.slice()
    ours.slice()
    assert sorted(seen["theirs"]) == sorted(seen["ours"]) == list(enumerate(images(one).y.tolist()))


def test_it_learns():
    one = case("lr-baseline", batch_size=20)
    theirs, batch = reference.Reference(one, images(one)), tiny.batch()
    theirs.method.train()
    losses = [theirs.step(batch).item() for _ in range(20)]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("method", ["sr-espcn", "sr-srgan"])  # two optimizers, the latter
def test_an_sr_net_has_no_reference_loop(method):
    with pytest.raises(UserError, match=f"no reference loop for {method}"):
        reference.cases(0, methods=[method], images=128, device="cpu")


def test_the_script_prints_a_table_and_json(monkeypatch, capsys):
    monkeypatch.setattr(timing, "alone", lambda contender, case: timing.Alone(0.25, 123))  # no process of its own here
    words = "--method dfd --width 0.125 --images 16 --batch 8 --rounds 2 --threads 1 --workers 0 --device cpu"
    monkeypatch.setattr(sys, "argv", ["reference.py", *words.split()])
    reference.main()
    out, err = capsys.readouterr()
    (found,) = json.loads(out)["cases"]
    assert set(found["seconds"]) == {"lrbench", "reference"} and found["reference_peak_memory_mib"] == 123
    assert json.loads(out)["machine"]["workers"] == 0 and found["lrbench_to_reference"] > 0
    assert "lrbench / reference" in err and "dfd, resnet18, width 0.125" in err


def test_a_mistake_ends_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reference.py", "--backbone", "resnet81"])
    with pytest.raises(SystemExit):
        reference.main()
    assert "did you mean 'resnet18'" in capsys.readouterr().err

"""What holds for every method of `methods/`: precision, gradients, settings, and that a weight of 0 is the control."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from helpers import tiny
from safetensors.torch import load
from torch import Tensor, nn

from lrbench.execute import session
from lrbench.method import registry
from lrbench.method.base import Batch
from lrbench.spec.record import Record
from lrbench.store.store import CURVE, Store
from lrbench.testing import SMALL, Watch
from lrbench.train.build import start_from

FIELD = [name for name in registry.methods() if registry.method(name).__module__.startswith("lrbench_methods")]
# Other forms of a method, whose arithmetic is another.
FORMS: dict[str, list[dict[str, Any]]] = {
    "at": [{"distance": "cosine"}],
    "crd": [{"negatives": "batch"}],
    "dfd": [{"reduction": "sum"}],
    "fitnets": [{"regressor": "none"}],
    "kd": [{"standardise": True}],
    "mixed": [{"passes": "two"}],
    "simkd": [{"ce": 1.0, "kd": 1.0}],
}
CASES = [(name, settings) for name in FIELD for settings in [{}, *FORMS.get(name, [])]]
ALL_FORMS = pytest.mark.parametrize(
    ("name", "settings"), CASES, ids=["-".join([name, *map(str, settings.values())]) for name, settings in CASES]
)


def ready(name: str, settings: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A method in the middle of its training on 32x32 images."""
    method = tiny.method(name, settings, side=32, **changes).train()
    method.progress.fill_(0.5)
    return method


def noise(method: Any, n: int = 8) -> Batch:
    """A batch half of whose labels are the teacher's: a method may leave out images that it does not know."""
    batch = tiny.batch(n, side=32)
    if teacher := method.needs.get("teacher"):
        guess = teacher(batch.hr).argmax(dim=1)
        batch = replace(batch, y=torch.where(torch.arange(n) < n // 2, guess, batch.y))
    return batch


def terms_of(method: Any, batch: Batch) -> dict[str, Tensor]:
    """Those of its loss, of the same random numbers each time; SR4IR's, which has a step instead, of both its parts."""
    torch.manual_seed(0)
    if method.name != "sr4ir":
        return method.loss(batch)
    restored = method.restore(batch.lr)
    return method.likeness(restored, batch.hr) | method.recognition(restored.detach(), batch)


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}


def in_float32(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def exact(layer: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(layer, x.float())

    return exact


@ALL_FORMS
def test_beside_its_layers_a_loss_is_the_same_within_autocast(
    name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layers give the same numbers, in float32: what is left is the loss's own arithmetic."""
    for layer in (nn.Conv2d, nn.Linear):
        monkeypatch.setattr(layer, "forward", in_float32(layer.forward))
    found = []
    for bf16 in (False, True):
        method = ready(name, settings)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found.append(values(terms_of(method, noise(method))))
    assert found[0].keys() == found[1].keys() and any(found[0].values())
    assert found[1] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize("backbone", ["resnet18", "vgg16", "alexnet"])
@ALL_FORMS
def test_every_term_draws_at_the_student(name: str, settings: dict[str, Any], backbone: str) -> None:
    """And none at a needed run."""
    kd = {"kd": 1.0} if "kd" in registry.method(name).Config.model_fields else {}
    method = ready(name, kd | settings, backbone=backbone)
    restores = ("pixel", "task") if name == "sr4ir" else ()  # what trains its SR net
    for term, value in terms_of(method, noise(method)).items():
        part = method.restorer if term in restores else method.backbone
        weights = [weight for weight in part.parameters() if weight.requires_grad]
        found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        given = [gradient for gradient in found if gradient is not None]
        assert all(gradient.isfinite().all() for gradient in given), term
        assert given and given[0].abs().max() > 1e-8, term  # in the first layer: it has come all the way
        value.backward(retain_graph=True)
    needed = [weight for need in method.needs.values() for weight in need.parameters()]
    assert all(weight.grad is None for weight in needed)


# Settings


def another(name: str, value: Any, kind: Any) -> Any:
    """A value that a setting may have and that is not its default."""
    if get_origin(kind) is Literal:
        return next(one for one in get_args(kind) if one != value)
    if isinstance(value, bool):
        return not value
    return {"channels": 8, "k": 10, "sr_scale": 4, "stage": 1, "kd": 1.0, "ce": 0.5}.get(name, value / 2)


SETTINGS = [
    (name, setting, another(setting, field.default, field.annotation))
    for name in FIELD
    for setting, field in registry.method(name).Config.model_fields.items()
    if setting not in ("init", "sr_lr", "sr_pairs", "sr_epochs")  # which have tests of their own
]


def quick(name: str, settings: dict[str, Any] | None = None) -> Any:
    return ready(name, settings, backbone="alexnet-bn")


@cache
def as_it_comes(name: str) -> list[dict[str, float]]:
    first, again = after_two(quick(name)), after_two(quick(name))
    assert first == again
    return first


def after_two(method: Any) -> list[dict[str, float]]:
    """The terms of two batches: the first, early in the training, leaves its mark on a bank; later all warm-ups end."""
    batch, found = noise(method), []
    for progress in (0.06, 0.5):
        method.progress.fill_(progress)
        found.append(values(terms_of(method, batch)))
    return found


@pytest.mark.parametrize(("name", "setting", "value"), SETTINGS)
def test_every_setting_changes_something(name: str, setting: str, value: Any) -> None:
    method = quick(name, {setting: value})
    assert method.config != registry.config_of(type(method), {})
    assert after_two(method) != as_it_comes(name)


@pytest.mark.parametrize("name", FIELD)
def test_a_start_gives_the_student_its_weights(name: str) -> None:
    plain = quick(name)
    before = values(terms_of(plain, noise(plain)))
    for init in ("lr-baseline", "teacher"):
        method = quick(name, {"init": init})
        need = method.needs[type(method).starts_from(method.config)]
        with torch.no_grad():  # as if it had been trained
            for weight in need.backbone.stages.parameters():
                if weight.ndim == 4:
                    weight.neg_()
        start_from(method, need)
        assert values(terms_of(method, noise(method))) != before


def test_sr4irs_rate_is_adams() -> None:
    for rate in (1e-4, 3e-4):
        adam, sgd = ready("sr4ir", {"sr_lr": rate}).optimizers(10)
        assert adam.optimizer.param_groups[0]["lr"] == rate and sgd.optimizer.param_groups[0]["lr"] == 0.1


def test_sr4irs_net_is_trained_as_its_settings_say() -> None:
    spec = tiny.spec("sr4ir", {"sr_pairs": "all", "sr_epochs": 7, "sr_scale": 4})
    assert spec.recipe.epochs == 100
    restorer = spec.needs["restorer"]
    assert restorer.method == "sr-espcn" and restorer.recipe.epochs == 7 and restorer.limit_train is None
    assert {name: restorer.config[name] for name in ("sr_pairs", "sr_epochs", "sr_scale")} == {
        "sr_pairs": "all",
        "sr_epochs": 7,
        "sr_scale": 4,
    }


# Switched off

OFF: dict[str, dict[str, float]] = {  # what leaves a method the labels alone
    **{name: {"weight": 0} for name in FIELD},
    "dfd": {"lam": 0},
    "kd": {"weight": 0, "ce": 1},
    "f-skd": {"weight": 0, "second": 0},
}
for never in ("simkd", "sr4ir"):  # the one has the teacher's classifier, the other an SR net before its own
    del OFF[never]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Record, Store]]:
    """Trains for an epoch on a few digits; one store, so that there is one teacher and one control."""
    results = tmp_path_factory.mktemp("switched-off") / "runs"
    few = {"epochs": 1, "limit_train": 256, "limit_test": 100}

    def train(name: str, settings: dict[str, Any], precision: str) -> tuple[Record, Store]:
        request = session.Request(
            method=name, settings=settings, results=results, **(SMALL | few | {"precision": precision})
        )
        [record] = session.run(request, Watch())
        return record, Store(results)

    return train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [(name, "fp32") for name in OFF] + [(name, "bf16") for name in ("kd", "mixed", "at", "crd", "reviewkd")],
)
def test_switched_off_it_is_the_control_bit_for_bit(
    name: str, precision: str, trained: Callable[..., tuple[Record, Store]]
) -> None:
    control, store = trained("lr-baseline", {}, precision)
    record, _ = trained(name, OFF[name], precision)
    assert record.id != control.id
    ours, theirs = (load(store.weights(one.id)) for one in (record, control))
    assert ours.keys() == theirs.keys() and not [key for key in theirs if not torch.equal(ours[key], theirs[key])]
    predicted = [store.predictions(one.id)["predicted"] for one in (record, control)]
    assert (predicted[0] == predicted[1]).all()
    rows = [curve(store, one.id) for one in (record, control)]
    label = "low" if name == "mixed" else "recognition"
    assert rows[0][label] == rows[1]["recognition"] == rows[0]["loss"]
    assert rows[0]["train_top1"] == rows[1]["train_top1"]


def curve(store: Store, run_id: str) -> dict[str, str]:
    """The one row of a learning curve."""
    [row] = csv.DictReader((store.root / run_id / CURVE).read_text().splitlines())
    return row


@pytest.mark.slow
def test_switched_on_it_is_not(trained: Callable[..., tuple[Record, Store]]) -> None:
    control, store = trained("lr-baseline", {}, "fp32")
    record, _ = trained("at", {}, "fp32")
    assert store.weights(record.id) != store.weights(control.id)

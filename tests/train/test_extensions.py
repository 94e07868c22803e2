"""The contract's extensions: how far the training is, exact blocks, and state that only training needs."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny
from safetensors.torch import load
from torch import Tensor, nn

from lrbench.errors import UserError
from lrbench.execute import session
from lrbench.execute.runner import deployed
from lrbench.method import registry
from lrbench.method.base import Batch, Context, Method, deployed_state, load_deployed
from lrbench.store.store import CURVE
from lrbench.testing import SMALL, Interrupted, Watch, check_resume, registered, try_out
from lrbench.train import build
from lrbench.train.build import load_frozen, weights_file
from lrbench.train.training import Average, Training

CPU = torch.device("cpu")
FEW = {"epochs": 3, "limit_train": 300, "limit_test": 50}


class Plain(Method):
    """The softmax loss of one network."""

    name = "plain"

    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.backbone = context.backbone()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"recognition": self.cross_entropy(self.backbone(batch.up), batch.y)}

    def forward(self, image: Tensor) -> Tensor:
        return self.backbone(image)


# Progress


class Clock(Plain):
    """Says at each update how far the training is."""

    name = "clock"
    seen: list[float] = []

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.seen.append(self.progress.item())
        return super().loss(batch) | {"done": self.progress.clone()}


@pytest.mark.slow
def test_progress_goes_up_by_update_and_goes_on_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "seen", seen := [])
    with registered(Clock):
        trial = try_out(Clock, tmp_path, **FEW)
        updates = len(seen)
        assert updates % 3 == 0 and updates >= 6
        assert seen == pytest.approx([number / updates for number in range(updates)])
        rows = list(csv.DictReader((trial.store.root / trial.record.id / CURVE).read_text().splitlines()))
        means = [sum(seen[n : n + updates // 3]) / (updates // 3) for n in range(0, updates, updates // 3)]
        assert [float(row["done"]) for row in rows] == pytest.approx(means)
        whole = seen.copy()
        seen.clear()
        again = session.Request(**vars(trial.request) | {"results": tmp_path / "again"})
        with pytest.raises(Interrupted):
            session.run(again, Watch(stop_after=2))
        assert len(seen) == 2 * updates // 3 + 1  # it is stopped after the first update of the third epoch
        seen.pop()
        session.run(again, Watch())
        assert seen == whole


def test_progress_is_no_state() -> None:
    method = tiny.method()
    assert "progress" not in method.state_dict()
    assert (method.progress.shape, method.progress.dtype, method.progress.item()) == ((), torch.float32, 0.0)


# Exact blocks


def test_an_exact_block_is_in_float32_within_autocast() -> None:
    method, x = tiny.method(), torch.rand(9, 64, generator=torch.Generator().manual_seed(0))
    product = x @ x.t()
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x.t()).dtype == torch.bfloat16
        with method.exact(x, x.bfloat16(), torch.arange(3)) as (same, rounded, counted):
            assert {same.dtype, rounded.dtype, counted.dtype} == {torch.float32}
            assert torch.equal(same @ same.t(), product) and torch.equal(rounded, x.bfloat16().float())
            assert torch.equal(torch.einsum("nd,md->nm", same, same), torch.einsum("nd,md->nm", x.float(), x))
        assert (x @ x.t()).dtype == torch.bfloat16  # and on again
        with pytest.raises(ZeroDivisionError), method.exact():
            raise ZeroDivisionError
        assert (x @ x.t()).dtype == torch.bfloat16
    with method.exact(x) as (same,):
        assert torch.equal(same @ same.t(), product)


def test_gradients_go_through_an_exact_block() -> None:
    method, x = tiny.method(), torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16), method.exact(x) as (exact,):
        (exact @ exact.t()).sum().backward()
    assert x.grad is not None and x.grad.unique().tolist() == [4.0]


# State that only training needs


class Projecting(Plain):
    """Has a projector, and a memory and a scale that `forward` does not look at."""

    name = "projecting"
    training_only: tuple[str, ...] = ("projector", "memory", "scale")

    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.projector = nn.Linear(self.backbone.dimension, 5)
        self.projector2 = nn.Linear(5, 1)  # is not in `projector`
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("memory", torch.zeros(3))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.memory += 1
        projected = self.projector2(self.projector(self.backbone.features(batch.up)))
        return super().loss(batch) | {"projected": (self.scale * projected).square().mean()}


ONLY = {"projector.weight", "projector.bias", "scale", "memory"}


def projecting(**changes: Any) -> Method:
    return tiny.make(tiny.spec("projecting").model_copy(update=changes))


def test_what_only_training_needs_is_in_checkpoints_but_not_in_the_weights_file() -> None:
    with registered(Projecting):
        run = tiny.spec("projecting")
        training = Training(method := tiny.make(run), run, tiny.pairs(), None)
        other = Training(tiny.make(run), run, tiny.pairs(), None)
    every = set(method.state_dict())
    assert set(load(weights_file(method))) == set(deployed_state(method)) == every - ONLY
    assert set(training.snapshot()["method"]) == every >= ONLY | {"projector2.weight"}
    with torch.no_grad():
        for value in method.state_dict().values():
            value.add_(1)
    assert other.restore(training.snapshot())
    for name, value in other.method.state_dict().items():
        assert torch.equal(value, method.state_dict()[name]), name


def test_loading_weights_leaves_the_rest_as_it_is() -> None:
    with registered(Projecting):
        one, other = projecting(), projecting()
    with torch.no_grad():
        for value in one.state_dict().values():
            value.add_(1)
    for state in (deployed_state(one), one.state_dict()):  # the second as files were before: with all of it
        load_deployed(other, state)
        found = other.state_dict()
        assert all(torch.equal(value, found[name]) is (name not in ONLY) for name, value in one.state_dict().items())
    with pytest.raises(RuntimeError, match=r"Missing key.*projector2"):
        load_deployed(other, {name: value for name, value in one.state_dict().items() if "projector2" not in name})


def test_a_weights_file_from_before_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registered(Projecting):
        with monkeypatch.context() as before:
            before.setattr(build, "deployed_state", lambda method: dict(method.state_dict()))
            trial = try_out(Projecting, tmp_path, **FEW | {"epochs": 1})
        stored = load(trial.store.weights(trial.record.id))
        frozen = load_frozen(trial.record.spec, trial.store, CPU)
    assert stored.keys() >= ONLY
    assert torch.equal(frozen.backbone.classifier.weight, stored["backbone.classifier.weight"])
    assert not any(weight.requires_grad for weight in frozen.parameters())


@pytest.mark.parametrize(("wrong", "right"), [("projektor", "projector"), ("memry", "memory"), ("scal", "scale")])
def test_a_name_that_nothing_has_is_refused_in_a_line(wrong: str, right: str) -> None:
    class Mistaken(Projecting):
        training_only = (wrong,)

    with registered(Mistaken), pytest.raises(UserError) as caught:
        projecting()
    assert str(caught.value) == f"projecting: training_only names '{wrong}'; did you mean '{right}'?"


@pytest.mark.parametrize("frozen", [False, True])
def test_a_forward_that_needs_what_only_training_has_is_refused(frozen: bool) -> None:
    class Leaning(Projecting):
        def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
            super().__init__(config, context, needs)
            self.scale.requires_grad_(not frozen)

        def forward(self, image: Tensor) -> Tensor:
            return self.scale * super().forward(image)

    image = torch.zeros(1, tiny.SIDE, tiny.SIDE, 3, dtype=torch.uint8)
    with registered(Leaning), pytest.raises(UserError, match="its forward depends on 'scale', which its training_only"):
        deployed(projecting(), image)


def test_averages_and_chosen_epochs_are_of_what_is_deployed() -> None:
    with registered(Projecting):
        run = tiny.spec("projecting")
        run = run.model_copy(update={"recipe": run.recipe.model_copy(update={"ema": 0.5})})
        training = Training(method := tiny.make(run), run, tiny.pairs(), None)
    average = training.average
    assert isinstance(average, Average) and set(average.weights) == set(deployed_state(method))
    with torch.no_grad():
        for value in method.state_dict().values():
            value.add_(1)
    live = {name: value.clone() for name, value in method.state_dict().items()}
    with average.swapped():
        found = method.state_dict()
        assert all(torch.equal(live[name], found[name]) is (name in ONLY) for name in live)
    assert all(torch.equal(live[name], value) for name, value in method.state_dict().items())
    training.finish()  # without a chosen epoch: the average
    assert torch.equal(method.backbone.classifier.weight, average.weights["backbone.classifier.weight"])
    training.history.best_weights = {name: 0 * value for name, value in deployed_state(method).items()}
    training.finish()
    assert not method.backbone.classifier.weight.any() and torch.equal(
        method.projector.weight, live["projector.weight"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["quick", "strong"])
def test_with_a_projector_the_weights_that_count_are_tested(recipe: str, tmp_path: Path) -> None:
    trial = try_out(registry.method("fitnets"), tmp_path, recipe=recipe, select="best-epoch", **FEW)
    stored = load(trial.store.weights(trial.record.id))
    assert stored.keys() == load_frozen(trial.record.spec, trial.store, CPU).state_dict().keys() - {
        name for name in trial.watch.method.state_dict() if name.startswith("regressor.")
    }
    check_resume(trial)


@pytest.mark.slow
def test_the_records_parameters_add_up(tmp_path: Path) -> None:
    """Width 0.125: stage 2 of ResNet-18 has 16 channels, its features are 64, there are ten digits."""
    once = FEW | {"epochs": 1}
    found = {}
    for name in ("lr-baseline", "fitnets", "simkd", "vid"):
        record = try_out(registry.method(name), tmp_path, **once).record
        found[name] = [record.metrics[key] for key in ("parameters", "deployed_parameters", "training_only_parameters")]
    own = found["lr-baseline"][0]
    assert found["lr-baseline"] == [own, own, 0]
    regressor = 16 * 16 + 16 + 2 * 16
    assert found["fitnets"] == [own + regressor, own, regressor]
    projector = 64 * 32 + 9 * 32 * 32 + 32 * 64 + 2 * (32 + 32 + 64)
    assert found["simkd"] == [own - 650 + projector, own + projector, 0]  # the teacher's classifier is deployed, frozen
    mapped = sum(3 * c * c + c for c in (8, 16, 32, 64))
    assert found["vid"] == [own + mapped, own, mapped]


def test_who_starts_from_a_run_does_not_get_what_its_file_does_not_have() -> None:
    with registered(Projecting):
        one, other = projecting(), projecting(seed=1)
        own = other.projector.weight.clone()
        build.start_from(other, one)
    assert torch.equal(other.backbone.classifier.weight, one.backbone.classifier.weight)
    assert torch.equal(other.projector.weight, own) and not torch.equal(one.projector.weight, own)


def test_a_frozen_count_is_no_weight_of_the_test_path() -> None:
    class Counting(Plain):
        name = "counting"

        def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
            super().__init__(config, context, needs)
            self.count = nn.Parameter(torch.arange(5), requires_grad=False)

    with registered(Counting):
        method = tiny.make(tiny.spec("counting"))
    image = torch.zeros(1, tiny.SIDE, tiny.SIDE, 3, dtype=torch.uint8)
    assert deployed(method, image) == sum(weight.numel() for weight in method.parameters()) - 5


def test_a_progress_of_its_own_is_refused_in_a_line() -> None:
    with pytest.raises(UserError, match="Late has a 'progress' of its own"):

        class Late(Plain):
            progress = 0.5


def test_text_for_a_tuple_of_names_is_refused_in_a_line() -> None:
    class Text(Projecting):
        training_only = "projector"  # type: ignore[assignment]

    with registered(Text), pytest.raises(UserError) as caught:
        projecting()
    assert str(caught.value) == "projecting: training_only is text; it must be a tuple, ('projector',)"


def test_who_is_not_trained_must_say_whose_weights_it_has() -> None:
    class Idle(Plain):
        name = "idle"

        @classmethod
        def trains(cls, config: Any) -> bool:
            return False

    with registered(Idle), pytest.raises(UserError, match="idle is not trained; starts_from must name the role"):
        tiny.spec("idle")


@pytest.mark.parametrize(
    ("name", "settings", "backbone", "why"),
    [
        ("fitnets", {"stage": 9}, "resnet18", "fitnets: stage=9: the deepest of this backbone is stage=4"),
        ("at", {}, "alexnet", "at: of 8x8 images no map of this backbone has more than one pixel"),
        ("simkd", {"weight": 0}, "resnet18", "simkd: weight, ce and kd are all 0, which trains nothing"),
        ("kd", {"weight": 0, "ce": 0}, "resnet18", "kd: weight and ce are both 0, which trains nothing"),
    ],
)
def test_what_a_method_refuses_is_said_before_its_teacher_is_trained(
    name: str, settings: dict[str, Any], backbone: str, why: str, tmp_path: Path
) -> None:
    request = session.Request(
        method=name, settings=settings, results=tmp_path / "runs", **SMALL | FEW | {"backbone": backbone}
    )
    watch = Watch()
    with pytest.raises(UserError, match=why):
        session.run(request, watch)
    assert not watch.started and not (tmp_path / "runs").exists()

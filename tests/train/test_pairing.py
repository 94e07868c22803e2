"""A student and its control share what they can: first weights, order, crops, dropout; a teacher knows more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny
from helpers.groups import CPU, spec
from lrbench_baselines.lr_baseline import LRBaseline
from lrbench_methods.dfd import DFD
from torch import Tensor, nn

from lrbench.execute.progress import Progress
from lrbench.execute.runner import Runner
from lrbench.method import registry
from lrbench.method.base import Batch
from lrbench.spec.record import Record
from lrbench.spec.runspec import PROTOCOL, RunSpec
from lrbench.store.store import Store
from lrbench.testing import registered


class Beside(LRBaseline):
    """The LR-baseline's loss under another name, with a projector and a memory bank, and random numbers of its own."""

    name = "beside"

    def __init__(self, config: Any, context: Any, needs: Any) -> None:
        self.noise = torch.rand(3)
        super().__init__(config, context, needs)
        self.projector = nn.Linear(self.backbone.dimension, 16)
        self.register_buffer("bank", torch.randn(context.train_images, 16))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        torch.rand(5)
        features = self.backbone.features(batch.up)
        self.bank[batch.index] = self.projector(torch.dropout(features.detach(), 0.5, True)).detach().float()
        torch.rand(2)
        return {"recognition": self.cross_entropy(self.backbone.head(features), batch.y)}


def train(folder: Path, run: RunSpec) -> tuple[Record, dict[str, np.ndarray]]:
    store = Store(folder)
    record = Runner(store, Path(), CPU, lambda _: Progress()).run(run)
    return record, store.predictions(record.id)


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.5}, {"backbone": "alexnet-bn"}, {"precision": "bf16"}])
def test_a_method_of_the_same_loss_ends_with_the_same_predictions(tmp_path: Path, changes: dict[str, Any]) -> None:
    with registered(Beside):
        ends = [train(tmp_path, spec(name, **changes)) for name in ("lr-baseline", "beside")]
    assert ends[0][0].id != ends[1][0].id
    assert np.array_equal(ends[0][1]["predicted"], ends[1][1]["predicted"])
    weights = [nets(tmp_path, record) for record, _ in ends]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def nets(folder: Path, record: Record) -> dict[str, Tensor]:
    from safetensors.torch import load

    return {k: v for k, v in load(Store(folder).weights(record.id)).items() if k.startswith("backbone.")}


def test_first_weights_come_from_the_seed_and_the_backbone() -> None:
    def first(name: str = "lr-baseline", **changes: Any) -> Tensor:
        return tiny.method(name, **changes).backbone.classifier.weight

    start = first()
    assert torch.equal(start, first("hr-baseline")) and torch.equal(start, first("dfd"))
    assert not torch.equal(start, first(seed=1))
    assert start.shape != first(width=0.25).shape
    alexnets = [tiny.method("lr-baseline", backbone=name).backbone for name in ("alexnet", "alexnet-bn")]
    assert not torch.equal(*(net.classifier.weight for net in alexnets))


def test_dropout_moves_the_score_and_is_one_of_the_conditions(tmp_path: Path) -> None:
    plain, dropped = (train(tmp_path, spec("lr-baseline", dropout=part))[0] for part in (0.0, 0.5))
    assert plain.id != dropped.id and dropped.spec.dropout == 0.5
    assert Store(tmp_path).curve(plain.id) != Store(tmp_path).curve(dropped.id)


def test_the_head_is_computed_in_float32() -> None:
    net = tiny.method("lr-baseline").backbone
    features = torch.rand(4, net.dimension)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.head(features)
    torch.testing.assert_close(logits, features @ net.classifier.weight.T + net.classifier.bias, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("init", "epochs"), [("scratch", 20), ("lr-baseline", 40), ("teacher", 40)])
def test_a_teacher_is_trained_for_as_long_as_its_students_weights(init: str, epochs: int) -> None:
    run = tiny.spec("dfd", {"init": init}, recipe="quick")
    assert registry.epochs_in_weights(run) == epochs
    assert registry.epochs_in_weights(run.needs["teacher"]) == epochs
    if init != "scratch":
        assert run.needs["init"].recipe.epochs == 20


def test_a_teacher_is_trained_for_as_long_as_a_method_that_has_epochs_of_its_own() -> None:
    class Longer(DFD):
        name = "longer"

        @classmethod
        def own_protocol(cls, config: Any) -> Mapping[str, Any]:
            return {"epochs": 40}

    with registered(Longer):
        run = tiny.spec("longer", recipe="quick")
        assert (run.recipe.epochs, run.needs["teacher"].recipe.epochs) == (40, 40)


def test_a_student_starts_from_scratch_by_default() -> None:
    assert "init" not in tiny.spec("dfd").needs


def test_sr_nets_keep_the_ids_of_protocol_1_and_classifiers_do_not() -> None:
    run = tiny.spec("espcn")
    assert (run.protocol, run.needs["restorer"].protocol) == (PROTOCOL, 1) and PROTOCOL == 2
    # the id that this spec had before protocol 2
    assert tiny.spec("sr-espcn").id == "b7ad5e1c54fa5307"

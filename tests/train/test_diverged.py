"""A run that is of no use is a result all the same: recorded once, named, and of no use to those that need it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.groups import CPU, spec
from lrbench_baselines.hr_baseline import HRBaseline
from lrbench_baselines.lr_baseline import LRBaseline
from torch import Tensor

from lrbench.execute.progress import Progress
from lrbench.execute.runner import Runner
from lrbench.method import registry
from lrbench.method.base import Batch, Needs
from lrbench.report.frame import FAILED, frame
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store
from lrbench.testing import Watch, registered


class Broken(LRBaseline):
    """From its second epoch on its loss has something added."""

    name = "broken"
    added = float("nan")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.seen = getattr(self, "seen", 0) + 1
        return {name: term + (self.added if self.seen > 3 else 0.0) for name, term in super().loss(batch).items()}


class Wild(Broken):
    """Its loss is a number to the end, but no use."""

    name = "wild"
    added = 1e7


class Blind(LRBaseline):
    """Sees nothing, so that it can do no better than chance."""

    name = "blind"

    def forward(self, up: Tensor) -> Tensor:
        return super().forward(up * 0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"recognition": self.cross_entropy(self.backbone(batch.up * 0), batch.y)}


class Blinking(Blind):
    """Sees nothing, but for one image of a batch."""

    name = "blinking"

    def forward(self, up: Tensor) -> Tensor:
        logits = super().forward(up)
        return torch.cat([logits[:1].roll(1, dims=1), logits[1:]])


class Lost(HRBaseline):
    """A teacher that is never a number."""

    name = "lost"

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {name: term * math.nan for name, term in super().loss(batch).items()}


class Pupil(LRBaseline):
    """Learns from that teacher."""

    name = "pupil"

    @classmethod
    def needs_of(cls, config: object) -> dict[str, Needs]:
        return {"teacher": Needs("lost")}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        distillation = 0 * self.needs["teacher"].backbone.features(batch.hr).sum()
        return super().loss(batch) | {"distillation": distillation}


class Raises(LRBaseline):
    """Fails for another cause."""

    name = "raises"

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        raise ZeroDivisionError("no\nway")


def train(folder: Path, run: RunSpec) -> tuple[Record, Watch]:
    watch = Watch()
    return Runner(Store(folder), Path(), CPU, lambda _: watch).run(run), watch


@pytest.mark.parametrize(
    ("cls", "why", "epoch"),
    [
        (Broken, "its loss was no number in epoch 2", 2),
        (Wild, "its loss grew from", 2),
        (Blind, "it ended predicting one class, at a cross-entropy of", 3),
        (Blinking, "it ended predicting one class, at a cross-entropy of", 3),
    ],
)
def test_it_is_recorded_and_not_tried_again(cls: type[LRBaseline], why: str, epoch: int, tmp_path: Path) -> None:
    with registered(cls):
        record, watch = train(tmp_path, spec(cls.name))
        assert watch.started == [record.id] and watch.done == epoch
        assert record.diverged and record.why and record.why.startswith(why)
        assert record.metrics["diverged_epoch"] == record.metrics["epochs"] == epoch
        loss = record.metrics["last_finite_loss"]
        assert loss is not None and (loss > 1e6 if cls is Wild else 0 < loss < 10)
        assert record.metrics["top1"] is not None and 0 <= record.metrics["top1"] <= 100
        again, watch = train(tmp_path, spec(cls.name))
    assert not watch.started and again == record
    assert Store(tmp_path).records() == [record] and not Store(tmp_path).failures()


def test_a_run_that_learns_has_not_diverged(tmp_path: Path) -> None:
    record, _ = train(tmp_path, spec("lr-baseline", epochs=5, recipe="paper"))
    assert not record.diverged and record.why is None
    assert (record.metrics["predicted_classes"] or 0) > 1


def test_what_needs_it_is_told_so_and_is_a_result_too(tmp_path: Path) -> None:
    notes: list[str] = []

    class Telling(Progress):
        def note(self, message: str) -> None:
            notes.append(message)

    with registered(Lost), registered(Pupil):
        record = Runner(Store(tmp_path), Path(), CPU, lambda _: Telling()).run(spec("pupil"))
    assert record.why == "its loss was no number in epoch 1"
    assert "its teacher, lost on digits HR" in notes[-1] and "diverged: its loss was no number in epoch 1" in notes[-1]


def test_the_epochs_in_the_weights_are_those_that_were_made(tmp_path: Path) -> None:
    with registered(Broken):
        start, _ = train(tmp_path, spec("broken"))
        record, _ = train(tmp_path, spec("lr-baseline", {"init": "lr-baseline"}, lr=1e30))
    assert start.metrics["epochs_in_weights"] == 2  # of 3
    init = Store(tmp_path).get(record.spec.needs["init"])
    assert init is not None and init.diverged and record.diverged
    made = int(init.metrics["epochs"] or 0) + int(record.metrics["epochs"] or 0)
    assert record.metrics["epochs_in_weights"] == made < registry.epochs_in_weights(record.spec)


def test_a_run_that_fails_is_remembered_until_it_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    with registered(Raises):
        run = spec("raises")
        with pytest.raises(ZeroDivisionError):
            train(tmp_path, run)
        assert store.failures() == [(run, "ZeroDivisionError: no way")]
        monkeypatch.setattr(Raises, "loss", LRBaseline.loss)
        record, _ = train(tmp_path, run)
    assert store.records() == [record] and not store.failures()


def test_the_weights_of_needs_are_named(tmp_path: Path) -> None:
    record, _ = train(tmp_path, spec("dfd"))
    teacher = Store(tmp_path).get(record.spec.needs["teacher"])
    assert teacher is not None
    assert record.needs_weights == {"teacher": teacher.files["weights.safetensors"]}


@pytest.mark.parametrize(("name", "settings"), [("hr-direct", {}), ("espcn", {"init": "hr-direct", "channels": 8})])
def test_the_hr_network_is_tested_as_it_is(name: str, settings: dict[str, object], tmp_path: Path) -> None:
    record, _ = train(tmp_path, spec(name, settings, epochs=2))
    store = Store(tmp_path)
    hr = store.get(record.spec.needs["init"])
    assert hr is not None and hr.spec.method == "hr-baseline"
    assert (store.root / record.id / "weights.safetensors").read_bytes() == store.weights(hr.id)
    assert (record.metrics["epochs"], record.metrics["epochs_in_weights"]) == (0, 2)
    assert record.metrics["parameters"] == hr.metrics["parameters"] and record.metrics["macs"] >= hr.metrics["macs"]


class Unbuilt(LRBaseline):
    """Fails before it is trained."""

    name = "unbuilt"

    def __init__(self, *args: object) -> None:
        raise ZeroDivisionError("no way to build it")


class Cut(LRBaseline):
    """Its logits are of another form, which shows when it is tested."""

    name = "cut"

    def forward(self, up: Tensor) -> Tensor:
        return super().forward(up)[:, : 9 if len(up) > 1 else 10]


class Taught(LRBaseline):
    """Needs a run that fails."""

    name = "taught"

    @classmethod
    def needs_of(cls, config: object) -> dict[str, Needs]:
        return {"teacher": Needs("raises")}


@pytest.mark.parametrize(
    ("cls", "why"), [(Unbuilt, "no way to build"), (Cut, "logits"), (Taught, "its teacher, raises")]
)
def test_every_run_that_fails_is_named_whatever_the_cause(cls: type[LRBaseline], why: str, tmp_path: Path) -> None:
    with registered(Raises), registered(cls):
        run = spec(cls.name)
        with pytest.raises(Exception, match=r"\w"):
            train(tmp_path, run)
        assert why in {one.id: said for one, said in Store(tmp_path).failures()}[run.id]


def test_a_failure_is_forgotten_when_another_version_of_the_method_has_done_it(tmp_path: Path) -> None:
    failed = spec("lr-baseline").model_copy(update={"version": "0"})
    store = Store(tmp_path)
    store.write_failure(failed, "no luck")
    failures = [(failed.id, "no luck")]
    assert [*failed_runs(store)] == failures
    train(tmp_path, spec("lr-baseline", seed=1))
    assert [*failed_runs(store)] == failures
    train(tmp_path, spec("lr-baseline"))
    assert not [*failed_runs(store)]


def failed_runs(store: Store) -> Iterator[tuple[str, str]]:
    runs = frame(store)
    yield from runs.loc[runs["status"] == FAILED, ["id", "why"]].itertuples(index=False, name=None)

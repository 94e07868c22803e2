"""Selection by a validation split, and averaged weights: what is tested, and what it was chosen by."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from lrbench.data import datasets, prepare
from lrbench.data.dataset import Split
from lrbench.data.importing import import_dataset
from lrbench.data.pairs import Pairs
from lrbench.execute import session
from lrbench.execute.progress import Progress
from lrbench.execute.session import Request
from lrbench.method import registry
from lrbench.method.base import Method
from lrbench.spec.record import Record
from lrbench.store.store import Store
from lrbench.testing import check_resume, try_out
from lrbench.train import tasks
from lrbench.train import training as train
from lrbench.train.training import Training

SMALL = {"width": 0.125, "recipe": "quick", "limit_train": 400, "limit_test": 100, "precision": "fp32", "device": "cpu"}


def request(tmp_path: Path, **options: Any) -> Request:
    settings = {"scale": 2, "epochs": 5, "select": "best-epoch"} | SMALL | options
    return Request(
        method="lr-baseline", dataset=settings.pop("dataset", "digits"), results=tmp_path / "runs", **settings
    )


def prepared(record: Record, data: Path | None = None) -> prepare.Prepared:
    return prepare.prepare(record.spec, datasets.data_root(data), torch.device("cpu"))


def images_of(images: Pairs) -> set[bytes]:
    """The HR images, to compare sets of them."""
    return {image.numpy().tobytes() for image in images.hr}


@dataclass
class Seen:
    """What a run trained on and measured itself by, and its weights after every epoch."""

    trained: set[bytes] = field(default_factory=set)
    measured: list[set[bytes]] = field(default_factory=list)
    live: list[dict[str, Tensor]] = field(default_factory=list)
    averaged: list[dict[str, Tensor]] = field(default_factory=list)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Fills while a run is trained in this test."""
    seen = Seen()
    epoch, predict, end_epoch = train.epoch, tasks.predict, Training.end_epoch

    def seen_epoch(images: Pairs, *args: Any, **kwargs: Any) -> Any:
        seen.trained |= images_of(images)
        return epoch(images, *args, **kwargs)

    def seen_predict(method: Method, images: Pairs) -> Tensor:
        seen.measured.append(images_of(images))
        return predict(method, images)

    def seen_end(training: Training, seconds: float) -> None:
        end_epoch(training, seconds)
        seen.live.append({name: value.clone() for name, value in training.method.state_dict().items()})
        if training.average:
            seen.averaged.append({name: value.clone() for name, value in training.average.weights.items()})

    monkeypatch.setattr(train, "epoch", seen_epoch)
    monkeypatch.setattr(tasks, "predict", seen_predict)
    monkeypatch.setattr(Training, "end_epoch", seen_end)
    return seen


def weights_of(record: Record, results: Path) -> dict[str, Tensor]:
    return load(Store(results).weights(record.id))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def best_of(values: list[float]) -> int:
    """The epoch, from 1, with the highest value; the first of several."""
    return values.index(max(values)) + 1


def test_held_out_images_are_never_trained_on_and_test_images_never_chosen_by(tmp_path: Path, seen: Seen) -> None:
    [record] = session.run(request(tmp_path), Progress())
    data = prepared(record)
    train_images, val_images, test_images = map(images_of, (data.train, data.val, data.test))
    assert (record.data.train_images, record.data.val_images, record.data.test_images) == (360, 40, 100)
    assert not train_images & val_images and not (train_images | val_images) & test_images
    assert seen.trained == train_images
    *in_training, at_the_end = seen.measured
    assert len(in_training) == 5 * 2 and all(images in (train_images, val_images) for images in in_training)
    assert at_the_end == test_images


def test_held_out_images_come_out_of_the_training_set_of_the_run_without_selection(tmp_path: Path) -> None:
    [chosen] = session.run(request(tmp_path, epochs=1), Progress())
    [last] = session.run(request(tmp_path, epochs=1, select="none"), Progress())
    split, whole = prepared(chosen), prepared(last)
    assert whole.val is None and last.metrics["best_epoch"] is None and last.metrics["val_top1"] is None
    assert images_of(split.train) | images_of(split.val) == images_of(whole.train)
    assert images_of(split.test) == images_of(whole.test)


def test_other_test_images_change_nothing_but_the_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = request(tmp_path / "a"), request(tmp_path / "b")
    [record] = session.run(first, Progress())
    used = prepare._used

    def other_labels(*args: Any) -> dict[str, Split]:
        parts = used(*args)
        return parts | {"test": replace(parts["test"], labels=(parts["test"].labels + 1) % 10)}

    monkeypatch.setattr(prepare, "_used", other_labels)
    [other] = session.run(second, Progress())
    assert record.metrics["top1"] != other.metrics["top1"]
    assert record.metrics["best_epoch"] == other.metrics["best_epoch"]
    assert same(weights_of(record, first.results), weights_of(other, second.results))


def test_the_best_epoch_on_the_validation_split_is_what_is_tested(tmp_path: Path, seen: Seen) -> None:
    [record] = session.run(request(tmp_path, epochs=8), Progress())
    rows = csv.DictReader(io.StringIO(Store(tmp_path / "runs").curve(record.id)))
    values = [float(row["val_top1"]) for row in rows]
    best = best_of(values)
    assert len(set(values)) > 1
    assert (record.metrics["best_epoch"], record.metrics["val_top1"]) == (best, values[best - 1])
    assert same(weights_of(record, tmp_path / "runs"), seen.live[best - 1])


def test_held_out_images_are_measured_and_the_last_epoch_is_tested(tmp_path: Path, seen: Seen) -> None:
    [record] = session.run(request(tmp_path, epochs=3, select="held-out"), Progress())
    rows = list(csv.DictReader(io.StringIO(Store(tmp_path / "runs").curve(record.id))))
    assert (record.data.train_images, record.data.val_images) == (360, 40)
    assert record.metrics["best_epoch"] is None
    assert record.metrics["val_top1"] == float(rows[-1]["val_top1"])
    assert record.metrics["train_top1"] == float(rows[-1]["train_top1"])
    assert same(weights_of(record, tmp_path / "runs"), seen.live[-1])


@pytest.mark.parametrize("values", [[10, 30, 30, 20, 30], [0, 0, 0, 0, 0], [1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
def test_the_first_of_equal_epochs_is_chosen(
    values: list[float], tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([value for val in values for value in (50.0, float(val))])  # train_top1, val_top1, and so on
    monkeypatch.setattr(tasks.Classification, "measure", lambda task, method, images: next(measured))
    [record] = session.run(request(tmp_path), Progress())
    best = best_of(values)
    assert (record.metrics["best_epoch"], record.metrics["val_top1"]) == (best, max(values))
    assert same(weights_of(record, tmp_path / "runs"), seen.live[best - 1])
    assert best == 5 or not same(seen.live[best - 1], seen.live[-1])


def test_a_data_set_with_a_validation_split_of_its_own_uses_it(tmp_path: Path, seen: Seen) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 120), ("val", 30), ("test", 40)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 3).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", **arrays)
    import_dataset("mine", tmp_path / "mine.npz", tmp_path / "data")
    mine = {"dataset": "mine", "data": tmp_path / "data", "limit_train": 90, "limit_test": None, "epochs": 2}
    [record] = session.run(request(tmp_path, **mine), Progress())
    assert (record.data.train_images, record.data.val_images, record.data.test_images) == (90, 30, 40)
    theirs = {image.tobytes() for image in arrays["val_images"]}
    assert images_of(prepared(record, tmp_path / "data").val) == theirs
    assert theirs in seen.measured and not theirs & seen.trained
    [unselected] = session.run(request(tmp_path, **mine, select="none"), Progress())
    assert (unselected.data.train_images, unselected.data.val_images) == (90, 0)


@pytest.mark.parametrize("select", ["none", "best-epoch"])
def test_averaged_weights_are_what_is_chosen_and_tested(select: str, tmp_path: Path, seen: Seen) -> None:
    strong = request(tmp_path, recipe="strong", select=select)
    [record] = session.run(strong, Progress())
    counted = int(record.metrics["best_epoch"] or 5)
    weights = weights_of(record, strong.results)
    assert same(weights, seen.averaged[counted - 1])
    assert not same(weights, seen.live[counted - 1])


@pytest.mark.slow
@pytest.mark.parametrize("select", ["none", "best-epoch"])
@pytest.mark.parametrize("recipe", ["strong", "quick"])
def test_an_interrupted_run_chooses_and_averages_as_an_unbroken_one(recipe: str, select: str, tmp_path: Path) -> None:
    options = {"recipe": recipe, "select": select, "limit_train": 400}
    check_resume(try_out(registry.method("lr-baseline"), tmp_path, **options))

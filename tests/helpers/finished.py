"""A finished run that nobody trained, and the ways to damage its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from lrbench.spec import recipes
from lrbench.spec.record import DataFacts, Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import CURVE, PREDICTIONS, RECORD, WEIGHTS, Store

CURVE_TEXT = "epoch,loss\n1,2.5\n"
PREDICTED = {"predicted": np.array([0, 1, 1]), "label": np.array([0, 1, 0])}
TENSORS = {"weight": torch.arange(6.0).reshape(2, 3)}


def record_of(seed: int = 0) -> Record:
    """A finished run that nobody trained."""
    spec = RunSpec(
        method="toy",
        config={"lam": 2.0},
        dataset="digits",
        fingerprint={"train": "0", "test": "1"},
        degradation="pil-bicubic",
        scale=2,
        backbone="resnet18",
        width=0.125,
        recipe=recipes.recipe("quick", "resnet18"),
        precision="fp32",
        seed=seed,
    )
    facts = DataFacts(classes=("a", "b"), side=8, train_images=9, val_images=0, test_images=3)
    metrics = {"top1": 100 * 2 / 3, "epochs": 20, "val_top1": None}
    return Record(id=spec.id, spec=spec, metrics=metrics, data=facts, env={}, method_source=None, files={})


def put(store: Store, seed: int = 0) -> Record:
    """Save such a run as the runner does."""
    record = record_of(seed)
    with store.training(record.id):
        return store.save(record, CURVE_TEXT, PREDICTED, save(TENSORS))


def truncate(folder: Path) -> None:
    path = folder / RECORD
    path.write_bytes(path.read_bytes()[:-50])


def edit(folder: Path) -> None:
    path = folder / RECORD
    content = json.loads(path.read_text())
    content["metrics"]["top1"] = 99.9
    path.write_text(json.dumps(content))


def edit_spec(folder: Path) -> None:
    path = folder / RECORD
    content = json.loads(path.read_text())
    content["spec"]["seed"] = 7
    path.write_text(json.dumps(content))


def unsign(folder: Path) -> None:
    path = folder / RECORD
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None  # type: ignore[func-returns-value]


def flip(name: str) -> Callable[[Path], None]:
    def flipped(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return flipped


DAMAGE = {
    "record truncated": truncate,
    "record edited": edit,
    "spec edited": edit_spec,
    "record without checksum": unsign,
    "record empty": overwrite(RECORD, b""),
    "record no object": overwrite(RECORD, b"null\n"),
    "record binary": overwrite(RECORD, b"\xff\xfe\x00"),
    "record gone": lambda folder: (folder / RECORD).unlink(),
    "predictions flipped": flip(PREDICTIONS),
    "predictions gone": lambda folder: (folder / PREDICTIONS).unlink(),
    "curve edited": overwrite(CURVE, b"epoch,loss\n1,0.1\n"),
    "weights flipped": flip(WEIGHTS),
    "weights empty": overwrite(WEIGHTS, b""),
}

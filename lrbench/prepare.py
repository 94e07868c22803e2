"""From a spec to the images its run trains and tests on, as tensors on the device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from lrbench import datasets, splits
from lrbench.dataset import Split
from lrbench.degradation import DEGRADATIONS, degrade
from lrbench.errors import UserError
from lrbench.pairs import Pairs
from lrbench.record import DataFacts
from lrbench.restorer import magnification
from lrbench.spec import RunSpec

HELD_OUT = 0.1  # of the training images, unless select="none", where the data set has no val split of its own


@dataclass(frozen=True)
class Prepared:
    """The images of a run. `mean` and `std` are the RGB statistics of its HR training images in [0, 1]."""

    train: Pairs
    val: Pairs | None
    test: Pairs
    facts: DataFacts
    mean: tuple[float, ...]
    std: tuple[float, ...]


def prepare(spec: RunSpec, root: Path, device: torch.device) -> Prepared:
    """The images of a spec's run. Raises UserError where they are missing or no longer what the spec names."""
    keys = (spec.dataset, spec.degradation, spec.scale, spec.select, spec.limit_train, spec.limit_test)
    prepared, fingerprint = _prepare(*keys, magnification(spec), root, device)
    if fingerprint != spec.fingerprint:
        raise UserError(f"the content of {spec.dataset} in {root} has changed since this run was planned; run it again")
    return prepared


@lru_cache(maxsize=3)
def _prepare(
    dataset: str,
    degradation: str | None,
    scale: int | None,
    select: str,
    limit_train: int | None,
    limit_test: int | None,
    magnified: int | None,
    root: Path,
    device: torch.device,
) -> tuple[Prepared, dict[str, str]]:
    """Cached, because the runs of a benchmark share a few of these, and making one takes seconds."""
    loaded = datasets.load(dataset, root)
    parts = _used(loaded.splits, select, limit_train, limit_test)

    def pairs(split: Split) -> Pairs:
        hr, y = split.images, torch.from_numpy(split.labels)
        if degradation is None or scale is None:
            return Pairs(torch.from_numpy(hr), y).to(device)
        lr, up = degrade(hr, scale, degradation)
        if magnified and magnified < scale:  # an SR net's pairs, smaller than the HR image
            protocol, side = DEGRADATIONS[degradation], lr.shape[1] * magnified
            hr, up = protocol.down(hr, side), protocol.up(lr, side)
        return Pairs(torch.from_numpy(hr), y, torch.from_numpy(lr), torch.from_numpy(up)).to(device)

    train, val = pairs(parts["train"]), pairs(parts["val"]) if "val" in parts else None
    pixels = parts["train"].images.reshape(-1, 3) / 255
    facts = DataFacts(
        classes=loaded.info.classes,
        side=loaded.info.side,
        train_images=len(train),
        val_images=0 if val is None else len(val),
        test_images=len(parts["test"].labels),
    )
    mean, std = pixels.mean(axis=0), np.maximum(pixels.std(axis=0), 1e-3)
    prepared = Prepared(train, val, pairs(parts["test"]), facts, tuple(mean.tolist()), tuple(std.tolist()))
    return prepared, loaded.info.fingerprint


def _used(given: dict[str, Split], select: str, limit_train: int | None, limit_test: int | None) -> dict[str, Split]:
    """The splits that a run uses: limits applied, and a validation split only where one is asked for."""
    train, test = given["train"], given["test"]
    used = {"test": test if limit_test is None else _take(test, splits.subset(test.labels, limit_test))}
    if limit_train is not None:
        train = _take(train, splits.subset(train.labels, limit_train))
    if select != "none" and "val" in given:
        used["val"] = given["val"]
    elif select != "none":
        kept, held = splits.hold_out(train.labels, train.groups, HELD_OUT)
        used["val"], train = _take(train, held), _take(train, kept)
    return used | {"train": train}


def _take(split: Split, rows: np.ndarray) -> Split:
    return Split(split.images[rows], split.labels[rows], None if split.groups is None else split.groups[rows])

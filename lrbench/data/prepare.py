"""From a spec to the images its run trains and tests on, as tensors on the device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrbench.data import datasets, splits
from lrbench.data.dataset import Split
from lrbench.data.degradation import DEGRADATIONS, degrade
from lrbench.data.pairs import Pairs
from lrbench.errors import UserError
from lrbench.method.restorer import magnification
from lrbench.spec.record import DataFacts
from lrbench.spec.runspec import RunSpec
from lrbench.store import arrays as shelf
from lrbench.store.arrays import Arrays

HELD_OUT = 0.1  # of the training images, unless select="none", where the dataset has no val split of its own
PREPARED = ".prepared"  # below the data root: images that runs have been prepared with; may be deleted at any time
PIECE = 1 << 18  # pixels at a time


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
    """Cached, because the runs of a benchmark share a few of these."""
    info = datasets.info(dataset, root)

    @cache
    def parts() -> dict[str, Split]:
        loaded = datasets.load(dataset, root)
        if loaded.info != info:
            raise UserError(f"{dataset} in {root} was replaced while it was read; run it again")
        return _used(loaded.splits, select, limit_train, limit_test)

    def kept(part: str, what: dict[str, Any], make: Callable[[Split], Mapping[str, np.ndarray]]) -> Arrays:
        if dataset in datasets.BUILT_IN:  # small, and in no folder
            return dict(make(parts()[part]))
        used = {"limit": limit_test if part == "test" else limit_train, "held out": select != "none" and part != "test"}
        content = json.dumps([_code(), info.fingerprint, part, used, what], sort_keys=True)
        key = hashlib.sha256(content.encode()).hexdigest()[:16]
        return shelf.arrays(root / PREPARED / f"{dataset}-{part}-{key}", lambda: make(parts()[part]))

    def pairs(part: str) -> Pairs:
        whole = kept(part, {"images": "hr"}, lambda split: {"hr": split.images, "y": split.labels})
        found = {name: torch.from_numpy(whole[name]) for name in ("hr", "y")}
        if degradation is not None and scale is not None:
            protocol = {"degradation": degradation, "scale": scale, "magnified": magnified}
            small = kept(part, protocol, lambda split: _small(split.images, degradation, scale, magnified))
            found |= {name: torch.from_numpy(images) for name, images in small.items()}
        return Pairs(**found).to(device)

    train, test = pairs("train"), pairs("test")
    val = pairs("val") if select != "none" else None
    facts = DataFacts(
        classes=info.classes,
        side=info.side,
        train_images=len(train),
        val_images=0 if val is None else len(val),
        test_images=len(test),
    )
    colours = kept("train", {"images": "statistics"}, lambda split: _statistics(split.images))
    mean, std = colours["mean"], np.maximum(colours["std"], 1e-3)
    return Prepared(train, val, test, facts, tuple(mean.tolist()), tuple(std.tolist())), info.fingerprint


def _small(hr: np.ndarray, degradation: str, scale: int, magnified: int | None) -> Arrays:
    """LR images and their enlargements; with the HR images made smaller for an SR net that magnifies by less."""
    lr, up = degrade(hr, scale, degradation)
    if not magnified or magnified >= scale:
        return {"lr": lr, "up": up}
    protocol, side = DEGRADATIONS[degradation], lr.shape[1] * magnified
    return {"hr": protocol.down(hr, side), "lr": lr, "up": protocol.up(lr, side)}


def _statistics(images: np.ndarray) -> Arrays:
    """Mean and standard deviation of each channel in [0, 1], float64.

    To the last bit those of NumPy over all pixels at once, which adds them one after the other; in
    pieces, because all pixels as float64 are eight times the images.
    """
    pixels = images.reshape(-1, 3)
    pieces = range(0, len(pixels), PIECE)

    def total(values: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        sums = np.empty((0, 3))
        for start in pieces:
            piece = values(pixels[start : start + PIECE] / 255)
            sums = np.add.reduce(np.concatenate([sums, piece]), axis=0, keepdims=True)
        return sums[0]

    mean = total(lambda piece: piece) / len(pixels)
    return {"mean": mean, "std": np.sqrt(total(lambda piece: (piece - mean) ** 2) / len(pixels))}


@cache
def _code() -> str:
    """Changes with whatever makes the images, ours and others'."""
    ours = (Path(__file__).with_name(f"{name}.py") for name in ("prepare", "degradation", "splits"))
    versions = (version(package).encode() for package in ("pillow", "numpy", "torch"))
    return hashlib.sha256(b"\0".join([*(file.read_bytes() for file in ours), *versions])).hexdigest()[:16]


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

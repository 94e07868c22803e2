"""From a spec to the images its run trains and tests on, as tensors on the device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

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
from lrbench.store.arrays import Arrays, arrays

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
    info = datasets.info(spec.dataset, root)
    changed = f"the content of {spec.dataset} in {root} has changed since this run was planned; run it again"
    if info.fingerprint != spec.fingerprint:
        raise UserError(changed)

    @cache
    def parts() -> dict[str, Split]:
        loaded = datasets.load(spec.dataset, root)
        if loaded.info != info:
            raise UserError(changed)
        return _used(loaded.splits, spec)

    def kept(part: str, what: Sequence[object], make: Callable[[Split], Mapping[str, np.ndarray]]) -> Arrays:
        if spec.dataset in datasets.BUILT_IN:  # small, and in no folder
            return dict(make(parts()[part]))
        used = [spec.limit_test] if part == "test" else [spec.limit_train, spec.select != "none"]
        content = json.dumps([_code(), info.fingerprint, part, used, spec.rare_classes, what], sort_keys=True)
        key = hashlib.sha256(content.encode()).hexdigest()[:16]
        return arrays(root / PREPARED / f"{spec.dataset}-{part}-{key}", lambda: make(parts()[part]))

    def pairs(part: str) -> Pairs:
        found = kept(part, ["hr"], lambda split: {"hr": split.images, "y": split.labels})
        if spec.scale is not None:
            protocol = [spec.degradation, spec.scale, magnification(spec)]
            found |= kept(part, protocol, lambda split: _small(split.images, spec))
        return Pairs(**{name: torch.from_numpy(values) for name, values in found.items()}).to(device)

    train, test = pairs("train"), pairs("test")
    val = pairs("val") if spec.select != "none" else None
    counts = {"train_images": len(train), "val_images": len(val or ()), "test_images": len(test)}
    facts = DataFacts(classes=info.classes, side=info.side, **counts)
    colours = kept("train", ["statistics"], lambda split: _statistics(split.images))
    mean, std = colours["mean"], np.maximum(colours["std"], 1e-3)
    return Prepared(train, val, test, facts, tuple(mean.tolist()), tuple(std.tolist()))


def _small(hr: np.ndarray, spec: RunSpec) -> Arrays:
    """LR images and their enlargements; with the HR images made smaller for an SR net that magnifies by less."""
    name, scale, magnified = str(spec.degradation), spec.scale or 1, magnification(spec)
    lr, up = degrade(hr, scale, name)
    if not magnified or magnified >= scale:
        return {"lr": lr, "up": up}
    protocol, side = DEGRADATIONS[name], lr.shape[1] * magnified
    return {"hr": protocol.down(hr, side), "lr": lr, "up": protocol.up(lr, side)}


def _statistics(images: np.ndarray) -> Arrays:
    """Mean and standard deviation of each channel in [0, 1], float64, as NumPy has them over all pixels at once.

    In pieces, because all pixels as float64 are eight times the images; each is added, pixel by pixel, to the sum of
    those before, which gives the same bits.
    """
    pixels = images.reshape(-1, 3)

    def average(values: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        total = np.zeros(3)
        for start in range(0, len(pixels), PIECE):
            total = np.vstack([total, values(pixels[start : start + PIECE] / 255)]).sum(axis=0)
        return total / len(pixels)

    mean = average(lambda piece: piece)
    return {"mean": mean, "std": np.sqrt(average(lambda piece: (piece - mean) ** 2))}


@cache
def _code() -> str:
    """Changes with whatever makes the images, ours and others'."""
    ours = (Path(__file__).with_name(f"{name}.py") for name in ("prepare", "degradation", "splits"))
    versions = (version(package).encode() for package in ("pillow", "numpy", "torch"))
    return hashlib.sha256(b"\0".join([*(file.read_bytes() for file in ours), *versions])).hexdigest()[:16]


def _used(given: dict[str, Split], spec: RunSpec) -> dict[str, Split]:
    """The splits that a run uses: limits applied, and a validation split only where one is asked for."""
    train, test = given["train"], given["test"]
    keep_rare = spec.rare_classes == "kept"
    if spec.limit_train is not None:
        train = train.take(splits.subset(train.labels, spec.limit_train, keep_rare))
    if spec.limit_test is not None:
        test = test.take(splits.subset(test.labels, spec.limit_test, keep_rare))
    if spec.select == "none":
        return {"train": train, "test": test}
    if "val" in given:
        return {"train": train, "val": given["val"], "test": test}
    kept, held = splits.hold_out(train.labels, train.groups, HELD_OUT)
    return {"train": train.take(kept), "val": train.take(held), "test": test}

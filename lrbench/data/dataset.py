"""What a data set is: images and labels in canonical order, known by a fingerprint of their content.

Inside a split the images are sorted by the sha256 of their bytes and label, so whoever makes it gets the
same arrays: subsets, seeds and per-image predictions then mean the same thing on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 (n, S, S, 3), RGB in 0..255; labels int64 (n,), 0..C-1.

    `groups`, int64 (n,), numbers what each image was cut from, where images share a source: images of
    one group must not be on both sides of a validation split. None where every image stands alone.
    """

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set is, without its images.

    `side` is the images' height and width in pixels, `counts` the images a split, `fingerprint` the
    sha256 (hex) of each split's content ("train", "test", "val") and of the training images with their
    groups ("groups", where there are any); `source` says where it came from.
    """

    name: str
    classes: tuple[str, ...]
    side: int
    counts: dict[str, int]
    fingerprint: dict[str, str]
    source: str


@dataclass(frozen=True)
class Dataset:
    """A data set with its images: the splits "train", "test" and, where there is one, "val"."""

    info: DatasetInfo
    splits: dict[str, Split]


def build(name: str, classes: tuple[str, ...], splits: Mapping[str, Split], source: str) -> Dataset:
    """The data set in canonical order, with its fingerprints.

    Each split: uint8 images (n, S, S, 3) and int64 labels 0..C-1, n > 0, as importing checks them.
    """
    label_bytes = 1 if len(classes) <= 256 else 2
    fingerprint, ordered = {}, {}
    for part in (part for part in SPLITS if part in splits):
        split = splits[part]
        images = np.ascontiguousarray(split.images)  # a transposed view has no bytes to hash
        digests = _digests(images, split.labels, label_bytes)
        order = _canonical_order(digests, split.groups)
        fingerprint[part] = _sha256(digests[i] for i in order)
        if split.groups is not None:
            numbers = split.groups.astype("<i8")
            fingerprint["groups"] = _sha256(digests[i] + numbers[i].tobytes() for i in order)
        groups = None if split.groups is None else split.groups[order]
        ordered[part] = Split(images[order], split.labels[order], groups)
    counts = {part: len(split.labels) for part, split in ordered.items()}
    side = ordered["train"].images.shape[1]
    return Dataset(DatasetInfo(name, classes, side, counts, fingerprint, source), ordered)


def _digests(images: np.ndarray, labels: np.ndarray, label_bytes: int) -> list[bytes]:
    """The sha256 of each image's bytes followed by its label's, little-endian."""
    digests = []
    for image, label in zip(images, labels.tolist(), strict=True):
        digest = hashlib.sha256(image)
        digest.update(label.to_bytes(label_bytes, "little"))
        digests.append(digest.digest())
    return digests


def _canonical_order(digests: list[bytes], groups: np.ndarray | None) -> list[int]:
    """Indices that sort the digests; equal ones, the same image twice, by their group."""
    if groups is None:
        return sorted(range(len(digests)), key=digests.__getitem__)
    numbers = groups.tolist()
    return sorted(range(len(digests)), key=lambda i: (digests[i], numbers[i]))


def _sha256(parts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()

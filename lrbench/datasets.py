"""The data sets: one file each, images in canonical order, known by a fingerprint of their content.

`<data root>/<name>.npz` is an uncompressed NumPy archive without pickles. Inside a split the images are
sorted by the sha256 of their bytes and label, so whoever makes the file gets the same arrays: subsets,
seeds and per-image predictions then mean the same thing on every machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from lrbench.errors import UserError, unknown
from lrbench.files import write_atomic
from lrbench.splits import subset

FORMAT = 1  # of the file; a file of another format is imported again, not converted
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")  # what a data set may be called: it becomes a file name
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


@dataclass(frozen=True)
class Missing:
    """A data set that cannot be used yet; `why` is the line that says what to do."""

    name: str
    why: str


@dataclass(frozen=True)
class Known:
    """What a published data set must consist of, so that no table calls a part of it the whole."""

    classes: tuple[str, ...]
    counts: dict[str, int]
    per_class: int | None = None  # training images of each class, where all have the same number
    fingerprint: Mapping[str, str] | None = None
    side: int = 32

    def fault(self, info: DatasetInfo, train_labels: np.ndarray | None = None) -> str | None:
        """What keeps `info` from being this data set, as the end of "this is not ...", or None.

        `train_labels`, int64 (n,), are looked at only where given.
        """
        if info.counts != self.counts:
            whole = "the whole of " if self.larger_than(info) else ""
            return f"{whole}{info.name} ({_sizes(info.counts)} images, not {_sizes(self.counts)})"
        if info.side != self.side or len(info.classes) != len(self.classes):
            found = f"{info.side}x{info.side} images in {len(info.classes)} classes"
            return f"{info.name} ({found}, not {self.side}x{self.side} in {len(self.classes)})"
        if "groups" in info.fingerprint:
            return f"{info.name} (it has groups of images: leave train_source out)"
        if self.fingerprint is not None and info.fingerprint != self.fingerprint:
            return f"{info.name} (its images or labels differ)"
        counted = () if train_labels is None else np.bincount(train_labels).tolist()
        if self.per_class is not None and any(n != self.per_class for n in counted):
            return f"{info.name} (a class has other than {self.per_class} training images)"
        return None

    def larger_than(self, info: DatasetInfo) -> bool:
        return sum(info.counts.values()) < sum(self.counts.values())


CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"""

KNOWN = {
    "cifar10": Known(
        classes=tuple(CIFAR10_CLASSES.split()),
        counts={"train": 50_000, "test": 10_000},
        fingerprint={
            "train": "6a3b2c04d0a79ce272dcdacaf0bc440275db5a8cbe3717521a28fada2ea0d2ed",
            "test": "65a6ffe079453e514083f99356b35e02cbfd581b4951e3937fae188974b79f39",
        },
    ),
    "cifar100": Known(
        classes=tuple(CIFAR100_CLASSES.split()),
        counts={"train": 50_000, "test": 10_000},
        per_class=500,
    ),
    "svhn": Known(
        classes=tuple("0123456789"),  # label 0 is the digit 0, as in torchvision
        counts={"train": 73_257, "test": 26_032},
    ),
}


def data_root(given: Path | None) -> Path:
    """The folder of the data sets: `given`, else $LRBENCH_DATA, else one in the user's cache."""
    if given is not None:
        return given
    if named := os.environ.get("LRBENCH_DATA"):
        return Path(named).expanduser()
    return platformdirs.user_cache_path("lrbench") / "data"


def info(name: str, root: Path) -> DatasetInfo:
    """What the data set `name` in `root` is, read without its images.

    Raises UserError where there is no such data set, it is not there yet, or its file is damaged.
    """
    if name in BUILT_IN:
        return _built_in_info(name)
    path = _path(name, root)
    with _reading(path, name) as archive:
        return _meta(archive, name)


def load(name: str, root: Path) -> Dataset:
    """The data set `name` in `root`, with all its images.

    Raises UserError where there is no such data set, it is not there yet, or its file is damaged.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    path = _path(name, root)
    with _reading(path, name) as archive:
        meta = _meta(archive, name)
        return Dataset(meta, {split: _split(archive, split, meta) for split in meta.counts})


def available(root: Path) -> list[DatasetInfo | Missing]:
    """Every data set that is known or imported: the known ones first, then the user's by name."""
    return [_state(name, root) for name in _names(root)]


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


def save(dataset: Dataset, root: Path) -> None:
    """Write the data set to its file in `root`, whole or not at all; what was there is replaced.

    Raises OSError where the folder cannot be made or written to, or the disk is full.
    """
    arrays: dict[str, Any] = {"meta": np.array(json.dumps({"format": FORMAT, **asdict(dataset.info)}))}
    for part, split in dataset.splits.items():
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = split.images, split.labels
        if split.groups is not None:
            arrays[f"{part}_groups"] = split.groups
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    root.mkdir(parents=True, exist_ok=True)
    write_atomic(root / f"{dataset.info.name}.npz", buffer.getvalue())


def _digits() -> Dataset:
    """scikit-learn's digits: 1,797 grey 8x8 images, 0..16 scaled to 0..255, 500 of them for testing."""
    from sklearn.datasets import load_digits  # a second to import

    raw = load_digits()
    grey = np.rint(raw.images * (255 / 16)).astype(np.uint8)
    everything = Split(np.repeat(grey[..., None], 3, axis=3), raw.target.astype(np.int64))
    classes = tuple("0123456789")
    pool = build("digits", classes, {"train": everything}, "").splits["train"]
    # The set comes without a split of its own. The canonical order is as good as a shuffle.
    test = subset(pool.labels, 500)
    train = np.setdiff1d(np.arange(len(pool.labels)), test)
    splits = {part: Split(pool.images[rows], pool.labels[rows]) for part, rows in (("train", train), ("test", test))}
    return build("digits", classes, splits, "scikit-learn")


BUILT_IN = {"digits": _digits}  # made in memory, never imported


@lru_cache
def _built_in_info(name: str) -> DatasetInfo:
    return BUILT_IN[name]().info


def _names(root: Path) -> list[str]:
    imported = sorted(path.stem for path in root.glob("*.npz") if NAME.fullmatch(path.stem))
    return list(dict.fromkeys([*KNOWN, *BUILT_IN, *imported]))


def _state(name: str, root: Path) -> DatasetInfo | Missing:
    try:
        return info(name, root)
    except UserError as error:
        return Missing(name, str(error))


def _path(name: str, root: Path) -> Path:
    path = root / f"{name}.npz"
    if not NAME.fullmatch(name) or not path.is_file():
        if name in KNOWN:
            raise UserError(f"{name} is not in {root}; run {_remedy(name)}")
        raise unknown("data set", name, _names(root))
    return path


def _remedy(name: str) -> str:
    fetch = f"'lrbench data fetch {name}', or " if name in KNOWN else ""
    return f"{fetch}'lrbench data import {name} PATH.npz'"


@contextmanager
def _reading(path: Path, name: str) -> Iterator[Mapping[str, Any]]:
    """The archive at `path`; whatever is wrong with it ends in one line that names it."""
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, Mapping):  # a single array (.npy) under this name
                raise ValueError("not an archive")
            yield archive
    except PermissionError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:
        # Of any kind: a flipped bit comes out of zipfile, NumPy or even Python's tokenizer, which reads
        # the arrays' headers, and there is no list of what they raise.
        again = f"make it again with {_remedy(name)}"
        raise UserError(f"{path} is damaged or not a data set of lrbench; {again}") from error


def _meta(archive: Mapping[str, Any], name: str) -> DatasetInfo:
    """The archive's meta as DatasetInfo. Any error means that it does not describe `name`."""
    meta = json.loads(str(archive["meta"][()]))
    if meta.pop("format") != FORMAT:
        raise ValueError("another format")
    found = DatasetInfo(**{**meta, "classes": tuple(meta["classes"])})
    # A file that was renamed by hand must not pass for what its new name says.
    if found.name != name or (name in KNOWN and KNOWN[name].fault(found)):
        raise ValueError("another data set")
    return found


def _split(archive: Mapping[str, Any], part: str, meta: DatasetInfo) -> Split:
    """One split of the archive. Any error means that it is not as the meta says."""
    images, labels = archive[f"{part}_images"], archive[f"{part}_labels"]
    # The meta says whether there are groups: a damaged name in the archive must not lose them unseen.
    grouped = part == "train" and "groups" in meta.fingerprint
    groups = archive[f"{part}_groups"] if grouped else None
    count = meta.counts[part]
    expected = [(images, (count, meta.side, meta.side, 3), np.uint8), (labels, (count,), np.int64)]
    expected += [] if groups is None else [(groups, (count,), np.int64)]
    if any(array.shape != shape or array.dtype != dtype for array, shape, dtype in expected):
        raise ValueError("not the arrays that the meta describes")
    return Split(images, labels, groups)


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


def _sizes(counts: Mapping[str, int]) -> str:
    """Counts as "50,000 + 10,000": train, then test, then val with its name."""
    val = f" + {counts['val']:,} val" if "val" in counts else ""
    return f"{counts['train']:,} + {counts['test']:,}{val}"

"""What a dataset is: images and labels in canonical order, known by a fingerprint of their content.

Inside a split the images are sorted by the sha256 of their bytes and label, so whoever makes it gets the same arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """The images of a split, in an order."""

    images: np.ndarray  # uint8 (n, S, S, 3), RGB
    labels: np.ndarray  # int64 (n,), 0..C-1
    groups: np.ndarray | None = None  # int64 (n,): numbers what each image was cut from, where images share a source

    def take(self, rows: np.ndarray) -> Split:
        """The images at some places, in their order."""
        return Split(self.images[rows], self.labels[rows], None if self.groups is None else self.groups[rows])


@dataclass(frozen=True)
class DatasetInfo:
    """What a dataset is, without its images."""

    name: str
    classes: tuple[str, ...]
    side: int  # height and width of its images, in pixels
    counts: dict[str, int]  # split -> images
    fingerprint: dict[str, str]  # split -> sha256 (hex) of its content; "groups": of the training images with theirs
    source: str  # where it came from
    per_class: dict[str, list[int]] = field(default_factory=dict, compare=False)  # split -> images by label; not saved

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {split}" for split, count in self.counts.items())
        return f"{self.name}: {counts} images of {self.side}x{self.side}, {len(self.classes)} classes, {self.source}"


@dataclass(frozen=True)
class Dataset:
    """A dataset with its images: the splits "train", "test" and, where there is one, "val"."""

    info: DatasetInfo
    splits: dict[str, Split]


def build(name: str, classes: tuple[str, ...], splits: Mapping[str, Split], source: str) -> Dataset:
    """The dataset in canonical order, with its fingerprints.

    Each split: uint8 images (n, S, S, 3) and int64 labels 0..C-1, n > 0, as importing checks them.
    """
    label_bytes = 1 if len(classes) <= 256 else 2
    fingerprint, ordered = {}, {}
    for part in (part for part in SPLITS if part in splits):
        split = splits[part]
        images = np.ascontiguousarray(split.images)  # a transposed view has no bytes to hash
        ends = (label.to_bytes(label_bytes, "little") for label in split.labels.tolist())
        digests = [hashlib.sha256(image.tobytes() + end).digest() for image, end in zip(images, ends, strict=True)]
        groups = np.zeros(len(digests), np.int64) if split.groups is None else split.groups
        order = sorted(range(len(digests)), key=list(zip(digests, groups.tolist(), strict=True)).__getitem__)
        fingerprint[part] = hashlib.sha256(b"".join(digests[i] for i in order)).hexdigest()
        if split.groups is not None:
            with_groups = (digests[i] + groups[i].astype("<i8").tobytes() for i in order)
            fingerprint["groups"] = hashlib.sha256(b"".join(with_groups)).hexdigest()
        ordered[part] = split.take(np.array(order))
    counts = {part: len(split.labels) for part, split in ordered.items()}
    side = ordered["train"].images.shape[1]
    of_each = {part: per_class(split.labels, classes) for part, split in ordered.items()}
    return Dataset(DatasetInfo(name, classes, side, counts, fingerprint, source, of_each), ordered)


def per_class(labels: np.ndarray, classes: Collection[str]) -> list[int]:
    """The number of images of each class, by label; labels (n,) are 0..C-1."""
    return np.bincount(labels, minlength=len(classes)).tolist()


@dataclass(frozen=True)
class Known:
    """What a published dataset must consist of, so that no table calls a part of it the whole."""

    classes: tuple[str, ...]
    counts: dict[str, int]
    per_class: Mapping[str, tuple[int, ...]] | None = None  # split -> images of each class, by label
    fingerprint: Mapping[str, str] | None = None  # of which the images of each class follow
    side: int = 32

    def fault(self, info: DatasetInfo) -> str | None:
        """What keeps `info` from being this dataset, as the end of "this is not ...", or None."""
        if info.counts != self.counts:
            part = "the whole of " if sum(info.counts.values()) < sum(self.counts.values()) else ""
            return f"{part}{info.name} ({_sizes(info.counts)} images, not {_sizes(self.counts)})"
        if info.side != self.side or len(info.classes) != len(self.classes):
            found = f"{info.side}x{info.side} images in {len(info.classes)} classes"
            return f"{info.name} ({found}, not {self.side}x{self.side} in {len(self.classes)})"
        if "groups" in info.fingerprint:
            return f"{info.name} (it has groups of images: leave train_source out)"
        if self.fingerprint is not None and info.fingerprint != self.fingerprint:
            return f"{info.name} (its images or labels differ)"
        for part, wanted in (self.per_class or {}).items():
            for label, (n, known) in enumerate(zip(info.per_class[part], wanted, strict=True)):
                if n != known:
                    name = self.classes[label]
                    return f"{info.name} (it has {n:,} {part} images of label {label}, '{name}', not {known:,})"
        return None


CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm"""

KNOWN = {
    "cifar10": Known(
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        counts={"train": 50_000, "test": 10_000},
        fingerprint={
            "train": "6a3b2c04d0a79ce272dcdacaf0bc440275db5a8cbe3717521a28fada2ea0d2ed",
            "test": "65a6ffe079453e514083f99356b35e02cbfd581b4951e3937fae188974b79f39",
        },
    ),
    "cifar100": Known(
        classes=tuple(CIFAR100_CLASSES.split()),
        counts={"train": 50_000, "test": 10_000},
        fingerprint={
            "train": "640c97a4012a8aebfcaf57fd82a33dd43b37d2e397a02cb9b0a3d89e6d6d936d",
            "test": "a6a97df7b61bc7420bc44268696e8963d33129bc050978f2a63d8fe3420989fa",
        },
    ),
    "svhn": Known(
        classes=tuple("0123456789"),  # label 0 is the digit 0, as in torchvision
        counts={"train": 73_257, "test": 26_032},
        per_class={
            "train": (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
            "test": (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
        },
    ),
}


def _sizes(counts: Mapping[str, int]) -> str:
    """Counts as "50,000 + 10,000": train, then test, then val with its name."""
    val = f" + {counts['val']:,} val" if "val" in counts else ""
    return f"{counts['train']:,} + {counts['test']:,}{val}"

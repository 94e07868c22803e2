"""Bring a dataset here, into one checked file: one of your own, from an .npz with the MedMNIST keys or from a folder of
class folders, or a known one, through torchvision.
"""

from __future__ import annotations

import socket
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from lrbench.data import datasets
from lrbench.data.dataset import KNOWN, SPLITS, Dataset, DatasetInfo, Split, build
from lrbench.data.datasets import BUILT_IN, NAME
from lrbench.data.pictures import Read, need, read_folder
from lrbench.errors import UserError, printable, raise_machines, unknown
from lrbench.store.files import TEMPORARY, Warn

SMALLEST = 4  # pixels: the smallest side that can still be made smaller
MOST_CLASSES = 65_536  # a label is at most two bytes of an image's fingerprint
TIMEOUT = 15.0  # seconds without a byte; torchvision itself would wait for ever
SOURCES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}  # torchvision's classes


def import_dataset(name: str, path: Path, root: Path, warn: Warn = lambda message: None) -> DatasetInfo:
    """Read the dataset at `path`, check it, and write it to `root` as `name` in canonical order.

    `path` is an .npz with the MedMNIST keys (train_images, train_labels, test_images, test_labels; optionally
    val_images and val_labels, train_source whose first column numbers what each image was cut from, and classes or
    class_names), or a folder with train/CLASS/, test/CLASS/ and optionally val/CLASS/ of images. Images are uint8,
    square, all of one size of at least 4 pixels, grey or RGB. Raises UserError, and writes nothing, where anything
    about it is wrong, where `name` is a known dataset's and the content is not, or where a file of the user's own lies
    at its place in `root`. `warn` is told of a damaged one, which is set aside.
    """
    need(name not in BUILT_IN, f"{name} is built in and cannot be imported; choose a name such as 'my-{name}'")
    rule = "use lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit"
    need(NAME.fullmatch(name), f"a dataset cannot be called '{name}': {rule}")
    datasets.check_place(name, root, path)
    splits, classes = _read(path, warn)
    dataset = make(name, splits, classes, f"imported from {path.name}")
    datasets.save(dataset, root, warn)
    return dataset.info


def make(name: str, splits: Mapping[str, Split], classes: tuple[str, ...] | None, source: str) -> Dataset:
    """The checked dataset in canonical order; nothing is written.

    Splits: uint8 images (n, S, S, 3) and integer labels (n,). Raises UserError where the labels are not
    0..C-1 with every class in train, or the content is not what a known `name` stands for.
    """
    _check_sides(splits)
    named, source = tuple(map(printable, classes or _numbered(splits["train"].labels))), printable(source)
    _check_labels(splits, named)
    known = KNOWN.get(name)
    if known is None:
        return build(name, named, splits, source)
    dataset = build(name, known.classes if len(known.classes) == len(named) else named, splits, source)
    fault = known.fault(dataset.info)
    if fault is None and known.fingerprint is None and classes not in (None, known.classes):
        # Other names may mean another order of the labels, and no fingerprint would tell.
        fault = f"{name} (its classes are not called {known.classes[0]} to {known.classes[-1]}, in that order)"
    if fault:
        other = "partial" if fault.startswith("the whole") else "other"
        raise UserError(f"this is not {fault}: import it under another name, such as '{name}-{other}'")
    return dataset


def _read(path: Path, warn: Warn) -> Read:
    if path.is_dir():
        return read_folder(path, warn)
    need(path.exists(), f"{path} does not exist; give an .npz file or a folder with train/ and test/")
    neither = f"{path} is neither an .npz file nor a folder; give one with train/ and test/ of images"
    need(path.is_file(), neither)  # a pipe would be waited for
    try:
        with open(path, "rb") as file:
            file.read(1)  # where the disk gives nothing: zipfile would call it no zip file
            zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError) as error:
        raise_machines(error, path)
    else:
        return _read_own(path) or _read_npz(path)
    need(path.suffix != ".npz", f"{path} is not a whole .npz file (cut off, damaged or something else); get it again")
    raise UserError(neither)


def _read_own(path: Path) -> Read | None:
    """What lrbench itself wrote, with its classes and groups; None where another did."""
    try:
        found = datasets.read_own(path)
    except Exception as error:  # of any kind, as in lrbench.data.datasets
        raise_machines(error, path)
        raise UserError(f"{path} is damaged, or of another version of lrbench; get it again") from error
    return (found.splits, found.info.classes) if found else None


def _read_npz(path: Path) -> Read:
    arrays = _arrays(path)
    wanted = [f"{part}_{kind}" for part in ("train", "test") for kind in ("images", "labels")]
    if {"val_images", "val_labels"} & arrays.keys():
        wanted += ["val_images", "val_labels"]
    missing = ", ".join(key for key in wanted if key not in arrays)
    need(not missing, f"{path} has no {missing}; these are the keys that MedMNIST's files use")
    splits = {part: _npz_split(path, arrays, part) for part in SPLITS if f"{part}_images" in arrays}
    for key in ("classes", "class_names"):
        if key in arrays:
            names, what = arrays[key], f"{key} in {path}"
            are_names = names.ndim == 1 and names.dtype.kind == "U"
            need(are_names, f"{what} is {names.dtype} {names.shape}: strings (classes,) are needed")
            need(len({*names}) == len(names), f"{what} names a class twice; give each its own name")
            return splits, tuple(names.tolist())
    return splits, None


def _arrays(path: Path) -> dict[str, Any]:
    """The archive's members of the keys that are read; whatever is wrong with its bytes is a UserError."""
    wanted = {f"{part}_{kind}" for part in SPLITS for kind in ("images", "labels")}
    arrays, key = {}, ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in (wanted | {"train_source", "classes", "class_names"}) & set(archive.files):
                arrays[key] = archive[key]
    except Exception as error:  # of any kind, as in lrbench.data.datasets
        if "allow_pickle" in str(error):
            hint = "lrbench does not unpickle; save it as a plain array of numbers or strings"
            raise UserError(f"{key} in {path} is an array of Python objects: {hint}") from error
        raise_machines(error, path)
        raise UserError(f"{path} is damaged; get it again") from error
    for key, value in arrays.items():  # NumPy hands out the bytes of a member that is no array
        need(isinstance(value, np.ndarray), f"{key} in {path} is no array; make the file with numpy.savez")
    return arrays


def _npz_split(path: Path, arrays: Mapping[str, np.ndarray], part: str) -> Split:
    images = _rgb(arrays[f"{part}_images"], f"{part}_images in {path}")
    grouped = part == "train" and "train_source" in arrays
    columns = []
    for key in (f"{part}_labels", "train_source") if grouped else (f"{part}_labels",):
        columns.append(_column(arrays[key], f"{key} in {path}", may_have_more=key == "train_source"))
        found = f"{len(columns[-1]):,} for {len(images):,} images"
        need(len(columns[-1]) == len(images), f"{key} in {path}: {found}; one per image is needed")
    return Split(images, *columns)


def _rgb(images: np.ndarray, what: str) -> np.ndarray:
    """uint8 (n, S, S, 3) from (n, S, S), (n, S, S, 1) or (n, S, S, 3)."""
    need(images.dtype == np.uint8, f"{what} are {images.dtype}: convert them to uint8, 0 to 255")
    if images.ndim == 3:
        images = images[..., None]
    shape, are_images = "x".join(map(str, images.shape)), images.ndim == 4 and images.shape[3] in (1, 3)
    need(are_images, f"{what} have the shape {shape}: (n, S, S), (n, S, S, 1) or (n, S, S, 3) is needed")
    n, height, width, _ = images.shape
    need(n, f"{what} are empty; every split needs images")
    need(height == width, f"{what} are {height}x{width}, not square; crop or pad them")
    return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images


def _column(values: np.ndarray, what: str, may_have_more: bool) -> np.ndarray:
    """int64 (n,) from integers (n,) or (n, 1); the first column of (n, k) where there may be more than one."""
    right = values.dtype.kind in "iu" and values.ndim in (1, 2) and 0 not in values.shape[1:]
    need(right, f"{what} is {values.dtype} {values.shape}: integers (n,) or (n, 1), from 0, are needed")
    each = values.size // max(1, len(values))
    need(each <= 1 or may_have_more, f"{what} give {each} labels per image (multi-label): one is needed")
    return (values if values.ndim == 1 else values[:, 0]).astype(np.int64)


def _numbered(labels: np.ndarray) -> tuple[str, ...]:
    """Class names for labels that have none: their numbers, which must be 0..C-1."""
    present = np.unique(labels)
    low, high, last = present[0], present[-1], len(present) - 1
    found = f"the {last + 1} classes in train are numbered from {low} to {high}"
    need((low, high) == (0, last), f"{found}: renumber them 0 to {last}")
    return tuple(map(str, present.tolist()))


def _check_sides(splits: Mapping[str, Split]) -> None:
    train = splits["train"].images.shape[1]
    for part, split in splits.items():
        sizes = f"{split.images.shape[1]}x{split.images.shape[1]}, those of train {train}x{train}"
        need(split.images.shape[1] == train, f"the {part} images are {sizes}: make them one size")
    need(train >= SMALLEST, f"the images are {train} pixels wide; {SMALLEST} is the least")


def _check_labels(splits: Mapping[str, Split], classes: tuple[str, ...]) -> None:
    n, last = len(classes), len(classes) - 1
    need(1 < n <= MOST_CLASSES, f"the number of classes is {n}: it must lie between 2 and {MOST_CLASSES}")
    for part, split in splits.items():
        low, high = split.labels.min(), split.labels.max()
        found = f"the {part} labels run from {low} to {high}"
        wanted = f"the classes of train are 0 to {last}; renumber or remove them"
        need(low >= 0 and high <= last, f"{found}, but {wanted}")
    for empty in np.flatnonzero(np.bincount(splits["train"].labels, minlength=n) == 0)[:1]:
        raise UserError(f"class '{classes[empty]}' has no training image; add some or take the class out")


def fetch_dataset(name: str, root: Path, warn: Warn = lambda message: None) -> DatasetInfo:
    """Download the known dataset `name`, check it, and write it to `root` in canonical order.

    Where it is there already and sound, nothing is downloaded. Raises UserError, and leaves nothing behind, where the
    network fails, what arrives is not the dataset or a file of the user's own lies at its place, and OSError where it
    cannot be kept. `warn` is told of a damaged file, which is set aside.
    """
    if name in BUILT_IN:
        raise UserError(f"{name} is built in: there is nothing to fetch")
    if name not in SOURCES:
        raise unknown("dataset to fetch called", name, SOURCES)
    try:
        return datasets.load(name, root).info
    except UserError:  # not there, or damaged: fetch it
        datasets.check_place(name, root)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=root) as folder:  # on the disk that has room for data
        splits, source = _download(name, Path(folder))
        dataset = make(name, splits, None, source)
    datasets.save(dataset, root, warn)
    return dataset.info


def _download(name: str, folder: Path) -> tuple[dict[str, Split], str]:
    """What torchvision fetches, and from where; whatever goes wrong ends in one line."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        return _torchvision(SOURCES[name], folder)
    except (OSError, HTTPException, RuntimeError, tarfile.TarError) as error:
        is_wrong = isinstance(error, RuntimeError | tarfile.TarError)  # torchvision's words for a wrong checksum
        why = str(error).removeprefix("<urlopen error ").removesuffix(">") or type(error).__name__
        why = (is_wrong and _arrived(folder)) or " ".join(why.split())
        other = f"without a network, get the data elsewhere and run 'lrbench data import {name} PATH'"
        raise UserError(f"could not fetch {name}: {why}; {other}") from error
    finally:
        socket.setdefaulttimeout(before)


def _torchvision(kind: str, folder: Path) -> tuple[dict[str, Split], str]:
    """The splits, and where they came from."""
    # CIFAR's files are pickles, which run code when read. torchvision compares the md5 of the archive and of each file
    # in it with constants in its source before it unpickles any: so they are what the authors published.
    import torchvision  # here, as it brings torch

    cls = getattr(torchvision.datasets, kind)
    if kind == "SVHN":  # whose label 10, the digit 0, torchvision has already made 0
        parts = {part: cls(folder, split=part, download=True) for part in ("train", "test")}
        splits = {part: Split(data.data.transpose(0, 2, 3, 1), data.labels) for part, data in parts.items()}
        return splits, f"fetched from {parts['train'].url}"
    parts = {"train": cls(folder, train=True, download=True), "test": cls(folder, train=False)}
    splits = {part: Split(data.data, np.array(data.targets, np.int64)) for part, data in parts.items()}
    return splits, f"fetched from {cls.url}"


def _arrived(folder: Path) -> str | None:
    """What the newest downloaded file is, if it is not what was asked for."""
    newest = max((f for f in folder.iterdir() if f.is_file()), key=lambda f: f.stat().st_mtime, default=None)
    if newest is None:
        return None
    with newest.open("rb") as file:
        start = file.read(1024).lower()
    if b"<html" in start or b"<!doctype" in start:
        return f"an HTML page came instead of {newest.name} (a proxy or login page?)"
    return f"{newest.name} came with a wrong checksum ({newest.stat().st_size:,} bytes)"

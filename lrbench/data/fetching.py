"""Fetch a known dataset through torchvision, then check and write it as an import would."""

from __future__ import annotations

import socket
import tarfile
import tempfile
from http.client import HTTPException
from pathlib import Path

import numpy as np

from lrbench.data import datasets
from lrbench.data.dataset import DatasetInfo, Split
from lrbench.data.datasets import BUILT_IN
from lrbench.data.importing import make
from lrbench.errors import UserError, unknown
from lrbench.store.files import TEMPORARY

TIMEOUT = 15.0  # seconds without a byte; torchvision itself would wait for ever
SOURCES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}  # torchvision's classes
Read = tuple[dict[str, Split], str]  # and from where


def fetch_dataset(name: str, root: Path) -> DatasetInfo:
    """Download the known dataset `name`, check it, and write it to `root` in canonical order.

    Where it is there already and sound, nothing is downloaded. Raises UserError, and leaves nothing
    behind, where the network fails or what arrives is not the dataset, OSError where it cannot be kept.
    """
    if name in BUILT_IN:
        raise UserError(f"{name} is built in: there is nothing to fetch")
    if name not in SOURCES:
        raise unknown("dataset to fetch called", name, SOURCES)
    try:
        return datasets.load(name, root).info
    except UserError:
        pass  # not there, or damaged: fetch it
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=root) as folder:  # on the disk that has room for data
        splits, source = _download(name, Path(folder))
        dataset = make(name, splits, None, source)
    datasets.save(dataset, root)
    return dataset.info


def _download(name: str, folder: Path) -> Read:
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


def _torchvision(kind: str, folder: Path) -> Read:
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

"""The datasets on this machine: found, listed, read and written.

`<data root>/<name>.npz` is an uncompressed NumPy archive without pickles, of images in canonical order.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from lrbench.data.dataset import KNOWN, SPLITS, Dataset, DatasetInfo, Split, build, per_class
from lrbench.data.splits import subset
from lrbench.errors import OUT_OF_MEMORY, UserError, expanded, out_of_memory, printable, raise_machines, unknown
from lrbench.store.files import Warn, set_aside, write_atomic

FORMAT = 1  # of the file; a file of another format is imported again, not converted
META = {"format", *(field.name for field in fields(DatasetInfo) if field.compare)}  # the keys of its meta
ZIP = b"PK\3\4"  # how an archive that has a member begins
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")  # what a dataset may be called: it becomes a file name


@lru_cache
def digits() -> Dataset:
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
    return build("digits", classes, {"train": pool.take(train), "test": pool.take(test)}, "scikit-learn")


BUILT_IN = {"digits": digits}  # made in memory, never imported


def data_root(given: Path | None) -> Path:
    """The folder of the datasets: `given`, else $LRBENCH_DATA, else one in the user's cache, or where there is no home
    folder, as in some containers, one for temporary files.
    """
    if named := given or os.environ.get("LRBENCH_DATA"):
        return expanded(named)
    try:
        return expanded(platformdirs.user_cache_path("lrbench")) / "data"
    except (RuntimeError, UserError):
        return Path(tempfile.gettempdir()) / f"lrbench-{os.getuid()}" / "data"


def info(name: str, root: Path) -> DatasetInfo:
    """What the dataset `name` in `root` is, read without its images.

    Raises UserError where there is no such dataset, it is not there yet, or its file is damaged or not lrbench's, and
    OSError where the machine cannot read it.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]().info
    with _archive(name, root) as archive:
        return _meta(archive, name)


def load(name: str, root: Path) -> Dataset:
    """The dataset `name` in `root`, with all its images. Raises UserError as `info` does."""
    if name in BUILT_IN:
        return BUILT_IN[name]()
    with _archive(name, root) as archive:
        return _dataset(archive, name)


def read_own(path: Path) -> Dataset | None:
    """The dataset that lrbench wrote to a file, whatever the file is called; None where it is not lrbench's.

    Any error means that the file is damaged, or of another version of lrbench.
    """
    with np.load(path, allow_pickle=False) as archive:
        name = _name(archive)
        return None if name is None else _dataset(archive, name)


def available(root: Path) -> dict[str, DatasetInfo | UserError]:
    """Every dataset, the known ones first, then the user's by name: what it is, or why it cannot be used yet."""
    found: dict[str, DatasetInfo | UserError] = {}
    for name in _names(root):
        try:
            found[name] = info(name, root)
        except UserError as error:
            found[name] = error
        except OSError as error:
            found[name] = UserError(f"cannot read {error.filename or root}: {error.strerror or error}")
        except Exception as error:
            if not out_of_memory(error):
                raise
            found[name] = UserError(OUT_OF_MEMORY)
    return found


def save(dataset: Dataset, root: Path, warn: Warn = lambda message: None) -> None:
    """Write the dataset to its file in `root`, whole or not at all, in place of what lrbench wrote there before.

    What is there and damaged, or another dataset's, is set aside, and `warn` told. Raises UserError as `check_place`
    does, and OSError where the folder cannot be made or written to, or the disk is full.
    """
    meta = {key: value for key, value in {"format": FORMAT, **asdict(dataset.info)}.items() if key in META}
    arrays: dict[str, Any] = {"meta": np.array(json.dumps(meta))}
    for part, split in dataset.splits.items():
        arrays |= {f"{part}_{kind}": values for kind, values in vars(split).items() if values is not None}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{dataset.info.name}.npz"
    if why := check_place(dataset.info.name, root):
        set_aside(path, why, warn)
    write_atomic(path, buffer.getvalue())


def check_place(name: str, root: Path, source: Path | None = None) -> str:
    """Raise UserError where something lies at the place of a dataset's file that lrbench did not write.

    Returns why what is there should be set aside: it is damaged or another dataset's; "" where it may be replaced.
    """
    path = root / f"{name}.npz"
    if not os.path.lexists(path):
        return ""
    _need_file(path)
    try:
        written = _own_name(path)
    except Exception as error:  # of any kind: a flipped bit comes out of zipfile, NumPy or even Python's tokenizer
        raise_machines(error, path)
        return "it is damaged"
    if written is None:
        raise _not_ours(path, source or path)
    return "" if written == name else f"it is the dataset {written}"


def _own_name(path: Path) -> str | None:
    """The name of the dataset that lrbench wrote to a file; None where it did not. Any error means a damaged file."""
    with open(path, "rb") as file:
        start = file.read(len(ZIP))  # where the disk gives nothing: zipfile would call it no zip file
        if not ZIP.startswith(start) and not zipfile.is_zipfile(file):  # an array or a text: never was an archive
            return None
        if zipfile.ZipFile(file).testzip():
            raise ValueError("a wrong checksum")
        file.seek(0)
        return _name(np.load(file, allow_pickle=False))


def _name(archive: Mapping[str, Any]) -> str | None:
    """Of the dataset in an archive that lrbench wrote; None where it did not, which the keys of its meta tell."""
    try:
        meta = json.loads(str(archive["meta"][()]))
        kinds = {key.partition("_")[::2] for key in archive if key != "meta"}
        ours = kinds <= {(part, kind) for part in SPLITS for kind in ("images", "labels", "groups")}
        return str(meta["name"]) if ours and meta.keys() == META else None
    except (AttributeError, KeyError, IndexError, ValueError, TypeError):
        return None


def _need_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} is no file, or a link to one that is not there; move it to another folder")


def _not_ours(path: Path, source: Path) -> UserError:
    """What the user is told of a file of his own at the place of a dataset's. source: of what was to be imported."""
    other = shlex.join(["lrbench", "data", "import", path.stem, str(source), "--data", str(path.parent / "datasets")])
    ways = f"move it to another folder, or keep datasets in another one: {other}"
    return UserError(f"{path} is a file that lrbench did not write, and is left as it is; {ways}")


def _names(root: Path) -> list[str]:
    imported = sorted(path.stem for path in root.glob("*.npz") if NAME.fullmatch(path.stem))
    return list(dict.fromkeys([*KNOWN, *BUILT_IN, *imported]))


@contextmanager
def _archive(name: str, root: Path) -> Iterator[Mapping[str, Any]]:
    """The file of a dataset, open; whatever is wrong with it ends in one line that names it."""
    path = root / f"{name}.npz"
    fetch = f"'lrbench data fetch {name}', or " if name in KNOWN else ""
    remedy = f"{fetch}'lrbench data import {name} PATH.npz'"
    if not NAME.fullmatch(name) or not os.path.lexists(path):
        raise UserError(f"{name} is not in {root}; run {remedy}") if fetch else unknown("dataset", name, _names(root))
    _need_file(path)
    try:
        with open(path, "rb") as file:
            yield np.load(file, allow_pickle=False)
    except PermissionError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # of any kind, as above
        raise_machines(error, path)
        why = check_place(name, root) or "it is damaged, or of another version of lrbench"
        raise UserError(f"{path} cannot be used: {why}; make it again with {remedy}") from error


def _meta(archive: Mapping[str, Any], name: str) -> DatasetInfo:
    """The archive's meta. Any error means that it does not describe `name`."""
    meta = json.loads(str(archive["meta"][()]))
    if meta.pop("format") != FORMAT:
        raise ValueError("another format")
    classes, source = tuple(map(printable, meta["classes"])), printable(meta["source"])
    of_each = {part: per_class(archive[f"{part}_labels"], classes) for part in meta["counts"]}
    found = DatasetInfo(**{**meta, "classes": classes, "source": source, "per_class": of_each})
    if found.name != name or (name in KNOWN and KNOWN[name].fault(found)):
        raise ValueError("another dataset")  # such as a file that was renamed by hand
    return found


def _dataset(archive: Mapping[str, Any], name: str) -> Dataset:
    """All of an archive. Any error means that it is not the dataset `name`."""
    meta = _meta(archive, name)
    return Dataset(meta, {split: _split(archive, split, meta) for split in meta.counts})


def _split(archive: Mapping[str, Any], part: str, meta: DatasetInfo) -> Split:
    """One split of the archive. Any error means that it is not as the meta says."""
    images, *per_image = archive[f"{part}_images"], archive[f"{part}_labels"]
    if part == "train" and "groups" in meta.fingerprint:  # a damaged name in the archive must not lose them unseen
        per_image.append(archive["train_groups"])
    count = meta.counts[part]
    right = images.shape == (count, meta.side, meta.side, 3) and images.dtype == np.uint8
    if not right or any(values.shape != (count,) or values.dtype != np.int64 for values in per_image):
        raise ValueError("not the arrays that the meta describes")
    return Split(images, *per_image)

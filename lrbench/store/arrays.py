"""Arrays that take long to make, kept in a folder each and mapped from there: processes share one copy in memory.

A folder holds <name>.npy, and checksums.json. It may be deleted at any time: what is missing or damaged is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from lrbench.errors import raise_machines
from lrbench.store import lock
from lrbench.store.files import new_folder, written_whole

Arrays = dict[str, np.ndarray]
CHECKSUMS = "checksums.json"


def no_long_wait(way_out: str) -> None:
    """Wait for a process that is there; where a dead one may have left the lock, raise BlockingIOError."""
    if way_out:
        raise BlockingIOError(way_out)


def arrays(folder: Path, make: Callable[[], Mapping[str, np.ndarray]], waiting: lock.Waiting = no_long_wait) -> Arrays:
    """The arrays kept in a folder, or those that `make` returns, kept from now on where the folder can be written.

    Mapped: they take memory only as they are read, and a change to one stays with this process. Where another
    process is making them, `waiting` is called and they are waited for; if it raises OSError they are made, not kept.
    """
    if kept := _read(folder):
        return kept
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.held(folder.with_name(f"{folder.name}.lock"), waiting))
        except OSError:  # a folder in which nothing can be kept, or nobody to wait for
            return dict(make())
        if kept := _read(folder):  # another process may have made them while we waited
            return kept
        made = dict(make())
        with suppress(OSError):  # a full disk
            _write(folder, made)
        return _read(folder) or made


def _read(folder: Path) -> Arrays:
    """What is kept, each array checked whole; nothing where anything is missing, damaged or not for us to read.

    Raises MemoryError, and OSError where the machine cannot read it.
    """
    try:
        checksums = json.loads((folder / CHECKSUMS).read_bytes())
        if checksums == {name: _checksum(folder / f"{name}.npy") for name in checksums}:
            return {name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in checksums}
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        pass
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise_machines(error, folder)
    return {}


def _write(folder: Path, made: Arrays) -> None:
    """Put the arrays in place of what is there: nobody else holds the lock. Raises OSError."""
    with new_folder(folder, replace=True) as new:
        for name, values in made.items():
            with written_whole(new / f"{name}.npy") as file:
                np.save(file, values, allow_pickle=False)
        checksums = {name: _checksum(new / f"{name}.npy") for name in made}
        (new / CHECKSUMS).write_text(json.dumps(checksums))


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

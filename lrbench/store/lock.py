"""A lock between processes that a killed holder gives up, and that leaves no file behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TRIES = 100  # to open a file in a folder that others may be removing


@contextmanager
def held(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; call `waiting` once if another process has it, then wait.

    The file is removed while it is held; so one that gets it afterwards looks whether what it locked
    is still the file of that name, and otherwise starts over. Raises OSError where it cannot be made.
    """
    told = False
    while True:
        handle = _opened(path)
        try:
            if not _lock(handle, wait=False):
                if not told:
                    waiting()
                    told = True
                _lock(handle, wait=True)
            if not _is_at(handle, path):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)  # its whole folder may have been removed meanwhile
            return
        finally:
            os.close(handle)


def _opened(path: Path) -> int:
    """The file, made where it is not there, and its folder with it, which other processes may be removing."""
    for _ in range(TRIES):
        with suppress(FileNotFoundError, FileExistsError):
            return _open(path)
    return _open(path)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def _lock(handle: int, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False

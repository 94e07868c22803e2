"""A lock between processes, which is free again when its holder ends or is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TRIES = 100  # to make a file in a folder that other processes may be removing


@contextmanager
def held(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; if another process has it, call `waiting` once, then wait.

    It is made, with its folders, and removed at the end. Raises OSError.
    """
    from filelock import FileLock, Timeout  # here, not above: reports lock nothing, and it takes a while to import

    lock, tries, wait = FileLock(path, thread_local=False), 0, False
    while not lock.is_locked:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # which says at once where no file can be made: filelock would wait for ever
            lock.acquire(blocking=wait)
        except Timeout:
            waiting()
            wait = True
        except (FileNotFoundError, FileExistsError):  # another process has just removed the folder
            tries += 1
            if tries == TRIES:
                raise
    try:
        yield
    finally:
        with suppress(OSError):  # its folder may have been removed
            path.unlink()  # while it is held: whoever opened it before will see that it is gone, and make another
        lock.release()

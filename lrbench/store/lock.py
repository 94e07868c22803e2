"""A lock between processes, which is free again when its holder ends or is killed."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

TRIES = 100  # to make a file in a folder that other processes may be removing
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # what such a file system says
SOFT = ".soft"  # what the lock file's name ends in where the file system has no locks
Waiting = Callable[[str], None]  # is told how to end the wait if nobody is there: " (...)", or nothing where one is


@contextmanager
def held(path: Path, waiting: Waiting) -> Iterator[None]:
    """Hold the lock file `path`; if another process has it, call `waiting` once, then wait.

    It is made, with its folders, and removed at the end. Where the file system has no locks, such as NFS or Lustre of
    some sites, the file PATH.soft stands for one: filelock removes what a killed process of this machine has left, but
    cannot know whether one of another machine is alive. Raises OSError.
    """
    from filelock import FileLock, SoftFileLock, Timeout  # here, not above: it takes a while, and reports lock nothing

    soft = path.with_name(path.name + SOFT)
    lock, is_soft, tries, wait = None, False, 0, False
    while not (lock and lock.is_locked):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not is_soft:
                path.touch()  # which says at once where no file can be made: filelock would wait for ever
            if lock is None:
                if is_soft := not _has_locks(path.parent):
                    path.unlink(missing_ok=True)
                lock = SoftFileLock(soft, thread_local=False) if is_soft else FileLock(path, thread_local=False)
            lock.acquire(blocking=wait)
        except Timeout:
            waiting(f" (if there is none any more, delete {soft})" if is_soft else "")
            wait = True
        except (FileNotFoundError, FileExistsError):  # another process has just removed the folder
            tries += 1
            if tries == TRIES:
                raise
        except OSError as error:
            if is_soft or not error.filename:  # flock names no file
                why = f"{error.strerror}; nothing can be locked there: choose another folder, such as --results"
                raise OSError(error.errno, why, str(soft if is_soft else path)) from error
            raise
    try:
        yield
    finally:
        if not is_soft:
            with suppress(OSError):  # its folder may have been removed
                path.unlink()  # while it is held: whoever opened it before will see that it is gone, and make another
        lock.release()


def _has_locks(folder: Path) -> bool:
    """Whether files in a folder can be locked: some network file systems have no flock. Raises OSError."""
    try:
        import fcntl
    except ImportError:  # Windows, where filelock has another way
        return True
    with TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return False
    return True

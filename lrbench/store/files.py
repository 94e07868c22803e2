"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

Warn = Callable[[str], None]  # is told a line of what is wrong
TEMPORARY = ".tmp-"  # how names begin of what is not finished: it is never read, and removed by the next who writes
NEW, OLD = f"{TEMPORARY}new-", f"{TEMPORARY}old-"  # NEW-XXXXXXXX-NAME is to become NAME, which was moved to OLD-NAME


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path`, whole or not at all. Raises OSError."""
    with written_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, renamed to `path` when it is on the disk, or removed if that fails. Raises OSError."""
    handle, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say where
        raise


@contextmanager
def new_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """A folder to fill, renamed to `path` when the block ends well and removed when not.

    Raises FileExistsError where `path` is there, unless with `replace`: then nobody else may be writing it.
    """
    if path.exists() and not replace:
        raise FileExistsError(f"{path} exists")
    temporary = Path(tempfile.mkdtemp(prefix=NEW, suffix=f"-{path.name}", dir=path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        if replace and path.exists():
            path.rename(path.with_name(OLD + path.name))
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if replace:
            recover(path)


def recover(path: Path) -> None:
    """Undo or end what was begun to put a folder in place, by a killed process too; nobody else may be writing it."""
    if (old := path.with_name(OLD + path.name)).exists():
        shutil.rmtree(old, ignore_errors=True) if path.exists() else old.rename(path)
    for leftover in path.parent.glob(f"{NEW}*"):
        if leftover.name[len(NEW) + 8 :] == f"-{path.name}":  # behind the eight characters of mkdtemp
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def without_empty(*folders: Path) -> Iterator[None]:
    """When the block ends, those of the folders and their parents that it has made are removed where they are empty."""
    made = [place for folder in folders for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    finally:
        for place in made:
            with suppress(OSError):  # it is in use, or gone already
                place.rmdir()


def check_writable(folder: Path) -> None:
    """Raise OSError where no file can be written into a folder, or no folder made there. Leaves nothing behind."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    with tempfile.TemporaryFile(dir=there):
        pass


def set_aside(path: Path, why: str, warn: Warn) -> None:
    """Rename what is damaged, for the user to look at, and say so."""
    places = (path.with_name(f".damaged-{path.name}-{number}") for number in range(1, 10_000))
    place = next(place for place in places if not place.exists())
    try:
        path.rename(place)
        warn(f"{path} is set aside as {place.name}: {why}")
    except OSError as error:
        warn(f"{path} is not read: {why} (and it cannot be set aside: {error.strerror})")

"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TextIO, TypeVar

from lrbench.errors import named

Warn = Callable[[str], None]  # is told a line of what is wrong
Made = TypeVar("Made")
TEMPORARY = ".tmp-"  # how names begin of what is not finished: it is never read, and removed by the next who writes
NEW, OLD = f"{TEMPORARY}new-", f"{TEMPORARY}old-"  # NEW-XXXXXXXX-NAME is to become NAME, which was moved to OLD-NAME
STDOUT = Path("/dev/stdout")  # what `--out -` means
DESCRIPTORS = ("/proc/self/fd", "/proc/thread-self/fd", "/dev/fd")  # where this process's open files have paths


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path`, whole or not at all. Raises OSError."""
    with written_whole(path) as file:
        file.write(utf8(content))


def utf8(content: bytes | str) -> bytes:
    """What is written of a text, whatever the locale; a question mark for a byte of a path that is no text."""
    return content.encode(errors="replace") if isinstance(content, str) else content


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, renamed to `path` when it is on the disk, or removed if that fails. Raises OSError."""
    with named(path):
        temporary, handle = _unused(path.parent, TEMPORARY, "", _new_file)
        try:
            with os.fdopen(handle, "wb") as file:
                _as_before(temporary, path)
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_out(out: Path, content: bytes | str, stdout: TextIO | None = None) -> None:
    """Write `content` to what a user's --out names, as `written_out` does; text on stdout in its own encoding."""
    if isinstance(content, str) and _descriptor(out) == 1:
        (stdout or sys.stdout).write(content)
        return
    with written_out(out, stdout) as file:
        file.write(utf8(content))


@contextmanager
def written_out(out: Path, stdout: TextIO | None = None) -> Iterator[IO[bytes]]:
    """What a user's --out names, to write to. Raises OSError, BrokenPipeError where the reader has gone.

    A regular file is replaced whole, where `out` is a link its target, and made with its folder where there is none.
    Everything else is written into: a device, a pipe, a descriptor such as /dev/fd/3, and /dev/stdout, for which
    `stdout` stands, or sys.stdout.
    """
    if replaces(out):
        target = Path(os.path.realpath(out))
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target) as file:
            yield file
        return
    descriptor = _descriptor(out)
    with named(out):
        if descriptor == 1:
            stream = stdout or sys.stdout
            stream.flush()
            yield stream.buffer
            stream.buffer.flush()
            return
        sys.stderr.flush()  # which it may be
        handle = os.open(out, os.O_WRONLY | os.O_NOCTTY) if descriptor is None else os.dup(descriptor)
        with os.fdopen(handle, "wb") as file:
            yield file


def replaces(out: Path) -> bool:
    """Whether --out names a regular file, there or not yet: no stdout, other descriptor, device or pipe."""
    if _descriptor(out) is not None:
        return False
    try:
        return stat.S_ISREG(out.stat().st_mode)
    except FileNotFoundError:
        return True


def _descriptor(path: Path) -> int | None:
    """3 for /dev/fd/3, and 1 for what leads there over links, such as /dev/stdout; None for other paths."""
    if path == STDOUT:
        return 1
    folders = {os.path.realpath(folder) for folder in DESCRIPTORS}
    for _ in range(40):  # links, the most that Linux follows
        folder = os.path.realpath(path.parent)
        if folder in folders and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            break
        path = Path(folder) / path.readlink()
    return None


def _unused(folder: Path, before: str, behind: str, make: Callable[[Path], Made]) -> tuple[Path, Made]:
    """The path of what `make` has made, whose name nothing else had: eight characters between the two."""
    while True:
        path = folder / f"{before}{secrets.token_hex(4)}{behind}"
        with suppress(FileExistsError):
            return path, make(path)


def _new_file(path: Path) -> int:
    """A descriptor of a new file; its permissions are as the umask and the folder say, which tempfile's are not."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _as_before(new: Path, before: Path, needed: int = 0) -> None:
    """Give what replaces a file or a folder its group, as far as this user may, its permissions, and those `needed`."""
    if not before.exists():
        return
    there = before.stat()
    with suppress(OSError):
        os.chown(new, -1, there.st_gid)
    new.chmod(stat.S_IMODE(there.st_mode) | needed)


@contextmanager
def new_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """A folder to fill, renamed to `path` when the block ends well and removed when not.

    Raises FileExistsError where `path` is there, unless with `replace`: then nobody else may be writing it.
    """
    if path.exists() and not replace:
        raise FileExistsError(f"{path} exists")
    temporary, _ = _unused(path.parent, NEW, f"-{path.name}", Path.mkdir)
    try:
        _as_before(temporary, path, stat.S_IRWXU)
        yield temporary
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
        if leftover.name[len(NEW) + 8 :] == f"-{path.name}":  # behind eight characters
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

"""A folder of files, such as a report, that is written and replaced as a whole, and never over a file of the user's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lrbench.errors import UserError
from lrbench.store import lock
from lrbench.store.files import TEMPORARY

CONTENTS = ".lrbench-contents"  # a file in each such folder: the names of the files that were written, one per line


def check(path: Path) -> None:
    """Raise UserError unless `path` may be written: it is not there, or empty, or holds only what lrbench wrote."""
    place = path.resolve()
    if Path.cwd().is_relative_to(place):
        raise UserError(f"--out {path} is the current folder, or holds it; choose another")
    if place.exists() and not place.is_dir():
        raise UserError(f"--out {path} is a file; choose a folder")
    if not place.is_dir() or not any(place.iterdir()):
        return
    if not (place / CONTENTS).is_file():
        raise UserError(f"--out {path} is not empty, and not written by lrbench; choose another, or an empty one")
    written = {CONTENTS, *(place / CONTENTS).read_text(encoding="utf-8").splitlines()}
    for file in _files(place):
        if file not in written:
            raise UserError(f"--out {path} holds {file}, which lrbench did not write; move it, or choose another")


@contextmanager
def replaced(path: Path, waiting: Callable[[], None]) -> Iterator[Path]:
    """A folder to fill, which takes the place of `path` if the block ends without an error and else is removed.

    If another process is writing the same folder, `waiting` is called, and it is waited for. Raises UserError as
    `check` does, and OSError.
    """
    place = path.resolve()
    check(path)
    created = [folder for folder in place.parents if not folder.exists()]
    new, old = (place.with_name(f"{TEMPORARY}{age}-{place.name}") for age in ("new", "old"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with lock.held(place.with_name(f"{TEMPORARY}lock-{place.name}"), waiting):
            _recover(place, new, old)
            try:
                new.mkdir()
                yield new
                (new / CONTENTS).write_text("".join(f"{file}\n" for file in _files(new)), encoding="utf-8")
                check(path)  # it may have changed meanwhile
                if place.exists():
                    place.rename(old)
                new.rename(place)
            finally:
                _recover(place, new, old)
    finally:
        for folder in created:
            with suppress(OSError):  # it is in use
                folder.rmdir()


def _recover(place: Path, new: Path, old: Path) -> None:
    """Undo what was begun and not finished, by a killed process too: the old folder is back, the new one is gone."""
    if old.exists() and not place.exists():
        old.rename(place)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)


def _files(folder: Path) -> list[str]:
    """The files below a folder, links among them, as relative paths."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in found)

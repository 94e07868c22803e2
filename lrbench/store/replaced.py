"""A folder of files, such as a report, that is written and replaced as a whole, and never over a file of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrbench.errors import UserError, named
from lrbench.store import lock
from lrbench.store.files import TEMPORARY, new_folder, recover, without_empty

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
    with named(place / CONTENTS):
        written = {CONTENTS, *(place / CONTENTS).read_text(encoding="utf-8").splitlines()}
    for file in _files(place):
        if file not in written:
            raise UserError(f"--out {path} holds {file}, which lrbench did not write; move it, or choose another")


@contextmanager
def replaced(path: Path, waiting: lock.Waiting) -> Iterator[Path]:
    """A folder to fill, which takes the place of `path` if the block ends without an error and else is removed.

    `waiting` is called where another process is writing it. Raises UserError as `check` does, and OSError.
    """
    place = path.resolve()
    check(path)
    with without_empty(place.parent), lock.held(place.with_name(f"{TEMPORARY}lock-{place.name}"), waiting):
        recover(place)
        with new_folder(place, replace=True) as new:
            yield new
            (new / CONTENTS).write_text("".join(f"{file}\n" for file in _files(new)), encoding="utf-8")
            check(path)  # it may have changed meanwhile


def _files(folder: Path) -> list[str]:
    """The files below a folder, links among them, as relative paths."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in found)

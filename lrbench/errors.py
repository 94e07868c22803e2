"""The errors that a user sees as a line, and the nearest valid name that goes with it."""

from __future__ import annotations

import errno
import resource
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any

OUT_OF_MEMORY = "out of memory"
TRAINING_OUT_OF_MEMORY = (
    f"{OUT_OF_MEMORY}; a training with a smaller --width, or of a net of fewer channels, needs less"
)


class Error(Exception):
    """Whatever lrbench raises on purpose; the message is one line."""


class UserError(Error):
    """The user asked for something that cannot be; the message says what to do. The command's exit status is 2."""


class RunError(Error):
    """A run cannot be finished, though nothing is wrong with what was asked. The command's exit status is 1."""


def few(names: Iterable[Any], most: int = 8, between: str = ", ") -> str:
    """Some names in a line: "a, b and 3 more" where there are more than `most`."""
    every = list(map(str, names))
    return between.join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def did_you_mean(name: Any, valid: Iterable[str]) -> str:
    """The tail of an error line: the nearest of `valid`, or, where none is near, the first 20 of them."""
    names, name = list(valid), str(name)
    lower = {one.lower(): one for one in reversed(names)}
    if near := get_close_matches(name.lower(), lower, cutoff=0.5):
        same = [one for one in near if sorted(one) == sorted(name.lower())]  # letters that changed places
        return f"did you mean '{lower[(same or near)[0]]}'?"
    return f"choose from {few(names, 20)}" if names else "there is none"


def unknown(kind: str, name: Any, valid: Iterable[str]) -> UserError:
    """A UserError for a name that is not among the valid ones of its kind."""
    return UserError(f"no {kind} '{name}'; {did_you_mean(name, valid)}")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory has run out, in Python's, a library's or torch's words, on a GPU or a CPU; torch may be absent."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, ImportError | SystemError):  # the loader's words, or Python's, where memory is limited
        words: tuple[str, ...] = ("failed to map segment", "without exception set", "without setting an exception")
        limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        return limited and any(word in str(error) for word in words)
    words = ("out of memory", "allocate memory", "insufficient memory", "Error -4 ")  # the last are zlib's
    return isinstance(error, RuntimeError | OSError | zlib.error) and any(word in str(error) for word in words)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, then that which was being handled when it was raised, and so on: a library may hide what it met."""
    met: BaseException | None = error
    while met:
        yield met
        met = met.__cause__ or met.__context__


@contextmanager
def named(path: object) -> Iterator[None]:
    """OSErrors in the block say which file: those of a full disk, or of one that does not give its bytes, do not."""
    try:
        yield
    except OSError as error:
        if error.errno and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def raise_machines(error: BaseException, path: object) -> None:
    """Raise what says nothing about the content of the file `path`: MemoryError, or an OSError of the machine.

    A library may have met it and raised something else instead. Returns where it is about the content after all.
    """
    for met in chain(error):
        if out_of_memory(met):
            raise MemoryError(str(met)) from error
        if isinstance(met, OSError) and met.errno and met.errno != errno.EINVAL:  # a seek to where no file can have it
            raise OSError(met.errno, met.strerror, met.filename or str(path)) from error


def broken(error: BaseException) -> str:
    """What a plugin's code has raised, in a line; an interruption is none of it, and is raised again, as is too little
    memory, as MemoryError.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error
    if any(map(out_of_memory, chain(error))):
        raise MemoryError(str(error)) from error
    return one_line(error) if isinstance(error, Error) else f"{type(error).__name__}: {one_line(error)}"


def printable(name: str) -> str:
    """A name, such as of a file, as text that can be shown and stored: what is no character to see is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def expanded(path: str | PathLike[str]) -> Path:
    """A path that the user gave, with ~ as the home folder, which a shell leaves alone behind '='. Raises UserError."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: no home folder is known for '~'; write the path in full, or set HOME") from error


def one_line(error: BaseException) -> str:
    """An error's message without its line breaks."""
    return " ".join(str(error).split())

"""The errors that a user sees as a line, and the nearest valid name that goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

OUT_OF_MEMORY = "out of memory; a smaller --width, or a network of fewer channels, needs less"


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
    """Whether memory has run out, in Python's or in torch's words, on a GPU or on a CPU; torch need not be loaded."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(w in str(error) for w in ("out of memory", "allocate memory"))


def broken(error: BaseException) -> str:
    """What a plugin's code has raised, in a line; an interruption is none of it, and is raised again."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    return one_line(error) if isinstance(error, Error) else f"{type(error).__name__}: {one_line(error)}"


def one_line(error: BaseException) -> str:
    """An error's message without its line breaks."""
    return " ".join(str(error).split())

"""What goes where: results, and nothing else, to stdout; and how a terminal shows the characters that it lacks."""

from __future__ import annotations

import atexit
import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

import click

IN_ASCII = {"λ": "lambda", "±": "+/-", "†": "+", "‡": "++", "✓": "ok", "✗": "x", "×": "x", "−": "-", "–": "-", "—": "-"}
IN_ASCII |= {"…": "...", "≤": "<=", "≥": ">=", "·": ".", "’": "'", "‘": "'", "“": '"', "”": '"', "→": "->", "§": "#"}
_stdout: TextIO | None = None  # the process's own, as long as sys.stdout is what plugins print to


def results() -> TextIO:
    """Where results are written."""
    return _stdout or sys.stdout


def show(text: str | bytes, nl: bool = True) -> None:
    """Write a result. bytes: what machines read, which is UTF-8 whatever the terminal is."""
    click.echo(text, file=results(), nl=nl)


@contextmanager
def opened() -> Iterator[None]:
    """The streams of a process, for as long as it lasts; what they hold back is written at the end. Raises OSError.

    Whatever else writes to stdout, from C too, writes to stderr: file descriptor 1 is that of stderr, and results go
    to a copy. Where something in this process has already taken sys.stdout, such as a test, its descriptors stay.
    """
    codecs.register_error("lrbench", _in_ascii)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed; what is opened next must not take its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        if hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="lrbench")
    out = sys.stdout
    own = out is sys.__stdout__ and sys.stdout.fileno() == 1
    if own:
        out = sys.stdout = os.fdopen(os.dup(1), "w", encoding=out.encoding, errors="lrbench")
        os.dup2(2, 1)
    try:
        yield
        out.flush()
    finally:
        if own:
            os.dup2(out.fileno(), 1)
            sys.stdout = sys.__stdout__ or out
            _discard(out)
            atexit.register(_to_stderr)  # which runs before what has been registered until now


@contextmanager
def for_results() -> Iterator[None]:
    """What is printed meanwhile goes to stderr, and only what is written to `results` to stdout."""
    global _stdout
    before, _stdout = _stdout, results()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _stdout = before


class Gone(Exception):
    """The reader of what is written has gone."""


@contextmanager
def without_reader() -> Iterator[None]:
    """Turn a broken pipe into Gone: click and rich would end with status 1."""
    try:
        yield
    except BrokenPipeError:
        raise Gone from None
    except SystemExit as exit:
        if isinstance(exit.__context__, BrokenPipeError):
            raise Gone from None
        raise


def _to_stderr() -> None:
    """While Python ends: what it still prints, and what C has held back, is no result."""
    sys.stdout.flush()
    os.dup2(2, 1)


def _discard(out: TextIO) -> None:
    """Close a stream, without what it could not write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    out.close()


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Instead of a character that a stream's encoding lacks: its ASCII, or a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(IN_ASCII.get(character, "?") for character in lacking), error.end

"""Figures, drawn without a display: how they are saved, their colours and dashes, and how far an axis of gains goes."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

import pandas as pd

from lrbench.errors import UserError
from lrbench.store.files import replaces, write_out

heard = MemoryHandler(capacity=1_000)  # of a mistake in a matplotlibrc, which our figures do not depend on
logging.getLogger("matplotlib").addHandler(heard)
try:  # whatever else imports matplotlib here imports this module before
    from matplotlib import style
    from matplotlib.figure import Figure
except UnicodeDecodeError as error:
    raise UserError(f"matplotlib does not start: {heard.buffer[-1].getMessage()}") from error
finally:
    logging.getLogger("matplotlib").removeHandler(heard)

# Okabe & Ito 2008, "Color Universal Design", without the yellow, which is not seen on white
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (7, 2, 1.5, 2)))
GAINS = {"more": COLOURS[3], "less": COLOURS[1], "undecided": "#777777"}  # leaderboard.kind of a gain -> its colour
FAR = 4  # times the middle one of some gains: one beyond stands at the edge, as a number
EDGE = 0.1  # how far that is from all others, as a part of their range
SUFFIXES = (".png", ".pdf", ".svg")
UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}  # what a file says of itself


@contextmanager
def defaults() -> Iterator[None]:
    """A block, or a function that it decorates, in which matplotlib's own defaults hold, and no style of the user's."""
    with style.context(["default", {"svg.hashsalt": "lrbench"}]):  # without a salt the ids in an SVG are random
        yield


class Picture(Figure):
    """A figure that a notebook shows by itself, and that looks the same whatever the user's matplotlibrc says."""

    def savefig(self, *args: Any, **options: Any) -> None:
        with defaults():
            super().savefig(*args, **options)

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", bbox_inches="tight")
        return out.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all. Raises UserError for a suffix that is not one of SUFFIXES."""
    write_out(path, image(figure, suffix_of(path)))


def image(figure: Figure, suffix: str) -> bytes:
    """A figure in the format of a suffix; an equal figure gives equal bytes, on one version of matplotlib."""
    out = io.BytesIO()
    with defaults():
        figure.savefig(out, format=suffix[1:], dpi=200, bbox_inches="tight", metadata=UNDATED[suffix])
    return out.getvalue()


def suffix_of(path: Path) -> str:
    """The suffix that says the format of a figure's file, PNG's for a pipe without one. Raises UserError for others."""
    if path.suffix.lower() in SUFFIXES:
        return path.suffix.lower()
    if replaces(path):
        raise UserError(f"a figure's file ends in one of {', '.join(SUFFIXES)}; got '{path.name}'")
    return ".png"


def reach(gains: pd.DataFrame) -> tuple[float, float, float]:
    """How far a gain may lie from 0 to be drawn in its place, and the left and right edge, where those beyond stand.

    gains: the columns control_gain, control_low and control_high, a row for each. Of one that is drawn by its number at
    the edge the others are not drawn too small to be told apart.
    """
    far = FAR * float(gains.abs().max(axis=1).median())
    near = gains[gains["control_gain"].abs() <= far]
    left, right = min(float(near.min().min()), 0), max(float(near.max().max()), 0)
    return far, left - EDGE * (right - left), right + EDGE * (right - left)

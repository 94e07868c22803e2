"""Learning curves as line drawings: the geometry of a small SVG, made without a drawing library."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

WIDTH, HEIGHT = 320, 150  # of a panel, in SVG units

Curve = Mapping[str, Sequence[float]]  # column of curve.csv -> a value an epoch


@dataclass(frozen=True)
class Line:
    """One drawn line; `points` are SVG coordinates, in pieces where values are missing."""

    name: str
    points: tuple[str, ...]
    last: float


@dataclass(frozen=True)
class Panel:
    """Lines that share an axis, between `low` and `high`."""

    title: str
    unit: str
    width: int
    height: int
    low: float
    high: float
    epochs: int
    lines: tuple[Line, ...]


def read(text: str) -> dict[str, list[float]]:
    """curve.csv -> column -> a value per epoch, nan where an epoch has none; empty of a run that is only tested."""
    if not text.strip():
        return {}
    rows = pd.read_csv(io.StringIO(text)).drop(columns="epoch", errors="ignore")
    return rows.astype(float).to_dict("list")


def is_measure(column: str) -> bool:
    """Whether a column of a curve says how good the network was, rather than a part of its loss."""
    return column.startswith(("train_", "val_"))


def panels(curve: Curve) -> list[Panel]:
    """The losses together, then each measure of training and validation images."""
    measures = {name.partition("_")[2] for name in curve if is_measure(name)}
    groups = [("Loss", "", [name for name in curve if not is_measure(name)])]
    for measure in sorted(measures):
        title, unit = {"top1": ("Top-1", "%"), "psnr": ("PSNR", "dB")}.get(measure, (measure, ""))
        groups.append((title, unit, [name for name in (f"train_{measure}", f"val_{measure}") if name in curve]))
    drawn = [panel({name: curve[name] for name in names}, title, unit) for title, unit, names in groups if names]
    return [one for one in drawn if one.lines]


def panel(curve: Curve, title: str = "", unit: str = "") -> Panel:
    """Lines in one panel."""
    low, high = span(curve.values())
    lines = []
    for name, values in curve.items():
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            lines.append(Line(name, _points(values, low, high), finite[-1]))
    epochs = max(map(len, curve.values()), default=0)
    return Panel(title, unit, WIDTH, HEIGHT, low, high, epochs, tuple(lines))


def span(values: Iterable[Sequence[float]]) -> tuple[float, float]:
    """Lowest and highest of the finite values; 0 and 1 where there is none."""
    finite = [value for one in values for value in one if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.0, 1.0)


def _points(values: Sequence[float], low: float, high: float) -> tuple[str, ...]:
    """Pieces of a line; a lone value is a short stroke, which can be seen."""
    width, height = WIDTH, HEIGHT
    scale = (height - 4) / (high - low) if high > low else 0.0
    pieces: list[list[tuple[float, float]]] = [[]]
    for epoch, value in enumerate(values):
        if math.isfinite(value):
            x = epoch / (len(values) - 1) * width if len(values) > 1 else width / 2
            pieces[-1].append((x, height - 2 - (value - low) * scale if scale else height / 2))
        elif pieces[-1]:
            pieces.append([])
    pieces = [piece if len(piece) > 1 else [(piece[0][0] - 3, piece[0][1]), (piece[0][0] + 3, piece[0][1])]
              for piece in pieces if piece]  # fmt: skip
    return tuple(" ".join(f"{x:.1f},{y:.1f}" for x, y in piece) for piece in pieces)

"""The growth of cost as a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lrbench.bench import machine as machines
from lrbench.bench.growth import STEEP, TAIL, Curve
from lrbench.bench.sheets import MACHINE
from lrbench.report import plots
from lrbench.report.formats import DASH, Sheet, as_csv
from lrbench.report.palette import looks
from lrbench.store.files import write_atomic

COLUMNS = 3  # of panels
MARK = "steeper than linear"


def sheet(curves: Sequence[Curve], title: str, machine: Mapping[str, Any]) -> Sheet:
    """A line a curve; the long form has a line a point."""
    return Sheet(
        title="lrbench bench --growth",
        protocol=f"{title}; {machines.words(dict(machine))}",
        head=("against", "cost", "from", "to", "cost from", "cost to", "grows as x to the", ""),
        lines=[_line(curve) for curve in curves],
        notes=[f"the exponent is fitted to the {TAIL} largest; above {STEEP} it is marked"]
        + ([warning] if (warning := machines.warning(dict(machine))) else []),
        long_form=[
            {"against": curve.axis, "x": x, "cost": curve.cost, "y": y, "exponent": curve.exponent}
            | {"steeper_than_linear": curve.steep}
            | {name: machine[name] for name in MACHINE}
            for curve in curves
            for x, y in zip(curve.x, curve.y, strict=True)
        ],
    )


def draw(curves: Sequence[Curve], title: str) -> Figure:
    """A panel an axis, both of its scales logarithmic; a grey line is linear growth."""
    axes = list(dict.fromkeys(curve.axis for curve in curves))
    rows = -(-len(axes) // COLUMNS)
    figure = Figure(figsize=(5.4 * min(COLUMNS, len(axes)), 4.6 * rows), layout="constrained")
    panels = figure.subplots(rows, min(COLUMNS, len(axes)), squeeze=False).flatten()
    for panel in panels[len(axes) :]:
        panel.set_axis_off()
    figure.suptitle(f"How cost grows: {title}. Dashed: proportional to x", fontsize=10)
    for panel, axis in zip(panels, axes, strict=False):
        own = [curve for curve in curves if curve.axis == axis]
        for curve, look in zip(own, looks(len(own)), strict=True):
            label = f"{curve.cost} (x^{curve.exponent:.2f}{', ' + MARK if curve.steep else ''})"
            style = {"linewidth": 2.6 if curve.steep else 1.4, "marker": look.marker, "markersize": 5}
            panel.plot(curve.x, curve.y, label=label, color=look.colour, **style)
        x = np.array(own[0].x)
        for curve in own:
            panel.plot(x, curve.y[-1] * x / x[-1], color="0.7", linewidth=0.8, linestyle="--", zorder=0)
        panel.set(xlabel=axis, ylabel="s or MiB", xscale="log", yscale="log")
        panel.set_xticks(own[0].x, [f"{value:,g}" for value in own[0].x])
        panel.minorticks_off()
        panel.grid(alpha=0.3, which="major")
        panel.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13))
    return figure


def write(curves: Sequence[Curve], title: str, machine: Mapping[str, Any], out: Path) -> None:
    """growth.csv, growth.png and growth.svg in a folder. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "growth.csv", as_csv([sheet(curves, title, machine)]))
    for suffix in ("png", "svg"):
        plots.save(draw(curves, title), out / f"growth.{suffix}")


def _line(curve: Curve) -> list[str]:
    values = (curve.x[0], curve.x[-1], curve.y[0], curve.y[-1])
    exponent = DASH if np.isnan(curve.exponent) else f"{curve.exponent:.2f}"
    return [curve.axis, curve.cost, *(f"{value:,.4g}" for value in values), exponent, MARK if curve.steep else ""]

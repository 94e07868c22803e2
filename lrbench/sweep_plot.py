"""A published figure of top-1 against one setting, drawn from runs."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lrbench import cells, sweep
from lrbench.cells import Cell
from lrbench.errors import UserError, did_you_mean
from lrbench.palette import Look, looks
from lrbench.plan import config_of
from lrbench.published import PublishedSweep
from lrbench.record import Record
from lrbench.registry import method
from lrbench.sweep import Sweep

PLAIN, CONTROL = (0, (6, 3)), (0, (1, 1.6))  # dashed; dotted
WRAP = 100  # characters in a line of a panel's title


def chosen(
    source: PublishedSweep,
    records: Sequence[Record],
    datasets: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> list[Sweep]:
    """What to draw. datasets: names of those; all where empty. settings: of the method, beside the one swept.

    Raises UserError for a setting or a data set that there is not, and where there is no run to draw.
    """
    given = settings or {}
    if source.setting in given:
        raise UserError(f"{source.setting} is what this figure sweeps; set another setting, or none")
    config = config_of(method(source.method), given).model_dump(mode="json")
    found = sweep.sweeps(source, records, {name: config[name] for name in given})
    there = sorted({one.column.dataset for one in found})
    if not there:
        raise UserError(f"there is no run of {source.method} to draw; start with 'lrbench run'")
    for name in datasets:
        if name not in there:
            raise UserError(f"there is no run of {source.method} on '{name}' to draw; {did_you_mean(name, there)}")
    return [one for one in found if not datasets or one.column.dataset in datasets]


def draw(source: PublishedSweep, drawn: Sequence[Sweep], settings: Mapping[str, Any] | None = None) -> Figure:
    """A panel for each protocol and column, a line for each backbone, with the lines that it is to beat.

    Bars are the sample standard deviation over seeds. The axis is logarithmic: what is not above 0 is left out.
    """
    panels = {key: list(group) for key, group in itertools.groupby(drawn, key=lambda one: (one.shared, one.column))}
    figure = Figure(figsize=(11.5, 4.9 * len(panels) + 0.7), layout="constrained")
    changed = "".join(f" {name}={value}" for name, value in (settings or {}).items())
    figure.suptitle(
        f"{source.title}{f', with{changed}' if changed else ''}\n"
        f"In the paper ({source.source}): {source.column[0]}, {source.protocol}; a plot only, so none of its numbers "
        f"stand here.\nDashed: {cells.label(source.reference)} as it is by default; dotted: the same started "
        f"as {cells.label(source.method)} was, a control of equal budget. Bars: standard deviation over seeds.",
        fontsize=9,
    )
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for panel, lines in zip(axes, panels.values(), strict=True):
        panel.set_title(
            textwrap.fill(f"{lines[0].label}: {lines[0].shared}", WRAP, break_on_hyphens=False), fontsize=9, loc="left"
        )
        _draw(panel, source, lines)
    return figure


def _draw(panel: Axes, source: PublishedSweep, lines: Sequence[Sweep]) -> None:
    values = sorted({*source.values, *(value for one in lines for value in one.points)})
    values = [value for value in values if value > 0]
    panel.set_xscale("log")
    panel.set_xlim(values[0] / 1.6, values[-1] * 1.6)
    panel.set_xticks(values, [f"{value:g}" for value in values])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set(xlabel=f"{source.symbol} ({source.setting})", ylabel="top-1 on the test images (%)")
    panel.grid(alpha=0.3)
    panel.axvline(source.chosen, color="0.6", linewidth=4, alpha=0.35, zorder=0)
    at: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "xytext": (4, 4)}
    panel.annotate(f"the paper's {source.symbol} = {source.chosen:g}", (source.chosen, 0), fontsize=8, **at)
    own, reference = cells.label(source.method), cells.label(source.reference)
    for one, look in zip(lines, looks(len(lines)), strict=True):
        backbone = source.backbones.get(one.backbone, one.backbone)
        points = {value: cell for value, cell in one.points.items() if value > 0}
        if points:
            epochs = max(cell.epochs for cell in points.values())
            panel.errorbar(
                list(points),
                [cell.top1.mean for cell in points.values()],
                yerr=[cell.top1.sd or 0.0 for cell in points.values()],
                label=f"{own} ({backbone}), {epochs} epochs, {_seeds(points.values())}",
                color=look.colour,
                marker=look.marker,
                markersize=6,
                linewidth=1.6,
                capsize=3,
            )
        for cell, dashes, what, x in (
            (one.reference, PLAIN, "", values[0] / 1.3),
            (one.control, CONTROL, ", control", values[-1] * 1.3),
        ):
            if cell:
                _level(panel, cell, dashes, look, x, f"{reference}{what} ({backbone})")
    panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, handlelength=4)


def _level(panel: Axes, cell: Cell, dashes: Any, look: Look, x: float, name: str) -> None:
    """A line across, with its backbone's marker, open, and its bar at `x`, beside the swept values."""
    mean, sd = cell.top1.mean, cell.top1.sd or 0.0
    label = f"{name}, {cell.epochs} epochs, {_seeds([cell])}"
    shown: dict[str, Any] = {"color": look.colour, "linestyle": dashes, "linewidth": 1.5}
    panel.axhline(mean, **shown)
    open_mark: dict[str, Any] = {"marker": look.marker, "markersize": 6, "markerfacecolor": "white", "capsize": 3}
    panel.errorbar([x], [mean], yerr=[sd], label=label, **shown, **open_mark, elinewidth=1.2)


def _seeds(found: Collection[Cell]) -> str:
    counts = sorted({len(cell.records) for cell in found})
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{number} seed{'s' * (counts != [1])}"

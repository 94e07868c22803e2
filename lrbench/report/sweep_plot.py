"""A published figure of top-1 against one setting, drawn from runs."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lrbench.errors import UserError, did_you_mean
from lrbench.method import naming
from lrbench.method.registry import config_of, method
from lrbench.report import cells, sweep
from lrbench.report.cells import Cell
from lrbench.report.palette import Look, looks
from lrbench.report.published import PublishedSweep
from lrbench.report.sweep import Sweep
from lrbench.spec.record import Record

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
        f"stand here.\nDashed: {cells.label(source.reference)} as it is by default{_about_controls(source, drawn)}. "
        f"Bars: standard deviation over seeds.{_about_diverged(source, drawn)}",
        fontsize=9,
    )
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for panel, lines in zip(axes, panels.values(), strict=True):
        panel.set_title(
            textwrap.fill(f"{lines[0].label}: {lines[0].shared}", WRAP, break_on_hyphens=False), fontsize=9, loc="left"
        )
        _draw(panel, source, lines)
    return figure


def _about_controls(source: PublishedSweep, drawn: Sequence[Sweep]) -> str:
    if not any(one.control for one in drawn):
        return ""
    return f"; dotted: the same started as {cells.label(source.method)} was, a control of equal budget"


def _about_diverged(source: PublishedSweep, drawn: Sequence[Sweep]) -> str:
    if not any(cell.diverged for one in drawn for cell in one.points.values()):
        return ""
    return (
        f"\nX at the foot: runs at that {source.symbol} diverged, so many of so many; "
        "its point, where there is one, is the mean of the others."
    )


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
    for number, (one, look) in enumerate(zip(lines, looks(len(lines)), strict=True)):
        backbone = one.network(source)
        points = {value: cell for value, cell in one.points.items() if value > 0}
        means = {value: top1 for value, cell in points.items() if (top1 := cell.top1)}
        if points:
            epochs = max(cell.epochs for cell in points.values())
            panel.errorbar(
                list(means),
                [top1.mean for top1 in means.values()],
                yerr=[top1.sd or 0.0 for top1 in means.values()],
                label=f"{own} ({backbone}), {naming.in_epochs(epochs)}, {_seeds(points.values())}",
                color=look.colour,
                marker=look.marker,
                markersize=6,
                linewidth=1.6,
                capsize=3,
            )
        _mark_diverged(panel, points, look, number)
        for cell, dashes, what, x in (
            (one.reference, PLAIN, "", values[0] / 1.3),
            (one.control, CONTROL, ", control", values[-1] * 1.3),
        ):
            if cell and cell.top1:
                _level(panel, cell, dashes, look, x, f"{reference}{what} ({backbone})")
    panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, handlelength=4)


def _mark_diverged(panel: Axes, points: Mapping[float, Cell], look: Look, number: int) -> None:
    """A cross at the foot of the panel, at each value at which runs diverged, a line of them for each backbone."""
    height, where = 0.05 + 0.05 * number, panel.get_xaxis_transform()
    for value, cell in points.items():
        if cell.diverged:
            panel.plot([value], [height], "X", color=look.colour, markersize=7, transform=where, clip_on=False)
            panel.annotate(
                f"{cell.diverged} of {len(cell.records)}",
                (value, height),
                xycoords=where,
                textcoords="offset points",
                xytext=(0, 5),
                ha="center",
                fontsize=7,
                color=look.colour,
            )


def _level(panel: Axes, cell: Cell, dashes: Any, look: Look, x: float, name: str) -> None:
    """A line across, with its backbone's marker, open, and its bar at `x`, beside the swept values."""
    assert cell.top1 is not None
    mean, sd = cell.top1.mean, cell.top1.sd or 0.0
    label = f"{name}, {naming.in_epochs(cell.epochs)}, {_seeds([cell])}"
    shown: dict[str, Any] = {"color": look.colour, "linestyle": dashes, "linewidth": 1.5}
    panel.axhline(mean, **shown)
    open_mark: dict[str, Any] = {"marker": look.marker, "markersize": 6, "markerfacecolor": "white", "capsize": 3}
    panel.errorbar([x], [mean], yerr=[sd], label=label, **shown, **open_mark, elinewidth=1.2)


def _seeds(found: Collection[Cell]) -> str:
    counts, diverged = sorted({len(cell.kept) for cell in found}), sum(cell.diverged for cell in found)
    one_class = sum(len(replace(cell, records=cell.kept).one_class) for cell in found)
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{number} seed{'s' * (counts != [1])}{f', {diverged} diverged' if diverged else ''}" + (
        f", {one_class} predict{'s' * (one_class == 1)} one class" if one_class > 0 else ""
    )

"""A published figure of top-1 against one setting, drawn from runs."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lrbench.errors import UserError, did_you_mean
from lrbench.method import naming
from lrbench.method.registry import config_of, method
from lrbench.report.frame import DIVERGED, conditions
from lrbench.report.plots import Look, Picture, looks
from lrbench.report.published import PublishedSweep
from lrbench.report.sweep import Sweep, sweeps
from lrbench.report.ways import summary

PLAIN, CONTROL = (0, (6, 3)), (0, (1, 1.6))  # dashed; dotted
WRAP = 100  # characters in a line of a panel's title


def chosen(
    source: PublishedSweep,
    results: pd.DataFrame,
    datasets: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> list[list[Sweep]]:
    """What to draw, a list per panel. datasets: names; all where empty. settings: of the method, beside the one swept.

    Raises UserError for a setting or a dataset that there is not, and where there is no run to draw.
    """
    given = settings or {}
    if source.setting in given:
        raise UserError(f"{source.setting} is what this figure sweeps; set another setting, or none")
    config = config_of(method(source.method), given).model_dump(mode="json") if given else {}
    found = sweeps(source, results, {name: config[name] for name in given})
    there = sorted({panel[0].run["dataset"] for panel in found})
    if not there:
        raise UserError(f"there is no run of {source.method} to draw; start with 'lrbench run'")
    for name in datasets:
        if name not in there:
            raise UserError(f"there is no run of {source.method} on '{name}' to draw; {did_you_mean(name, there)}")
    return [panel for panel in found if not datasets or panel[0].run["dataset"] in datasets]


def draw(
    source: PublishedSweep, panels: Sequence[Sequence[Sweep]], settings: Mapping[str, Any] | None = None
) -> Figure:
    """A panel for each protocol and place, a line for each backbone, with the lines that it is to beat.

    Bars are the sample standard deviation over seeds. The axis is logarithmic: what is not above 0 is left out.
    """
    figure = Picture(figsize=(11.5, 4.9 * len(panels) + 0.7), layout="constrained")
    changed = "".join(f" {name}={value}" for name, value in (settings or {}).items())
    every = [one for panel in panels for one in panel]
    own, reference = every[0].labels
    controls = any(len(one.others()[1]) for one in every)
    diverged = any((runs["status"] == DIVERGED).any() for one in every for runs in one.points.values())
    figure.suptitle(
        f"{source.title}{f', with{changed}' if changed else ''}\n"
        f"In the paper ({source.source}): {source.column[0]}, {source.protocol}; a plot only, so none of its numbers "
        f"stand here.\nDashed: {reference} as it is by default"
        + (f"; dotted: the same started as {own} was, a control of equal budget" if controls else "")
        + ". Bars: standard deviation over seeds."
        + (
            f"\nX at the foot: runs at that {source.symbol} diverged, so many of so many; its point, where there is "
            "one, is the mean of the others."
            if diverged
            else ""
        ),
        fontsize=9,
    )
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for panel, lines in zip(axes, panels, strict=True):
        words = f"{lines[0].place}: {conditions(lines[0].run)}"
        panel.set_title(textwrap.fill(words, WRAP, break_on_hyphens=False), fontsize=9, loc="left")
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
    own, reference = lines[0].labels
    for number, (one, look) in enumerate(zip(lines, looks(len(lines)), strict=True)):
        points = {value: summary(runs) for value, runs in one.points.items() if value > 0}
        if points:
            _bars(panel, points, f"{own} ({one.network})", look, linewidth=1.6)
        _mark_diverged(panel, points, look, number)
        plain, control = one.others()
        sides = (plain, PLAIN, "", values[0] / 1.3), (control, CONTROL, ", control", values[-1] * 1.3)
        for runs, dashes, what, x in sides:
            if len(runs) and (way := summary(runs))["top1_mean"] is not None:
                panel.axhline(way["top1_mean"], color=look.colour, linestyle=dashes, linewidth=1.5)
                open_mark = dict(linestyle=dashes, linewidth=1.5, markerfacecolor="white", elinewidth=1.2)
                _bars(panel, {x: way}, f"{reference}{what} ({one.network})", look, **open_mark)
    panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, handlelength=4)


def _mark_diverged(panel: Axes, points: Mapping[float, Mapping[str, Any]], look: Look, number: int) -> None:
    """A cross at the foot of the panel, at each value at which runs diverged, a line of them for each backbone."""
    height, where = 0.05 + 0.05 * number, panel.get_xaxis_transform()
    for value, way in points.items():
        if way["diverged"]:
            panel.plot([value], [height], "X", color=look.colour, markersize=7, transform=where, clip_on=False)
            said, above = f"{way['diverged']} of {way['n'] + way['diverged']}", {"xytext": (0, 5), "ha": "center"}
            at: dict[str, Any] = {"xycoords": where, "textcoords": "offset points", **above}
            panel.annotate(said, (value, height), fontsize=7, color=look.colour, **at)


def _bars(panel: Axes, points: Mapping[float, Mapping[str, Any]], name: str, look: Look, **style: Any) -> None:
    """Means with their standard deviation as bars; the legend says name, epochs and seeds."""
    drawn = {x: way for x, way in points.items() if way["top1_mean"] is not None}
    epochs = max(way["epochs_in_weights"] for way in points.values())
    means, sds = ([way[name] or 0.0 for way in drawn.values()] for name in ("top1_mean", "top1_sd"))
    label = f"{name}, {naming.in_epochs(epochs)}, {_seeds(points.values())}"
    marks: dict[str, Any] = {"color": look.colour, "marker": look.marker, "markersize": 6, "capsize": 3}
    panel.errorbar(list(drawn), means, yerr=sds, label=label, **marks, **style)


def _seeds(ways: Iterable[Mapping[str, Any]]) -> str:
    """How many seeds some points have, and how many diverged or predict one class."""
    ways = list(ways)
    counts, diverged = sorted({way["n"] for way in ways}), sum(way["diverged"] for way in ways)
    one_class = sum(len(set(way["one_class"].split()) & set(way["seeds"].split())) for way in ways)
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    said = f"{number} seed{'s' * (counts != [1])}" + (f", {diverged} diverged" if diverged else "")
    return said + (f", {one_class} predict{'s' * (one_class == 1)} one class" if one_class else "")

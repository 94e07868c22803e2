"""A published figure of top-1 against one setting, drawn from runs: a panel for each backbone, at a paper's width."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lrbench.data.degradation import DEFAULT
from lrbench.errors import UserError, did_you_mean, few
from lrbench.method.registry import config_of, method
from lrbench.report.frame import conditions
from lrbench.report.plots import Picture
from lrbench.report.published import PublishedSweep
from lrbench.report.sweep import Sweep, sweeps
from lrbench.report.ways import summary
from lrbench.spec import recipes

WIDTH, HEIGHT = 3.4, 1.3  # inches: a column of a paper, a panel
SMALL = 7  # points
WRAP = 70  # characters in a line of the conditions
PLAIN = {"color": "0.72", "linestyle": (0, (5, 2))}  # the reference
CONTROL = {"color": "0.45", "linestyle": (0, (1, 1.2))}  # its control


def chosen(
    source: PublishedSweep,
    results: pd.DataFrame,
    note: Callable[[str], None] = lambda message: None,
    datasets: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
    scale: int | None = None,
) -> list[Sweep]:
    """What to draw: the sweeps of each backbone at one place, under one protocol; those with one value have no line.

    Of several places the paper's, or else that with most values, of the newest protocol; `note` is told of the others.
    datasets: names; all where empty. settings: of the method, beside the one swept. Raises UserError for a setting, a
    dataset or a scale that there is not, and where there is nothing to draw.
    """
    given = settings or {}
    if source.setting in given:
        raise UserError(f"{source.setting} is what this figure sweeps; set another setting, or none")
    config = config_of(method(source.method), given).model_dump(mode="json") if given else {}
    every = sweeps(source, results, {name: config[name] for name in given})
    if not every:
        raise UserError(f"there is no run of {source.method} to draw; start with 'lrbench run'")
    wanted = {"dataset": datasets, "scale": [] if scale is None else [str(scale)]}
    for column, values in wanted.items():
        of_place = [f"{place[0].run[column]:g}" if column == "scale" else place[0].run[column] for place in every]
        for value in values:
            if value not in of_place:
                near = did_you_mean(value, sorted(set(of_place)))
                raise UserError(f"there is no run of {source.method} on {column} '{value}' to draw; {near}")
        every = [place for place, name in zip(every, of_place, strict=True) if not values or name in values]
    found = [drawn for place in every if (drawn := [one for one in place if len(one.points) > 1])]
    if not found:
        raise UserError(f"{source.setting} was run at one value only; this figure wants two or more")

    def order(place: Sequence[Sweep]) -> tuple[int, bool, int]:
        run, count = place[0].run, sum(len(one.points) for one in place)
        return run["protocol"], _at_papers_place(source, place[0]), count

    best = max(found, key=order)
    for place in found:
        if place is not best:
            note(f"not drawn: {place[0].place}, {conditions(place[0].run)}; --dataset and --scale choose a place")
    ids = {run for one in best for runs in one.points.values() for run in runs["id"]}
    there, swept = best[0].table.table, f"{source.setting}="
    left = there.loc[(there["method"] == source.method) & ~there["id"].isin(ids), "changes"]
    others = {" ".join(change for change in json.loads(changes) if not change.startswith(swept)) for changes in left}
    if others - {""}:
        note(f"not drawn: {few(sorted(others - {''}))}; --set chooses")
    return best


def draw(source: PublishedSweep, lines: Sequence[Sweep], settings: Mapping[str, Any] | None = None) -> Figure:
    """A panel for each sweep: its mean top-1 against the setting, with bars of the standard deviation over seeds.

    Bands: the reference, and the control of equal budget where that is another, as wide as their standard deviation.
    The axis is logarithmic: what is not above 0 is left out. A cross at the foot: runs diverged at that value.
    """
    run, (own, reference) = lines[0].run, lines[0].labels
    changed = "".join(f" {name}={value}" for name, value in (settings or {}).items())
    figure = Picture(figsize=(WIDTH, HEIGHT * len(lines) + 1.1), layout="constrained")
    panels = figure.subplots(len(lines), 1, squeeze=False, sharex=True)[:, 0]
    values = sorted({value for one in lines for value in (*source.values, *one.points) if value > 0})
    handles: dict[str, Any] = {}
    for panel, one in zip(panels, lines, strict=True):
        _draw(panel, source, one, f"{own}{changed}", reference, handles)
    panels[-1].set_xscale("log")
    panels[-1].set_xlim(values[0] / 1.3, values[-1] * 1.3)
    panels[-1].set_xticks(values, [f"{value:g}" for value in values])
    panels[-1].xaxis.set_minor_locator(NullLocator())
    panels[-1].set_xlabel(source.symbol, fontsize=SMALL + 1)
    figure.supylabel("top-1 on the test images (%)", fontsize=SMALL + 1)
    about = f"{lines[0].place}: {conditions(run)}. Bars and bands: ±\u00a0standard deviation over seeds."
    figure.suptitle(textwrap.fill(about, WRAP, break_on_hyphens=False), fontsize=SMALL - 1)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=2, fontsize=SMALL, frameon=False)
    return figure


def _draw(panel: Axes, source: PublishedSweep, one: Sweep, own: str, reference: str, handles: dict[str, Any]) -> None:
    """One panel; handles: name -> what a legend shows of it."""
    ways = {value: summary(runs) for value, runs in one.points.items() if value > 0}
    drawn = {value: way for value, way in ways.items() if way["top1_mean"] is not None}
    handles[f"the paper's {source.symbol}"] = panel.axvline(source.chosen, color="0.5", linewidth=0.6, zorder=0)
    plain, control = one.others()
    for runs, name, style in ((plain, reference, PLAIN), (control, f"{reference}, equal budget", CONTROL)):
        if len(runs) and (way := summary(runs))["top1_mean"] is not None:
            handles[f"{name}, ± sd"] = _band(panel, way, style)
    if (published := source.baselines.get(one.wanted.backbone)) is not None and _as_published(source, one):
        name = f"{reference}, published"
        handles[name] = panel.axhline(published, color="black", linewidth=0.5, linestyle=(0, (6, 1.5, 1, 1.5)))
    means, sds = (np.array([way[name] for way in drawn.values()], float) for name in ("top1_mean", "top1_sd"))
    look: dict[str, Any] = {"color": "black", "marker": "o", "markersize": 3, "linewidth": 1, "capsize": 2}
    handles[own] = panel.errorbar(list(drawn), means, yerr=sds, label=own, elinewidth=0.8, **look)
    panel.margins(y=0.12)
    lost = {value: way for value, way in ways.items() if way["diverged"]}
    if lost:  # a strip of their own below all else
        low, high = panel.get_ylim()
        panel.set_ylim(low - 0.3 * (high - low), high)
    where = panel.get_xaxis_transform()
    for value, way in lost.items():
        (cross,) = panel.plot([value], [0.06], "X", color="black", markersize=4.5, transform=where, linestyle="")
        handles["diverged, of how many runs"] = cross
        at: dict[str, Any] = {"xycoords": where, "textcoords": "offset points", "xytext": (0, 4), "ha": "center"}
        said = f"{way['diverged']} of {way['n'] + way['diverged']}"
        panel.annotate(said, (value, 0.06), fontsize=SMALL - 1.5, **at)
    panel.set_title(f"{one.network}, {_seeds(ways.values())}", fontsize=SMALL, loc="left", pad=2)
    panel.tick_params(labelsize=SMALL, length=2)
    panel.grid(alpha=0.25, linewidth=0.4)


def _band(panel: Axes, way: Mapping[str, Any], style: Mapping[str, Any]) -> Any:
    """A mean as a line across the panel, its standard deviation as a band about it."""
    mean, sd = way["top1_mean"], way["top1_sd"] or 0.0
    panel.axhspan(mean - sd, mean + sd, color=style["color"], alpha=0.35, linewidth=0)
    return panel.axhline(mean, linewidth=1.2, **style)


def _at_papers_place(source: PublishedSweep, one: Sweep) -> bool:
    """Whether a sweep is of the paper's dataset and size."""
    return (one.run["dataset"], one.run["scale"]) == source.column[:2]


def _as_published(source: PublishedSweep, one: Sweep) -> bool:
    """Whether a sweep was trained as the paper's were, so that its numbers may be compared."""
    run, usual = one.run, recipes.fields(recipes.BASE)
    same = {"recipe": recipes.BASE, "width": 1, "select": "none", "degradation": DEFAULT, "dropout": 0}
    same |= {f"recipe.{name}": usual[name] for name in ("epochs", "batch_size")}
    whole = pd.isna(run["limit_train"]) and pd.isna(run["limit_test"])
    return _at_papers_place(source, one) and whole and all(run[name] == value for name, value in same.items())


def _seeds(ways: Iterable[Mapping[str, Any]]) -> str:
    """How many seeds some points have, and how many of their runs predict one class."""
    ways = list(ways)
    counts = sorted({way["n"] + way["diverged"] for way in ways})
    one_class = sum(len(set(way["one_class"].split()) & set(way["seeds"].split())) for way in ways)
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    said = f"{number} seed{'s' * (counts != [1])}"
    return said + (f", {one_class} run{'s' * (one_class > 1)} of one class only" if one_class else "")

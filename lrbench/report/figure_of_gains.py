"""Gains over the control of equal budget, with their intervals: a panel for each dataset and size."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lrbench.errors import UserError, did_you_mean, few, unknown
from lrbench.method import naming
from lrbench.report import frame, leaderboard, plots
from lrbench.report.compare import SEEDS, Right
from lrbench.report.frame import CONDITIONS, FAILED, PLACE, chosen
from lrbench.report.plots import GAINS, Picture
from lrbench.store import Store

ONE_FIGURE = [*(name for name in CONDITIONS if name not in PLACE), "backbone", "width"]  # what all its points share
INCHES = 0.24  # per way of training
LETTER = 0.075  # inches: of its name
GROUND = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # the line at 0 may run below it
WORDS: dict[str, Any] = {"fontsize": 7, "va": "center", "bbox": GROUND}  # in a panel


def draw(
    results: pd.DataFrame,
    store: Store,
    references: Sequence[str],
    note: Callable[[str], None],
    datasets: Collection[str] = (),
    methods: Collection[str] = (),
    backbones: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Figure:
    """Each way of training by its gain over the reference of equal budget, with the leaderboard's 95% interval.

    Ways stand in the order of their gain in the panel that has most of them, best first; those of the user's own store
    in bold, where there are others. Of several backbones and conditions those that most ways were run at are drawn, of
    the newest protocol; `note` is told of the others. Ways of which all runs diverged stand below. references: what
    gains are measured against. datasets, methods, backbones: names of those to draw; all where empty. settings: of the
    methods that have one of these, those with its value alone. Raises UserError where there is nothing, or no such
    setting or value.
    """
    ended = chosen(results[results["status"] != FAILED], store, dataset=datasets)
    wanted = chosen(ended, store, method=methods, backbone=backbones)
    ways = _ways(ended, store.right, references)  # all: their spread is pooled
    ways = ways[ways["method"].isin(wanted["method"]) & ways["backbone"].isin(wanted["backbone"])]
    configs = ways["id"].map(wanted.drop_duplicates("id").set_index("id")["config"])
    ways = ways[_with_settings([json.loads(config) for config in configs], settings or {})]
    gained = ways[ways["control_gain"].notna()]
    if not len(gained):
        control = f", which is a run of {' or '.join(references)}" if references else ""
        raise UserError(f"no gain: of no run there is a control of equal budget{control}")
    groups = [group for _, group in gained.groupby(ONE_FIGURE, dropna=False, sort=False)]
    drawn = max(groups, key=lambda group: (group["protocol"].iloc[0], len(group)))
    others = gained.drop(drawn.index).groupby(["backbone", "width"]).size().sort_values(ascending=False)
    if len(others):
        told = few((f"{count} of {name} x{width:g}" for (name, width), count in others.items()), 4)
        note(f"gains: not drawn: {told}; --backbone and --dataset choose, of the newest protocol what most ways had")
    diverged = ways[(ways["n"] == 0) & (ways["diverged"] > 0)]
    return _figure(pd.concat([drawn, diverged.merge(drawn[[*ONE_FIGURE, *PLACE]].drop_duplicates())]))


def _with_settings(configs: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[bool]:
    """Which ways, each by the settings that it was run with, have these values of those that they have."""
    for name, value in settings.items():
        there = sorted(
            {json.dumps(config[name]) for config in configs if name in config}, key=lambda one: (len(one), one)
        )
        if not there:
            raise unknown("setting", name, sorted({setting for config in configs for setting in config}))
        if value not in map(json.loads, there):
            raise UserError(f"there is no run with {name}={value}; {did_you_mean(json.dumps(value), there)}")
    return [all(config.get(name, value) == value for name, value in settings.items()) for config in configs]


def _ways(results: pd.DataFrame, right: Right, references: Sequence[str]) -> pd.DataFrame:
    """The rows of all leaderboards, each with `about`, its conditions in words, and whether it is the user's `own`."""
    usual = frame.defaults(results)
    boards = [
        leaderboard.board(table, right, references, usual).assign(about=frame.conditions(table.iloc[0]))
        for table in frame.tables(results)
    ]
    if not boards:
        raise UserError("no gain: no classifier was run")
    ways = pd.concat(boards, ignore_index=True)
    runs = results.drop_duplicates("id").set_index("id")
    own = ways["id"].map(runs["origin"].isna()) & runs["origin"].notna().any()
    return ways.assign(own=own)


def _figure(ways: pd.DataFrame) -> Figure:
    panels = list(ways.groupby(PLACE, sort=False))
    fullest = max((panel for _, panel in panels), key=len).set_index("name")["control_gain"]
    order = ways.groupby("name")["control_gain"].mean()
    order = fullest.reindex(order.index).fillna(order).sort_values(na_position="first").index
    places = {label: place for place, label in enumerate(order)}
    figure = Picture(
        figsize=(LETTER * max(map(len, order)) + 1.6 * len(panels), 1.4 + INCHES * len(order)), layout="constrained"
    )
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (_, panel) in zip(axes, panels, strict=True):
        axis.axvline(0, color="black", linewidth=0.8)
        reach, left, right = plots.reach(panel[["control_gain", "control_low", "control_high"]])
        for way in panel.to_dict("records"):
            gain, low, high = (way[f"control_{name}"] for name in ("gain", "low", "high"))
            if pd.isna(gain):
                at = 0.03, places[way["name"]]
                words = {"xycoords": axis.get_yaxis_transform(), "color": GAINS["less"], **WORDS}
                axis.annotate(f"{way['diverged']} diverged", at, **words)
                continue
            colour = GAINS[leaderboard.kind(way)]
            y, face = places[way["name"]], colour if way["control_mark"] else "white"
            if abs(gain) > reach > 0:
                side = right if gain > 0 else left
                axis.plot(
                    [side], [y], marker="<" if gain < 0 else ">", markersize=5, color=colour, markerfacecolor=face
                )
                where = "left" if gain < 0 else "right"
                beside = {"xytext": (6 if where == "left" else -6, 0), "textcoords": "offset points", "ha": where}
                axis.annotate(f"{gain:+.1f}", (side, y), **beside, color=colour, **WORDS)
                continue
            if pd.notna(low) and way["control_n"] >= SEEDS:
                axis.plot([low, high], [y, y], color=colour, linewidth=1.4, solid_capstyle="butt")
            marker = "s" if way["sr_images"] else "o"
            axis.plot([gain], [y], marker=marker, markersize=4.5, color=colour, markerfacecolor=face)
        axis.set_title(f"{panel['dataset'].iloc[0]}\n{panel['size'].iloc[0]}", fontsize=9)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    axes[0].set_yticks(range(len(order)), order, fontsize=8)
    for text in axes[0].get_yticklabels():
        text.set_fontweight("bold" if text.get_text() in set(ways.loc[ways["own"], "name"]) else "normal")
    axes[0].set_ylim(-0.6, len(order) - 0.4)
    first, controls = ways.iloc[0], [naming.about(one).label for one in ways["reference"].dropna().unique()]
    about = f"{first['backbone']} x{first['width']:g}, {first['about']}"
    figure.suptitle(textwrap.fill(about, 28 * len(panels) + 30), fontsize=8)
    figure.supxlabel(
        f"gain over the {' or '.join(controls)} of equal budget, points of top-1, with its 95% interval, "
        "not corrected for the number of rows\n"
        "filled: three seeds or more, an interval that leaves out 0; no bar: fewer seeds; no point: not run; "
        "triangle: beyond the panel\n"
        "square: a classifier of an SR net's images; the net may have seen more training images; each panel has its "
        "own scale",
        fontsize=8,
    )
    return figure

"""Learning curves: the terms of the loss, the accuracy and the learning rate by epoch, of some ways of training."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lrbench.errors import UserError, did_you_mean, few
from lrbench.method import naming
from lrbench.report import frame, published
from lrbench.report.frame import DONE, FAILED, RESTORES, chosen
from lrbench.report.headings import drawn, headings, said
from lrbench.report.lines import is_measure
from lrbench.report.lines import read as read_curve
from lrbench.report.plots import COLOURS, DASHES, Picture
from lrbench.report.ways import Wanted
from lrbench.spec import schedules
from lrbench.store import Store

SIZE, LINE = (7.0, 2.6), 0.15  # inches: three panels across a page, and a line of the legend
LEGEND = 110  # characters in a line of it
TERMS = (*DASHES, (0, (3, 1, 1, 1, 1, 1)), (0, (1, 4)), (0, (10, 3)))  # the dashes of terms
SMALL = 7  # points
WRAP = 150  # characters in a line of the conditions
MEASURES = {"top1": "top-1 (%)", "psnr": "PSNR (dB)"}
SCORES = {"val_": ("validation", "-"), "train_": ("training, augmented", (0, (2, 1.2)))}  # images, dashes
Curves = Mapping[str, np.ndarray]  # column of curve.csv -> (seeds, epochs)
Note = Callable[[str], None]


def draw(
    results: pd.DataFrame,
    store: Store,
    note: Note = lambda message: None,
    datasets: Collection[str] = (),
    methods: Collection[str] = (),
    backbones: Collection[str] = (),
    scale: int | None = None,
) -> Figure:
    """The learning curves of one backbone at one place: the loss, the score, the learning rate; a colour for each way.

    Lines are means over seeds, the bands about them their range; a point at the end is the score on the test images. By
    default the rows of published tables are drawn, where there are any, of the newest protocol and the backbone of
    which most were run; `note` is told of what is left out. datasets, methods, backbones, scale: of those to choose
    from; all where empty. Raises UserError where there is nothing to draw.
    """
    ended = chosen(results[results["status"] != FAILED], store, dataset=datasets, method=methods, backbone=backbones)
    of_tables = _published(ended, note)
    places = []
    if scale is not None:
        there = sorted({int(one) for one in ended["scale"].dropna()})
        if scale not in there:
            raise UserError(f"there is no run at scale {scale} to draw; {did_you_mean(scale, map(str, there))}")
        ended = ended[(ended["scale"] == scale) | ended["scale"].isna()]
    for heading, ways in headings(ended).items():
        trained = {label: runs for label, runs in ways.items() if store.curve(drawn(runs).iloc[0]["id"]).strip()}
        for network in dict.fromkeys(map(_network, trained.values())):
            same = {label: runs for label, runs in trained.items() if _network(runs) == network}
            rows = {label: runs for label, runs in same.items() if runs.iloc[0]["experiment"] in of_tables}
            places.append((heading, same if methods or not rows else rows, bool(rows)))
    if not places:
        raise UserError("no learning curve: these runs are only tested, with weights of others")
    best = max(places, key=lambda place: (place[2], next(iter(place[1].values())).iloc[0]["protocol"], len(place[1])))
    if others := [_about(heading, ways) for heading, ways, _ in places if ways is not best[1]]:
        note(f"curves: not drawn: {few(others, 3)}; --dataset, --scale, --method and --backbone choose")
    heading, ways, _ = best
    curves = {label: _curves(store, drawn(runs)["id"]) for label, runs in ways.items()}
    return _figure(heading, ways, curves, ended.drop_duplicates("id").set_index("id"))


def _published(results: pd.DataFrame, note: Note) -> set[int]:
    """The experiments that are rows of published tables."""
    rows = [row for table in published.tables(note).values() for row in table.rows]
    wanted = [Wanted(row.method, row.backbone, row.settings, row.free) for row in rows]
    usual = frame.defaults(results)
    ways = results.drop_duplicates("experiment")
    return {
        way.experiment
        for way in ways.itertuples()
        if any(
            (way.method, way.backbone) == (one.method, one.backbone) and one.fits(way.config, usual) for one in wanted
        )
    }


def _network(runs: pd.DataFrame) -> str:
    return naming.network(runs.iloc[0]["backbone"], runs.iloc[0]["width"])


def _about(heading: tuple[str, str], ways: Mapping[str, pd.DataFrame]) -> str:
    first = next(iter(ways.values()))
    network = "" if first.iloc[0]["backbone"] == RESTORES else f", {_network(first)}"
    return f"{heading[0]}{network} ({len(ways)})"


def _figure(
    heading: tuple[str, str], ways: Mapping[str, pd.DataFrame], curves: Mapping[str, Curves], runs: pd.DataFrame
) -> Figure:
    """curves: of each of the ways; runs: the rows of their runs, by id, with all columns of the frame."""
    first = next(iter(ways.values()))
    network = _network(first)
    names = {label: said(label, same).replace(f" ({network})", "") for label, same in ways.items()}
    beside = max(1, LEGEND // (max(map(len, names.values())) + 8))
    figure = Picture(layout="constrained")
    restores = first.iloc[0]["backbone"] == RESTORES  # SR nets have rates of their own, which no recipe says
    loss, score, *rate = figure.subplots(1, 2 if restores else 3)
    terms = list(dict.fromkeys(term for one in curves.values() for term in _terms(one)))
    looks = {term: TERMS[number % len(TERMS)] for number, term in enumerate(terms)}
    measure = next((name for name in MEASURES if any(f"train_{name}" in one for one in curves.values())), "top1")
    handles: dict[str, Line2D] = {}
    images: dict[str, Line2D] = {}
    for number, (colour, (label, same)) in enumerate(zip(_colours(len(ways)), ways.items(), strict=True)):
        of_way = curves[label]
        handles[names[label]] = _key(color=colour)
        for term in _terms(of_way):
            _band(loss, of_way[term], colour, looks[term])
        for prefix, (name, dashes) in SCORES.items():
            if (column := f"{prefix}{measure}") in of_way:
                images[name] = _key(linestyle=dashes)
                _band(score, of_way[column], colour, dashes)
        done = runs.loc[same.loc[same["status"] == DONE, "id"], measure].dropna()
        if len(done):
            images["test, at the end"] = _key(marker="o", markersize=3, linestyle="")
            at_end: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 3, "capsize": 2}
            end = of_way["loss"].shape[1] * (1 + 0.06 * number / len(ways))  # beside each other
            score.errorbar([end], [done.mean()], yerr=[done.std()], **at_end)  # no bar for one seed
        for panel in rate:
            _rate(panel, runs.loc[same.iloc[0]["id"]])
    if _far_apart([line.get_ydata() for line in loss.lines]):
        loss.set_yscale("log")
    of_terms = {term: _key(linestyle=dashes) for term, dashes in looks.items()}
    titles = ("terms of the training loss", MEASURES[measure], "learning rate")
    for panel, title in zip((loss, score, *rate), titles, strict=False):
        panel.set_title(title, fontsize=SMALL + 1, loc="left")
        panel.set_xlabel("epoch", fontsize=SMALL)
        panel.tick_params(labelsize=SMALL, length=2)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        panel.grid(alpha=0.25, linewidth=0.4)
    for panel, keys in ((loss, of_terms if len(terms) > 1 else {}), (score, images)):
        if keys:
            below = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.24), "borderaxespad": 0, "frameon": False}
            panel.legend(keys.values(), keys, ncols=1 + (panel is loss), fontsize=SMALL - 1, handlelength=2.5, **below)
    place = heading[0] if restores else f"{heading[0]}, {network}"
    about = f"{place}: {heading[1]}. Means over seeds, bands: their range; points: ± sd."
    figure.suptitle(textwrap.fill(about, WRAP, break_on_hyphens=False), fontsize=SMALL)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=beside, fontsize=SMALL, frameon=False)
    lines = len(ways) // beside + 1 + max((len(of_terms) + 1) // 2, len(images))
    figure.set_size_inches(SIZE[0], SIZE[1] + LINE * lines)
    return figure


def _colours(count: int) -> list[str]:
    """So many different ones."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return [to_hex(colormaps["turbo"](place)) for place in np.linspace(0.05, 0.95, count)]


def _key(**look: Any) -> Line2D:
    """A line for a legend, grey where no colour is said."""
    return Line2D([], [], **{"color": "0.3"} | look)


def _terms(curves: Curves) -> list[str]:
    """The terms of a loss; the loss itself where it has none."""
    return [name for name in curves if name != "loss" and not is_measure(name)] or ["loss"]


def _curves(store: Store, ids: Iterable[str]) -> Curves:
    """Those in every run; NaN in the epochs of a stage that has not that term.

    Runs that diverged may have ended at different epochs: NaN in those that they have not.
    """
    read = [read_curve(store.curve(run)) for run in ids]
    longest = max((len(values) for one in read for values in one.values()), default=0)
    return {
        name: np.array([[*one[name], *[np.nan] * (longest - len(one[name]))] for one in read])
        for name in read[0]
        if all(name in one for one in read)
    }


def _far_apart(values: Sequence[np.ndarray]) -> bool:
    finite = np.concatenate([one[np.isfinite(one)] for one in map(np.asarray, values)])
    return bool(finite.size and 0 < 30 * finite.min() < finite.max())


def _band(panel: Axes, values: np.ndarray, colour: str, dashes: Any) -> None:
    """The mean over seeds, and the range about it."""
    epochs = np.arange(1, values.shape[1] + 1)
    panel.plot(epochs, values.mean(axis=0), color=colour, linestyle=dashes, linewidth=1)
    panel.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)


def _rate(panel: Axes, run: pd.Series) -> None:
    """The rate by the recipe's schedule, once where several have the same."""
    progress = np.linspace(0, 1, 201)
    rates = [run["recipe.lr"] * schedules.SCHEDULES[run["recipe.schedule"]](min(at, 1 - 1e-9)) for at in progress]
    epochs = progress * run["recipe.epochs"]
    if not any(np.array_equal(line.get_xydata(), np.c_[epochs, rates]) for line in panel.lines):
        panel.plot(epochs, rates, color="0.3", linewidth=1)

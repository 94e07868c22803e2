"""Learning curves: the loss, each of its terms, and the score, by epoch."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lrbench.errors import UserError
from lrbench.report.frame import FAILED, chosen
from lrbench.report.headings import drawn, headings, said
from lrbench.report.lines import read as read_curve
from lrbench.report.plots import Look, Picture, looks
from lrbench.store import Store
from lrbench.train.training import COLUMNS

SCORES = {
    "train_top1": "top-1 on training images (%)",
    "val_top1": "top-1, validation (%)",
    "train_psnr": "PSNR on training images (dB)",
    "val_psnr": "PSNR, validation (dB)",
}
LEGEND, LINE = 48, 0.155  # characters in a line of it, and its height in inches
MARKS = 6  # of a line, about


def draw(results: pd.DataFrame, store: Store, datasets: Collection[str] = (), methods: Collection[str] = ()) -> Figure:
    """The learning curves of the runs in a store: a row of panels for each protocol and place.

    The summed loss, each of its terms where there are several, then the scores; a term of several methods is one
    panel. SR nets share a row where they restore the same images. datasets, methods: names of those to draw; all where
    empty. Lines are means over seeds, the band about them their range. A run that is only tested has none. Raises
    UserError where there is nothing to draw.
    """
    read: dict[str, list[tuple[str, dict[str, np.ndarray]]]] = {}
    ended = results[results["status"] != FAILED]
    for under, ways in headings(chosen(ended, store, dataset=datasets, method=methods)).items():
        curves = [(said(label, runs), _curves(store, drawn(runs)["id"])) for label, runs in ways.items()]
        if trained := [(label, values) for label, values in curves if values]:
            read["\n".join(under)] = trained
    if not read:
        raise UserError("no learning curve: these runs are only tested, with weights of others")
    here = {heading: _panels([values for _, values in lines]) for heading, lines in read.items()}
    heights = [max(3.9, 0.5 + LINE * sum(len(label) // LEGEND + 1 for label, _ in lines)) for lines in read.values()]
    figure = Picture(figsize=(4.8 * max(map(len, here.values())) + 3.4, sum(heights)), layout="constrained")
    rows = figure.subfigures(len(read), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, (heading, lines) in zip(rows, read.items(), strict=True):
        panels = row.subplots(1, len(here[heading]), squeeze=False)[0]
        for panel, (name, title) in zip(panels, here[heading].items(), strict=True):
            for number, (look, (label, values)) in enumerate(zip(looks(len(lines)), lines, strict=True)):
                if name in values:
                    _band(panel, values[name], textwrap.fill(label, LEGEND), look, number)
            panel.set(xlabel="epoch", ylabel=title)
            if name not in SCORES and _far_apart([values[name] for _, values in lines if name in values]):
                panel.set_yscale("log")  # losses of different kinds
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.grid(alpha=0.3)
        panels[0].set_title(heading, fontsize=9, loc="left")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, handlelength=4)
    return figure


def _panels(lines: Sequence[Mapping[str, np.ndarray]]) -> dict[str, str]:
    """What to draw of some runs, with its title: a term only where it is not the whole of every loss it is in."""
    several = [terms for values in lines if len(terms := _terms(values)) > 1]
    titles = {term: f"loss term: {term}" for term in dict.fromkeys(term for terms in several for term in terms)}
    scores = {name: title for name, title in SCORES.items() if any(name in values for values in lines)}
    return {"loss": "training loss"} | titles | scores


def _terms(values: Mapping[str, np.ndarray]) -> list[str]:
    return [name for name in values if name not in COLUMNS]


def _curves(store: Store, ids: Iterable[str]) -> dict[str, np.ndarray]:
    """Name -> values (seeds, epochs), those in every run; NaN in the epochs of a stage that has not that term.

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
    finite = np.concatenate([one[np.isfinite(one)] for one in values])
    return bool(finite.size and 0 < 100 * finite.min() < finite.max())


def _band(panel: Axes, values: np.ndarray, label: str, look: Look, number: int) -> None:
    """One line, the mean, and the range about it. Marks of neighbouring lines stand at different epochs."""
    epochs = np.arange(1, values.shape[1] + 1)
    step = max(1, len(epochs) // MARKS)
    marks: dict[str, Any] = {"marker": look.marker, "markersize": 4, "markevery": (number % step, step)}
    style: dict[str, Any] = {"color": look.colour, "linestyle": look.dashes, "linewidth": 1.3, "label": label}
    panel.plot(epochs, values.mean(axis=0), **style, **marks)
    panel.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=look.colour, alpha=0.12, linewidth=0)

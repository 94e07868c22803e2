"""Figures, drawn without a display."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lrbench import cells, sr_table
from lrbench.errors import UserError, did_you_mean
from lrbench.files import write_atomic
from lrbench.record import Record
from lrbench.store import Store

PANELS = {
    "loss": "training loss",
    "train_top1": "top-1 on training images (%)",
    "val_top1": "top-1, validation (%)",
    "train_psnr": "PSNR on training images (dB)",
    "val_psnr": "PSNR, validation (dB)",
}
SUFFIXES = (".png", ".pdf", ".svg")
LEGEND = 48  # characters in a line of it


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all. Raises UserError for a suffix that is not one of SUFFIXES."""
    check_suffix(path)
    out = io.BytesIO()
    figure.savefig(out, format=path.suffix[1:], dpi=150, bbox_inches="tight")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, out.getvalue())


def check_suffix(path: Path) -> None:
    """Raise UserError for a file whose suffix is not one of SUFFIXES."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"a figure's file ends in one of {', '.join(SUFFIXES)}; got '{path.name}'")


def curves(store: Store, datasets: Collection[str] = (), methods: Collection[str] = ()) -> Figure:
    """The learning curves of the runs in the store: a row of panels for each protocol and column.

    SR nets share a row where they restore the same images. datasets, methods: names of those to draw; all
    where empty. Lines are means over seeds, the band about them their range. Raises UserError where there is
    no run.
    """
    groups = _groups(_chosen(store, datasets, methods))
    read = {heading: [(label, _curves(store, runs)) for label, runs in lines] for heading, lines in groups.items()}
    drawn = {name for lines in read.values() for _, values in lines for name in values}
    width = max(len({name for _, values in lines for name in values}) for lines in read.values())
    names = [name for name in PANELS if name in drawn]
    figure = Figure(figsize=(5.2 * width + 3.2, 3.9 * len(read)), layout="constrained")
    panels = figure.subplots(len(read), width, squeeze=False)
    for (heading, lines), line_of_panels in zip(read.items(), panels, strict=True):
        colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(lines)))
        here = [name for name in names if any(name in values for _, values in lines)]
        for name, panel in zip(here, line_of_panels, strict=False):
            for colour, (label, values) in zip(colours, lines, strict=True):
                if name in values:
                    _band(panel, values[name], textwrap.fill(label, LEGEND), colour)
            panel.set(xlabel="epoch", ylabel=PANELS[name])
            if name == "loss" and _far_apart([values[name] for _, values in lines if name in values]):
                panel.set_yscale("log")  # losses of different kinds
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.grid(alpha=0.3)
        line_of_panels[0].set_title(heading, fontsize=8, loc="left")
        for panel in line_of_panels[len(here) :]:  # where only another row has so many
            panel.set_visible(False)
        line_of_panels[len(here) - 1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7, frameon=False)
    return figure


def _chosen(store: Store, datasets: Collection[str], methods: Collection[str]) -> list[Record]:
    records = store.records()
    if not records:
        raise UserError(f"there is no run in {store.root}; start with 'lrbench run'")
    for kind, wanted, there in (
        ("data set", datasets, {record.spec.dataset for record in records}),
        ("method", methods, {record.spec.method for record in records}),
    ):
        for name in wanted:
            if name not in there:
                raise UserError(f"there is no run of {kind} '{name}'; {did_you_mean(name, sorted(there))}")
    chosen = [
        record
        for record in records
        if (not datasets or record.spec.dataset in datasets) and (not methods or record.spec.method in methods)
    ]
    if not chosen:
        raise UserError(f"there is no run of {', '.join(methods)} on {', '.join(datasets)} in {store.root}")
    return chosen


def _groups(records: Sequence[Record]) -> dict[str, list[tuple[str, Sequence[Record]]]]:
    """The heading of a row of panels -> its lines, each with its seeds."""
    groups: dict[str, list[tuple[str, Sequence[Record]]]] = {}
    classifiers = [record for record in records if not record.restores]
    for shared, found in cells.sort(classifiers).items():
        for (row, column), cell in found.items():
            heading = f"{column.label(cell.records[0].data.side)}\n{shared}"
            groups.setdefault(heading, []).append((f"{cells.name(row)} ({row.backbone})", cell.records))
    for test, experiments in sr_table.group(records).items():
        groups[str(test)] = list(zip(sr_table.labels(experiments), experiments, strict=True))
    return groups


def _curves(store: Store, records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Name -> values (seeds, epochs)."""
    read = [list(csv.DictReader(io.StringIO(store.curve(record)))) for record in records]
    return {
        name: np.array([[float(row[name]) for row in rows] for rows in read])
        for name in PANELS
        if all(name in rows[0] for rows in read)
    }


def _far_apart(values: Sequence[np.ndarray]) -> bool:
    lowest, highest = min(one.min() for one in values), max(one.max() for one in values)
    return bool(0 < 100 * lowest < highest < np.inf)


def _band(panel, values: np.ndarray, label: str, colour) -> None:  # type: ignore[no-untyped-def]
    epochs = np.arange(1, values.shape[1] + 1)
    marker = "o" if len(epochs) == 1 else None  # a line of one point is not seen
    panel.plot(epochs, values.mean(axis=0), label=label, color=colour, linewidth=1.3, marker=marker, markersize=4)
    panel.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)


def predictions(
    hr: np.ndarray, lr: np.ndarray, labels: Sequence[str], predicted: Mapping[str, Sequence[str]]
) -> Figure:
    """Pairs of HR and LR images, uint8 (n, H, W, 3), each with its label and what each method saw in it.

    labels: the true class of each; predicted: method -> the class it predicts for each. Pixels are
    shown as they are, enlarged by nearest neighbour.
    """
    n = len(labels)
    figure = Figure(figsize=(1.15 * n + 1.2, 3.1 + 0.2 * len(predicted)), layout="constrained")
    figure.suptitle("Test images, those first on which the methods disagree: right in green, wrong in red", fontsize=9)
    panels = figure.subplots(2, n, squeeze=False)
    for column in range(n):
        for line, images in enumerate((hr, lr)):
            panels[line, column].imshow(images[column], interpolation="nearest")
            panels[line, column].set(xticks=[], yticks=[])
        panels[0, column].set_title(f"true {labels[column]}", fontsize=9)
        for line, classes in enumerate(predicted.values()):
            colour = "tab:green" if classes[column] == labels[column] else "tab:red"
            _below(panels[1, column], line, 0.5, classes[column], ha="center", color=colour)
    for line, name in enumerate(predicted):
        _below(panels[1, 0], line, -0.05, name, ha="right", color="black")
    for panel, name, images in ((panels[0, 0], "HR", hr), (panels[1, 0], "LR", lr)):
        panel.set_ylabel(f"{name} {images.shape[1]}x{images.shape[2]}")
    return figure


def _below(panel, line: int, x: float, text: str, **style: str) -> None:  # type: ignore[no-untyped-def]
    """A word below a panel, on a line of its own; x is a fraction of the panel's width."""
    place = {"xy": (x, 0), "xycoords": "axes fraction", "xytext": (0, -14 - 14 * line), "textcoords": "offset points"}
    panel.annotate(text, **place, fontsize=9, **style)

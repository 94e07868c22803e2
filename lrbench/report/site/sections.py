"""The contents of a report's pages of tables, figures and learning curves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.image import imread

from lrbench.errors import UserError
from lrbench.report import figures, headings, lines, outputs, plots, tables
from lrbench.report import formats as sheet
from lrbench.report.formats import HR_MARK, Sheet
from lrbench.report.headings import Named
from lrbench.report.lines import Panel
from lrbench.report.site import linked
from lrbench.report.site.linked import LinkedSheet
from lrbench.report.site.pages import Pages, slug
from lrbench.store.store import Store

MOST_DRAWN = 1_000  # runs whose learning curves are drawn into one figure: of more it is neither quick nor legible
LOSS, TITLES = "loss", {"train_top1": "top-1, training (%)", "val_top1": "top-1, validation (%)",
                        "train_psnr": "PSNR, training (dB)", "val_psnr": "PSNR, validation (dB)"}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table of that name under each protocol that it has runs of; `files`: (path, format) to download."""

    id: str
    title: str
    sheets: Sequence[LinkedSheet]
    files: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Drawing:
    """A figure that was written: `png` and `svg` are paths, `width` and `height` CSS pixels."""

    id: str
    name: str
    caption: str
    png: str
    svg: str
    width: int
    height: int
    notes: Sequence[str]


@dataclass(frozen=True)
class CurveRow:
    """The learning curves of an experiment, one for each column; None where it has no such curve."""

    label: str
    runs: Sequence[str]
    epochs: int
    panels: Sequence[Panel | None]


@dataclass
class Found:
    """What could be shown, and a sentence for each thing that could not."""

    shown: list[Any] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def table(name: str, sheets: Sequence[Sheet], known: Collection[str], pages: Pages) -> Table | None:
    """A table with its files written below `tables/`; None where nothing in it has been run."""
    filled = [one for one in sheets if linked.has_runs(one)]
    if not filled:
        return None
    paths = [(f"tables/{slug(name)}.{suffix}", style) for style, suffix in outputs.SUFFIXES.items()]
    for path, style in paths:
        pages.save(path, sheet.render(filled, style))
    return Table(f"table-{slug(name)}", filled[0].title, [linked.link(one, known) for one in filled], paths)


def all_tables(store: Store, known: Collection[str], pages: Pages) -> dict[str, Table | None]:
    """Name -> every table that there is."""
    return {name: table(name, tables.sheets(name, store), known, pages) for name in tables.names()}


def all_figures(store: Store, data: Path, pages: Pages, note: Callable[[str], None]) -> Found:
    """Every figure that there is, written below `figures/`; `note` is told of one that cannot be drawn."""
    found = Found()
    for name in figures.names():
        if name == figures.CURVES and len(store.records()) > MOST_DRAWN:
            found.missing.append(f"{name} is not drawn of more than {MOST_DRAWN:,} runs.")
            continue
        notes: list[str] = []
        try:
            found.shown.append(_draw(name, store, data, pages, notes))
        except UserError as error:
            note(f"{name} is not drawn: {error}")
            shown = str(error).replace(str(data), "the data folder")  # a page is no place for a path of this machine
            found.missing.append(f"{name} is not drawn: {shown}.")
    return found


def _draw(name: str, store: Store, data: Path, pages: Pages, notes: list[str]) -> Drawing:
    drawn = figures.draw(name, store, data, notes.append)
    paths = {suffix: f"figures/{slug(name)}.{suffix}" for suffix in ("svg", "png")}
    for path in paths.values():
        plots.save(drawn, pages.folder / path)
    height, width = imread(pages.folder / paths["png"]).shape[:2]
    caption = drawn.get_suptitle()
    return Drawing(f"figure-{slug(name)}", name, caption, paths["png"], paths["svg"], width // 2, height // 2, notes)


def all_curves(store: Store) -> list[dict[str, Any]]:
    """For each heading of `headings.grouped`: heading, columns, rows (CurveRow) and notes."""
    return [_group(store, str(heading), found) for heading, found in headings.grouped(store.records()).items()]


def _group(store: Store, heading: str, found: Sequence[Named]) -> dict[str, Any]:
    read = [[lines.read(store.curve(record.id)) for record in experiment.drawn] for experiment in found]
    columns = [name for name in (LOSS, *TITLES) if any(name in curve for seeds in read for curve in seeds)]
    limits = {
        name: lines.span(curve[name] for seeds in read for curve in seeds if name in curve)
        for name in columns
        if name != LOSS
    }
    rows = [
        CurveRow(
            experiment.marked,
            [record.id for record in experiment.records],
            max((len(values) for curve in seeds for values in curve.values()), default=0),
            [_spark(seeds, name, limits.get(name)) for name in columns],
        )
        for experiment, seeds in zip(found, read, strict=True)
    ]
    scales = [f"{TITLES[name]}: from {low:.2f} to {high:.2f}." for name, (low, high) in limits.items()]
    mark = [f"{HR_MARK} trained and tested on HR images."] if any(experiment.hr for experiment in found) else []
    titles = [TITLES.get(name, name) for name in columns]
    return {"heading": heading, "columns": titles, "rows": rows, "notes": scales + mark}


def _spark(seeds: Sequence[lines.Curve], name: str, limits: tuple[float, float] | None) -> Panel | None:
    """The seeds' curves and, last, their mean."""
    curves = [curve[name] for curve in seeds if name in curve]
    if not curves:
        return None
    limits = limits or lines.span(curves)
    title = TITLES.get(name, name)
    drawn = [lines.panel({"seed": one}, title, limits=limits, size=lines.SMALL) for one in curves if len(curves) > 1]
    middle = lines.panel({"mean": lines.mean(curves)}, title, limits=limits, size=lines.SMALL)
    return Panel(**(vars(middle) | {"lines": (*(line for one in drawn for line in one.lines), *middle.lines)}))

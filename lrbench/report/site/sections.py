"""The contents of a report's pages of tables, figures and learning curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from lrbench.errors import Error, broken, raise_machines
from lrbench.report import figures, formats, lines, plots, tables
from lrbench.report.formats import HR_MARK, Table
from lrbench.report.headings import drawn, headings, marked
from lrbench.report.lines import Panel
from lrbench.report.site import cost
from lrbench.report.site.pages import Pages, slug
from lrbench.store import Store

TABLES = "tables.html"  # the page, and the template of all pages of tables
MOST_DRAWN = 1_000  # runs whose learning curves are drawn into one figure: of more it is neither quick nor legible
LOSS, TITLES = "loss", {"train_top1": "top-1, training (%)", "val_top1": "top-1, validation (%)",
                        "train_psnr": "PSNR, training (dB)", "val_psnr": "PSNR, validation (dB)"}  # fmt: skip
Note = Callable[[str], None]


@dataclass(frozen=True)
class Section:
    """A page of the report: its file, how menus call it, its template and what fills that.

    entries: what it holds, for the first page: (link, words); the link is empty of what could not be shown.
    """

    path: str
    label: str
    template: str
    content: Mapping[str, Any]
    entries: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Named:
    """The tables of one name, one for each set of conditions; `files`: (path, format) to download."""

    id: str
    title: str
    tables: Sequence[Table]
    files: Sequence[tuple[str, str]]

    @property
    def legend(self) -> list[str]:
        """How to read them, below the last."""
        return formats.legend(self.tables)


def of_tables(results: pd.DataFrame, store: Store, pages: Pages, note: Note) -> Iterator[Section]:
    """The page of tables, and where there are claims a page of these; all their files are written."""
    found: dict[str, Named | None] = {}
    missing = []
    for name in tables.names():
        try:
            long = name == tables.LEADERBOARD
            found[name] = named(name, tables.tables(name, results, store.right, note, long), pages)
        except Exception as error:  # whatever its plugin may raise
            why = _why(error, pages)
            note(f"table {name} is left out: {why}")
            missing.append(f"Table {name} is left out: {why}.")
    missing += [f"Table {name}: no run yet." for name, one in found.items() if one is None]
    claims = found.pop(tables.CLAIMS, None)
    shown = [one for one in found.values() if one]
    yield _of_tables(TABLES, "Tables", shown, missing)
    if claims:
        yield _of_tables("claims.html", "Claims", [claims], first="claim")


def of_cost(results: pd.DataFrame, pages: Pages) -> Section:
    """The page of what runs cost; its files are written."""
    found = named("cost", cost.tables(results), pages)
    return _of_tables("cost.html", "Cost", [found] if found else [], filtered=True)


def named(name: str, found: Sequence[Table], pages: Pages) -> Named | None:
    """Tables, with their files written below `tables/`; None where nothing in them has been run."""
    filled = [one for one in found if (len(one.shown) if one.runs is None else one.runs.map(len).to_numpy().any())]
    if not filled:
        return None
    files = [(f"tables/{slug(name)}.{suffix}", style) for style, suffix in formats.SUFFIXES.items()]
    for path, style in files:
        pages.save(path, formats.render(filled, style))
    return Named(f"table-{slug(name)}", filled[0].title, filled, files)


def _of_tables(path: str, label: str, shown: Sequence[Named], missing: Sequence[str] = (), **how: Any) -> Section:
    """how: `filtered`, whether each table has a filter; `first`, the head of first columns that have none."""
    only = [one.title for one in shown] == [label]
    content = dict(heading=label, tables=shown, missing=missing, only=only, filtered=False, first="method")
    entries = [*contents(shown, path), *(("", one) for one in missing)]
    return Section(path, label, TABLES, content | how, entries)


def contents(shown: Sequence[Named], path: str) -> list[tuple[str, str]]:
    """Links to each table of a page, with what tells it apart: on the page of tables its name, and parts of a name."""
    entries = []
    for one in shown:
        parts = len({table.title for table in one.tables}) > 1  # such as places, or claims and their evidence
        for number, table in enumerate(one.tables, 1):
            part = table.title.rpartition(": ")[2] if parts else ""
            if path == TABLES:
                part = table.title if parts else table.title.partition(": ")[0]
            entries.append((f"{path}#{one.id}-{number}", f"{part}: {table.conditions}" if part else table.conditions))
    return entries


def of_figures(results: pd.DataFrame, store: Store, data: Path, pages: Pages, note: Note) -> Section:
    """The page of every figure that there is; `note` is told of one that cannot be drawn, which the page says, too."""
    shown, missing = [], []
    for name in figures.names():
        if name == figures.CURVES and len(results) > MOST_DRAWN:
            missing.append(f"{name} is not drawn of more than {MOST_DRAWN:,} runs.")
            continue
        try:
            shown.append(_draw(name, results, store, data, pages))
        except Exception as error:  # whatever its plugin may raise
            said = _why(error, pages)
            note(f"{name} is not drawn: {said}")
            why = said.replace(str(data), "the data folder")  # a page is no place for a path of this machine
            missing.append(f"{name} is not drawn: {why}.")
    entries = [*((f"figures.html#{one['id']}", one["name"]) for one in shown), *(("", one) for one in missing)]
    return Section("figures.html", "Figures", "figures.html", {"figures": shown, "missing": missing}, entries)


def _draw(name: str, results: pd.DataFrame, store: Store, data: Path, pages: Pages) -> dict[str, Any]:
    """A figure, written as `svg` and `png`; its size is in CSS pixels, half of those of the image."""
    notes: list[str] = []
    figure = figures.draw(name, results, store, data, notes.append)
    files = {suffix: f"figures/{slug(name)}.{suffix}" for suffix in ("svg", "png")}
    for path in files.values():
        plots.save(figure, pages.folder / path)
    with Image.open(pages.folder / files["png"]) as image:
        width, height = (side // 2 for side in image.size)
    about = {"id": f"figure-{slug(name)}", "name": name, "caption": figure.get_suptitle(), "notes": notes}
    return about | files | {"width": width, "height": height}


def of_curves(results: pd.DataFrame, store: Store) -> Section:
    """The page of learning curves: a table for each of `headings`."""
    groups = [_curves(store, ": ".join(heading), found) for heading, found in headings(results).items()]
    groups = [one for one in groups if one["columns"]]  # without runs that are only tested
    entries = [(f"curves.html#curves-{number}", one["heading"]) for number, one in enumerate(groups, 1)]
    return Section("curves.html", "Learning curves", "curves.html", {"groups": groups}, entries)


def _curves(store: Store, heading: str, found: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    read = [[lines.read(store.curve(run)) for run in drawn(runs)["id"]] for runs in found.values()]
    columns = [name for name in (LOSS, *TITLES) if any(name in curve for seeds in read for curve in seeds)]
    limits = {
        name: lines.span(curve[name] for seeds in read for curve in seeds if name in curve)
        for name in columns
        if name != LOSS
    }
    rows = [
        {
            "label": marked(label, runs),
            "runs": list(runs["id"]),
            "epochs": max((len(values) for curve in seeds for values in curve.values()), default=0),
            "panels": [_spark(seeds, name, limits.get(name)) for name in columns],
        }
        for (label, runs), seeds in zip(found.items(), read, strict=True)
    ]
    notes = [f"{TITLES[name]}: from {low:.2f} to {high:.2f}." for name, (low, high) in limits.items()]
    on_hr = any((runs["tested_on"] == "hr").any() for runs in found.values())
    notes += [f"{HR_MARK} trained and tested on HR images."] if on_hr else []
    return {"heading": heading, "columns": [TITLES.get(name, name) for name in columns], "rows": rows, "notes": notes}


def _spark(seeds: Sequence[lines.Curve], name: str, limits: tuple[float, float] | None) -> Panel | None:
    """The seeds' curves and, last, their mean; None where there is no such curve."""
    curves = [curve[name] for curve in seeds if name in curve]
    if not curves:
        return None
    limits = limits or lines.span(curves)
    title = TITLES.get(name, name)
    faint = [lines.panel({"seed": one}, title, limits=limits, size=lines.SMALL) for one in curves if len(curves) > 1]
    middle = lines.panel({"mean": lines.mean(curves)}, title, limits=limits, size=lines.SMALL)
    return Panel(**(vars(middle) | {"lines": (*(line for one in faint for line in one.lines), *middle.lines)}))


def _why(error: Exception, pages: Pages) -> str:
    """Why a table or figure is left out, in a line; the machine's errors, which would spoil every page, are raised."""
    if not isinstance(error, Error):
        raise_machines(error, pages.folder)
    return broken(error)

"""The contents of a report's pages of tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from lrbench.errors import Error, broken, raise_machines
from lrbench.report import figures, formats, plots, tables
from lrbench.report.formats import Table
from lrbench.report.site import cost
from lrbench.report.site.pages import Pages, slug
from lrbench.store import Store

DENSITY = 1.6  # pixels of an image in a CSS pixel
TABLES = "tables.html"  # the page, and the template of all pages of tables
Note = Callable[[str], None]


@dataclass(frozen=True)
class Section:
    """A page of the report: its file, how menus call it, its template, what fills that, and how much: "3 tables"."""

    path: str
    label: str
    template: str
    content: Mapping[str, Any]
    holds: str


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


def read_tables(
    results: pd.DataFrame, store: Store, pages: Pages, note: Note, renamed: Mapping[str, str]
) -> tuple[dict[str, Named], list[str]]:
    """Every table of which something was run, by name, its files written; and a sentence for each other."""
    found: dict[str, Named] = {}
    missing = []
    for name in tables.names():
        try:
            long = name == tables.LEADERBOARD
            one = named(name, tables.tables(name, results, store.right, note, long, renamed), pages)
        except Exception as error:  # whatever its plugin may raise
            why = _why(error, pages)
            note(f"table {name} is left out: {why}")
            missing.append(f"Table {name} is left out: {why}.")
        else:
            if one:
                found[name] = one
            else:
                missing.append(f"Table {name}: no run yet.")
    return found, missing


def of_tables(found: Mapping[str, Named], missing: Sequence[str]) -> Iterator[Section]:
    """The page of tables, and where there are claims a page of these."""
    yield _of_tables(TABLES, "Tables", [one for name, one in found.items() if name != tables.CLAIMS], missing)
    if tables.CLAIMS in found:
        yield _of_tables("claims.html", "Claims", [found[tables.CLAIMS]], first="claim")


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
    return Section(path, label, TABLES, content | how, counted(sum(len(one.tables) for one in shown), "table"))


def counted(number: int, what: str) -> str:
    """So many of something, in words: "1 table", "3 tables"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def of_figures(results: pd.DataFrame, store: Store, data: Path, pages: Pages, note: Note) -> Section:
    """The page of every figure that there is; `note` is told of one that cannot be drawn, which the page says, too."""
    shown, missing = [], []
    for name in figures.names():
        try:
            shown.append(_draw(name, results, store, data, pages))
        except Exception as error:  # whatever its plugin may raise
            said = _why(error, pages)
            note(f"{name} is not drawn: {said}")
            why = said.replace(str(data), "the data folder")  # a page is no place for a path of this machine
            missing.append(f"{name} is not drawn: {why}.")
    content = {"figures": shown, "missing": missing}
    return Section("figures.html", "Figures", "figures.html", content, counted(len(shown), "figure"))


def _draw(name: str, results: pd.DataFrame, store: Store, data: Path, pages: Pages) -> dict[str, Any]:
    """A figure, written as `svg` and `png`; its size is in CSS pixels, of DENSITY pixels of the image each."""
    notes: list[str] = []
    figure = figures.draw(name, results, store, data, notes.append)
    files = {suffix: f"figures/{slug(name)}.{suffix}" for suffix in ("svg", "png")}
    for path in files.values():
        plots.save(figure, pages.folder / path)
    with Image.open(pages.folder / files["png"]) as image:
        width, height = (round(side / DENSITY) for side in image.size)
    about = {"id": f"figure-{slug(name)}", "name": name, "caption": figure.get_suptitle(), "notes": notes}
    return about | files | {"width": width, "height": height}


def _why(error: Exception, pages: Pages) -> str:
    """Why a table or figure is left out, in a line; the machine's errors, which would spoil every page, are raised."""
    if not isinstance(error, Error):
        raise_machines(error, pages.folder)
    return broken(error)

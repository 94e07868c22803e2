"""The tables and figures of a suite, written as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lrbench.errors import UserError, unknown
from lrbench.plan.suite import Suite
from lrbench.report import figures, formats, plots, tables
from lrbench.report.frame import frame
from lrbench.store import Store
from lrbench.store.files import write_out


def check(suite: Suite) -> None:
    """Raise UserError, naming the nearest, for a table or figure that there is not."""
    for kind, wanted, known in (("table", suite.tables, tables.names()), ("figure", suite.figures, figures.names())):
        for name in wanted:
            if name not in known:
                raise unknown(kind, name, known)


def write(
    suite: Suite,
    ids: set[str],
    store: Store,
    out: Path,
    data: Path,
    note: Callable[[str], None],
    renamed: Mapping[str, str],
) -> None:
    """Write every table and figure that a suite names, of its runs. `note` is told of one for which there are none.

    renamed: dataset -> the one that it was run on in its place. Raises OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    results = frame(store)
    results = results[results["id"].isin(ids)]
    for name in suite.tables:
        found = tables.tables(name, results, store.right, note, renamed=renamed)
        for style, suffix in formats.SUFFIXES.items():
            write_out(out / f"table-{name}.{suffix}", formats.render(found, style))
    for name in suite.figures:
        try:
            drawn = figures.draw(name, results, store, data, note)
        except UserError as error:
            note(f"{name} is not drawn: {error}")
            continue
        for suffix in ("png", "svg"):
            plots.save(drawn, out / f"{name}.{suffix}")

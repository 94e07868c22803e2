"""The tables and figures of a suite, written as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lrbench.errors import UserError, unknown
from lrbench.plan.suite import Suite
from lrbench.report import figures, plots, tables
from lrbench.report import formats as sheet
from lrbench.store.files import write_atomic
from lrbench.store.store import Store

SUFFIXES = {"md": "md", "csv": "csv", "latex": "tex", "json": "json"}  # of a table's file, by format


def check(suite: Suite) -> None:
    """Raise UserError, naming the nearest, for a table or figure that there is not."""
    for kind, wanted, known in (("table", suite.tables, tables.names()), ("figure", suite.figures, figures.names())):
        for name in wanted:
            if name not in known:
                raise unknown(kind, name, known)


def write(suite: Suite, store: Store, out: Path, data: Path, note: Callable[[str], None]) -> None:
    """Write every table and figure that a suite names. `note` is told of one for which there are no runs.

    Raises OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in suite.tables:
        found = tables.sheets(name, store)
        for style, suffix in SUFFIXES.items():
            write_atomic(out / f"table-{name}.{suffix}", sheet.render(found, style))
    for name in suite.figures:
        try:
            drawn = figures.draw(name, store, data, note)
        except UserError as error:
            note(f"{name} is not drawn: {error}")
            continue
        for suffix in ("png", "svg"):
            plots.save(drawn, out / f"{name}.{suffix}")

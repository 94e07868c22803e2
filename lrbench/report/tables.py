"""The tables that `lrbench table` knows: the published ones, and those that are made of what was run."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from lrbench.errors import unknown
from lrbench.method import registry
from lrbench.report import claims, claims_table, filled, leaderboard, published, sr, table, tuned
from lrbench.report.compare import Right
from lrbench.report.formats import Tables

LEADERBOARD, SR, TUNED, CLAIMS = "leaderboard", "sr", "tuned", "claims"
Note = Callable[[str], None]


def names() -> list[str]:
    """Of all tables."""
    return [*registry.installed(published.TABLES), LEADERBOARD, SR, TUNED, CLAIMS]


def tables(
    name: str | None,
    results: pd.DataFrame,
    right: Right,
    note: Note = lambda message: None,
    long: bool = False,
) -> Tables:
    """A table by name, or all published ones, filled from a frame of results, once for each set of conditions.

    right: id of a run -> which test images it got right; note: told of a plugin that does not load; long: with all the
    columns and notes that there are. Raises UserError, naming the nearest, for a name that there is not.
    """
    if name is not None and name not in names():
        raise unknown("table", name, names())
    if name == LEADERBOARD:
        return Tables(leaderboard.leaderboards(results, right, leaderboard.references(note), long))
    if name == SR:
        return Tables(sr.tables(results))
    if name == TUNED:
        return Tables(tuned.tables(published.sweeps(note), results, right))
    if name == CLAIMS:
        return Tables(claims_table.tables(claims.installed(note), results, right))
    every = published.installed(published.TABLES, "table", note, published.PublishedTable)
    sources = [published.table(name)] if name else [one for _, one in every]
    return Tables(table.table(one, long) for source in sources for one in filled.fill(source, results, right))

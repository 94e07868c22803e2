"""The tables that `lrbench table` knows: the published ones, and those that are made of what was run."""

from __future__ import annotations

import numpy as np

from lrbench.errors import unknown
from lrbench.method import registry
from lrbench.report import cells, claims, claims_table, published, tuned
from lrbench.report import sr as sr_table
from lrbench.report.formats import Sheet
from lrbench.report.formats import render as as_text
from lrbench.report.render import sheet
from lrbench.report.table import fill
from lrbench.spec.record import Record
from lrbench.store.store import Store

LEADERBOARD, SR, TUNED, CLAIMS = "leaderboard", "sr", "tuned", "claims"


def names() -> list[str]:
    """Of all tables."""
    return [*registry.installed(published.TABLES), LEADERBOARD, SR, TUNED, CLAIMS]


def sheets(name: str | None, store: Store) -> list[Sheet]:
    """A table by name, or all published ones, filled from a store, once for each protocol. Raises UserError."""
    if name == LEADERBOARD:
        from lrbench.report import leaderboard  # here, not above: it brings pandas

        return leaderboard.of_store(store)[0]
    if name is not None and name not in names():
        raise unknown("table", name, names())
    records = store.records()

    def right(record: Record) -> np.ndarray:
        return store.right(record.id)

    failures = cells.unmet(store.failures(), records)
    if name == SR:
        return sr_table.sheets(records, failures)
    if name == TUNED:
        return tuned.sheets(published.sweeps(store.warn), store.counted(records), right)
    if name == CLAIMS:
        return claims_table.sheets(claims.installed(store.warn), records, right, failures)
    wanted = [name] if name else registry.installed(published.TABLES)
    sources, records = [published.table(one) for one in wanted], store.counted(records)
    return [sheet(filled) for source in sources for filled in fill(source, records, right, failures)]


def text(name: str | None, store: Store, style: str) -> str:
    """The tables of `sheets` in one of lrbench.report.formats's formats. Raises UserError."""
    if name == LEADERBOARD:
        from lrbench.report import leaderboard

        return leaderboard.text(store, style)
    return as_text(sheets(name, store), style)

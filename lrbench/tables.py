"""The tables that `lrbench table` knows: the published ones, and `sr`, the quality of restored images."""

from __future__ import annotations

from lrbench import published, registry, sr_table
from lrbench.errors import unknown
from lrbench.render import sheet
from lrbench.sheet import Sheet
from lrbench.store import Store
from lrbench.table import fill

SR = "sr"


def sheets(name: str | None, store: Store) -> list[Sheet]:
    """A table by name, or all published ones, filled from a store, once for each protocol. Raises UserError."""
    names = registry.installed(published.TABLES)
    if name == SR:
        return sr_table.sheets(store.records())
    if name is not None and name not in names:
        raise unknown("table", name, [*names, SR])
    sources = [published.table(one) for one in ([name] if name else names)]
    records = store.records()
    return [sheet(filled) for source in sources for filled in fill(source, records, store.predictions)]

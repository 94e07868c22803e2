"""The tables that `lrbench table` knows: the published ones, and `sr`, the quality of restored images."""

from __future__ import annotations

from lrbench import published, registry, sr_table
from lrbench.errors import unknown
from lrbench.render import sheet
from lrbench.sheet import Sheet
from lrbench.store import Store
from lrbench.table import fill

SR = "sr"


def names() -> list[str]:
    """Of all tables."""
    return [*registry.installed(published.TABLES), SR]


def sheets(name: str | None, store: Store) -> list[Sheet]:
    """A table by name, or all published ones, filled from a store, once for each protocol. Raises UserError."""
    if name == SR:
        return sr_table.sheets(store.records())
    if name is not None and name not in names():
        raise unknown("table", name, names())
    wanted = [name] if name else registry.installed(published.TABLES)
    sources = [published.table(one) for one in wanted]
    records = store.records()
    return [sheet(filled) for source in sources for filled in fill(source, records, store.right)]

"""The tables that `lrbench table` knows: the published ones, and those that are made of what was run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from lrbench.errors import UserError, did_you_mean, unknown
from lrbench.method import registry
from lrbench.report import claims, claims_table, filled, frame, leaderboard, published, sr, table, tuned
from lrbench.report.compare import Right
from lrbench.report.formats import Tables
from lrbench.store import Store

LEADERBOARD, SR, TUNED, CLAIMS = "leaderboard", "sr", "tuned", "claims"
Note = Callable[[str], None]


def names() -> list[str]:
    """Of all tables."""
    return [*registry.installed(published.TABLES), LEADERBOARD, SR, TUNED, CLAIMS]


def asked(
    name: str | None,
    results: pd.DataFrame,
    store: Store,
    datasets: Sequence[str],
    renamed: Mapping[str, str],
    backbones: Sequence[str] = (),
    long: bool = False,
) -> Tables:
    """`tables` of a store's results, of some datasets and backbones, all where empty; the newest unless `long`.

    renamed: in published tables and claims, old -> the dataset in its place. Raises UserError, naming the nearest.
    """
    _check(name)
    check_renamed(name, renamed, results, store)
    if datasets or backbones:
        chosen = frame.chosen(results, store, dataset=datasets, backbone=backbones)
        results = frame.chosen(results, store, dataset=datasets) if name == LEADERBOARD else chosen
    found = tables(name, results, store.right, store.warn, long, renamed, backbones)
    return found if long else found.newest


def check_renamed(name: str | None, renamed: Mapping[str, str], results: pd.DataFrame, store: Store) -> None:
    """Raise UserError, naming the nearest, for an old dataset that is in no column, and a new one that has no run."""
    for old, new in renamed.items():
        if old not in (known := _replaceable(name, store.warn)):
            here = "no published table has" if name is None else f"table {name} has no"
            tail = did_you_mean(old, known) if known else "published tables and claims have some"
            raise UserError(f"{here} dataset '{old}' to replace; {tail}")
        frame.chosen(results, store, dataset=[new])


def _check(name: str | None) -> None:
    if name is not None and name not in names():
        raise unknown("table", name, names())


def _replaceable(name: str | None, note: Note) -> list[str]:
    """The datasets that another may stand in for: of a published table, of all of them for None, or of the claims."""
    every = published.tables(note)
    found = [dataset for other, one in every.items() if name in (None, other) for dataset, _, _ in one.columns]
    if name == CLAIMS:
        found = [pair.dataset for one in claims.installed(note) for pair in one.pairs]
    return list(dict.fromkeys(found))


def tables(
    name: str | None,
    results: pd.DataFrame,
    right: Right,
    note: Note = lambda message: None,
    long: bool = False,
    renamed: Mapping[str, str] | None = None,
    backbones: Sequence[str] = (),
) -> Tables:
    """A table by name, or all published ones, filled from a frame of results, once for each set of conditions.

    right: id of a run -> which test images it got right; note: told of a plugin that does not load; long: with all the
    columns and notes that there are; renamed: in published tables and claims, old -> the one in its place;
    backbones: those that a leaderboard shows, whose intervals rest on all of its runs. Raises UserError, naming the
    nearest, for a name that there is not.
    """
    renamed = renamed or {}
    _check(name)
    if name == LEADERBOARD:
        return Tables(leaderboard.leaderboards(results, right, leaderboard.references(note), long, backbones))
    if name == SR:
        return Tables(sr.tables(results))
    if name == TUNED:
        return Tables(tuned.tables(published.sweeps(note), results, right))
    if name == CLAIMS:
        return Tables(claims_table.tables([one.on(renamed) for one in claims.installed(note)], results, right))
    sources = [one.on(renamed) for one in ([published.table(name)] if name else published.tables(note).values())]
    return Tables(table.table(one, long) for source in sources for one in filled.fill(source, results, right))

"""Ways of training under headings: what may be looked at side by side, seeds together."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lrbench.method import naming
from lrbench.report import frame, sr
from lrbench.report.formats import HR_MARK
from lrbench.report.frame import DIVERGED
from lrbench.report.ways import ROW, shown


def headings(results: pd.DataFrame) -> dict[tuple[str, str], dict[str, pd.DataFrame]]:
    """(images, protocol) in words -> label -> runs of one way of training, by seed.

    As in tables: of several versions the newest is there, and HR runs stand under every heading of their dataset. SR
    nets share a heading where they restore the same images.
    """
    found: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    for table in frame.tables(results):
        rows = [shown(same) for _, same in table.groupby(ROW, dropna=False)]
        there = [runs for runs in rows if len(runs)]
        if there:
            images = f"{table.iloc[0]['dataset']} {frame.size(table)}".strip()
            found[images, frame.conditions(table.iloc[0])] = dict(zip(_labels(there), there, strict=True))
    for test in sr.tests(results):
        found["Restoration", sr.about(test.iloc[0])] = sr.named(test)
    return found


def drawn(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs whose curves are drawn together: those that did not diverge, or all where all did."""
    kept = runs[runs["status"] != DIVERGED]
    return kept if len(kept) else runs


def said(label: str, runs: pd.DataFrame) -> str:
    """A label, and how many of the runs diverged, where one did."""
    diverged = int((runs["status"] == DIVERGED).sum())
    return f"{label}, {diverged} of {len(runs)} diverged" if diverged else label


def marked(label: str, runs: pd.DataFrame) -> str:
    """The same, with a mark behind it if the runs were trained and tested on HR images."""
    return said(label, runs) + (f" {HR_MARK}" if runs.iloc[0]["tested_on"] == "hr" else "")


def _labels(found: Sequence[pd.DataFrame]) -> list[str]:
    """Of ways of training; with the id of a run where two would have one label, as where methods share a name."""
    firsts = [runs.iloc[0] for runs in found]
    names = [f"{run['name']} ({naming.network(run['backbone'], run['width'])})" for run in firsts]
    return [f"{one} [{run['id']}]" if names.count(one) > 1 else one for one, run in zip(names, firsts, strict=True)]

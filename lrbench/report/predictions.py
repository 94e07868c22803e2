"""The stored predictions as CSV: what every number of a table can be recomputed from.

A line for each test image of each run: `run`, the id that a table's `runs` name; `index`, the image's place among the
tested ones, the same for every run that was put to the same test; `label` and `predicted`, numbers of classes.
"""

from __future__ import annotations

import itertools
from codecs import StreamWriter
from collections.abc import Iterable
from typing import IO

import pandas as pd

from lrbench.errors import UserError
from lrbench.report.filled import fill
from lrbench.report.frame import FAILED, RESTORES
from lrbench.report.published import table
from lrbench.report.ways_by_name import find
from lrbench.store import Store


def choose(results: pd.DataFrame, names: Iterable[str], tables: Iterable[str]) -> list[str]:
    """The ids of the runs of experiments and of tables, by name, each once; where nothing is named all of one's own.

    Raises UserError, naming the nearest.
    """
    names, sources = list(names), [table(name) for name in tables]
    chosen = [runs["id"] for name in names for runs in find([name], results)]
    chosen += [row.runs["id"] for source in sources for filled in fill(source, results) for row in filled.rows]
    if not names and not sources:
        own = results[(results["backbone"] != RESTORES) & (results["status"] != FAILED) & results["origin"].isna()]
        chosen = [own["id"]]
    ids = list(dict.fromkeys(itertools.chain(*chosen)))
    if not ids:
        raise UserError("there is no run yet whose predictions could be written; start with 'lrbench run'")
    return ids


def write(ids: Iterable[str], store: Store, file: IO[str] | StreamWriter) -> int:
    """Write the predictions of runs, one run in memory at a time; returns the number of lines below the head."""
    file.write("run,index,label,predicted\n")
    count = 0
    for run in ids:
        shown = store.predictions(run)
        for index, (label, predicted) in enumerate(
            zip(shown["label"].tolist(), shown["predicted"].tolist(), strict=True)
        ):
            file.write(f"{run},{index},{label},{predicted}\n")
        count += len(shown["label"])
    return count

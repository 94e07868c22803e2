"""The table of what runs cost: size, arithmetic, speed, time and memory, seeds together."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lrbench.report.formats import SHORT_HR, Table
from lrbench.report.frame import CONDITIONS, column
from lrbench.report.headings import headings, marked
from lrbench.report.ways import DASH, joined

TITLE = "Cost"
COLUMNS = {  # column of the frame -> its title, the factor to what is shown, how seeds become one number, decimals
    "parameters": ("parameters (M)", 1e-6, "max", 3),
    "macs": ("MACs (M)", 1e-6, "max", 1),
    "epochs_in_weights": ("epochs in weights", 1, "max", 0),
    "images_per_second": ("images/s", 1, "mean", 0),
    "train_seconds": ("minutes", 1 / 60, "mean", 1),
    "peak_memory_mib": ("peak memory (MiB)", 1, "max", 0),
}
NOTES = [
    "parameters: those that the run itself trained; MACs: multiply-accumulates of one test image, from LR on.",
    "images/s and minutes: of this run's own training, without the runs that it needed; means over seeds.",
    "peak memory: of the GPU, or on a CPU of the whole process; the largest of the seeds.",
    f"{SHORT_HR}.",
    "Seeds that ran on different devices have a line for each device.",
]


def tables(results: pd.DataFrame) -> list[Table]:
    """A table for each of `headings`."""
    every = results.set_index("id", drop=False)
    measured = every.reindex(columns=list(COLUMNS)).apply(pd.to_numeric)
    every = every.assign(device=column(every, "env.device").astype(object).fillna(DASH), **measured)
    return [_table(heading, found, every) for heading, found in headings(results).items()]


def _table(heading: tuple[str, str], found: Mapping[str, pd.DataFrame], every: pd.DataFrame) -> Table:
    runs = pd.concat([every.loc[runs["id"]].assign(row=marked(label, runs)) for label, runs in found.items()])
    measured = {name: (name, how) for name, (_, _, how, _) in COLUMNS.items()}
    of_seeds = {"n": ("id", "size"), "seeds": ("seed", joined), "runs": ("id", joined)}
    shared = {name: (name, "first") for name in (*CONDITIONS, "size")}
    lines = runs.groupby(["row", "device"], sort=False).agg(**shared, **measured, **of_seeds).reset_index()
    numbers = {
        title: [DASH if pd.isna(one) else f"{one * factor:,.{digits}f}" for one in lines[name]]
        for name, (title, factor, _, digits) in COLUMNS.items()
    }
    shown = pd.DataFrame({"": lines["row"], **numbers, "device": lines["device"], "runs": lines["n"].astype(str)})
    behind = shown.map(lambda text: ()).assign(**{"": lines["runs"].str.split().map(tuple)})
    return Table(TITLE, ": ".join(heading), shown, NOTES, lambda: lines.assign(table=TITLE), behind)

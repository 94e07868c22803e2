"""`lrbench table leaderboard`: every way of training that was run, best first, beside its control of equal budget."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lrbench.report import frame, notes, published
from lrbench.report.compare import SEEDS, Right, family, numbers
from lrbench.report.formats import ABOUT_HR, HR_MARK, SHORT_HR, Table
from lrbench.report.frame import CONDITIONS, FAILED
from lrbench.report.ways import (
    DASH,
    Defaults,
    Runs,
    comparison,
    control,
    fixed,
    gain,
    joined,
    score,
    summary,
    validation,
)
from lrbench.spec import PROTOCOL

TITLE = "Leaderboard"
HELD_OUT = "held-out %"  # a column
MARK = "§"  # of a gain whose interval leaves out 0
NONE_YET = "Nothing has been run yet; start with `lrbench run --method NAME --dataset NAME`."


def leaderboards(
    results: pd.DataFrame, right: Right, references: Sequence[str], long: bool = False, backbones: Sequence[str] = ()
) -> list[Table]:
    """One for each set of conditions: the newest protocol first, of one protocol that of most ways of training.

    references: the methods that gains are measured against. long: with what is deployed and cost, and the teachers.
    backbones: those to show; all where empty. All are compared together: an interval is the same whatever is shown.
    """
    usual = frame.defaults(results)
    split = sorted(frame.tables(results), key=lambda one: (-one.iloc[0]["protocol"], -one["experiment"].nunique()))
    shown = [table for table in split if not backbones or table["backbone"].isin(backbones).any()]
    found = [_table(table, results, right, references, usual, long, backbones) for table in shown]
    return found or [Table(TITLE, "no run yet", pd.DataFrame(), [NONE_YET])]


def references(note: Callable[[str], None] = lambda message: None) -> list[str]:
    """The methods that installed tables measure gains against; `note` is told of a table that does not load."""
    return list(dict.fromkeys(one.reference for one in published.tables(note).values() if one.reference))


def board(table: pd.DataFrame, right: Right, references: Sequence[str], usual: Defaults) -> pd.DataFrame:
    """A row per way of training of one of frame.tables, best first; percentages and percentage points.

    `name` is what it is called where its network is known, `row` names the network, too.
    """
    tested = table[table["status"] != FAILED].sort_values("seed")
    if not len(tested):
        return pd.DataFrame()
    there = Runs(tested, usual)
    ways = [runs for _, runs in tested.groupby("experiment", sort=False)]
    alone, about = [], []
    for runs in ways:
        on_hr = runs.iloc[0]["tested_on"] == "hr"
        reference, others = (None, there.nothing) if on_hr else control(runs, there, references)
        one = comparison(runs, others, right)
        compared = others[others["seed"].isin(one.seeds if one else ())]
        said = {"reference": reference, "reference_precision": joined(others["precision"].unique())}
        about.append(said | {"control_runs": joined(compared["id"])})
        alone.append(one)
    made = []
    for runs, said, gained in zip(ways, about, family(alone), strict=True):
        first = runs.iloc[0]
        low, high = gained.interval if gained else (0.0, 0.0)
        mark = {"control_mark": MARK if gained and gained.of_ways and (low > 0 or high < 0) else ""}
        place = {"table": TITLE, "size": frame.size(table), **{name: first[name] for name in CONDITIONS}}
        named = {"row": first["name"], "name": first["name"], "id": first["id"]}
        made.append(place | named | summary(runs) | validation(runs) | said | numbers("control", gained) | mark)
    found = pd.DataFrame(made)
    widths = found["width"].nunique() > 1
    found["row"] += [f" ({row.backbone}{f' x{row.width:g}' if widths else ''})" for row in found.itertuples()]
    for told_by in ("version", "precision", "id"):  # ways of one name are told apart
        for _, same in found.groupby("row"):
            if same[told_by].nunique() > 1:
                for column in ("row", "name"):
                    found.loc[same.index, column] += [f" [{value}]" for value in same[told_by]]
    best = "val_top1_mean" if found["val_top1_mean"].notna().any() else "top1_mean"  # the test set chooses nothing
    return found.sort_values([best, "row"], ascending=[False, True], na_position="last", ignore_index=True)


def kind(way: Mapping[str, Any]) -> str:
    """Of a row of `board`: whether its gain is "more" or "less" by its mark, or "undecided"; empty without a gain."""
    if pd.isna(way["control_gain"]):
        return ""
    return "undecided" if not way["control_mark"] else "more" if way["control_gain"] > 0 else "less"


def _table(
    table: pd.DataFrame,
    results: pd.DataFrame,
    right: Right,
    references: Sequence[str],
    usual: Defaults,
    long: bool,
    backbones: Sequence[str],
) -> Table:
    ways = board(table, right, references, usual)
    if backbones:
        table, ways = (one[one["backbone"].isin(backbones)] if len(one) else one for one in (table, ways))
    first, widths = table.iloc[0], table["width"].unique()
    title = f"{TITLE}: {first['dataset']} {frame.size(table)}"
    title += f", protocol {first['protocol']}" if first["protocol"] != PROTOCOL else ""
    about = frame.conditions(first) + (f", width {widths[0]:g}" if len(widths) == 1 else "")
    rows = ways.to_dict("records")
    gains = [f"{gain(row, 'control')} {row['control_mark']}".rstrip() for row in rows]
    columns = [
        ("", [row["row"] + (f" {HR_MARK}" if row["tested_on"] == "hr" else "") for row in rows], None),
        ("top-1 %", [score(row) for row in rows], [f"{row['runs']} {row['diverged_runs']}" for row in rows]),
        ("gain", gains, [row["control_runs"] for row in rows]),
    ]
    if len(ways) and ways["val_top1_mean"].notna().any():
        held = [DASH if pd.isna(row["val_top1_mean"]) else score(row, "val_top1") for row in rows]
        columns.append((HELD_OUT, held, None))
    if long or (len(ways) and ways["epochs_in_weights"].nunique() > 1):
        columns.insert(1, ("epochs", [str(row["epochs_in_weights"]) for row in rows], None))
    if long:
        columns += [
            ("teacher", [fixed(row["teacher_top1"]) for row in rows], None),
            ("params", [fixed(row["parameters"] and row["parameters"] / 1e6, digits=3) for row in rows], None),
            ("MACs", [fixed(row["macs"] and row["macs"] / 1e6, digits=1) for row in rows], None),
            ("min", [fixed(row["minutes"], digits=1) for row in rows], None),
        ]
    legend = _legend(ways, {name for name, *_ in columns}, results) if len(ways) else ()
    protocol, caption = int(first["protocol"]), _caption(ways) if len(ways) else ""
    return Table.of(title, about, columns, _notes(table, ways, results), lambda: ways, legend, protocol, caption)


def _notes(table: pd.DataFrame, ways: pd.DataFrame, results: pd.DataFrame) -> Iterator[str]:
    if len(ways):
        usual, *others = ways["precision"].value_counts().index
        named = [f"{one} in {', '.join(ways.loc[ways['precision'] == one, 'row'])}" for one in others]
        yield f"Precision: {'; '.join([usual, *named])}."
        compared = ways[ways["control_gain"].notna()]
        for row in compared[compared["precision"] != compared["reference_precision"]].itertuples():
            both = f"{row.precision}, its control in {row.reference_precision}"
            yield f"Compared across precisions: {row.row} in {both}."
        yield from notes.differing_weights(table, results)
        yield from notes.origins(table)
    yield from notes.failed(frame.failures_of(results, table))


def _caption(ways: pd.DataFrame) -> str:
    said = {
        "in brackets the number of seeds": True,
        "gain: points over the control of equal budget, with the 95% interval": ways["control_gain"].notna().any(),
        f"{MARK}: which leaves out 0, of {SEEDS} seeds or more": (ways["control_mark"] != "").any(),
        SHORT_HR: (ways["tested_on"] == "hr").any(),
    }
    return "; ".join(text for text, there in said.items() if there)


def _legend(ways: pd.DataFrame, columns: Container[str], results: pd.DataFrame) -> Iterator[str]:
    yield (
        "top-1 %: mean ± sample standard deviation over seeds (number of seeds). A seed that diverged stands in no "
        "mean and in no gain."
    )
    for method in ways["reference"].dropna().unique():
        label = results.loc[results["method"] == method, "label"].iloc[0]
        yield (
            f"gain: points over the {label} of equal budget, which has the row's settings, network and epochs, over "
            "the seeds that both have (their number), and its 95% interval: the wider of Student's t over seeds, its "
            "spread pooled over the gains of this table and no less than the test images give, and the bootstrap over "
            f"seeds and images. p of all are in the CSV. Marked {MARK}: the interval leaves out 0, and there are "
            f"{SEEDS} seeds or more. Nothing is corrected for the number of rows: where nothing differs, 1 of 20 "
            "intervals leaves out 0."
        )
    said = {
        HELD_OUT: "top-1 on training images held out. Settings are chosen by it: the best stands first.",
        "epochs": "all that went into the weights; rows of more epochs were trained longer.",
        "teacher": "its top-1 % on HR images, the mean over seeds.",
        "params": "millions, of all that is deployed.",
        "MACs": "millions, of one test image.",
        "min": "of its own training, on whatever machine it ran.",
    }
    yield from (f"{name}: {about}" for name, about in said.items() if name in columns)
    if (ways["tested_on"] == "hr").any():
        yield ABOUT_HR
    if "teacher" not in columns:
        yield "`lrbench table leaderboard --long` has the teachers' scores, what is deployed and what it cost."

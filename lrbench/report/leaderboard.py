"""`lrbench table leaderboard`: every way of training that was run, best first, beside its control of equal budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Any

import pandas as pd

from lrbench.errors import UserError
from lrbench.method import naming, registry
from lrbench.report import cells, frame, published, stats
from lrbench.report.compare import SEEDS, Comparison, family
from lrbench.report.formats import DASH, HR_MARK, Sheet, fixed, render
from lrbench.report.frame import CONDITIONS, DIVERGED, DONE, FAILED, column
from lrbench.report.gain import MARK, Right, comparison, control_of, joined, numbers
from lrbench.report.needed import Known, differing_weights
from lrbench.spec.runspec import PROTOCOL, RunSpec
from lrbench.store.store import Store

TITLE = "Leaderboard"
LINE = 120  # characters of a line of Markdown
HEAD = ["", "epochs", "top-1 %", "gain", "teacher", "params", "MACs", "min"]
MEASURED = ["top1", "epochs_in_weights", "predicted_classes", "deployed", "macs", "train_seconds"]
USED = ["id", "experiment", "name", "seed", "status", *CONDITIONS, "method", "version", "config", "backbone", "width"]
USED += [
    "precision",
    "tested_on",
    "teacher_top1",
    *MEASURED,
    "env.device",
    "env.finished",
]  # a narrow frame is a quick one
NONE_YET = "Nothing has been run yet; start with `lrbench run --method NAME --dataset NAME`."


def text(store: Store, style: str) -> str:
    """The leaderboards of a store in one of lrbench.report.formats's formats."""
    shown, boards = of_store(store)
    if style == "csv":
        return str(boards.to_csv(index=False, lineterminator="\n"))
    if style == "json":
        return boards.to_json(orient="records", indent=1) + "\n"
    return render([replace(one, lines=_wrapped(one)) for one in shown] if style == "md" else shown, style)


def of_store(store: Store) -> tuple[list[Sheet], pd.DataFrame]:
    """The leaderboards to be read, and their numbers: a row per way of training."""
    records = {record.id: record for record in store.counted(store.records())}
    results = frame.frame(records.values(), cells.unmet(store.failures(), records.values()))
    methods = references(store.warn)
    contents = cells.changed(records.values())
    sheets, boards = [], []
    for table in frame.tables(results):
        board = leaderboard(table, store.right, methods)
        sheets.append(_sheet(table, board, frame.failures(results, table), contents, records))
        boards.append(board)
    filled = [board for board in boards if len(board)]
    whole = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=["table"])
    return sheets or [Sheet(TITLE, "no run yet", HEAD, [], [NONE_YET], [])], whole


def references(warn: Callable[[str], None] = lambda message: None) -> list[str]:
    """The methods that installed tables measure gains against."""
    found = []
    for name in registry.installed(published.TABLES):
        try:
            found.append(published.table(name).reference)
        except UserError as error:
            warn(str(error))
    return list(dict.fromkeys(one for one in found if one))


def leaderboard(table: pd.DataFrame, right: Right, methods: Sequence[str]) -> pd.DataFrame:
    """A row per way of training of one of frame.tables, best first; percentages and percentage points."""
    tested = pd.DataFrame({name: column(table, name) for name in USED})[table["status"] != FAILED].sort_values("seed")
    candidates = tested[tested["method"].isin(methods)].sort_values("env.finished")
    ways = tested.groupby("experiment", sort=False)
    rows = [_row(runs, candidates, right, methods) for _, runs in ways]
    together = iter(family([gain for _, gain in rows if gain]))
    board = pd.DataFrame([row | numbers(next(together) if gain else None) for row, gain in rows])
    if board.empty:
        return board
    board.insert(1, "size", _size(table))
    widths = board["width"].nunique() > 1
    board["row"] += [f" ({row.backbone}{f' x{row.width:g}' if widths else ''})" for row in board.itertuples()]
    for told_by in ("version", "precision", "id"):  # ways of one name are told apart
        for _, same in board.groupby("row"):
            if same[told_by].nunique() > 1:
                board.loc[same.index, "row"] += [f" [{value}]" for value in same[told_by]]
    board = board.sort_values(["top1_mean", "row"], ascending=[False, True], na_position="last", ignore_index=True)
    return board.convert_dtypes()


def _row(
    runs: pd.DataFrame, candidates: pd.DataFrame, right: Right, methods: Sequence[str]
) -> tuple[dict[str, Any], Comparison | None]:
    """A way of training, and its gain over its control."""
    first, done, diverged = runs.iloc[0], runs[runs["status"] == DONE], runs[runs["status"] == DIVERGED]
    measured = done if len(done) else runs
    summary = stats.summarise(list(done["top1"])) if len(done) else None
    on_hr = first["tested_on"] == "hr"
    reference, control = (None, candidates[:0]) if on_hr else control_of(first, measured, candidates, methods)
    row = {
        "table": TITLE,
        **{name: first[name] for name in CONDITIONS},
        "row": first["name"],
        **{name: first[name] for name in ("method", "version", "config", "backbone", "width")},
        **{name: first[name] for name in ("precision", "tested_on", "id")},
        "epochs_in_weights": measured["epochs_in_weights"].max(),
        "top1_mean": summary and round(summary.mean, 6),
        "top1_sd": summary and summary.sd and round(summary.sd, 6),
        "n": len(done),
        "teacher_top1": _mean(measured["teacher_top1"]),
        "diverged": len(diverged),
        "one_class": int((runs["predicted_classes"] == 1).sum()),
        "reference": reference,
        "reference_precision": " ".join(control["precision"].unique()),
        "parameters": measured["deployed"].max(),
        "macs": measured["macs"].max(),
        "minutes": round(measured["train_seconds"].mean() / 60, 3),
        "devices": "; ".join(measured["env.device"].dropna().unique()),
        "seeds": joined(done["seed"]),
        "runs": joined(done["id"]),
        "diverged_runs": joined(diverged["id"]),
    }
    gain = comparison(runs, control, right)
    seeds = gain.seeds if gain else ()
    return row | {"control_runs": joined(control.set_index("seed").loc[list(seeds), "id"])}, gain


def _mean(values: pd.Series) -> float | None:
    known = pd.to_numeric(values).dropna()
    return round(float(known.mean()), 4) if len(known) else None


def _sheet(table: pd.DataFrame, board: pd.DataFrame, failed: pd.DataFrame, contents: set[str], known: Known) -> Sheet:
    first, widths = table.iloc[0], sorted(set(table["width"]))
    title = f"{TITLE}: {first['dataset']} {_size(table)}"
    title += f", protocol {first['protocol']}" if first["protocol"] != PROTOCOL else ""
    about = _conditions(first, contents) + (f", width {widths[0]:g}" if len(widths) == 1 else "")
    long_form = json.loads(board.to_json(orient="records"))
    notes = list(_notes(table, board, failed, known))
    return Sheet(title, about, HEAD, [_line(row) for row in long_form], notes, long_form)


def _size(table: pd.DataFrame) -> str:
    """Of the images of a table, in which runs on HR images may stand too; the scale where nothing is known of them."""
    known = table.loc[table["scale"].isna() | (table["tested_on"] == "lr"), "size"].dropna()
    return str(known.iloc[0]) if len(known) else f"x{table.iloc[0]['scale']:g}"


def _wrapped(one: Sheet) -> list[list[str]]:
    """A sheet's lines, names that would make it wider than LINE going on in a line of their own."""
    widths = [max(len(line[place]) for line in (HEAD, *one.lines)) for place in range(1, len(HEAD))]
    left, rest = max(20, LINE - sum(width + 3 for width in widths) - 4), [""] * len(widths)
    parts = [
        (wrap(name, left, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False), numbers)
        for name, *numbers in one.lines
    ]
    return [[part, *(rest if number else numbers)] for names, numbers in parts for number, part in enumerate(names)]


def _conditions(run: pd.Series, contents: set[str]) -> str:
    """What all rows share, in words: a field of the spec that has none of its own by its name, if not as usual."""
    images = ["all" if pd.isna(run[f"limit_{part}"]) else f"{run[f'limit_{part}']:,.0f}" for part in ("train", "test")]
    said = {
        "protocol": f"{run['protocol']}",
        "recipe": f"recipe {run['recipe']}",
        "recipe.epochs": naming.in_epochs(run["recipe.epochs"]),
        "recipe.batch_size": f"batches of {run['recipe.batch_size']}",
        "limit_train": f"{images[0]} training and {images[1]} test images",
        "degradation": run["degradation"] if isinstance(run["degradation"], str) else "",
        "select": cells.SELECTED.get(run["select"], run["select"]),
        "content": f"content {run['content']}" if run["dataset"] in contents else "",
        **dict.fromkeys(("dataset", "scale", "limit_test"), ""),
    }
    for field in CONDITIONS:
        usual = field in said or pd.isna(run[field]) or run[field] == RunSpec.model_fields[field].default
        said.setdefault(field, "" if usual else f"{field} {run[field]}")
    return ", ".join(text for text in said.values() if text)


def _line(row: dict[str, Any]) -> list[str]:
    compared = DASH
    if row["gain"] is not None:
        ends = f"{row['gain_low']:+.2f}, {row['gain_high']:+.2f}"
        seeds = f"{row['gain_n']}{'; {} diverged'.format(row['gain_diverged']) if row['gain_diverged'] else ''}"
        compared = f"{row['gain']:+.2f} [{ends}] ({seeds}) {row['gain_mark']}".rstrip()
    return [
        row["row"] + (f" {HR_MARK}" if row["tested_on"] == "hr" else ""),
        str(row["epochs_in_weights"]),
        _top1(row),
        compared,
        fixed(row["teacher_top1"]),
        *(fixed(row[name] and row[name] / 1e6, digits=digits) for name, digits in (("parameters", 3), ("macs", 1))),
        fixed(row["minutes"], digits=1),
    ]


def _top1(row: dict[str, Any]) -> str:
    """Such as "66.12 ± 0.31 (2 of 3; 1 diverged)"."""
    n, diverged, one_class = row["n"], row["diverged"], row["one_class"]
    counts = [f"{n} of {n + diverged}", f"{diverged} diverged"] if diverged else [str(n)]
    if one_class:
        of = "" if one_class == n + diverged else f" in {one_class}"
        counts.append(f"predicts one class{of}")
    spread = "" if row["top1_sd"] is None else f" ± {row['top1_sd']:.2f}"
    return f"{fixed(row['top1_mean'])}{spread} ({'; '.join(counts)})"


def _notes(table: pd.DataFrame, board: pd.DataFrame, failed: pd.DataFrame, known: Known) -> Iterator[str]:
    if len(board):
        diverged = " A seed that diverged stands in no mean and in no gain." if board["diverged"].any() else ""
        yield f"top-1 %: mean ± sample standard deviation over seeds (number of seeds).{diverged}"
        yield (
            "epochs: all that went into the weights; rows of more epochs were trained longer. params: millions, of all "
            "that is deployed. MACs: millions, of one test image. min: of its own training, on whatever machine it ran."
        )
        yield from _about_gains(board[board["gain"].notna()])
        if board["teacher_top1"].notna().any():
            yield "teacher: its top-1 % on HR images, the mean over seeds."
        if (board["tested_on"] == "hr").any():
            yield f"{HR_MARK} trained and tested on HR images: an upper reference, not a competitor."
        usual, *others = board["precision"].value_counts().index
        named = [f"{one} in {', '.join(board.loc[board['precision'] == one, 'row'])}" for one in others]
        yield f"Precision: {'; '.join([usual, *named])}."
        yield from differing_weights([known[run] for run in table["id"] if run in known], known)
    for run in failed.itertuples():
        network = "" if run.backbone == frame.RESTORES else f" ({run.backbone})"
        yield f"Failed, and missing here: {run.name}{network}, seed {run.seed} [{run.id}]: {run.why}"


def _about_gains(compared: pd.DataFrame) -> Iterator[str]:
    for method in compared["reference"].unique():
        yield (
            f"gain: points over the {cells.label(method)} of equal budget, which has the row's settings, network and "
            "epochs, over the seeds that both have (their number), and its 95% interval: the wider of Student's t over "
            "seeds, its spread pooled over the gains of this table and no less than the test images give, and the "
            "bootstrap over seeds and images; a paired t-test of three seeds alone is a lottery. "
            f"p of all are in the CSV. Marked {MARK}: the interval leaves out 0, and there are {SEEDS} seeds or "
            "more. Nothing is corrected for the number of rows: where nothing differs, 1 of 20 intervals leaves out 0."
        )
    for row in compared[compared["precision"] != compared["reference_precision"]].itertuples():
        both = f"{row.precision}, its control in {row.reference_precision}"
        yield f"Compared across precisions: {row.row} in {both}."

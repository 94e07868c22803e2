"""A setting of a method chosen three ways: as its paper has it, by validation, and, as one must not, by the test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrbench.report import frame, notes
from lrbench.report.compare import Comparison, Right, family, numbers
from lrbench.report.formats import Table
from lrbench.report.frame import CONDITIONS, DIVERGED
from lrbench.report.published import PublishedSweep
from lrbench.report.sweep import Sweep, sweeps
from lrbench.report.ways import DASH, comparison, gain, joined, score, summary, validation

NOT_SO = "(!)"  # what one must not do
WAYS = {"paper": "the paper's", "validation": "by validation", "test": f"best by test {NOT_SO}"}


@dataclass(frozen=True)
class Choice:
    """One way to choose: the value, or None where it cannot be chosen, and its runs, which may be none.

    others: what it is compared with, the runs of the reference and of its control, at its own precision if run at it.
    """

    way: str  # of WAYS
    value: float | None
    runs: pd.DataFrame
    others: tuple[pd.DataFrame, pd.DataFrame]


def choices(one: Sweep) -> list[Choice]:
    """The three ways. Means are compared over the seeds that all values have; of equal ones the smallest value wins.

    The smallest, because it changes the plain loss least. A value at which a run diverged is not chosen.
    """
    shared = {value: runs for value, runs in _comparable(one).items() if len(runs)}
    measured = {
        value: mean for value, runs in shared.items() if (mean := validation(runs)["val_top1_mean"]) is not None
    }
    chosen = {
        "paper": one.source.chosen,
        "validation": _best(measured if len(measured) == len(shared) else {}),
        "test": _best({value: summary(runs)["top1_mean"] for value, runs in shared.items()}),
    }
    made, nothing = [], one.table.nothing
    for way, value in chosen.items():
        runs = nothing if value is None else one.points.get(value, nothing)
        made.append(
            Choice(way, value, runs, one.others(runs.iloc[0]["precision"]) if len(runs) else (nothing, nothing))
        )
    return made


def _comparable(one: Sweep) -> dict[float, pd.DataFrame]:
    """The values at which no run diverged, each with its runs of the seeds that all these values have."""
    points = {value: runs for value, runs in one.points.items() if not (runs["status"] == DIVERGED).any()}
    seeds = set.intersection(*(set(runs["seed"]) for runs in points.values())) if points else set()
    return {value: runs[runs["seed"].isin(seeds)] for value, runs in points.items()}


def _best(scores: Mapping[float, float]) -> float | None:
    return min(scores, key=lambda value: (-scores[value], value), default=None)


def tables(sources: Iterable[PublishedSweep], results: pd.DataFrame, right: Right) -> list[Table]:
    """A table for each protocol and place of each sweep of two values or more; an empty one where there is none."""
    found = []
    for source in sources:
        for group in sweeps(source, results):
            several = [one for one in group if len(one.points) > 1]
            if several:
                found.append(_table(several, right))
    return found or [Table("Tuned", "no run yet", pd.DataFrame(), ["No setting has been run at two values or more."])]


def _table(group: Sequence[Sweep], right: Right) -> Table:
    source = group[0].source
    rows = [(one, choice) for one in group for choice in choices(one)]
    alone: dict[tuple[str, str], Comparison | None] = {}  # one value may be chosen twice
    for _, choice in rows:
        for ids, runs in zip(_ids(choice), choice.others, strict=True):
            alone.setdefault(ids, comparison(choice.runs, runs, right))
    made = dict(zip(alone, family(list(alone.values())), strict=True))
    compared = [[made[ids] for ids in _ids(choice)] for _, choice in rows]
    flat = [_flat(*row, *of_row) for row, of_row in zip(rows, compared, strict=True)]
    _, label = group[0].labels
    columns = [
        ("", [row["row"] for row in flat], None),
        (source.symbol, [DASH if row["value"] is None else f"{row['value']:g}" for row in flat], None),
        ("of", [str(len(one.points)) for one, _ in rows], None),
        ("validation", [score(row, "val_top1") if row["val_top1_mean"] else DASH for row in flat], None),
        ("test", [score(row) for row in flat], [joined(choice.runs["id"]) for _, choice in rows]),
        (f"vs {label}", [gain(row, "reference") for row in flat], None),
    ]
    if any(control for _, control in compared):
        columns.append(("vs its control", [gain(row, "control") for row in flat], None))
    with_others = {
        row["row"]: pd.concat([choice.runs, *choice.others]) for row, (_, choice) in zip(flat, rows, strict=True)
    }
    return Table.of(
        f"Tuned: {group[0].run['label']} on {group[0].place}, {source.symbol} chosen three ways",
        frame.conditions(group[0].run),
        columns,
        [*_notes(group), *notes.precisions(with_others), *notes.origins(pd.concat(with_others.values()))],
        lambda: pd.DataFrame(flat),
        _legend(source.symbol, label),
        caption=f"in brackets the number of seeds; {NOT_SO}: chosen by the test score, which one must not do",
    )


def _ids(choice: Choice) -> list[tuple[str, str]]:
    """The first ids of a choice and of each of the others, empty where there is none."""
    own, *others = (runs.iloc[0]["id"] if len(runs) else "" for runs in (choice.runs, *choice.others))
    return [(own, other) for other in others]


def _legend(symbol: str, reference: str) -> Iterator[str]:
    yield (
        "Top-1 %, mean ± sample standard deviation over seeds (number of seeds). "
        f"of: the number of values of {symbol} that were run, and chosen from."
    )
    yield (
        f"By validation: the {symbol} of the highest mean top-1 on held-out training images, over the seeds that all "
        "values have; of equal ones the smallest, which changes the plain loss least. Nothing else is chosen."
    )
    yield (
        f"{NOT_SO} What one must not do: the test images choose the value and are then its score, which is too high "
        "for it. It is here to show by how much."
    )
    yield (
        f"vs {reference}, and its control, the {reference} of the same budget, where that is another: mean difference "
        "in points over the seeds that both have, its 95% interval over seeds and images, and their number."
    )


def _notes(group: Sequence[Sweep]) -> Iterator[str]:
    symbol, comparable = group[0].source.symbol, [_comparable(one) for one in group]
    asked = [one.points[value] for one, points in zip(group, comparable, strict=True) for value in points]
    if any(validation(runs)["val_top1_mean"] is None for runs in asked):
        yield (
            f"{symbol} is not chosen by validation: these runs held no image out; "
            "`lrbench reproduce SUITE --select held-out` does, and makes runs of their own."
        )
    for one, points in zip(group, comparable, strict=True):
        if missing := [f"{value:g}" for value in one.source.values if value not in one.points]:
            yield f"{one.network}: not run at {symbol} = {', '.join(missing)}."
        diverged = {value: int((runs["status"] == DIVERGED).sum()) for value, runs in one.points.items()}
        if told := [f"{value:g} ({n} of {len(one.points[value])})" for value, n in diverged.items() if n]:
            yield f"{one.network}: runs diverged at {symbol} = {', '.join(told)}; these values are not chosen."
        if points and not any(map(len, points.values())):
            yield f"{one.network}: its values share no seed, so none is chosen."


def _flat(one: Sweep, choice: Choice, reference: Comparison | None, control: Comparison | None) -> dict[str, Any]:
    ours = summary(choice.runs if len(choice.runs) else next(iter(one.points.values())))
    if not len(choice.runs):
        ours = dict.fromkeys(ours) | {"n": 0, "diverged": 0, "one_class": "", "runs": "", "seeds": ""}
    return {
        "table": "Tuned",
        **{name: one.run[name] for name in CONDITIONS},
        "size": one.run["size"],
        "row": f"{one.network}, {WAYS[choice.way]}",
        **ours,
        "method": one.source.method,
        "backbone": one.run["backbone"],
        "width": one.run["width"],
        "setting": one.source.setting,
        "chosen": choice.way,
        "value": choice.value,
        "values_run": joined(f"{value:g}" for value in one.points),
        **validation(choice.runs),
        **numbers("reference", reference),
        **numbers("control", control),
    }

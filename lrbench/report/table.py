"""A filled table as it is read, with its notes, and as numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from lrbench.report import notes
from lrbench.report.compare import Comparison, numbers
from lrbench.report.filled import Filled
from lrbench.report.formats import HR_MARK, Table
from lrbench.report.frame import SHARED, USED
from lrbench.report.groups import DASH, fixed, score, summary
from lrbench.report.stats import CHANCE

NOTHING: tuple[str, ...] = ()
NOT_RUN = dict.fromkeys(summary(pd.DataFrame([dict.fromkeys(USED)]))) | {"n": 0, "diverged": 0}


def table(filled: Filled) -> Table:
    """The table as it is read."""
    head, lines, runs = _body(filled)
    return Table(
        filled.source.title,
        filled.conditions,
        pd.DataFrame(lines, columns=head),
        list(_notes(filled)),
        lambda: _long(filled),
        pd.DataFrame(runs, columns=head),
    )


def _long(filled: Filled) -> pd.DataFrame:
    """A row for each row and column of the table that has a number; percentages and percentage points."""
    about = dict.fromkeys(SHARED) if filled.run is None else {name: filled.run[name] for name in SHARED}
    lines = []
    for row in filled.rows:
        for (dataset, scale, side), cell in zip(filled.source.columns, row.cells, strict=True):
            ours = cell.ours
            if ours or cell.published is not None:
                place = {"dataset": dataset, "size": f"{side // scale}x{side // scale}", "scale": scale}
                way = {name: getattr(row, name) for name in ("method", "config", "backbone", "width")}
                against = {"published": cell.published, "difference": cell.difference}
                lines.append(
                    {
                        "table": filled.source.title,
                        **about,
                        **place,
                        "row": row.label,
                        **(ours or NOT_RUN),
                    }
                    | way
                    | {"tested_on": "hr" if row.hr else "lr"}
                    | against
                    | numbers("reference", cell.reference)
                    | numbers("control", cell.control)
                    | {"control_runs": cell.control_runs}
                )
    return pd.DataFrame(lines)


def _body(filled: Filled) -> tuple[list[str], list[list[str]], list[list[tuple[str, ...]]]]:
    """Head, lines, and the ids of the runs behind each cell."""
    head = ["", *(["epochs"] if filled.unequal_budgets else [])]
    published, compared, controlled = _columns(filled)
    for number, label in enumerate(filled.columns):
        head += [label, *(["published", "difference"] if number in published else [])]
        head += [f"vs {_reference(filled)}"] * (number in compared) + ["vs its control"] * (number in controlled)
    lines: list[list[str]] = []
    runs: list[list[tuple[str, ...]]] = []
    for row in filled.rows:
        line, behind = [row.label + (f" {HR_MARK}" if row.hr else "")], [NOTHING]
        if filled.unequal_budgets:
            line.append(str(row.epochs or DASH))
        for number, cell in enumerate(row.cells):
            ours = cell.ours
            ids = tuple(cell.runs["id"])
            behind += [NOTHING] * (len(line) - len(behind)) + [ids]
            line.append(score(ours) if ours else DASH)
            if number in published:
                line += [fixed(cell.published), fixed(cell.difference, "+")]
            if number in compared:
                line.append(marked(cell.reference))
            if number in controlled:
                line.append(marked(cell.control))
                behind += [NOTHING] * (len(line) - len(behind) - 1) + [tuple(cell.control_runs.split())]
        lines.append(line)
        runs.append(behind + [NOTHING] * (len(line) - len(behind)))
    return head, lines, runs


def _columns(filled: Filled) -> tuple[set[int], set[int], set[int]]:
    """The columns with a published number, with a difference from the reference, and from a control that is another."""
    places = [(number, cell) for row in filled.rows for number, cell in enumerate(row.cells)]
    return (
        {number for number, cell in places if cell.published is not None},
        {number for number, cell in places if cell.reference},
        {
            number
            for number, cell in places
            if cell.control and (filled.unequal_budgets or cell.control is not cell.reference)
        },
    )


def _reference(filled: Filled) -> str:
    """The label of the table's reference."""
    runs = filled.results[filled.results["method"] == filled.source.reference]
    return str(runs.iloc[0]["label"]) if len(runs) else str(filled.source.reference)


def _notes(filled: Filled) -> Iterator[str]:
    source = filled.source
    yield "Ours: top-1 % on the test images, mean ± sample standard deviation over seeds (number of seeds)."
    published, compared, controlled = _columns(filled)
    if published:
        yield f"Published: {source.source}; {source.protocol}. Difference: ours - published."
    if compared | controlled:
        reference = _reference(filled)
        yield (
            f"vs {reference}{' and its control' if controlled else ''}: mean difference in points over the seeds that "
            "both have; in brackets, in how many of them it is more than chance, by McNemar's test on the stored "
            f"predictions (p < {CHANCE:g}), which compares two trained networks, not two ways of training."
            + (f" Its control is the {reference} of the same budget, trained like the row." if controlled else "")
        )
        yield notes.about_marks(filled.comparisons)
    yield from source.notes
    if filled.unequal_budgets:
        yield (
            "Budgets are unequal: `epochs` counts all epochs that went into the weights. Compare rows of the same "
            "number only."
        )
    if any(row.hr for row in filled.rows):
        yield f"{HR_MARK} trained and tested on HR images: an upper reference, not a competitor."
    yield from _about_runs(filled)
    yield from notes.failed(filled.failed)
    if filled.left_out:
        yield f"{filled.left_out} run(s) of older versions or another precision of these rows are left out."
    if filled.other_widths:
        networks = ", ".join(filled.other_widths)
        yield f"Run less often, and not shown here: {networks}; `lrbench table leaderboard` has it."
    if filled.run is None:
        others = "; what else was run stands in `lrbench table leaderboard`" if len(filled.results) else ""
        yield (
            "Nothing has been run yet of these rows and columns; start with `lrbench run --method NAME --dataset NAME`"
            f"{others}."
        )


def _about_runs(filled: Filled) -> Iterator[str]:
    """What one has to know of the runs to read the table: teachers, SR nets, precisions, weights that differ."""
    teachers = [
        f"{row.label}, {label}: {about}"
        for row in filled.rows
        for label, cell in zip(filled.columns, row.cells, strict=True)
        if (about := notes.teachers(cell.runs, filled.results))
    ]
    if teachers:
        yield f"Their teachers' top-1 %: {'; '.join(teachers)}."
    for row in filled.rows:
        if trained := notes.restorers(row.runs):
            yield f"{row.label}: its SR net was trained on {trained}."
    yield from notes.precisions({row.label: row.runs for row in filled.rows})
    shown = pd.concat([row.runs for row in filled.rows])
    yield from notes.differing_weights(shown, filled.results)
    yield from notes.origins(shown)


def marked(difference: Comparison | None) -> str:
    """A difference with what stands beside it where it is more than chance."""
    return DASH if difference is None else f"{difference} {difference.mark}".rstrip()

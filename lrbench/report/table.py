"""A filled table as it is read, with its notes, and as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from lrbench.report import notes
from lrbench.report.compare import Comparison, numbers
from lrbench.report.filled import Filled
from lrbench.report.formats import HR_MARK, Table
from lrbench.report.frame import SHARED, USED
from lrbench.report.stats import CHANCE
from lrbench.report.ways import DASH, fixed, joined, score, summary

PUBLISHED, CONTROL = "published", "vs its control"  # columns
NOT_RUN = dict.fromkeys(summary(pd.DataFrame([dict.fromkeys(USED)]))) | {"n": 0, "diverged": 0}


def table(filled: Filled) -> Table:
    """The table as it is read."""
    columns = list(_columns(filled))
    notes = list(_notes(filled, [name for name, *_ in columns]))
    return Table.of(filled.source.title, filled.conditions, columns, notes, lambda: _long(filled))


def _long(filled: Filled) -> pd.DataFrame:
    """A row for each row and column of the table that has a number; percentages and percentage points."""
    shared = [name for name in SHARED if name != "variant"]  # `content` says it
    about = dict.fromkeys(shared) if filled.run is None else {name: filled.run[name] for name in shared}
    lines = []
    for row in filled.rows:
        for (dataset, scale, side), cell in zip(filled.source.columns, row.cells, strict=True):
            ours = cell.ours
            if ours or cell.published is not None:
                place = {"dataset": dataset, "size": f"{side // scale}x{side // scale}", "scale": scale}
                way = {name: getattr(row, name) for name in ("method", "config", "backbone", "width")}
                against = {"published": cell.published, "difference": cell.difference}
                against |= numbers("reference", cell.reference) | numbers("control", cell.control)
                on = {"tested_on": "hr" if row.hr else "lr", "control_runs": cell.control_runs}
                title = {"table": filled.source.title, **about, **place, "row": row.label}
                lines.append(title | (ours or NOT_RUN) | way | on | against)
    return pd.DataFrame(lines)


def _columns(filled: Filled) -> Iterator[tuple[str, list[str], list[str] | None]]:
    """Name, text, and the ids of the runs behind it; those that would say nothing are left out."""
    yield "", [row.label + (f" {HR_MARK}" if row.hr else "") for row in filled.rows], None
    if filled.unequal_budgets:
        yield "epochs", [str(row.epochs or DASH) for row in filled.rows], None
    for name, cells in zip(filled.columns, zip(*(row.cells for row in filled.rows), strict=True), strict=True):
        yield name, [score(cell.ours) if cell.ours else DASH for cell in cells], [joined(c.runs["id"]) for c in cells]
        if any(cell.published is not None for cell in cells):
            yield PUBLISHED, [fixed(cell.published) for cell in cells], None
            yield "difference", [fixed(cell.difference, "+") for cell in cells], None
        if any(cell.reference for cell in cells):
            yield f"vs {_reference(filled)}", [marked(cell.reference) for cell in cells], None
        other = filled.unequal_budgets or any(cell.control is not cell.reference for cell in cells)
        if other and any(cell.control for cell in cells):
            yield CONTROL, [marked(cell.control) for cell in cells], [cell.control_runs for cell in cells]


def _reference(filled: Filled) -> str:
    """The label of the table's reference."""
    runs = filled.results[filled.results["method"] == filled.source.reference]
    return str(runs.iloc[0]["label"]) if len(runs) else str(filled.source.reference)


def _notes(filled: Filled, columns: Sequence[str]) -> Iterator[str]:
    source, reference, controlled = filled.source, _reference(filled), CONTROL in columns
    yield "Ours: top-1 % on the test images, mean ± sample standard deviation over seeds (number of seeds)."
    if PUBLISHED in columns:
        yield f"Published: {source.source}; {source.protocol}. Difference: ours - published."
    if controlled or f"vs {reference}" in columns:
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

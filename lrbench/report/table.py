"""A filled table as it is read, with its notes, and as numbers."""

from __future__ import annotations

from collections.abc import Container, Iterator

import pandas as pd

from lrbench.report import notes
from lrbench.report.compare import Comparison, numbers
from lrbench.report.filled import Cell, Filled, Key, Row
from lrbench.report.formats import ABOUT_HR, HR_MARK, SHORT_HR, Table
from lrbench.report.frame import SHARED_NUMBERS, USED
from lrbench.report.stats import CHANCE
from lrbench.report.ways import DASH, fixed, joined, score, summary

PUBLISHED, CONTROL = "published", "vs its control"  # columns
UNEQUAL = (
    "Budgets are unequal: `epochs` counts all epochs that went into the weights. Compare rows of the same number only."
)
NOT_RUN = dict.fromkeys(summary(pd.DataFrame([dict.fromkeys(USED)]))) | {"n": 0, "diverged": 0}


def table(filled: Filled, long: bool = False) -> Table:
    """The table as it is read: like the paper's, or with a column for every number."""
    columns = list(_long_columns(filled) if long else _columns(filled))
    names = {name for name, *_ in columns}
    notes = _long_notes(filled) if long else _notes(filled)
    return Table.of(
        filled.source.title,
        filled.conditions,
        columns,
        list(notes),
        lambda: _numbers(filled),
        list(_long_legend(filled, names) if long else _legend(filled)),
        filled.protocol,
        _caption(filled, long),
    )


def _numbers(filled: Filled) -> pd.DataFrame:
    """A row for each row and column of the table that has a number; percentages and percentage points."""
    about = {name: None if filled.run is None else filled.run[name] for name in SHARED_NUMBERS}
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
    """Name, text, and the ids of the runs behind it: as in the paper, with what was published.

    That stands below each row, or, of a table with one column, in a second one.
    """
    beside = len(filled.columns) == 1
    lines = [
        (row, below) for row in filled.rows for below in ((False, True) if not beside and _published(row) else (False,))
    ]
    names = [f"*{PUBLISHED}*" if below else _marked(row.short_label(filled.rows), row) for row, below in lines]
    yield "", names, None
    if filled.unequal_budgets:
        yield "epochs", ["" if below else str(row.epochs or DASH) for row, below in lines], None
    usual = len(_seeds(filled))
    for place, name in enumerate(filled.columns):
        best = _best(filled, place)
        cells = [(row.cells[place], row.key in best, below) for row, below in lines]
        texts = [fixed(cell.published) if below else _cell(cell, usual, bold) for cell, bold, below in cells]
        yield name, texts, ["" if below else joined(cell.runs["id"]) for cell, _, below in cells]
    if beside and any(map(_published, filled.rows)):
        yield PUBLISHED, [fixed(row.cells[0].published) for row in filled.rows], None


def _published(row: Row) -> bool:
    return any(cell.published is not None for cell in row.cells)


def _marked(label: str, row: Row) -> str:
    return f"{label} {HR_MARK}" if row.hr else label


def _seeds(filled: Filled) -> tuple[int, ...]:
    """Those that most cells have."""
    every = [tuple(cell.runs["seed"]) for row in filled.rows for cell in row.cells if len(cell.runs)]
    return max(every, key=every.count, default=())


def _best(filled: Filled, place: int) -> set[Key]:
    """The keys of the highest rows in a column, of those of one backbone and budget, where several have a mean.

    HR rows do not compete, and rows of fewer seeds than others do not.
    """
    groups: dict[tuple[str, int | None], list[tuple[int, float, Key]]] = {}
    for row in filled.rows:
        ours = row.cells[place].ours
        if ours and ours["top1_mean"] is not None and not row.hr:
            groups.setdefault((row.backbone, row.epochs), []).append((ours["n"], ours["top1_mean"], row.key))
    best = set()
    for group in groups.values():
        most = max(n for n, *_ in group)
        means = {key: mean for n, mean, key in group if n == most}
        best |= {max(means, key=lambda key: means[key])} if len(means) > 1 else set()
    return best


def _cell(cell: Cell, usual: int, best: bool) -> str:
    """Such as "**54.98±0.25** *"; with the number of seeds, or how many diverged, where that is not usual."""
    ours = cell.ours
    if not ours:
        return DASH
    counts = [f"{ours['diverged']} div."] if ours["diverged"] else [f"{ours['n']}"] * _other_seeds(cell, usual)
    if ours["top1_mean"] is None:
        return "diverged"
    counts += ["one class"] if ours["one_class"] and not ours["diverged"] else []
    text = f"{ours['top1_mean']:.2f}" + ("" if ours["top1_sd"] is None else f"±{ours['top1_sd']:.2f}")
    compared = _shown(cell)
    mark = compared.mark if compared else ""
    return " ".join(filter(None, [f"**{text}**" if best else text, mark, f"({', '.join(counts)})" if counts else ""]))


def _other_seeds(cell: Cell, usual: int) -> bool:
    """Whether a cell says its number of seeds."""
    ours = cell.ours
    return bool(ours and not ours["diverged"] and ours["n"] != usual)


def _shown(cell: Cell) -> Comparison | None:
    """The comparison whose mark a cell shows: with its control, which is of equal budget, where there is one."""
    return cell.control or cell.reference


def _notes(filled: Filled) -> Iterator[str]:
    """A line on what the runs are, one on what the marks say, and one for each store that they are from."""
    there = [row for row in filled.rows if len(row.runs)]
    said = []
    if seeds := _seeds(filled):
        said.append(f"Seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}.")
        said += ["(n): n seeds."] * any(_other_seeds(cell, len(seeds)) for row in there for cell in row.cells)
        said += notes.precisions({row.label: row.runs for row in there})
    taught = [(row.label, _teachers(row, filled.results)) for row in there]
    if named := [f"{score} ({label})" for label, score in taught if score]:
        said.append(f"Teachers' top-1 % on HR images: {', '.join(named)}.")
    if said:
        yield " ".join(said)
    shown = [one for row in filled.rows for cell in row.cells if (one := _shown(cell))]
    found = [notes.about_family(shown)] if shown else []
    if shared := {row.name: row.shared(filled.rows) for row in filled.rows if row.shared(filled.rows)}:
        settings = "; ".join(f"{name}: {' '.join(some)}" for name, some in shared.items())
        found.append(f"Settings that the rows leave out: {settings}.")
    if filled.unequal_budgets:
        found.append(UNEQUAL)
    found += notes.failed(filled.failed)
    if filled.other_widths:
        found.append(f"Not shown: {', '.join(filled.other_widths)}, run less often.")
    if filled.run is None:
        found.append(_nothing(filled))
    elif empty := filled.empty_datasets:
        found.append(f"Not run: {', '.join(empty)}; `--dataset {empty[0]}=OTHER` puts another dataset there.")
    if found:
        yield " ".join(found)
    yield from notes.origins(pd.concat([row.runs for row in filled.rows]), named=False)


def _teachers(row: Row, results: pd.DataFrame) -> str:
    """Their top-1, the mean over seeds, a number for each teacher that a row's columns have."""
    means = [summary(found)["top1_mean"] for cell in row.cells if len(found := notes.teachers_of(cell.runs, results))]
    return " and ".join(dict.fromkeys(fixed(one) for one in means))


def _caption(filled: Filled, long: bool) -> str:
    """What stands in the cells, as a sentence."""
    several = any(len(cell.runs) > 1 for row in filled.rows for cell in row.cells)
    bold = not long and any(_best(filled, place) for place in range(len(filled.columns)))
    said = {
        "mean±sample standard deviation over seeds": several,
        "bold: the highest of one backbone, equal budget and the most seeds": bold,
        f"marks: compared with the {_reference(filled)} of the same backbone and budget": filled.comparisons,
        f"{PUBLISHED}: {filled.source.source} ({filled.source.protocol})": any(map(_published, filled.rows)),
        SHORT_HR: any(row.hr for row in filled.rows),
    }
    return "; ".join(text for text, there in said.items() if there)


def _legend(filled: Filled) -> Iterator[str]:
    source = filled.source
    yield "Each cell: our top-1 % on the test images, the mean±sample standard deviation over seeds. div.: diverged."
    if any(map(_published, filled.rows)):
        where = "Beside it" if len(filled.columns) == 1 else "Below it, in italics,"
        yield f"{where} what was published: {source.source}; {source.protocol}."
    yield "Bold: the highest mean in a column, of the rows of one backbone and equal budget that have the most seeds."
    yield from _marks(filled)
    yield from source.notes
    yield "`lrbench table NAME --long` has differences, gains and numbers of seeds in columns, and more notes."


def _marks(filled: Filled) -> Iterator[str]:
    if filled.comparisons:
        yield from notes.about_marks(f"the {_reference(filled)} of its backbone and budget")
    if any(row.hr for row in filled.rows):
        yield ABOUT_HR


def _long_columns(filled: Filled) -> Iterator[tuple[str, list[str], list[str] | None]]:
    """Name, text, and the ids of the runs behind it; those that would say nothing are left out."""
    yield "", [_marked(row.label, row) for row in filled.rows], None
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


def _long_legend(filled: Filled, columns: Container[str]) -> Iterator[str]:
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
    yield from _marks(filled)
    yield from source.notes


def _long_notes(filled: Filled) -> Iterator[str]:
    if filled.comparisons:
        yield notes.about_family(filled.comparisons)
    if filled.unequal_budgets:
        yield UNEQUAL
    yield from _about_runs(filled)
    yield from notes.failed(filled.failed)
    if filled.left_out:
        yield f"{filled.left_out} run(s) of older versions or another precision of these rows are left out."
    if filled.other_widths:
        networks = ", ".join(filled.other_widths)
        yield f"Run less often, and not shown here: {networks}; `lrbench table leaderboard` has it."
    if filled.run is None:
        yield _nothing(filled)


def _nothing(filled: Filled) -> str:
    others = "; what else was run stands in `lrbench table leaderboard`" if len(filled.results) else ""
    start = "start with `lrbench run --method NAME --dataset NAME`"
    return f"Nothing has been run yet of these rows and columns; {start}{others}."


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

"""Filled tables as sheets, and the table that `lrbench run` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lrbench.method import naming
from lrbench.report import cells, needed
from lrbench.report import sr as sr_table
from lrbench.report.cells import Cell
from lrbench.report.formats import DASH, HR_MARK, Later, Sheet, fixed, grid
from lrbench.report.marks import about_marks, marked, precisions, significance, values_of
from lrbench.report.stats import CHANCE
from lrbench.report.table import Entry, FilledTable
from lrbench.spec.record import Record


def sheet(table: FilledTable) -> Sheet:
    """The table as it is shown."""
    head, lines = _body(table)
    return Sheet(table.source.title, table.heading, head, lines, _notes(table), Later(lambda: _long_form(table)))


def _long_form(table: FilledTable) -> list[dict[str, Any]]:
    """One flat dict for each row and column that has a number; percentages and percentage points."""
    lines = []
    for row in table.rows:
        for column, label, entry in zip(table.columns, table.labels, row.entries, strict=True):
            if entry.cell or entry.published is not None:
                ours = {"row": row.label, "method": row.key.method, "config": row.key.config}
                where = {
                    "backbone": row.key.backbone,
                    "width": row.key.width,
                    "dataset": column.dataset,
                    "scale": column.scale,
                }
                lines.append(
                    {"table": table.source.title, **cells.flat(table.conditions), **ours, **where,
                     "size": label.split()[-1], "tested_on": "hr" if row.hr else "lr", **_numbers(table, entry)}
                )  # fmt: skip
    return lines


def _numbers(table: FilledTable, entry: Entry) -> dict[str, Any]:
    cell, records = entry.cell, entry.cell.records if entry.cell else ()
    top1 = cell.top1 if cell else None
    teachers = [one for one in needed.teachers(records, table.known) if not one.diverged]
    restorers = needed.restorers(records, table.known)
    return {
        "top1_mean": None if top1 is None else round(top1.mean, 4),
        "top1_sd": None if top1 is None or top1.sd is None else round(top1.sd, 4),
        "n": 0 if top1 is None else top1.n,
        "diverged": cell.diverged if cell else 0,
        "published": entry.published,
        "difference": None if entry.difference is None else round(entry.difference, 4),
        **significance("reference", entry.comparison),
        **significance("control", entry.control),
        "epochs_in_weights": None if cell is None else cell.epochs,
        "teacher": round(sum(one.top1 for one in teachers) / len(teachers), 4) if teachers else None,
        "teacher_epochs": values_of(one.metrics.get("epochs_in_weights") for one in teachers),
        "sr_images": values_of(one.data.train_images for one in restorers),
        "sr_epochs": values_of(one.metrics.get("epochs_in_weights") for one in restorers),
        "macs": values_of(record.metrics.get("macs") for record in records),
        "precision": values_of(record.spec.precision for record in records),
        "predicts_one_class": " ".join(map(str, cell.one_class)) if cell else "",
        "seeds": " ".join(str(record.spec.seed) for record in records),
        "runs": " ".join(record.id for record in records),
    }


def _body(table: FilledTable) -> tuple[list[str], list[list[str]]]:
    """The head and the lines that Markdown and LaTeX show, as plain text."""
    head = ["", *(["epochs"] if table.unequal_budgets else [])]
    published, compared = _columns_with_published(table), _columns_compared(table)
    controlled = _columns_controlled(table)
    reference = cells.label(str(table.source.reference))
    for number, label in enumerate(table.labels):
        head += [label, *(["published", "difference"] if number in published else [])]
        head += [f"vs {reference}"] if number in compared else []
        head += ["vs its control"] if number in controlled else []
    lines = []
    for row in table.rows:
        line = [row.label + (f" {HR_MARK}" if row.hr else "")]
        if table.unequal_budgets:
            line.append(str(row.epochs or DASH))
        for number, entry in enumerate(row.entries):
            line.append(shown(entry.cell))
            if number in published:
                line += [fixed(entry.published), fixed(entry.difference, "+")]
            line += [marked(entry.comparison)] if number in compared else []
            line += [marked(entry.control)] if number in controlled else []
        lines.append(line)
    return head, lines


def shown(cell: Cell | None) -> str:
    """A cell's score, and whether its networks predict one class."""
    if cell is None:
        return DASH
    one_class = len(cell.one_class)
    of = "" if one_class == len(cell.records) else f" in {one_class} of {len(cell.records)}"
    return f"{cell.text}, predicts one class{of}" if one_class else cell.text


def _notes(table: FilledTable) -> list[str]:
    notes = ["Ours: top-1 % on the test images, mean ± sample standard deviation over seeds (number of seeds)."]
    if _columns_with_published(table):
        notes.append(f"Published: {table.source.source}; {table.source.protocol}. Difference: ours - published.")
    compared, controlled = _columns_compared(table), _columns_controlled(table)
    if compared | controlled:
        reference = cells.label(str(table.source.reference))
        control = f"Its control is the {reference} of the same budget, which started as the row did (`init`). "
        notes.append(
            f"vs {reference}{' and its control' if controlled else ''}: mean difference in points over the seeds that "
            "both have; in brackets, in how many of them it is more than chance, by McNemar's test on the "
            f"stored predictions (p < {CHANCE:g}), which compares two trained networks, not two ways of training. "
            f"{control if controlled else ''}".rstrip()
        )
        notes.append(about_marks(table.comparisons))
    notes += table.source.notes
    if table.unequal_budgets:
        notes.append(
            "Budgets are unequal: `epochs` counts all epochs that went into the weights. "
            "Compare rows of the same number only."
        )
    if any(row.hr for row in table.rows):
        notes.append(f"{HR_MARK} trained and tested on HR images: an upper reference, not a competitor.")
    notes += _about_runs(table)
    notes += [f"Failed, and missing here: {naming.described(spec)}: {why}." for spec, why in table.failed]
    if table.left_out:
        notes.append(f"{table.left_out} run(s) of older versions or another precision of these rows are left out.")
    if table.other_widths:
        notes.append(
            f"Run less often, and not shown here: {', '.join(table.other_widths)}; `lrbench table leaderboard` has it."
        )
    if table.conditions is None:
        others = "; what else was run stands in `lrbench table leaderboard`" if table.known else ""
        start = "start with `lrbench run --method NAME --dataset NAME`"
        notes.append(f"Nothing has been run yet of these rows and columns; {start}{others}.")
    return notes


def _about_runs(table: FilledTable) -> list[str]:
    """What one has to know of the runs to read the table: teachers, SR nets, precisions, weights that differ."""
    notes = []
    teachers = [
        f"{row.label}, {label}: {about}"
        for row in table.rows
        for label, entry in zip(table.labels, row.entries, strict=True)
        if entry.cell and (about := needed.about_teachers(entry.cell.records, table.known))
    ]
    if teachers:
        notes.append(f"Their teachers' top-1 %: {'; '.join(teachers)}.")
    for row in table.rows:
        if trained := needed.about_restorers(row.records, table.known):
            macs = values_of(f"{macs / 1e6:,.1f}" for one in row.records if (macs := one.metrics.get("macs")))
            arithmetic = f"; {macs} million MACs a test image, its classifier's among them" if macs else ""
            notes.append(f"{row.label}: its SR net was trained on {trained}{arithmetic}.")
    notes += precisions({row.label: row.records for row in table.rows})
    records = [record for row in table.rows for record in row.records]
    return notes + needed.differing_weights(records, table.known)


def _columns_controlled(table: FilledTable) -> set[int]:
    """Where a row's control is another run than the reference."""
    return {
        number
        for row in table.rows
        for number, entry in enumerate(row.entries)
        if entry.control and (table.unequal_budgets or entry.control is not entry.comparison)
    }


def _columns_compared(table: FilledTable) -> set[int]:
    return {number for row in table.rows for number, entry in enumerate(row.entries) if entry.comparison}


def _columns_with_published(table: FilledTable) -> set[int]:
    return {
        number
        for number in range(len(table.columns))
        for row in table.rows
        if row.entries[number].published is not None
    }


def runs(records: Sequence[Record]) -> str:
    """What `lrbench run` prints: a line a run, the seeds of one experiment together, with their mean below."""
    metrics = {"top1": "top-1 %", "psnr": "PSNR dB"}  # a column for each that there is
    scores = [score for score in metrics if any(score in record.metrics for record in records)]
    head = ["run", "seed", *(metrics[score] for score in scores), "epochs in weights", "images/s", "id"]
    experiments: dict[str, list[Record]] = {}
    for record in records:
        experiments.setdefault(cells.variant(record.spec), []).append(record)
    wanted, lines = records[-1], []
    for seeds in experiments.values():
        name = cells.name(cells.row_key(seeds[0].spec)) + (f" {HR_MARK}" if seeds[0].spec.scale is None else "")
        if not cells.comparable(seeds[0], wanted):
            name += f" ({_about(seeds[0])})"
        for record in seeds:
            values = [_score(record, score) for score in scores]
            speed, epochs = f"{record.metrics['images_per_second'] or 0:.0f}", str(record.metrics["epochs_in_weights"])
            lines.append([name, str(record.spec.seed), *values, epochs, speed, record.id])
        if len(seeds) > 1:
            lines.append([name, "mean", *(cells.scores(seeds, score) for score in scores), "", "", ""])
    notes = f"\n{HR_MARK} trained and tested on HR images\n" if any(r.spec.scale is None for r in records) else ""
    return f"{_about(wanted)}\n\n{grid(head, lines)}{notes}"


def _score(record: Record, metric: str) -> str:
    if record.diverged and metric in record.metrics:
        epoch = record.metrics.get("diverged_epoch")  # 0 of one that is tested only
        return f"diverged in epoch {epoch}" if epoch else "diverged"
    one_class = metric == "top1" and record.metrics.get("predicted_classes") == 1
    return fixed(record.metrics.get(metric)) + (", predicts one class" if one_class else "")


def _about(record: Record) -> str:
    """What a run was made on, and how."""
    spec = record.spec
    if record.restores:
        return f"{spec.dataset}, {spec.degradation}, {sr_table.training(record)}"
    return f"{spec.dataset}, {cells.row_key(spec).network}, {cells.conditions(spec)}, {spec.precision}"

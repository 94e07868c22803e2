"""Filled tables as sheets, and the table that `lrbench run` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lrbench import cells, sr_table
from lrbench.compare import Comparison
from lrbench.record import Record
from lrbench.sheet import DASH, HR_MARK, NETWORKS_MARK, WAYS_MARK, Sheet, fixed, grid
from lrbench.stats import CHANCE, summarise
from lrbench.table import Entry, FilledTable


def sheet(table: FilledTable) -> Sheet:
    """The table as it is shown."""
    head, lines = _body(table)
    conditions = str(table.conditions) if table.conditions else "no run yet"
    return Sheet(table.source.title, conditions, head, lines, _notes(table), _long_form(table))


def _long_form(table: FilledTable) -> list[dict[str, Any]]:
    """One flat dict for each row and column that has a number; percentages and percentage points."""
    lines = []
    shared = vars(table.conditions) if table.conditions else dict.fromkeys(cells.Conditions.__dataclass_fields__)
    for row in table.rows:
        for column, label, entry in zip(table.columns, table.labels, row.entries, strict=True):
            if entry.cell or entry.published is not None:
                ours = {"row": row.label, "method": row.key.method, "config": row.key.config}
                where = {"backbone": row.key.backbone, "dataset": column.dataset, "scale": column.scale}
                lines.append(
                    {"table": table.source.title, **shared, **ours, **where, "size": label.split()[-1],
                     "tested_on": "hr" if row.hr else "lr", **_numbers(entry)}
                )  # fmt: skip
    return lines


def _numbers(entry: Entry) -> dict[str, Any]:
    cell, records = entry.cell, entry.cell.records if entry.cell else ()
    return {
        "top1_mean": None if cell is None else round(cell.top1.mean, 4),
        "top1_sd": None if cell is None or cell.top1.sd is None else round(cell.top1.sd, 4),
        "n": len(records),
        "published": entry.published,
        "difference": None if entry.difference is None else round(entry.difference, 4),
        "gain_over_reference": None if entry.comparison is None else round(entry.comparison.gain, 4),
        "mcnemar_p": _p_values(entry.comparison),
        **_significance(entry.comparison, "reference"),
        "gain_over_control": None if entry.control is None else round(entry.control.gain, 4),
        "control_mcnemar_p": _p_values(entry.control),
        **_significance(entry.control, "control"),
        "epochs_in_weights": None if cell is None else cell.epochs,
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
            line.append(str(entry.cell.top1) if entry.cell else DASH)
            if number in published:
                line += [fixed(entry.published), fixed(entry.difference, "+")]
            line += [_marked(entry.comparison)] if number in compared else []
            line += [_marked(entry.control)] if number in controlled else []
        lines.append(line)
    return head, lines


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
        notes.append(_about_marks(table.family))
    notes += table.source.notes
    if table.unequal_budgets:
        notes.append(
            "Budgets are unequal: `epochs` counts all epochs that went into the weights. "
            "Compare rows of the same number only."
        )
    if any(row.hr for row in table.rows):
        notes.append(f"{HR_MARK} trained and tested on HR images: an upper reference, not a competitor.")
    if table.left_out:
        notes.append(f"{table.left_out} run(s) of older versions of these experiments are left out.")
    if table.conditions is None:
        notes.append("Nothing has been run yet; start with `lrbench run --method NAME --dataset NAME`.")
    return notes


def _about_marks(family: int) -> str:
    made = f"the {family} comparisons that this table makes" if family > 1 else "the one comparison of this table"
    return (
        f"A difference marked {WAYS_MARK} is more than chance (p < {CHANCE:g}) by a paired t-test over the seeds, "
        f"after Holm's correction for {made}: the two ways of training differ. One marked {NETWORKS_MARK} has one seed "
        "and is more than chance by McNemar's test, corrected likewise: the two networks differ, which says nothing "
        "of another seed. Without a mark no difference is shown; that does not say that there is none."
    )


def _marked(comparison: Comparison | None) -> str:
    return DASH if comparison is None else f"{comparison} {_mark(comparison)}".rstrip()


def _mark(comparison: Comparison) -> str:
    """What stands beside a difference that is more than chance; nothing for another."""
    if not comparison.beyond_chance:
        return ""
    return WAYS_MARK if comparison.over_seeds else NETWORKS_MARK


def _p_values(comparison: Comparison | None) -> str:
    return "" if comparison is None else " ".join(f"{p:.3g}" for p in comparison.mcnemar)


def _significance(comparison: Comparison | None, other: str) -> dict[str, Any]:
    """The test of a comparison: its name, its p before and after Holm's correction, its mark."""
    test = p = corrected = mark = None
    if comparison is not None:
        test = "paired t over seeds" if comparison.over_seeds else "McNemar, one seed"
        p, mark = float(f"{comparison.p:.6g}"), _mark(comparison)
        corrected = None if comparison.corrected is None else float(f"{comparison.corrected:.6g}")
    return {f"{other}_test": test, f"{other}_p": p, f"{other}_p_holm": corrected, f"{other}_mark": mark}


def _columns_controlled(table: FilledTable) -> set[int]:
    """Where a row's control is another run than the reference."""
    return {
        number
        for row in table.rows
        for number, entry in enumerate(row.entries)
        if entry.control and (table.unequal_budgets or entry.control != entry.comparison)
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
    scores = {"top1": "top-1 %", "psnr": "PSNR dB"}  # a column for each that there is
    shown = [score for score in scores if any(score in record.metrics for record in records)]
    head = ["run", "seed", *(scores[score] for score in shown), "epochs in weights", "images/s", "id"]
    experiments: dict[str, list[Record]] = {}
    for record in records:
        experiments.setdefault(cells.variant(record.spec), []).append(record)
    wanted, lines = records[-1], []
    for seeds in experiments.values():
        name = cells.name(cells.row_key(seeds[0].spec)) + (f" {HR_MARK}" if seeds[0].spec.scale is None else "")
        if not cells.comparable(seeds[0], wanted):
            name += f" ({_about(seeds[0])})"
        for record in seeds:
            values = [fixed(record.metrics.get(score)) for score in shown]
            speed, epochs = f"{record.metrics['images_per_second']:.0f}", str(record.metrics["epochs_in_weights"])
            lines.append([name, str(record.spec.seed), *values, epochs, speed, record.id])
        if len(seeds) > 1:
            means = [_mean([record.metrics.get(score) for record in seeds]) for score in shown]
            lines.append([name, "mean", *means, "", "", ""])
    notes = f"\n{HR_MARK} trained and tested on HR images\n" if any(r.spec.scale is None for r in records) else ""
    return f"{_about(wanted)}\n\n{grid(head, lines)}{notes}"


def _about(record: Record) -> str:
    """What a run was made on, and how."""
    spec = record.spec
    if record.restores:
        return f"{spec.dataset}, {spec.degradation}, {sr_table.training(record)}"
    return f"{spec.dataset}, {spec.backbone}, {cells.conditions(record)}"


def _mean(values: Sequence[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    return str(summarise(numbers)) if numbers else DASH

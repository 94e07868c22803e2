"""Filled tables as Markdown, CSV, LaTeX and JSON, and the table that `lrbench run` prints."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from lrbench import cells
from lrbench.errors import unknown
from lrbench.record import Record
from lrbench.stats import summarise
from lrbench.table import Entry, FilledTable

DASH = "-"  # what has not been run
HR_MARK = "†"
TEX = str.maketrans(
    {character: "\\" + character for character in "%&_#{}$"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "`": "'"}
    | {HR_MARK: r"$^\dagger$", "±": r"$\pm$"}
)


def render(tables: Sequence[FilledTable], style: str) -> str:
    """The tables in one of FORMATS, ending in a line break. Raises UserError for another style."""
    if style not in FORMATS:
        raise unknown("format", style, FORMATS)
    return FORMATS[style](tables)


def markdown(tables: Sequence[FilledTable]) -> str:
    """A section a table, with the conditions above it and the notes below."""
    return "\n".join(_markdown(table) for table in tables)


def latex(tables: Sequence[FilledTable]) -> str:
    """A booktabs table each."""
    return "\n".join(_latex(table) for table in tables)


def as_csv(tables: Sequence[FilledTable]) -> str:
    """Long form: a line for each row and column that has a number, published or ours."""
    lines = long_form(tables)
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(lines[0]) if lines else ["table"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def as_json(tables: Sequence[FilledTable]) -> str:
    """The long form as a list of objects."""
    return json.dumps(long_form(tables), indent=1) + "\n"


FORMATS: dict[str, Callable[[Sequence[FilledTable]], str]] = {
    "md": markdown,
    "csv": as_csv,
    "latex": latex,
    "json": as_json,
}


def long_form(tables: Sequence[FilledTable]) -> list[dict[str, Any]]:
    """One flat dict for each row and column that has a number; percentages and percentage points."""
    lines = []
    for table in tables:
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
        "epochs_in_weights": None if cell is None else cell.epochs,
        "seeds": " ".join(str(record.spec.seed) for record in records),
        "runs": " ".join(record.id for record in records),
    }


def _markdown(table: FilledTable) -> str:
    notes = "".join(f"- {note}\n" for note in _notes(table))
    text = grid(*_body(table))
    return f"## {table.source.title}\n\nProtocol: {table.conditions or 'no run yet'}.\n\n{text}\n{notes}"


def _body(table: FilledTable) -> tuple[list[str], list[list[str]]]:
    """The head and the lines that Markdown and LaTeX show, as plain text."""
    head = ["", *(["epochs"] if table.unequal_budgets else [])]
    published = _columns_with_published(table)
    for number, label in enumerate(table.labels):
        head += [label, *(["published", "difference"] if number in published else [])]
    lines = []
    for row in table.rows:
        line = [row.label + (f" {HR_MARK}" if row.hr else "")]
        if table.unequal_budgets:
            line.append(str(row.epochs or DASH))
        for number, entry in enumerate(row.entries):
            line.append(str(entry.cell.top1) if entry.cell else DASH)
            if number in published:
                line += [_fixed(entry.published), _fixed(entry.difference, "+")]
        lines.append(line)
    return head, lines


def _notes(table: FilledTable) -> list[str]:
    notes = ["Ours: top-1 % on the test images, mean ± sample standard deviation over seeds (number of seeds)."]
    if _columns_with_published(table):
        notes.append(f"Published: {table.source.source}; {table.source.protocol}. Difference: ours - published.")
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


def _latex(table: FilledTable) -> str:
    head, lines = _body(table)
    caption = f"{table.source.title}. Protocol: {table.conditions or 'no run yet'}. {' '.join(_notes(table))}"
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_tex(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            _tex_line(["Method", *head[1:]]),
            r"\midrule",
            *(_tex_line(["--" if value == DASH else value for value in line]) for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _tex_line(values: Sequence[str]) -> str:
    return " & ".join(map(_tex, values)) + r" \\"


def _tex(text: str) -> str:
    """Plain text as LaTeX."""
    return re.sub(r"(?<=\d)x(?=\d)", r"$\\times$", text.translate(TEX))


def _columns_with_published(table: FilledTable) -> set[int]:
    return {
        number
        for number in range(len(table.columns))
        for row in table.rows
        if row.entries[number].published is not None
    }


def _fixed(number: float | None, sign: str = "") -> str:
    return DASH if number is None else f"{number:{sign}.2f}"


def grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it also reads well as plain text."""
    head, *lines = ([value.replace("|", r"\|") for value in line] for line in (head, *lines))
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]

    def row(values: Sequence[str]) -> str:
        padded = [values[0].ljust(widths[0]), *(v.rjust(w) for v, w in zip(values[1:], widths[1:], strict=True))]
        return "| " + " | ".join(padded) + " |\n"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return row(head) + row(rule) + "".join(map(row, lines))


def runs(records: Sequence[Record]) -> str:
    """What `lrbench run` prints: a line a run, the seeds of one experiment together, with their mean below."""
    head = ["run", "seed", "top-1 %", "epochs in weights", "images/s", "id"]
    experiments: dict[str, list[Record]] = {}
    for record in records:
        experiments.setdefault(cells.variant(record.spec), []).append(record)
    wanted, lines = records[-1], []
    for seeds in experiments.values():
        name = cells.name(cells.row_key(seeds[0].spec)) + (f" {HR_MARK}" if seeds[0].spec.scale is None else "")
        if not cells.comparable(seeds[0], wanted):
            name += f" ({seeds[0].spec.dataset}, {seeds[0].spec.backbone}, {cells.conditions(seeds[0])})"
        for record in seeds:
            speed, epochs = f"{record.metrics['images_per_second']:.0f}", str(record.metrics["epochs_in_weights"])
            lines.append([name, str(record.spec.seed), f"{record.top1:.2f}", epochs, speed, record.id])
        if len(seeds) > 1:
            lines.append([name, "mean", str(summarise([record.top1 for record in seeds])), "", "", ""])
    notes = f"\n{HR_MARK} trained and tested on HR images\n" if any(r.spec.scale is None for r in records) else ""
    return f"{wanted.spec.dataset}, {wanted.spec.backbone}, {cells.conditions(wanted)}\n\n{grid(head, lines)}{notes}"

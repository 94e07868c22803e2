"""A table to be read: its words as Markdown and LaTeX, its numbers as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lrbench.errors import unknown

DASH = "-"  # what has not been run
HR_MARK = "†"
WAYS_MARK, NETWORKS_MARK = "*", "‡"  # of a difference beyond chance: of two ways of training, of two networks only
TEX = str.maketrans(
    {character: "\\" + character for character in "%&_#{}$"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "`": "'"}
    | {HR_MARK: r"$^\dagger$", NETWORKS_MARK: r"$^\ddagger$", "±": r"$\pm$", "<": "$<$"}
)


class Later(Sequence[dict[str, Any]]):
    """A long form that is made when it is first asked for: its intervals take longer than all else in a table."""

    def __init__(self, make: Callable[[], list[dict[str, Any]]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> list[dict[str, Any]]:
        return self._make()

    def __getitem__(self, place: Any) -> Any:
        return self._made[place]

    def __len__(self) -> int:
        return len(self._made)


@dataclass(frozen=True)
class Sheet:
    """One table: what is shown, as text, and its long form, a flat dict for each number or group of numbers."""

    title: str
    protocol: str
    head: Sequence[str]  # the first is over the rows' names
    lines: Sequence[Sequence[str]]
    notes: Sequence[str]
    long_form: Sequence[dict[str, Any]]


def render(sheets: Sequence[Sheet], style: str) -> str:
    """The tables in one of FORMATS, ending in a line break. Raises UserError for another style."""
    check_style(style)
    return FORMATS[style](sheets)


def check_style(style: str) -> None:
    """Raise UserError, naming the nearest, unless `style` is one of FORMATS."""
    if style not in FORMATS:
        raise unknown("format", style, FORMATS)


def markdown(sheets: Sequence[Sheet]) -> str:
    """A section a table, with the protocol above it and the notes below."""
    return "\n".join(
        f"## {sheet.title}\n\nProtocol: {sheet.protocol}.\n\n"
        + (f"{grid(sheet.head, sheet.lines)}\n" if sheet.lines else "")
        + "".join(f"- {note}\n" for note in sheet.notes)
        for sheet in sheets
    )


def as_csv(sheets: Sequence[Sheet]) -> str:
    """The long forms, a line each."""
    lines = [line for sheet in sheets for line in sheet.long_form]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(lines[0]) if lines else ["table"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def as_json(sheets: Sequence[Sheet]) -> str:
    """The long forms as a list of objects."""
    return json.dumps([line for sheet in sheets for line in sheet.long_form], indent=1) + "\n"


def latex(sheets: Sequence[Sheet]) -> str:
    """A booktabs table each."""
    return "\n".join(_latex(sheet) for sheet in sheets)


FORMATS: dict[str, Callable[[Sequence[Sheet]], str]] = {
    "md": markdown,
    "csv": as_csv,
    "latex": latex,
    "json": as_json,
}


def _latex(sheet: Sheet) -> str:
    caption = f"{sheet.title}. Protocol: {sheet.protocol}. {' '.join(sheet.notes)}"
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_tex(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(sheet.head) - 1)}}}",
            r"\toprule",
            _tex_line([sheet.head[0] or "Method", *sheet.head[1:]]),
            r"\midrule",
            *(_tex_line(["--" if value == DASH else value for value in line]) for line in sheet.lines),
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


def fixed(number: float | None, sign: str = "", digits: int = 2) -> str:
    """A number with its decimals, or a dash for None."""
    return DASH if number is None else f"{number:{sign}.{digits}f}"


def grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it also reads well as plain text."""
    head, *lines = ([value.replace("|", r"\|") for value in line] for line in (head, *lines))
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]

    def row(values: Sequence[str]) -> str:
        padded = [values[0].ljust(widths[0]), *(v.rjust(w) for v, w in zip(values[1:], widths[1:], strict=True))]
        return "| " + " | ".join(padded) + " |\n"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return row(head) + row(rule) + "".join(map(row, lines))

"""A sheet for the screen: each cell with the runs that it was made from."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lrbench.report.formats import DASH, HR_MARK, Sheet

NUMBER = re.compile(r"[-+−]?\d")


@dataclass(frozen=True)
class Cell:
    """What is shown, and the ids of its runs that there are pages of."""

    text: str
    runs: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return self.text in ("", DASH)


@dataclass(frozen=True)
class LinkedSheet:
    """A sheet whose cells know their runs. `numeric`: for each column, whether it holds numbers."""

    title: str
    protocol: str
    head: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]  # the first cell of each names it
    notes: tuple[str, ...]


def has_runs(sheet: Sheet) -> bool:
    """Whether anything in a sheet was measured; taken as so where its long form names no runs at all."""
    named = [_runs(line) for line in sheet.long_form if "runs" in line]
    return any(named) if named else bool(sheet.lines)


def link(sheet: Sheet, known: Collection[str]) -> LinkedSheet:
    """The sheet with its runs, those of them that are known, in the cells that they made.

    A line of the long form belongs to the cell in its row whose column is its data set and size, and to the
    row's name where no column is.
    """
    rows = []
    for line, numbers in zip(sheet.lines, _of_rows(sheet), strict=True):
        runs: dict[int, list[str]] = {}
        for number in numbers:
            own = [run for run in _runs(number) if run in known]
            runs.setdefault(_column(sheet.head, number), []).extend(own)
        rows.append(tuple(Cell(text, tuple(dict.fromkeys(runs.get(place, [])))) for place, text in enumerate(line)))
    numeric = (False, *(_numeric(line[place] for line in sheet.lines) for place in range(1, len(sheet.head))))
    return LinkedSheet(sheet.title, sheet.protocol, tuple(sheet.head), numeric, tuple(rows), tuple(sheet.notes))


def _of_rows(sheet: Sheet) -> Iterator[Sequence[Mapping[str, Any]]]:
    """For each line of a sheet, the lines of its long form: both are in one order, but not each row has numbers."""
    labels = [line[0].removesuffix(HR_MARK).strip() for line in sheet.lines]
    if not all("row" in numbers for numbers in sheet.long_form):
        yield from _by_words(sheet)
        return
    told_by = ("row", "config", "device")
    groups = [list(lines) for _, lines in groupby(sheet.long_form, lambda one: [one.get(name) for name in told_by])]
    place = 0
    for label in labels:
        there = place < len(groups) and groups[place][0].get("row") == label
        yield groups[place] if there else []
        place += there


def _by_words(sheet: Sheet) -> Iterator[Sequence[Mapping[str, Any]]]:
    """For each line, the first line of the long form, not yet taken, that holds its first two words as values."""
    left = list(sheet.long_form)
    for line in sheet.lines:
        words = {*line[:2]}
        place = next((place for place, numbers in enumerate(left) if words <= {*map(str, numbers.values())}), None)
        yield [] if place is None else [left.pop(place)]


def _runs(number: Mapping[str, Any]) -> list[str]:
    """The ids in a line of the long form: its own runs, and those they are compared with."""
    named = (str(value) for name, value in number.items() if name == "runs" or name.endswith("_runs"))
    return " ".join(named).split()


def _column(head: Sequence[str], number: Mapping[str, Any]) -> int:
    label = f"{number.get('dataset')} {number.get('size')}"
    return head.index(label) if label in head[1:] else 0


def _numeric(column: Iterator[str]) -> bool:
    shown = [text for text in column if text not in ("", DASH)]
    return 2 * sum(bool(NUMBER.match(text)) for text in shown) >= len(shown)

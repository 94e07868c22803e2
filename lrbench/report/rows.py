"""Rows that stand beside each other: a method at given settings, and its control of the same budget."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lrbench.report import cells
from lrbench.report.cells import Cell, Cells, Column, RowKey
from lrbench.report.compare import Comparison, Right, compare


@dataclass(frozen=True)
class Wanted:
    """Runs that are asked for: a method on a backbone, at its defaults but for `settings`; any value of `free`."""

    method: str
    backbone: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    width: float | None = None  # of the backbone; None for any

    @property
    def config(self) -> dict[str, Any]:
        """All settings, those that are free left out."""
        config = cells.default_config(self.method) | dict(self.settings)
        return {name: value for name, value in config.items() if name not in self.free}

    def started_as(self, other: Wanted) -> Wanted:
        """The same method, which shares with `other` what settings they both have, such as `init`.

        So a reference becomes a control of the same budget. Equal to this one where the two start alike.
        """
        own = self.config
        shared = {name: value for name, value in controlled(own, other.config).items() if value != own[name]}
        return replace(self, settings=dict(self.settings) | shared) if shared else self

    def fits(self, key: RowKey) -> bool:
        """Whether a row is of such runs; a setting that is newer than a run has its default there."""
        if (key.method, key.backbone) != (self.method, self.backbone) or self.width not in (None, key.width):
            return False
        own = cells.default_config(self.method) | json.loads(key.config)
        return {name: value for name, value in own.items() if name not in self.free} == self.config

    def find(self, found: Cells, column: Column) -> dict[str, Cell]:
        """What there is of it in a column: the free settings as --set takes them, "" at the defaults -> cell."""
        return {
            " ".join(one for one in cells.changes(key) if one.partition("=")[0] in self.free): cell
            for (key, where), cell in found.items()
            if where == column and self.fits(key)
        }

    def cell(self, found: Cells, column: Column) -> Cell | None:
        """The only cell, of runs without free settings; None where there is none."""
        return next(iter(self.find(found, column).values()), None)


def usual_widths(asked: Iterable[tuple[Wanted, Column]], found: Cells) -> dict[str, float]:
    """The width of each backbone at which most seeds of what is asked for were run, of equal ones the first.

    Published tables and claims speak of that one: fewer runs at another width, or runs of something else, change
    nothing there. A backbone that was not run is missing.
    """
    seeds: dict[str, dict[float, tuple[int, str]]] = defaultdict(dict)  # backbone -> width -> minus most seeds, first
    for wanted, column in asked:
        for (key, where), cell in found.items():
            if where == column and wanted.fits(key):
                own = -len(cell.records), min(map(cells.finished, cell.records))
                most, first = seeds[key.backbone].get(key.width, own)
                seeds[key.backbone][key.width] = min(most, own[0]), min(first, own[1])
    return {backbone: min(widths, key=lambda width: (*widths[width], -width)) for backbone, widths in seeds.items()}


def controlled(reference: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """A reference's config with the settings that it has in common with a row's as the row has them, such as `init`.

    So it is a control of the same budget.
    """
    return dict(reference) | {name: value for name, value in row.items() if name in reference}


def compared(cell: Cell | None, other: Cell | None, right: Right) -> Comparison | None:
    """One cell minus another, at its own precision if it was run; None where one is missing, or they share no seed."""
    if cell is None or other is None:
        return None
    return compare(cell.records, other.at(cell.records[0].spec.precision).records, right)

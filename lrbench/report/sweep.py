"""One setting of a method varied, all else equal: what the runs show of a published sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lrbench.method import naming
from lrbench.report import cells
from lrbench.report.cells import Cell, Cells, Column, Conditions
from lrbench.report.published import PublishedSweep
from lrbench.report.rows import Wanted
from lrbench.spec.record import Record


@dataclass(frozen=True)
class Sweep:
    """A backbone of some width in one column under one set of conditions.

    points: value of the setting, ascending -> its runs. control: the reference whose training started as theirs
    did; None where that is the reference itself, or has not been run.
    """

    shared: Conditions
    column: Column
    label: str  # of the column
    backbone: str
    width: float
    points: Mapping[float, Cell]
    reference: Cell | None
    control: Cell | None

    def network(self, source: PublishedSweep) -> str:
        """Its backbone as the paper calls it, with its width where that is not 1."""
        return naming.network(source.backbones.get(self.backbone, self.backbone), self.width)


def sweeps(source: PublishedSweep, records: Iterable[Record], settings: Mapping[str, Any] | None = None) -> list[Sweep]:
    """Every sweep among the records, in the order of conditions, columns and the paper's backbones.

    settings: what all its runs have in common, where that differs from the method's defaults.
    """
    found = cells.sort(record for record in records if not record.restores)
    return [
        one
        for shared, own in found.items()
        for column in sorted({column for _, column in own if column.scale}, key=_order(source))
        for backbone, width in _networks(source, own)
        if (one := _sweep(source, shared, own, column, backbone, width, settings or {})).points
    ]


def _order(source: PublishedSweep) -> Any:
    """The paper's column first, then by name, the smallest images first."""
    dataset, scale, _ = source.column
    return lambda column: (column != Column(dataset, scale), column.dataset, -column.scale)


def _networks(source: PublishedSweep, own: Cells) -> list[tuple[str, float]]:
    """Backbones and widths, the paper's backbones first."""
    backbones = list(dict.fromkeys([*source.backbones, *sorted(key.backbone for key, _ in own)]))
    there = {(key.backbone, key.width) for key, _ in own}
    return sorted(there, key=lambda one: (backbones.index(one[0]), one[1]))


def _sweep(
    source: PublishedSweep,
    shared: Conditions,
    own: Cells,
    column: Column,
    backbone: str,
    width: float,
    settings: Mapping[str, Any],
) -> Sweep:
    swept = Wanted(source.method, backbone, settings, free=(source.setting,), width=width)
    values = {cell.records[0].spec.config[source.setting]: cell for cell in swept.find(own, column).values()}
    points = {float(str(value)): cell for value, cell in values.items()}
    plain = Wanted(source.reference, backbone, width=width)
    control = plain.started_as(swept)
    side = next((cell.records[0].data.side for cell in points.values()), source.column[2])
    return Sweep(
        shared,
        column,
        column.label(side),
        backbone,
        width,
        dict(sorted(points.items())),
        plain.cell(own, column),
        None if control == plain else control.cell(own, column),
    )


def common_seeds(cells_: Iterable[Cell]) -> set[int]:
    """The seeds that all of some cells have."""
    seeds = [{record.spec.seed for record in cell.records} for cell in cells_]
    return set.intersection(*seeds) if seeds else set()


def confined(cell: Cell, seeds: set[int]) -> Cell:
    """A cell's runs of some seeds."""
    return replace(cell, records=tuple(record for record in cell.records if record.spec.seed in seeds))

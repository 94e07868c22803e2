"""A published table filled from records: our numbers, the published ones and the difference."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lrbench import cells
from lrbench.cells import Cell, Cells, Column, Conditions, RowKey
from lrbench.published import PublishedRow, PublishedTable
from lrbench.record import Record


@dataclass(frozen=True)
class Entry:
    """One row in one column: what was published, what we measured, either or neither."""

    published: float | None
    cell: Cell | None

    @property
    def difference(self) -> float | None:
        """Ours minus the published number, in percentage points."""
        if self.published is None or self.cell is None:
            return None
        return self.cell.top1.mean - self.published


@dataclass(frozen=True)
class Row:
    """A row: the published ones first, then what else has been run. `hr` marks one tested on HR images."""

    label: str
    key: RowKey
    entries: tuple[Entry, ...]
    hr: bool

    @property
    def epochs(self) -> int | None:
        """Epochs in the weights; None where nothing has been run."""
        return max((entry.cell.epochs for entry in self.entries if entry.cell), default=None)


@dataclass(frozen=True)
class FilledTable:
    """A published table under one set of conditions; `conditions` is None where there is no run at all."""

    source: PublishedTable
    conditions: Conditions | None
    columns: tuple[Column, ...]
    labels: tuple[str, ...]  # of the columns
    rows: tuple[Row, ...]

    @property
    def unequal_budgets(self) -> bool:
        """Whether rows with different numbers of epochs in their weights stand beside each other."""
        return len({row.epochs for row in self.rows if row.epochs is not None and not row.hr}) > 1

    @property
    def left_out(self) -> int:
        """Records of older versions of an experiment that is shown."""
        return sum(entry.cell.left_out for row in self.rows for entry in row.entries if entry.cell)


def fill(source: PublishedTable, records: Iterable[Record]) -> list[FilledTable]:
    """The table once for each set of conditions that runs were made under, or once, empty.

    A table of one backbone takes runs of that backbone alone; one of several, or of none, takes all.
    """
    backbones = {row.backbone for row in source.rows}
    own = [record for record in records if len(backbones) != 1 or record.spec.backbone in backbones]
    sides = {record.spec.dataset: record.data.side for record in own}
    filled = [_fill(source, shared, found, sides) for shared, found in cells.sort(own).items()]
    return filled or [_fill(source, None, {}, {})]


def _fill(source: PublishedTable, shared: Conditions | None, found: Cells, sides: dict[str, int]) -> FilledTable:
    sides = sides | {dataset: side for dataset, _, side in source.columns}
    run = {column for _, column in found}
    datasets = {column.dataset for column in run}
    published = [Column(dataset, scale) for dataset, scale, _ in source.columns]
    columns = [column for column in published if column.dataset in datasets or not run]
    columns += sorted(run - set(columns), key=lambda column: (column.dataset, -(column.scale or 1)))
    rows = [_published_row(row, columns, published, found) for row in source.rows]
    shown = {row.key for row in rows}
    rows += [
        _row(f"{cells.name(key)} ({key.backbone})", key, columns, (None,) * len(columns), found)
        for key in dict.fromkeys(key for key, _ in found)
        if key not in shown
    ]
    labels = tuple(column.label(sides[column.dataset]) for column in columns)
    return FilledTable(source, shared, tuple(columns), labels, tuple(rows))


def _published_row(row: PublishedRow, columns: Sequence[Column], published: list[Column], found: Cells) -> Row:
    config = cells.default_config(row.method) | dict(row.settings)
    key = RowKey(row.backbone, row.method, json.dumps(config, sort_keys=True))
    numbers = dict(zip(published, row.top1, strict=True))
    return _row(row.label, key, columns, [numbers.get(column) for column in columns], found)


def _row(label: str, key: RowKey, columns: Sequence[Column], published: Sequence[float | None], found: Cells) -> Row:
    entries = tuple(Entry(number, found.get((key, column))) for column, number in zip(columns, published, strict=True))
    records = [record for entry in entries if entry.cell for record in entry.cell.records]
    hr = any(record.spec.scale is None for record in records) or cells.sees_hr(key.method)
    return Row(label, key, entries, hr)

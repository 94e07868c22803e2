"""A published table filled from records: our numbers, the published ones and the difference."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lrbench import cells
from lrbench.cells import Cell, Cells, Column, Conditions, RowKey
from lrbench.compare import Comparison, Right, correct
from lrbench.published import PublishedRow, PublishedTable
from lrbench.record import Record
from lrbench.rows import compared, controlled


@dataclass(frozen=True)
class Entry:
    """One row in one column: what was published, what we measured, either or neither."""

    published: float | None
    cell: Cell | None
    comparison: Comparison | None = None  # with the table's reference
    control: Comparison | None = None  # with the reference whose training started as this row's did

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Those that there are, each once."""
        return tuple(dict.fromkeys(one for one in (self.comparison, self.control) if one is not None))

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
    def family(self) -> int:
        """The number of comparisons that the table makes, for which their p are corrected."""
        return sum(len(entry.comparisons) for row in self.rows for entry in row.entries)

    @property
    def left_out(self) -> int:
        """Records of older versions of an experiment that is shown."""
        return sum(entry.cell.left_out for row in self.rows for entry in row.entries if entry.cell)


def fill(source: PublishedTable, records: Iterable[Record], right: Right | None = None) -> list[FilledTable]:
    """The table once for each set of conditions that runs were made under, or once, empty.

    A table of one backbone takes runs of that backbone alone; one of several, or of none, takes all.
    With `right`, rows are tested against the table's reference.
    """
    backbones = {row.backbone for row in source.rows}
    own = [r for r in records if not r.restores and (len(backbones) != 1 or r.spec.backbone in backbones)]
    sides = {record.spec.dataset: record.data.side for record in own}
    filled = [_fill(source, shared, found, sides, right) for shared, found in cells.sort(own).items()]
    return filled or [_fill(source, None, {}, {}, None)]


def _fill(
    source: PublishedTable,
    shared: Conditions | None,
    found: Cells,
    sides: dict[str, int],
    right: Right | None,
) -> FilledTable:
    sides = sides | {dataset: side for dataset, _, side in source.columns}
    run = {column for _, column in found}
    datasets = {column.dataset for column in run}
    published = [Column(dataset, scale) for dataset, scale, _ in source.columns]
    columns = [column for column in published if column.dataset in datasets or not run]
    columns += sorted(run - set(columns), key=lambda column: (column.dataset, -(column.scale or 1)))
    rows = [
        _row(label, key, columns, published, row.top1, found) for row in source.rows for label, key in _keys(row, found)
    ]
    shown = {row.key for row in rows}
    rows += [
        _row(f"{cells.name(key)} ({key.backbone})", key, columns, published, (None,) * len(published), found)
        for key in dict.fromkeys(key for key, _ in found)
        if key not in shown
    ]
    if source.reference and right:
        rows = _corrected([_compared(row, columns, source.reference, found, right) for row in rows])
    labels = tuple(column.label(sides[column.dataset]) for column in columns)
    return FilledTable(source, shared, tuple(columns), labels, tuple(rows))


def _keys(row: PublishedRow, found: Cells) -> list[tuple[str, RowKey]]:
    """The runs that may stand in a published row, each with its label; its default settings where there is none."""
    config = cells.default_config(row.method) | dict(row.settings)
    fixed = {name: value for name, value in config.items() if name not in row.free}
    keys = []
    for key in dict.fromkeys(key for key, _ in found):
        own = json.loads(key.config)
        if (key.backbone, key.method) == (row.backbone, row.method):
            shown = {change.partition("=")[0]: change for change in cells.changes(key)}
            changed = [shown[name] for name in row.free if name in shown and own[name] != config.get(name)]
            if {name: value for name, value in own.items() if name not in row.free} == fixed:
                keys.append((", ".join([row.label, *changed]), key))
    return keys or [(row.label, RowKey(row.backbone, row.method, json.dumps(config, sort_keys=True)))]


def _row(
    label: str,
    key: RowKey,
    columns: Sequence[Column],
    published: Sequence[Column],
    top1: Sequence[float | None],
    found: Cells,
) -> Row:
    numbers = dict(zip(published, top1, strict=True))
    entries = tuple(Entry(numbers.get(column), found.get((key, column))) for column in columns)
    records = [record for entry in entries if entry.cell for record in entry.cell.records]
    hr = any(record.spec.scale is None for record in records) or cells.sees_hr(key.method)
    return Row(label, key, entries, hr)


def _compared(row: Row, columns: Sequence[Column], reference: str, found: Cells, right: Right) -> Row:
    """The row with each of its cells compared with the reference of its backbone, and with its control."""
    plain = cells.default_config(reference)
    configs = plain, controlled(plain, json.loads(row.key.config))
    keys = [RowKey(row.key.backbone, reference, json.dumps(config, sort_keys=True)) for config in configs]
    if row.hr or row.key == keys[0]:
        return row
    entries = []
    for entry, column in zip(row.entries, columns, strict=True):
        comparisons = {  # of one key, where the row starts as the reference does
            key: compared(entry.cell, found.get((key, column)), right) for key in dict.fromkeys(keys) if key != row.key
        }
        comparison, control = (comparisons.get(key) for key in keys)
        entries.append(replace(entry, comparison=comparison, control=control))
    return replace(row, entries=tuple(entries))


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """The rows with every p corrected for the number of comparisons that the table makes: they are one family.

    A row's control that is the reference itself is one comparison, not two.
    """
    family = [comparison for row in rows for entry in row.entries for comparison in entry.comparisons]
    corrected = correct(family)
    return [replace(row, entries=tuple(_replaced(entry, corrected) for entry in row.entries)) for row in rows]


def _replaced(entry: Entry, corrected: Mapping[Comparison, Comparison]) -> Entry:
    return replace(
        entry,
        comparison=entry.comparison and corrected[entry.comparison],
        control=entry.control and corrected[entry.control],
    )

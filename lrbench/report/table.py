"""A published table filled from records: our numbers, the published ones and the difference."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lrbench.report import cells
from lrbench.report.cells import Cell, Cells, Column, Conditions, RowKey
from lrbench.report.compare import Comparison, Right, family
from lrbench.report.needed import Known
from lrbench.report.published import PublishedRow, PublishedTable
from lrbench.report.rows import Wanted, compared, controlled, usual_widths
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec

Failure = tuple[RunSpec, str]  # a run that failed, and why


@dataclass(frozen=True)
class Entry:
    """One row in one column: what was published, what we measured, either or neither."""

    published: float | None
    cell: Cell | None
    comparison: Comparison | None = None  # with the table's reference
    control: Comparison | None = None  # with the reference whose training started as this row's did

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Those that there are, each once: a control that is the reference itself is one comparison, not two."""
        return tuple(dict.fromkeys(one for one in (self.comparison, self.control) if one is not None))

    @property
    def difference(self) -> float | None:
        """Ours minus the published number, in percentage points."""
        if self.published is None or self.cell is None or self.cell.top1 is None:
            return None
        return self.cell.top1.mean - self.published


@dataclass(frozen=True)
class Row:
    """A published row; of one with settings that the paper leaves open, one for each of their values that were run.

    `hr` marks one tested on HR images.
    """

    label: str
    key: RowKey
    entries: tuple[Entry, ...]
    hr: bool

    @property
    def epochs(self) -> int | None:
        """Epochs in the weights; None where nothing has been run."""
        return max((entry.cell.epochs for entry in self.entries if entry.cell), default=None)

    @property
    def records(self) -> list[Record]:
        """The runs of all its columns, each once."""
        return list({one.id: one for entry in self.entries if entry.cell for one in entry.cell.records}.values())


@dataclass(frozen=True)
class FilledTable:
    """A published table under one set of conditions; `conditions` is None where there is no run at all.

    known: every run that its runs may have needed. failed: the runs that it misses because they failed. other_widths:
    the networks, such as "resnet18 x0.5", at whose width its rows were run as well, but less often.
    """

    source: PublishedTable
    conditions: Conditions | None
    columns: tuple[Column, ...]
    labels: tuple[str, ...]  # of the columns
    rows: tuple[Row, ...]
    known: Known = field(default_factory=dict)
    failed: tuple[Failure, ...] = ()
    other_widths: tuple[str, ...] = ()

    @property
    def unequal_budgets(self) -> bool:
        """Whether rows with different numbers of epochs in their weights stand beside each other."""
        return len({row.epochs for row in self.rows if row.epochs is not None and not row.hr}) > 1

    @property
    def comparisons(self) -> list[Comparison]:
        """All that the table makes: they are made together, see lrbench.report.compare.family."""
        return [one for row in self.rows for entry in row.entries for one in entry.comparisons]

    @property
    def heading(self) -> str:
        """The conditions in words; with the width, where all rows have one and the same, which is not 1."""
        widths = {row.key.width for row in self.rows if row.records}
        width = f", width {widths.pop():g}" if len(widths) == 1 and widths != {1.0} else ""
        return f"{self.conditions}{width}" if self.conditions else "no run yet"

    @property
    def left_out(self) -> int:
        """Records of older versions, or another precision, of an experiment that is shown."""
        return sum(entry.cell.left_out for row in self.rows for entry in row.entries if entry.cell)


def fill(
    source: PublishedTable, records: Iterable[Record], right: Right | None = None, failures: Iterable[Failure] = ()
) -> list[FilledTable]:
    """The table once for each set of conditions under which a row of it was run, or failed, or once, empty.

    Its rows and columns are the published ones, each backbone at the width at which most were run.
    With `right`, rows are tested against the table's reference.
    """
    known = {record.id: record for record in records}
    found = cells.sort(record for record in known.values() if not record.restores)
    failed = [(spec, why) for spec, why in failures if spec.id not in known]
    under = [*found, *(cells.conditions(spec) for spec, _ in failed if spec.scale is not None)]
    filled = [_fill(source, shared, found.get(shared, {}), right, known, failed) for shared in dict.fromkeys(under)]
    filled = sorted((one for one in filled if one.failed or any(row.records for row in one.rows)), key=_order)
    return filled or [_fill(source, None, {}, None, known, [])]


def _order(table: FilledTable) -> tuple[object, ...]:
    return table.conditions.order if table.conditions else ()


def _fill(
    source: PublishedTable,
    shared: Conditions | None,
    found: Cells,
    right: Right | None,
    known: Known,
    failed: Sequence[Failure],
) -> FilledTable:
    columns = [Column(dataset, scale) for dataset, scale, _ in source.columns]
    labels = [column.label(side) for column, (_, _, side) in zip(columns, source.columns, strict=True)]
    anywhere = [Wanted(row.method, row.backbone, row.settings, row.free) for row in source.rows]
    places = {*columns, *(replace(column, scale=None) for column in columns)}
    widths = usual_widths([(one, place) for one in anywhere for place in places], found)
    wanted = [replace(one, width=widths.get(one.backbone)) for one in anywhere]
    rows = [
        _row(label, key, columns, row.top1, found)
        for row, one in zip(source.rows, wanted, strict=True)
        for label, key in _keys(row, one, found)
    ]
    if len({row.key.width for row in rows if row.records}) > 1:  # else it stands in the heading
        rows = [
            replace(row, label=f"{row.label}, width {row.key.width:g}") if row.records and row.key.width != 1 else row
            for row in rows
        ]
    if source.reference and right:
        rows = _together([_compared(row, columns, source.reference, found, right) for row in rows])
    missed = [one for one in failed if shared and _misses(wanted, columns, shared, one[0])]
    others = {
        key.network
        for key, column in found
        if column in places and key.width != widths.get(key.backbone) and any(one.fits(key) for one in anywhere)
    }
    return FilledTable(
        source, shared, tuple(columns), tuple(labels), tuple(rows), known, tuple(missed), tuple(sorted(others))
    )


def _keys(row: PublishedRow, wanted: Wanted, found: Cells) -> list[tuple[str, RowKey]]:
    """The runs that may stand in a published row, each with its label; its default settings where there is none."""
    keys = []
    for key in dict.fromkeys(key for key, _ in found):
        if wanted.fits(key):
            shown = {change.partition("=")[0]: change for change in cells.changes(key)}
            own, config = json.loads(key.config), cells.default_config(row.method) | dict(row.settings)
            changed = [shown[name] for name in row.free if name in shown and own[name] != config.get(name)]
            keys.append((", ".join([row.label, *changed]), key))
    config = cells.default_config(row.method) | dict(row.settings)
    return keys or [
        (row.label, RowKey(row.backbone, row.method, json.dumps(config, sort_keys=True), wanted.width or 1.0))
    ]


def _row(label: str, key: RowKey, columns: Sequence[Column], top1: Sequence[float | None], found: Cells) -> Row:
    entries = tuple(
        Entry(published, found.get((key, column)) or found.get((key, Column(column.dataset, None))))
        for column, published in zip(columns, top1, strict=True)
    )
    records = [record for entry in entries if entry.cell for record in entry.cell.records]
    hr = any(record.spec.scale is None for record in records) or cells.sees_hr(key.method)
    return Row(label, key, entries, hr)


def _compared(row: Row, columns: Sequence[Column], reference: str, found: Cells, right: Right) -> Row:
    """The row with each of its cells compared with the reference of its backbone, and with its control."""
    plain = cells.default_config(reference)
    configs = plain, controlled(plain, json.loads(row.key.config))
    keys = [replace(row.key, method=reference, config=json.dumps(config, sort_keys=True)) for config in configs]
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


def _together(rows: Sequence[Row]) -> list[Row]:
    """The rows with all comparisons that the table makes made together."""
    alone = [comparison for row in rows for entry in row.entries for comparison in entry.comparisons]
    made = dict(zip(alone, family(alone), strict=True))
    return [
        replace(
            row,
            entries=tuple(
                replace(
                    entry,
                    comparison=entry.comparison and made[entry.comparison],
                    control=entry.control and made[entry.control],
                )
                for entry in row.entries
            ),
        )
        for row in rows
    ]


def _misses(wanted: Sequence[Wanted], columns: Sequence[Column], shared: Conditions, spec: RunSpec) -> bool:
    """Whether a run that failed is one of a table's, or of those tested on HR that may teach them."""
    if spec.scale is None:
        same = cells.conditions(spec) in (shared, shared.on_hr()) and spec.dataset in {one.dataset for one in columns}
        return same and any(one.backbone == spec.backbone and one.width in (None, spec.width) for one in wanted)
    there = Column(spec.dataset, spec.scale) in columns and any(one.fits(cells.row_key(spec)) for one in wanted)
    return there and cells.conditions(spec) == shared

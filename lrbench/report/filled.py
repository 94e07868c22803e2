"""A published table filled from runs: our numbers beside the published ones, rows beside their control."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lrbench.method import naming
from lrbench.report import frame
from lrbench.report.compare import Comparison, Right, family
from lrbench.report.frame import FAILED, SHARED
from lrbench.report.published import PublishedRow, PublishedTable
from lrbench.report.ways import Runs, Wanted, comparison, control, joined, summary, usual_widths

Key = tuple[str, str, str, float]


@dataclass(frozen=True)
class Cell:
    """One row in one column: what was published, and the runs of ours, one row of the frame each, by seed.

    reference, control: the difference from the table's reference, and from the reference that was trained like the row.
    """

    published: float | None
    runs: pd.DataFrame
    reference: Comparison | None = None
    control: Comparison | None = None
    control_runs: str = ""  # ids

    @cached_property
    def ours(self) -> dict[str, Any] | None:
        """The summary of its runs; None where there are none."""
        return summary(self.runs) if len(self.runs) else None

    @property
    def difference(self) -> float | None:
        """Ours minus the published number, in percentage points."""
        mean = self.ours["top1_mean"] if self.ours else None
        return None if mean is None or self.published is None else round(mean - self.published, 6)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Those that there are, each once: a control that is the reference itself is one comparison, not two."""
        return tuple(dict.fromkeys(one for one in (self.reference, self.control) if one is not None))


@dataclass(frozen=True)
class Row:
    """A published row; of one with settings that the paper leaves open, one for each of their values that were run.

    name: as published, or as its table calls rows of one of its settings; settings: those of the open ones that differ
    from their defaults and that the name does not say, such as "sr_epochs=4".
    """

    name: str
    settings: tuple[str, ...]
    method: str
    backbone: str
    config: str  # JSON
    width: float
    hr: bool  # trained and tested on HR images
    cells: tuple[Cell, ...]

    @property
    def label(self) -> str:
        """Its name and settings."""
        return ", ".join([self.name, *self.settings])

    @property
    def key(self) -> Key:
        """What tells it apart from all other rows of its table."""
        return self.label, self.backbone, self.config, self.width

    def shared(self, rows: Sequence[Row]) -> list[str]:
        """Its settings that all of the rows with its name have."""
        return [one for one in self.settings if all(one in row.settings for row in rows if row.name == self.name)]

    def short_label(self, rows: Sequence[Row]) -> str:
        """Its name with as few of its settings as tell it apart from the others of that name among the rows."""
        shared = self.shared(rows)
        own = [one for one in self.settings if one not in shared]
        others = [row for row in rows if row.name == self.name and row.key != self.key]
        its = [[one for one in row.settings if one not in shared] for row in others]
        count = next((n for n in range(len(own)) if own[:n] not in [one[:n] for one in its]), len(own))
        return ", ".join([self.name, *own[:count]])

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Those of all its columns, each once."""
        return pd.concat([cell.runs for cell in self.cells]).drop_duplicates("id")

    @cached_property
    def epochs(self) -> int | None:
        """Epochs in the weights; None where nothing has been run."""
        return max((cell.ours["epochs_in_weights"] for cell in self.cells if cell.ours), default=None)


@dataclass(frozen=True)
class Filled:
    """A published table under one set of conditions; `run` is any run of it, None where there is none at all.

    failed: the failed runs that it misses. other_widths: the networks, such as "resnet18 x0.5", at whose width its rows
    were run as well, but less often. left_out: runs of older versions, or of another precision.
    """

    source: PublishedTable
    run: pd.Series | None
    rows: tuple[Row, ...]
    results: pd.DataFrame = field(repr=False)  # all runs, some of which its runs may have needed
    failed: pd.DataFrame = field(repr=False)
    other_widths: tuple[str, ...] = ()
    left_out: int = 0

    @property
    def columns(self) -> list[str]:
        """Such as "cifar10 8x8"."""
        return [f"{dataset} {side // scale}x{side // scale}" for dataset, scale, side in self.source.columns]

    @property
    def empty_datasets(self) -> list[str]:
        """Those of which no cell has a run."""
        datasets = [dataset for dataset, *_ in self.source.columns]
        run = {name for row in self.rows for name, cell in zip(datasets, row.cells, strict=True) if len(cell.runs)}
        return [name for name in dict.fromkeys(datasets) if name not in run]

    @property
    def protocol(self) -> int | None:
        """The version of the harness that its runs are of."""
        return None if self.run is None else int(self.run["protocol"])

    @property
    def count(self) -> int:
        """How many of its cells have runs."""
        return sum(len(cell.runs) > 0 for row in self.rows for cell in row.cells)

    @property
    def comparisons(self) -> list[Comparison]:
        """All that the table makes: they are made together, see compare.family."""
        return [one for row in self.rows for cell in row.cells for one in cell.comparisons]

    @property
    def unequal_budgets(self) -> bool:
        """Whether rows with different numbers of epochs in their weights stand beside each other."""
        return len({row.epochs for row in self.rows if row.epochs is not None and not row.hr}) > 1

    @property
    def conditions(self) -> str:
        """In words; with the widths that are not 1."""
        backbones: dict[float, list[str]] = {}
        for row in self.rows:
            if len(row.runs) and row.backbone not in backbones.setdefault(row.width, []):
                backbones[row.width].append(row.backbone)
        of = {width: f" of {' and '.join(some)}" if len(backbones) > 1 else "" for width, some in backbones.items()}
        width = "".join(f", width {width:g}{of[width]}" for width in sorted(backbones) if width != 1)
        return "no run yet" if self.run is None else f"{frame.conditions(self.run, SHARED)}{width}"


def fill(source: PublishedTable, results: pd.DataFrame, right: Right | None = None) -> list[Filled]:
    """The table once for each set of conditions under which a row of it was run, or failed, or once, empty.

    The newest protocol first, and of one protocol the table that has most cells filled.
    Its rows and columns are the published ones, each backbone at the width at which most seeds of them were run: what
    else has been run stands in no published table. With `right`, rows are tested against the table's reference.
    """
    usual = frame.defaults(results)
    filled = [_fill(source, Runs(table, usual), results, right) for table in frame.tables(results, SHARED)]
    filled = [one for one in filled if len(one.failed) or one.count]
    filled.sort(key=lambda one: (-(one.protocol or 0), -one.count))
    return filled or [_fill(source, Runs(frame.placed(results)[:0], usual), results, None)]


def _fill(source: PublishedTable, runs: Runs, results: pd.DataFrame, right: Right | None) -> Filled:
    anywhere = [Wanted(row.method, row.backbone, row.settings, row.free) for row in source.rows]
    places = [(dataset, scale) for dataset, scale, _ in source.columns]
    widths = usual_widths(same for one in anywhere for place in places for same in runs.ways(one, *place).values())
    wanted = [replace(one, width=widths.get(one.backbone)) for one in anywhere]
    rows = [made for row, one in zip(source.rows, wanted, strict=True) for made in _rows(row, one, places, runs)]
    if source.reference and right:
        rows = _together([_compared(row, places, source.reference, runs, right) for row in rows])
    there, of_rows = (
        pd.concat([runs.find(one, *place) for one in some for place in places]) for some in (anywhere, wanted)
    )
    others = there[there["width"] != there["backbone"].map(widths)]
    networks = {naming.network(*one) for one in others[["backbone", "width"]].itertuples(index=False)}
    ours = {run for row in rows for run in row.runs["id"]}
    return Filled(
        source,
        runs.table.iloc[0] if len(runs.table) else None,
        tuple(rows),
        results,
        _failed(runs.table, of_rows, wanted, {dataset for dataset, _ in places}),
        tuple(sorted(networks)),
        len(set(of_rows.loc[of_rows["status"] != FAILED, "id"]) - ours),
    )


def _failed(table: pd.DataFrame, of_rows: pd.DataFrame, wanted: Sequence[Wanted], datasets: set[str]) -> pd.DataFrame:
    """Of the failed runs those of a table's rows, and those tested on HR that may teach them."""
    missed = table[table["status"] == FAILED].drop_duplicates("id")
    networks = {(one.backbone, one.width) for one in wanted}
    fits = [not networks.isdisjoint({(run.backbone, run.width), (run.backbone, None)}) for run in missed.itertuples()]
    teaches = (missed["tested_on"] == "hr") & missed["dataset"].isin(datasets) & np.array(fits, bool)
    return missed[missed["id"].isin(of_rows["id"]) | teaches]


def _rows(row: PublishedRow, wanted: Wanted, places: Sequence[tuple[str, int]], runs: Runs) -> Iterator[Row]:
    """The rows that a published one becomes, by name; one without runs where there are none."""
    config = dict(runs.defaults.get(row.method, {})) | dict(row.settings)
    of_place = [runs.ways(wanted, *place) for place in places]
    found = {key: same for ways in of_place for key, same in ways.items()}
    made = []
    for text, width in sorted(found):
        first, own = found[text, width].iloc[0], json.loads(text)
        changes = {one.partition("=")[0]: one for one in json.loads(first["changes"])}
        said = next((one for one in row.labels if one in {f"{name}={own.get(name)}" for name in row.free}), "")
        told = [changes[name] for name in row.free if name in changes and own[name] != config.get(name)]
        told = [one for one in told if one != said]
        hr = any((ways[text, width]["tested_on"] == "hr").any() for ways in of_place if (text, width) in ways)
        cells = [
            Cell(top1, ways.get((text, width), runs.nothing)) for top1, ways in zip(row.top1, of_place, strict=True)
        ]
        name = row.labels.get(said, row.label)
        made.append(Row(name, tuple(told), row.method, row.backbone, text, width, hr, tuple(cells)))
    yield from sorted(made, key=lambda row: row.name)
    if not found:
        empty, text = tuple(Cell(top1, runs.nothing) for top1 in row.top1), json.dumps(config, sort_keys=True)
        known = runs.table.loc[runs.table["method"] == row.method, "tested_on"]  # else its class says it
        hr = (known.iloc[0] if len(known) else naming.about(row.method).tested_on) == "hr"
        yield Row(row.label, (), row.method, row.backbone, text, wanted.width or 1.0, hr, empty)


def _compared(row: Row, places: Sequence[tuple[str, int]], reference: str, runs: Runs, right: Right) -> Row:
    """The row with each of its cells compared with the reference of its backbone, and with its control."""
    plain = Wanted(reference, row.backbone, width=row.width)
    if row.hr or (row.method == reference and plain.fits(row.config, runs.defaults)):
        return row
    cells = []
    for cell, place in zip(row.cells, places, strict=True):
        if len(cell.runs):
            others = runs.way(plain, *place, cell.runs.iloc[0]["precision"])
            _, of_control = control(cell.runs, runs, [reference])
            first = comparison(cell.runs, others, right)
            same = set(of_control["id"]) == set(others["id"])
            second = first if same else comparison(cell.runs, of_control, right)
            cell = replace(cell, reference=first, control=second, control_runs=joined(of_control["id"]))
        cells.append(cell)
    return replace(row, cells=tuple(cells))


def _together(rows: Sequence[Row]) -> list[Row]:
    """The rows with all comparisons that the table makes made together."""
    alone = [one for row in rows for cell in row.cells for one in cell.comparisons]
    made: dict[Comparison | None, Any] = {None: None, **dict(zip(alone, family(alone), strict=True))}

    def of_family(cell: Cell) -> Cell:
        return replace(cell, reference=made[cell.reference], control=made[cell.control])

    return [replace(row, cells=tuple(map(of_family, row.cells))) for row in rows]

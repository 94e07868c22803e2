"""Tables and figures of papers, to be filled with our own numbers beside the published ones.

They are plugins, of the entry-point groups `lrbench.tables` and `lrbench.figures`: `lrbench table NAME` renders NAME,
`lrbench plot NAME` draws it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lrbench.errors import UserError
from lrbench.method import registry

TABLES, FIGURES = "lrbench.tables", "lrbench.figures"


@dataclass(frozen=True)
class PublishedRow:
    """One row: a method on a backbone. `top1` are the published percentages, a column each, or None."""

    label: str
    method: str
    backbone: str
    top1: tuple[float | None, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)  # where they differ from the method's defaults
    free: tuple[str, ...] = ()  # settings that the paper leaves open: any value may stand here, in a row of its own
    labels: Mapping[str, str] = field(default_factory=dict)  # of rows with one of these, by "NAME=VALUE"


@dataclass(frozen=True)
class PublishedTable:
    """A paper's table. `columns` are (data set, scale, HR side in pixels).

    reference: the method that every other row of a backbone is tested against, at its default settings, and
    at the row's own (such as `init`), which makes it a control of the same budget.
    """

    title: str
    source: str
    protocol: str  # under which the published numbers were measured
    columns: tuple[tuple[str, int, int], ...]
    rows: tuple[PublishedRow, ...]
    reference: str | None = None
    notes: tuple[str, ...] = ()  # on the published numbers, below the table

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.top1) != len(self.columns):
                raise ValueError(
                    f"{self.title}: {row.label} has {len(row.top1)} numbers for {len(self.columns)} columns"
                )

    def on(self, datasets: Mapping[str, str]) -> PublishedTable:
        """The table with other datasets in its columns, old -> new, of which nothing was published."""
        own = {name: new for name, new in datasets.items() if any(name == dataset for dataset, _, _ in self.columns)}
        kept = [dataset not in own for dataset, _, _ in self.columns]
        return replace(
            self,
            columns=tuple((own.get(dataset, dataset), scale, side) for dataset, scale, side in self.columns),
            rows=tuple(
                replace(row, top1=tuple(top1 if keep else None for top1, keep in zip(row.top1, kept, strict=True)))
                for row in self.rows
            ),
            notes=(
                *(f"{new} stands in the columns of {old}, without its numbers." for old, new in own.items()),
                *self.notes,
            ),
        )


@dataclass(frozen=True)
class PublishedGallery:
    """A paper's figure of restored images. `nets` are its columns in order, label -> the SR net's method."""

    title: str
    source: str
    nets: Mapping[str, str]


@dataclass(frozen=True)
class PublishedSweep:
    """A paper's figure of top-1 against one setting of a method, on several backbones; a plot only, without numbers.

    setting, symbol: its name here and in the paper; values: those that the paper sweeps; chosen: the one that it
    settles on. backbones: our name -> the paper's. reference: the method whose runs are the lines to beat, once
    as it is and once started as the sweep's runs are, which makes it a control of the same budget; baselines: what was
    published of it, by backbone.
    """

    title: str
    source: str
    protocol: str  # under which the paper's curves were measured
    column: tuple[str, int, int]  # data set, scale, HR side in pixels
    method: str
    setting: str
    symbol: str
    values: tuple[float, ...]
    chosen: float
    backbones: Mapping[str, str]
    reference: str
    baselines: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.chosen not in self.values:
            raise ValueError(f"{self.title}: {self.symbol} = {self.chosen:g} is not one of the values swept")


def table(name: str) -> PublishedTable:
    """The table of that name. Raises UserError, naming the nearest, where there is none."""
    return _load(TABLES, "table", name, PublishedTable)


def figure(name: str) -> PublishedSweep | PublishedGallery:
    """The figure of that name. Raises UserError, naming the nearest, where there is none."""
    return _load(FIGURES, "figure", name, PublishedSweep, PublishedGallery)


def installed(group: str, kind: str, note: Callable[[str], None], *expected: type[Any]) -> Iterator[tuple[str, Any]]:
    """Name and object of every plugin of a group; `note` is told of one that does not load, or is another thing."""
    for name in registry.installed(group):
        try:
            found = _load(group, kind, name, *expected)
        except UserError as error:
            note(str(error))
        else:
            yield name, found


def tables(note: Callable[[str], None]) -> dict[str, PublishedTable]:
    """All the tables that are installed, by name."""
    return dict(installed(TABLES, "table", note, PublishedTable))


def sweeps(note: Callable[[str], None]) -> list[PublishedSweep]:
    """Those of all the figures that are installed."""
    every = installed(FIGURES, "figure", note, PublishedSweep, PublishedGallery)
    return [one for _, one in every if isinstance(one, PublishedSweep)]


def _load(group: str, kind: str, name: str, *expected: type[Any]) -> Any:
    found = registry.load(group, kind, name)
    if expected and not isinstance(found, expected):
        names = " or ".join(f"{one.__module__}.{one.__name__}".removeprefix("builtins.") for one in expected)
        raise UserError(f"{kind} '{name}' is not a {names}")
    return found

"""Tables of papers, to be filled with our own numbers beside the published ones.

They are plugins, of the entry-point group `lrbench.tables`: `lrbench table NAME` renders NAME.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lrbench import registry
from lrbench.errors import UserError

Published = TypeVar("Published")
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


@dataclass(frozen=True)
class PublishedGallery:
    """A paper's figure of restored images. `nets` are its columns in order, label -> the SR net's method."""

    title: str
    source: str
    nets: Mapping[str, str]


def table(name: str) -> PublishedTable:
    """The table of that name. Raises UserError, naming the nearest, where there is none."""
    return _load(TABLES, "table", name, PublishedTable)


def gallery(name: str) -> PublishedGallery:
    """The figure of that name. Raises UserError, naming the nearest, where there is none."""
    return _load(FIGURES, "figure", name, PublishedGallery)


def _load(group: str, kind: str, name: str, expected: type[Published]) -> Published:
    found = registry.load(group, kind, name)
    if not isinstance(found, expected):
        raise UserError(f"{kind} '{name}' is not a lrbench.published.{expected.__name__}")
    return found

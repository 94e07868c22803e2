"""Rows that stand beside each other: a method at given settings, and its control of the same budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lrbench import cells
from lrbench.cells import Cell, Cells, Column
from lrbench.compare import Right
from lrbench.record import Record


@dataclass(frozen=True)
class Wanted:
    """Runs that are asked for: a method on a backbone, at its defaults but for `settings`; any value of `free`."""

    method: str
    backbone: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    free: tuple[str, ...] = ()

    @property
    def config(self) -> dict[str, Any]:
        """All settings, those that are free left out."""
        config = cells.default_config(self.method) | dict(self.settings)
        return {name: value for name, value in config.items() if name not in self.free}

    def started_as(self, other: Wanted) -> Wanted:
        """The same method, which shares with `other` what settings they both have, such as `init`.

        So a reference becomes a control of the same budget. Equal to this one where the two start alike.
        """
        own, theirs = self.config, other.config
        shared = {name: theirs[name] for name in own if name in theirs and own[name] != theirs[name]}
        return replace(self, settings=dict(self.settings) | shared) if shared else self

    def find(self, found: Cells, column: Column) -> dict[str, Cell]:
        """What there is of it in a column: the free settings as --set takes them, "" at the defaults -> cell."""
        wanted, there = self.config, {}
        for (key, where), cell in found.items():
            if (where, key.method, key.backbone) == (column, self.method, self.backbone):
                own = json.loads(key.config)
                if {name: value for name, value in own.items() if name not in self.free} == wanted:
                    there[" ".join(one for one in cells.changes(key) if one.partition("=")[0] in self.free)] = cell
        return there

    def cell(self, found: Cells, column: Column) -> Cell | None:
        """The only cell, of runs without free settings; None where there is none."""
        return next(iter(self.find(found, column).values()), None)


def remembering(predictions: Callable[[Record], Mapping[str, np.ndarray]]) -> Right:
    """Which test images a run got right; each run's predictions are read once, however often it is compared."""
    known: dict[str, np.ndarray] = {}

    def right(record: Record) -> np.ndarray:
        if record.id not in known:
            read = predictions(record)
            known[record.id] = read["predicted"] == read["label"]
        return known[record.id]

    return right

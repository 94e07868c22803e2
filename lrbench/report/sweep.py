"""One setting of a method varied, all else equal: what the runs show of a published sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrbench.method import naming
from lrbench.report import frame
from lrbench.report.published import PublishedSweep
from lrbench.report.ways import Defaults, Runs, Wanted


@dataclass(frozen=True)
class Sweep:
    """A backbone of some width on one dataset at one scale, under one set of conditions.

    points: value of the setting, ascending -> its runs, by seed. table: all that was run there.
    """

    source: PublishedSweep
    wanted: Wanted
    points: Mapping[float, pd.DataFrame]
    table: Runs

    @property
    def run(self) -> pd.Series:
        """Any of its runs."""
        return next(iter(self.points.values())).iloc[0]

    def others(self, precision: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The runs of the reference at its defaults, and its control: those of the reference that started as these did.

        At a precision, where they were run at it. No control where that is the reference itself.
        """
        plain = Wanted(self.source.reference, self.wanted.backbone, width=self.wanted.width)
        control, place = plain.started_as(self.wanted, self.table.defaults), (self.run["dataset"], self.run["scale"])
        same = self.table.nothing if control == plain else self.table.way(control, *place, precision)
        return self.table.way(plain, *place, precision), same

    @property
    def labels(self) -> tuple[str, str]:
        """Of the method and of its reference."""
        labels = self.table.table.set_index("method")["label"].to_dict()
        reference = self.source.reference
        return labels[self.source.method], labels.get(reference) or naming.about(reference).label

    @property
    def place(self) -> str:
        """Such as "cifar10 8x8"."""
        return f"{self.run['dataset']} {self.run['size']}"

    @property
    def network(self) -> str:
        """Its backbone as the paper calls it, with its width where that is not 1."""
        backbone = self.wanted.backbone
        return naming.network(self.source.backbones.get(backbone, backbone), self.run["width"])


def sweeps(
    source: PublishedSweep, results: pd.DataFrame, settings: Mapping[str, Any] | None = None
) -> list[list[Sweep]]:
    """Every sweep among the results, those of one dataset, scale and protocol together, the paper's place first.

    settings: what all its runs have in common, where that differs from the method's defaults.
    """
    usual, (dataset, scale, _) = frame.defaults(results), source.column
    found = [list(_sweeps(source, table, settings or {}, usual)) for table in frame.tables(results)]
    found = [one for one in found if one]
    return sorted(
        found,
        key=lambda one: (-one[0].run["protocol"], (one[0].run["dataset"], one[0].run["scale"]) != (dataset, scale)),
    )


def _sweeps(
    source: PublishedSweep, table: pd.DataFrame, settings: Mapping[str, Any], usual: Defaults
) -> Iterator[Sweep]:
    """The sweeps of one table, the paper's backbones first."""
    names = list(dict.fromkeys([*source.backbones, *sorted(table["backbone"].unique())]))
    networks = table[["backbone", "width"]].drop_duplicates().itertuples(index=False)
    runs, place = Runs(table, usual), (table.iloc[0]["dataset"], table.iloc[0]["scale"])
    for backbone, width in sorted(networks, key=lambda one: (names.index(one[0]), one[1])):
        swept = Wanted(source.method, backbone, settings, free=(source.setting,), width=width)
        points = {float(json.loads(text)[source.setting]): same for (text, _), same in runs.ways(swept, *place).items()}
        if points:
            yield Sweep(source, swept, dict(sorted(points.items())), runs)

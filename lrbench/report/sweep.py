"""One setting of a method varied, all else equal: what the runs show of a published sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrbench.method import naming
from lrbench.report import frame
from lrbench.report.groups import Defaults, Runs, Wanted
from lrbench.report.published import PublishedSweep


@dataclass(frozen=True)
class Sweep:
    """A backbone of some width on one dataset at one scale, under one set of conditions.

    points: value of the setting, ascending -> its runs, by seed. reference: the runs of the reference at its defaults;
    control: those of the reference whose training started as these did, none where that is the reference itself.
    """

    source: PublishedSweep
    backbone: str
    width: float
    points: Mapping[float, pd.DataFrame]
    reference: pd.DataFrame
    control: pd.DataFrame

    @property
    def run(self) -> pd.Series:
        """Any of its runs."""
        return next(iter(self.points.values())).iloc[0]

    @property
    def place(self) -> str:
        """Such as "cifar10 8x8"."""
        return f"{self.run['dataset']} {self.run['size']}"

    @property
    def network(self) -> str:
        """Its backbone as the paper calls it, with its width where that is not 1."""
        return naming.network(self.source.backbones.get(self.backbone, self.backbone), self.width)

    @property
    def common_seeds(self) -> set[int]:
        """The seeds that all values have."""
        return set.intersection(*(set(runs["seed"]) for runs in self.points.values()))


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
        plain = Wanted(source.reference, backbone, width=width)
        control = plain.started_as(swept, usual)
        if points:
            reference = runs.way(plain, *place)
            of_control = runs.nothing if control == plain else runs.way(control, *place)
            yield Sweep(source, backbone, width, dict(sorted(points.items())), reference, of_control)

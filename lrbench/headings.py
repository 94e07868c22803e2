"""Records as experiments under headings: what may be looked at side by side, seeds together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from lrbench import cells, sr_table
from lrbench.record import Record
from lrbench.sheet import HR_MARK


@dataclass(frozen=True)
class Named:
    """Runs that differ in their seed alone, with the name that tables give them."""

    label: str
    records: tuple[Record, ...]

    @property
    def hr(self) -> bool:
        """Whether it was trained and tested on HR images."""
        return self.records[0].spec.scale is None

    @property
    def marked(self) -> str:
        """The label, with a mark behind it if `hr`."""
        return f"{self.label} {HR_MARK}" if self.hr else self.label


@dataclass(frozen=True)
class Heading:
    """Under what runs stand: their images, such as "cifar10 8x8", and the protocol; SR nets have it all in that."""

    images: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.images}: {self.protocol}" if self.images else f"Restoration, {self.protocol}"


def grouped(records: Iterable[Record]) -> dict[Heading, list[Named]]:
    """Heading -> experiments.

    As in tables: of several versions of an experiment the newest is there, and HR runs stand under every heading
    of their data set. SR nets share a heading where they restore the same images.
    """
    groups: dict[Heading, list[Named]] = defaultdict(list)
    records = list(records)
    for shared, found in cells.sort(record for record in records if not record.restores).items():
        for (row, column), cell in found.items():
            heading = Heading(column.label(cell.records[0].data.side), str(shared))
            groups[heading].append(Named(f"{cells.name(row)} ({row.backbone})", cell.records))
    for test, nets in sr_table.group(records).items():
        named = zip(sr_table.labels(nets), nets, strict=True)
        groups[Heading("", str(test))] = [Named(label, tuple(net)) for label, net in named]
    return dict(groups)

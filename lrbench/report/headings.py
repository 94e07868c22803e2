"""Records as experiments under headings: what may be looked at side by side, seeds together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lrbench.report import cells
from lrbench.report import sr as sr_table
from lrbench.report.formats import HR_MARK
from lrbench.spec.record import Record


@dataclass(frozen=True)
class Named:
    """Runs that differ in their seed alone, with the name that tables give them, and how many of them diverged."""

    label: str
    records: tuple[Record, ...]

    @classmethod
    def of(cls, name: str, records: Sequence[Record]) -> Named:
        """With the name alone where none diverged."""
        diverged = sum(record.diverged for record in records)
        said = f", {diverged} of {len(records)} diverged" if diverged else ""
        return cls(f"{name}{said}", tuple(records))

    @property
    def drawn(self) -> tuple[Record, ...]:
        """The runs whose curves are drawn together: those that did not diverge, or all where all did."""
        return tuple(record for record in self.records if not record.diverged) or self.records

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
            groups[heading].append(Named.of(f"{cells.name(row)} ({row.network})", cell.records))
    for test, nets in sr_table.group(records).items():
        named = zip(sr_table.labels(nets), nets, strict=True)
        groups[Heading("", str(test))] = [Named.of(label, net) for label, net in named]
    return dict(groups)

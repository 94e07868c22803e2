"""Pairs of ways of training as they were run: what a claim rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lrbench.report.cells import Cell, Cells, Column
from lrbench.report.compare import Comparison, Right, family
from lrbench.report.rows import Wanted, compared, usual_widths


@dataclass(frozen=True)
class Pair:
    """Two ways of training on one data set at one scale."""

    label: str
    dataset: str
    scale: int
    mine: Wanted
    other: Wanted


@dataclass(frozen=True)
class Evidence:
    """A pair as it was run; of one with free settings, one for each of their values that were run."""

    label: str
    pair: Pair
    mine: Cell | None
    other: Cell | None
    comparison: Comparison | None

    @property
    def counts(self) -> bool:
        """Whether it has seeds enough to speak of ways of training."""
        return self.comparison is not None and self.comparison.of_ways

    @property
    def more(self) -> bool:
        """Whether `mine` is better, beyond chance; it is not where some of its runs diverged."""
        return self._beyond_chance and self.gain > 0 and not (self.mine and self.mine.diverged)

    @property
    def less(self) -> bool:
        """Whether `mine` is worse, beyond chance; it is not said where runs of the other diverged."""
        return self._beyond_chance and self.gain < 0 and not (self.other and self.other.diverged)

    @property
    def _beyond_chance(self) -> bool:
        return self.counts and self.comparison is not None and self.comparison.beyond_chance

    @property
    def gain(self) -> float:
        """In percentage points; 0 where nothing could be compared."""
        return self.comparison.gain if self.comparison else 0.0

    @property
    def budgets(self) -> tuple[int, int] | None:
        """The epochs in the weights of the two, where both were run."""
        return (self.mine.epochs, self.other.epochs) if self.mine and self.other else None

    @property
    def unequal(self) -> bool:
        """Whether it compares networks of which one was trained for more epochs than the other."""
        return self.comparison is not None and self.budgets is not None and self.budgets[0] != self.budgets[1]


def at_usual_widths(pairs: Sequence[Pair], found: Cells) -> tuple[Pair, ...]:
    """The pairs, each backbone at the width at which most seeds of them were run."""
    asked = [(one, Column(pair.dataset, pair.scale)) for pair in pairs for one in (pair.mine, pair.other)]
    widths = usual_widths(asked, found)

    def at_width(one: Wanted) -> Wanted:
        return replace(one, width=widths.get(one.backbone))

    return tuple(replace(pair, mine=at_width(pair.mine), other=at_width(pair.other)) for pair in pairs)


def gather(pairs: Sequence[Pair], found: Cells, right: Right) -> list[Evidence]:
    """What there is of the pairs; their comparisons are made together, see lrbench.report.compare.family."""
    evidence = [one for pair in pairs for one in _evidence(pair, found, right)]
    made = iter(family([one.comparison for one in evidence if one.comparison]))
    return [replace(one, comparison=next(made)) if one.comparison else one for one in evidence]


def _evidence(pair: Pair, found: Cells, right: Right) -> list[Evidence]:
    column = Column(pair.dataset, pair.scale)
    missing: dict[str, Cell | None] = {"": None}
    return [
        Evidence(_label(pair, of_mine, of_other), pair, one, other, compared(one, other, right))
        for of_mine, one in (pair.mine.find(found, column) or missing).items()
        for of_other, other in (pair.other.find(found, column) or missing).items()
    ]


def _label(pair: Pair, *changes: str) -> str:
    changed = " ".join(change for change in changes if change)
    return f"{pair.label} ({changed})" if changed else pair.label

"""Pairs of ways of training as they were run: what a claim rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lrbench.cells import Cell, Cells, Column
from lrbench.compare import Comparison, Right
from lrbench.rows import Wanted, compared
from lrbench.stats import CHANCE, holm

SEEDS = 3  # fewer hardly have a spread: accuracies are counts, and two equal gains would have a p of 0


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
    corrected: float | None = None  # its p by Holm's method; None where there are too few seeds

    @property
    def more(self) -> bool:
        """Whether `mine` is better, beyond chance."""
        return self.gain > 0 and self.corrected is not None and self.corrected < CHANCE

    @property
    def less(self) -> bool:
        """Whether `mine` is worse, beyond chance."""
        return self.gain < 0 and self.corrected is not None and self.corrected < CHANCE

    @property
    def gain(self) -> float:
        """In percentage points; 0 where nothing could be compared."""
        return self.comparison.gain if self.comparison else 0.0


def gather(pairs: Sequence[Pair], found: Cells, right: Right) -> list[Evidence]:
    """What there is of the pairs, with p corrected: the comparisons of SEEDS seeds or more are one family."""
    return _corrected([one for pair in pairs for one in _evidence(pair, found, right)])


def _evidence(pair: Pair, found: Cells, right: Right) -> list[Evidence]:
    column = Column(pair.dataset, pair.scale)
    missing: dict[str, Cell | None] = {"": None}
    mine, others = pair.mine.find(found, column) or missing, pair.other.find(found, column) or missing
    return [
        Evidence(_label(pair, of_mine, of_other), pair, one, other, compared(one, other, right))
        for of_mine, one in mine.items()
        for of_other, other in others.items()
    ]


def _label(pair: Pair, *changes: str) -> str:
    changed = " ".join(change for change in changes if change)
    return f"{pair.label} ({changed})" if changed else pair.label


def _corrected(evidence: Sequence[Evidence]) -> list[Evidence]:
    """With p corrected: those of enough seeds are one family."""
    counted = [place for place, one in enumerate(evidence) if one.comparison and len(one.comparison.seeds) >= SEEDS]
    family = [comparison.p for place in counted if (comparison := evidence[place].comparison)]
    p = dict(zip(counted, holm(family), strict=True))
    return [replace(one, corrected=p.get(place)) for place, one in enumerate(evidence)]

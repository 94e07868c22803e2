"""One way of training beside another: seed by seed, on the same test images."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lrbench.record import Record
from lrbench.stats import CHANCE, holm, mcnemar, t_interval, t_test

Right = Callable[[Record], np.ndarray]  # of a stored run: bool (n,), which test images it got right


@dataclass(frozen=True)
class Comparison:
    """One experiment's runs minus another's, over the seeds that both have."""

    seeds: tuple[int, ...]
    gains: tuple[float, ...]  # in percentage points, a seed each
    mcnemar: tuple[float, ...]  # p of McNemar's test, a seed each: of the two networks, not the ways of training
    unit: float = 0.0  # one test image, in percentage points
    corrected: float | None = None  # `p` by Holm's method, where it is one of a table's family of comparisons

    @property
    def gain(self) -> float:
        """Mean over the seeds, in percentage points."""
        return statistics.fmean(self.gains)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% t-interval of the gain over seeds, in percentage points; None for one seed."""
        return t_interval(self.gains, unit=self.unit)

    @property
    def over_seeds(self) -> bool:
        """Whether `p` speaks of the ways of training; with one seed it speaks of two networks only."""
        return len(self.seeds) > 1

    @property
    def p(self) -> float:
        """Of no difference: a paired t-test over seeds, or McNemar's test where there is one seed."""
        return t_test(self.gains, self.unit) if self.over_seeds else self.mcnemar[0]

    @property
    def beyond_chance(self) -> bool:
        """Whether the difference is more than chance, the number of comparisons made allowed for."""
        return (self.p if self.corrected is None else self.corrected) < CHANCE

    def __str__(self) -> str:
        signs = [gain * self.gain for gain, p in zip(self.gains, self.mcnemar, strict=True) if p < CHANCE]
        against = sum(sign < 0 for sign in signs)
        counts = f"{len(signs) - against} of {len(self.seeds)}" + (f", {against} against" if against else "")
        return f"{self.gain:+.2f} ({counts})"


def compare(one: Sequence[Record], other: Sequence[Record], right: Right) -> Comparison | None:
    """The runs of `one` minus those of `other`, each list one experiment; None where they share no seed.

    Both must have been tested on the same images.
    """
    others = {record.spec.seed: record for record in other}
    pairs = [(record, others[record.spec.seed]) for record in one if record.spec.seed in others]
    if not pairs:
        return None
    return Comparison(
        tuple(mine.spec.seed for mine, _ in pairs),
        tuple(mine.top1 - its.top1 for mine, its in pairs),
        tuple(mcnemar(right(mine), right(its)) for mine, its in pairs),
        unit=100 / pairs[0][0].data.test_images,
    )


def correct(family: Iterable[Comparison]) -> dict[Comparison, Comparison]:
    """Each comparison of a family with its p corrected for their number, by the comparison it comes of."""
    members = list(family)
    corrected = holm([member.p for member in members])
    return {member: replace(member, corrected=p) for member, p in zip(members, corrected, strict=True)}

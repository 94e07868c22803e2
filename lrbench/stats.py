"""Statistics over seeds, and of two runs on the same images."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

CHANCE = 0.05  # a p below it is called more than chance


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation (ddof = 1; None for one value) and number of values."""

    mean: float
    sd: float | None
    n: int

    def text(self, digits: int = 2) -> str:
        """Such as "61.49 ± 0.32 (3)"."""
        spread = "" if self.sd is None else f" ± {self.sd:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread} ({self.n})"

    def __str__(self) -> str:
        return self.text()


def summarise(values: Sequence[float]) -> Summary:
    """The summary of at least one value."""
    return Summary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's interval for the mean of normal values; None for fewer than two of them."""
    if len(values) < 2:
        return None
    mean, half = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    half *= float(special.stdtrit(len(values) - 1, (1 + level) / 2))
    return mean - half, mean + half


def t_test(values: Sequence[float]) -> float:
    """Two-sided p of Student's test that the mean of at least two normal values is 0."""
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    if error == 0:
        return float(mean == 0)
    return float(2 * special.stdtr(len(values) - 1, -abs(mean / error)))


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """The two-sided p of McNemar's exact test (1947) that two classifiers are equally often right.

    one, other: bool (n,), whether each was right on the same n images. Only images count on which one of
    them alone was right; without a difference each is as likely to be the one: a binomial test at 1/2.
    """
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return min(1.0, 2 * float(special.bdtr(min(only_one, only_other), only_one + only_other, 0.5)))


def holm(p: Sequence[float]) -> list[float]:
    """Each p of one family, corrected for their number (Holm 1979): rejecting those below a level keeps the
    chance of any false rejection below that level.
    """
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected

"""Statistics over seeds, and of two runs on the same images."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """The two-sided p of McNemar's exact test (1947) that two classifiers are equally often right.

    one, other: bool (n,), whether each was right on the same n images. Only images count on which one of
    them alone was right; without a difference each is as likely to be the one: a binomial test at 1/2.
    """
    from scipy.stats import binomtest

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    n = only_one + only_other
    return float(binomtest(only_one, n).pvalue) if n else 1.0

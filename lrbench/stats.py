"""Statistics over seeds, and of two runs on the same images."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

CHANCE = 0.05  # a p below it is called more than chance
EXACT = 1000  # differing images; beyond them McNemar's chi-square is within 1% of an exact p above 0.001
RESAMPLES, CHUNK = 2000, 100  # of the bootstrap; a chunk of them is in memory at once


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


def t_interval(values: Sequence[float], level: float = 0.95, unit: float = 0.0) -> tuple[float, float] | None:
    """Student's interval for the mean of normal values; None for fewer than two of them. unit: see `t_test`."""
    if len(values) < 2:
        return None
    mean, half = statistics.fmean(values), _standard_error(values, unit)
    half *= float(special.stdtrit(len(values) - 1, (1 + level) / 2))
    return mean - half, mean + half


def t_test(values: Sequence[float], unit: float = 0.0) -> float:
    """Two-sided p of Student's test that the mean of at least two normal values is 0.

    unit: of values that are differences of two counts. Few of those may be equal by luck, which would be a spread
    of 0 and a p of 0: their standard deviation is taken to be at least that of two roundings, unit / sqrt(6).
    """
    mean, error = statistics.fmean(values), _standard_error(values, unit)
    if error == 0:
        return float(mean == 0)
    return float(2 * special.stdtr(len(values) - 1, -abs(mean / error)))


def _standard_error(values: Sequence[float], unit: float) -> float:
    return max(statistics.stdev(values), unit / math.sqrt(6)) / math.sqrt(len(values))


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """The two-sided p of McNemar's test (1947) that two classifiers are equally often right.

    one, other: bool (n,), whether each was right on the same n images. Only images count on which one of
    them alone was right; without a difference each is as likely to be the one: a binomial test at 1/2, or, where
    more than EXACT images count, the chi-square with Edwards's correction (1948). Neither finds a difference that is
    not there more often than it says; the mid-p variant, which Fagerland et al. (2013) prefer for its power, can.
    """
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    count = only_one + only_other
    if count > EXACT:
        return float(special.chdtrc(1, max(abs(only_one - only_other) - 1, 0) ** 2 / count))
    return min(1.0, 2 * float(special.bdtr(min(only_one, only_other), count, 0.5)))


def bootstrap(
    differences: np.ndarray, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of a mean difference over other seeds and other images: the paired bootstrap.

    differences: (seeds, images), whole numbers: right or not (1 or 0) of one classifier minus that of the other, on the
    same images. Each resample draws as many seeds and, independently, as many images, with replacement (Owen 2007,
    "The pigeonhole bootstrap"). `seed` makes it repeatable. Returns the ends, in the units of `differences`.

    With one seed it speaks of images alone. What moves with seed and image together it counts up to three times, so
    it is rather wide; but where few seeds differ as wholes, it is too narrow: of their variance it sees the share
    (seeds - 1) / seeds, and makes no allowance as Student's t does.
    """
    draw = np.random.default_rng(seed)
    seeds, images = differences.shape
    differing = differences[:, differences.any(axis=0)]  # the others add nothing, however often they are drawn
    count = differing.shape[1]
    if not count:
        return 0.0, 0.0
    columns = np.ascontiguousarray(differing.T, dtype=np.float32)
    means = np.empty(resamples)
    for begin in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - begin)
        hits = draw.binomial(images, count / images, size)
        drawn = draw.integers(count, size=hits.sum()) + np.repeat(np.arange(size) * count, hits)
        times = np.bincount(drawn, minlength=size * count).reshape(size, count)
        of_seeds = times.astype(np.float32) @ columns  # (size, seeds)
        weights = draw.multinomial(seeds, np.full(seeds, 1 / seeds), size)
        means[begin : begin + size] = (of_seeds * weights).sum(axis=1) / (seeds * images)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(p: Sequence[float]) -> list[float]:
    """Each p of one family, corrected for their number (Holm 1979): rejecting those below a level keeps the
    chance of any false rejection below that level.
    """
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected

"""Statistics over seeds, and of two runs on the same images."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

CHANCE = 0.05  # a p below it is called more than chance
EXACT = 1000  # differing images; beyond them McNemar's chi-square is within 1% of an exact p above 0.001
LEAST = 1e-5  # of the median variance: a variance of 0, of equal gains, counts as that, for it has no logarithm
RESAMPLES = 2000  # of the bootstrap


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation (ddof = 1; None for one value) and number of values."""

    mean: float
    sd: float | None
    n: int

    def __str__(self) -> str:
        """Such as "61.49 ± 0.32 (3)"."""
        return f"{self.mean:.2f}{'' if self.sd is None else f' ± {self.sd:.2f}'} ({self.n})"


def summarise(values: Sequence[float]) -> Summary:
    """The summary of at least one value."""
    return Summary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Spread:
    """The standard deviation of single values, known with some degrees of freedom."""

    sd: float
    df: float

    def at_least(self, sd: float) -> Spread:
        """The same, where its standard deviation is less than that of a source of noise that is known, with that."""
        return Spread(max(self.sd, sd), self.df)


def pooled(groups: Iterable[Sequence[float]]) -> Spread | None:
    """What several groups of normal values of one variance and means of their own say of their spread together.

    The squared deviations of all from their group's mean, over the sum of the groups' degrees of freedom; None where
    no group has two values.
    """
    several = [group for group in groups if len(group) > 1]
    df = sum(len(group) - 1 for group in several)
    if not df:
        return None
    return Spread(math.sqrt(sum(statistics.variance(group) * (len(group) - 1) for group in several) / df), df)


def spreads(groups: Sequence[Sequence[float]], floors: Sequence[float]) -> list[Spread | None]:
    """The spread of each of several groups of normal values, told by all of them, and at least its floor.

    floors: of each group, the standard deviation that a known source of noise gives by itself. Where the groups'
    variances differ by no more than chance (Bartlett's test, CHANCE), each has the pooled one. Else each is moderated
    (Smyth 2004, "Linear models and empirical Bayes methods"): drawn towards the others' the more, the more alike these
    are. A group of one value has what is known before it is looked at.

    With one spread for each, none of three seeds would be marked. The price, by simulation under no difference: where
    one of 12 rows of three seeds varies 3 to 6 times as much as the others, it is marked, after Holm's correction, in
    17 of 100 tables. At three seeds no way is known to us that is much better: with a spread of its own for each row as
    soon as Bartlett's test finds a difference it is 15 to 17, and a gain of 1.5 points is found a third as often.
    """
    own = [pooled([group]) for group in groups]
    everything = pooled(groups)
    if everything is None:
        return [None] * len(groups)
    prior = _prior([spread for spread in own if spread]) if _differ(groups) else None
    found: list[Spread] = []
    for spread in own:
        if prior is None:
            found.append(everything)
        elif spread is None:
            found.append(prior)
        else:
            df = prior.df + spread.df
            sd = math.sqrt((prior.df * prior.sd**2 + spread.df * spread.sd**2) / df)
            found.append(Spread(sd, min(df, everything.df)))
    return [spread.at_least(floor) for spread, floor in zip(found, floors, strict=True)]


def _differ(groups: Sequence[Sequence[float]]) -> bool:
    """Whether the variances of groups differ by more than chance, by Bartlett's test (1937)."""
    spreads = [(statistics.variance(group), len(group) - 1) for group in groups if len(group) > 1]
    variances, df = np.array(spreads, float).reshape(-1, 2).T
    if len(df) < 2 or not variances.any():
        return False
    variances = np.maximum(variances, LEAST * np.median(variances[variances > 0]))
    total = df.sum()
    statistic = total * math.log((df * variances).sum() / total) - (df * np.log(variances)).sum()
    correction = 1 + ((1 / df).sum() - 1 / total) / (3 * (len(df) - 1))
    return bool(special.chdtrc(len(df) - 1, statistic / correction) < CHANCE)


def _prior(known: Sequence[Spread]) -> Spread | None:
    """What groups of this kind vary by, with as many degrees of freedom as it is worth; None: all by the same.

    Smyth's estimate: the variances are those of chi-squares whose own expectations scatter as an inverse chi-square's.
    """
    variances = np.array([spread.sd**2 for spread in known])
    half = np.array([spread.df for spread in known]) / 2
    if len(known) < 2 or not variances.any():
        return None
    variances = np.maximum(variances, LEAST * np.median(variances[variances > 0]))
    logs = np.log(variances) - special.digamma(half) + np.log(half)
    beyond = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    if beyond <= 0:
        return None
    from scipy import optimize  # here, not above: it takes half a second to import

    half_df = optimize.brentq(lambda x: float(special.polygamma(1, x)) - beyond, 1e-6, 1e9)
    return Spread(math.exp((logs.mean() + special.digamma(half_df) - math.log(half_df)) / 2), 2 * half_df)


def t_interval(
    values: Sequence[float], level: float = 0.95, spread: Spread | None = None
) -> tuple[float, float] | None:
    """Student's interval for the mean of normal values; None where nothing is known of their spread.

    spread: by default that of the values themselves, of which there must then be two.
    """
    spread = spread or pooled([values])
    if spread is None:
        return None
    half = float(special.stdtrit(spread.df, (1 + level) / 2)) * spread.sd / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def t_test(values: Sequence[float], spread: Spread | None = None) -> float:
    """Two-sided p of Student's test that the mean of normal values is 0. spread: as of `t_interval`."""
    spread = spread or pooled([values])
    if spread is None:
        raise ValueError("one value says nothing of its spread")
    mean, error = statistics.fmean(values), spread.sd / math.sqrt(len(values))
    if error == 0:
        return float(mean == 0)
    return float(2 * special.stdtr(spread.df, -abs(mean / error)))


def images_sd(differences: np.ndarray) -> float:
    """The standard deviation over seeds of a mean difference that the choice of the test images alone gives.

    differences: as `bootstrap` takes them. Of a seed the variance is that of a mean of n independent images,
    (n01 + n10 - (n01 - n10)^2 / n) / n^2, where n01 and n10 are the images that only one of the two has right; of
    several the mean of their variances. In the units of `differences`.
    """
    images = differences.shape[1]
    discordant, gain = (differences != 0).sum(axis=1), differences.sum(axis=1, dtype=float)
    return float(np.sqrt(np.mean((discordant - gain**2 / images) / images**2)))


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
    sign = -1 if differences.sum() < 0 else 1  # so that A minus B is B minus A turned round, to the last digit
    patterns, counts = np.unique(sign * differences, axis=1, return_counts=True)  # of few seeds few: images repeat them
    of_images = draw.multinomial(images, counts / images, resamples).astype(float) @ patterns.T
    of_seeds = draw.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    means = sign * (of_images * of_seeds).sum(axis=1) / (seeds * images)
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

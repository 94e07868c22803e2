"""One way of training beside another: seed by seed, on the same test images."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from lrbench.report.stats import (
    CHANCE,
    Spread,
    bootstrap,
    holm,
    images_sd,
    spreads,
    t_interval,
    t_test,
)

Right = Callable[[str], np.ndarray]  # id of a stored run -> bool (n,), which test images it got right
WAYS_MARK, NETWORKS_MARK = "*", "‡"  # of a difference beyond chance: of two ways of training, of two networks only
SEEDS = 3  # fewer say too little of a way of training: two may be equal by luck


@dataclass(frozen=True, eq=False)
class Comparison:
    """One experiment's runs minus another's, over the seeds that both have and of which neither diverged.

    Two are equal only where they are the same object: two rows of a table may have gained the same.
    """

    seeds: tuple[int, ...]
    gains: tuple[float, ...]  # in percentage points, one per seed
    mcnemar: tuple[float, ...]  # p of McNemar's test, one per seed: of the two networks, not the ways of training
    differences: np.ndarray = field(repr=False)  # (seeds, images), right or not of the one minus the other
    diverged: tuple[int, ...] = ()  # seeds that both have and that are left out, since one or both diverged
    spread: Spread | None = None  # of the gains, see `family`; None for one seed
    corrected: float | None = None  # `p` by Holm's method in its family; None where it is in none

    @property
    def gain(self) -> float:
        """Mean over the seeds, in percentage points, to six digits: what is shown is rounded from one number."""
        return round(statistics.fmean(self.gains), 6)

    @cached_property
    def images_sd(self) -> float:
        """The standard deviation of a seed's gain that the test images alone give, in percentage points."""
        return 100 * images_sd(self.differences)

    @property
    def of_ways(self) -> bool:
        """Whether it has seeds enough to speak of two ways of training."""
        return len(self.seeds) >= SEEDS

    @property
    def of_networks(self) -> bool:
        """Whether it compares two networks, of one seed, and nothing else."""
        return len(self.seeds) == 1

    @property
    def p(self) -> float:
        """Of no difference: a paired t-test over seeds, or McNemar's test where there is one seed."""
        return self.mcnemar[0] if self.of_networks else t_test(self.gains, self.spread)

    @property
    def own_p(self) -> float | None:
        """Of the paired t-test that knows nothing but these gains; None for one seed."""
        return None if self.of_networks else t_test(self.gains)

    @property
    def over_seeds(self) -> tuple[float, float] | None:
        """95% t-interval of the gain over seeds, in percentage points; None for one seed."""
        return None if self.of_networks else t_interval(self.gains, spread=self.spread)

    @cached_property
    def resampled(self) -> tuple[float, float]:
        """95% interval of the gain over seeds and images, by the bootstrap, in percentage points."""
        low, high = bootstrap(self.differences)
        return 100 * low, 100 * high

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the gain over other seeds and other images: the wider of `over_seeds` and `resampled`."""
        return max(filter(None, (self.over_seeds, self.resampled)), key=lambda ends: ends[1] - ends[0])

    @property
    def beyond_chance(self) -> bool:
        """Whether two ways of training differ by more than chance, or two networks, where there is one seed.

        The number of comparisons made is allowed for. Of two seeds nothing is said.
        """
        counts = self.of_ways or self.of_networks
        return counts and (self.p if self.corrected is None else self.corrected) < CHANCE

    @property
    def mark(self) -> str:
        """What stands beside a difference that is more than chance; nothing for another."""
        return "" if not self.beyond_chance else WAYS_MARK if self.of_ways else NETWORKS_MARK

    def __str__(self) -> str:
        signs = [gain * self.gain for gain, p in zip(self.gains, self.mcnemar, strict=True) if p < CHANCE]
        against = sum(sign < 0 for sign in signs)
        counts = f"{len(signs) - against} of {len(self.seeds)}" + (f", {against} against" if against else "")
        return f"{self.gain:+.2f} ({counts}{self.left_out})"

    @property
    def left_out(self) -> str:
        """The seeds that diverged, to be read behind a number of seeds: "; 1 diverged", or nothing."""
        return f"; {len(self.diverged)} diverged" if self.diverged else ""


def family(comparisons: Sequence[Comparison | None]) -> list[Any]:
    """Comparisons that are made together, each in its place, with what they say of one another; None stays None.

    The spread of gains over seeds is pooled over all of them, and is at least what the test images alone give (see
    lrbench.report.stats). p is corrected by Holm's method in two families, since they are two hypotheses: the ways of
    training, of SEEDS seeds or more, and the networks, of one seed. Comparisons of two seeds are in neither.
    """
    there = {place: one for place, one in enumerate(comparisons) if one}
    known = spreads([one.gains for one in there.values()], [one.images_sd for one in there.values()])
    for (place, one), spread in zip(list(there.items()), known, strict=True):
        there[place] = one if one.of_networks else replace(one, spread=spread)
    for kind in ("of_ways", "of_networks"):
        together = {place: one.p for place, one in there.items() if getattr(one, kind)}
        for place, p in zip(together, holm(list(together.values())), strict=True):
            there[place] = replace(there[place], corrected=p)
    return [there.get(place) for place in range(len(comparisons))]


def _images_p(one: Comparison) -> float:
    """Of no difference, the mean gain taken to be normal with the spread that the interval `resampled` has."""
    low, high = one.resampled
    error = (high - low) / (2 * special.ndtri(0.975))
    return float(2 * special.ndtr(-abs(one.gain) / error)) if error else float(one.gain == 0)


def _end(interval: tuple[float, float] | None, place: int) -> float | None:
    return None if interval is None else round(interval[place], 6)


def _p(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


NUMBERS: dict[str, Callable[[Comparison], Any]] = {
    "gain": lambda one: one.gain,
    "n": lambda one: len(one.seeds),
    "diverged": lambda one: len(one.diverged),
    "seeds": lambda one: " ".join(map(str, one.seeds)),
    "low": lambda one: _end(one.interval, 0),
    "high": lambda one: _end(one.interval, 1),
    "t_low": lambda one: _end(one.over_seeds, 0),
    "t_high": lambda one: _end(one.over_seeds, 1),
    "images_low": lambda one: _end(one.resampled, 0),
    "images_high": lambda one: _end(one.resampled, 1),
    "sd": lambda one: one.spread and round(one.spread.sd, 6),
    "df": lambda one: one.spread and one.spread.df,
    "p": lambda one: _p(one.p),
    "own_p": lambda one: _p(one.own_p),
    "p_holm": lambda one: _p(one.corrected),
    "images_p": lambda one: _p(_images_p(one)),
    "mcnemar_p": lambda one: " ".join(f"{value:.3g}" for value in one.mcnemar),
    "mark": lambda one: one.mark,
}


def numbers(other: str, one: Comparison | None) -> dict[str, Any]:
    """A comparison by flat names, such as `control_gain`, with what; points and p, None of each where there is none.

    low, high: see Comparison.interval. t_: Student's over seeds, with its spread (sd, df); own_p: of these seeds alone.
    images_: the bootstrap over seeds and images. mcnemar_p: of each seed. p_holm: corrected in its family.
    """
    return {f"{other}_{name}": one and value(one) for name, value in NUMBERS.items()}

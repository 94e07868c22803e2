"""What a paper says, put to the runs that there are: supported, not supported, or undecided.

Claims are plugins, of the entry-point group `lrbench.claims`: each is a sequence of Claim. One is judged under one set
of conditions, against what the paper compared with and again at equal budget. A claim is over ways of training, so only
differences over SEEDS seeds or more count, by the test that tables use (compare.family) over all comparisons of that
verdict. With fewer seeds two networks are compared, and nothing is decided; nor is it where one of two was trained for
more epochs. No difference that is found is not a difference that is not there: it leaves a claim undecided, too.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import pandas as pd

from lrbench.method import naming
from lrbench.report import published
from lrbench.report.compare import SEEDS, Comparison, Right, family
from lrbench.report.frame import DIVERGED
from lrbench.report.ways import Runs, Wanted, comparison, summary, usual_widths

CLAIMS = "lrbench.claims"
AS_PUBLISHED, EQUAL_BUDGET = "as in the paper", "at equal budget"


class Verdict(StrEnum):
    """What the runs say of a claim."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Pair:
    """Two ways of training on one dataset at one scale."""

    label: str
    dataset: str
    scale: int
    mine: Wanted
    other: Wanted

    @property
    def sides(self) -> tuple[Wanted, Wanted]:
        """Both ways of training."""
        return self.mine, self.other

    @property
    def place(self) -> tuple[str, int]:
        """Dataset and scale."""
        return self.dataset, self.scale

    def on(self, datasets: Mapping[str, str]) -> Pair:
        """The same on another dataset, old -> new, where its own is replaced."""
        new = datasets.get(self.dataset, self.dataset)
        return replace(self, dataset=new, label=self.label.replace(self.dataset, new))


@dataclass(frozen=True)
class Evidence:
    """A pair as it was run, each way a frame of runs, empty where there is none; see `gather`."""

    label: str
    pair: Pair
    mine: pd.DataFrame = field(repr=False)
    other: pd.DataFrame = field(repr=False)
    comparison: Comparison | None

    @property
    def counts(self) -> bool:
        """Whether it has seeds enough to speak of ways of training."""
        return self.comparison is not None and self.comparison.of_ways

    @property
    def more(self) -> bool:
        """Whether `mine` is better, beyond chance; it is not where some of its runs diverged."""
        return self._gain_beyond_chance > 0 and not (self.mine["status"] == DIVERGED).any()

    @property
    def less(self) -> bool:
        """Whether `mine` is worse, beyond chance; it is not said where runs of the other diverged."""
        return self._gain_beyond_chance < 0 and not (self.other["status"] == DIVERGED).any()

    @property
    def _gain_beyond_chance(self) -> float:
        """In percentage points; 0 where there is none."""
        return self.comparison.gain if self.comparison and self.counts and self.comparison.beyond_chance else 0.0

    @property
    def budgets(self) -> tuple[int, ...]:
        """The epochs in the weights of the one and the other, where both were run."""
        both = [runs for runs in (self.mine, self.other) if len(runs)]
        return tuple(summary(runs)["epochs_in_weights"] for runs in both) if len(both) == 2 else ()

    @property
    def unequal(self) -> bool:
        """Whether it compares networks of which one was trained for more epochs than the other."""
        return self.comparison is not None and len(set(self.budgets)) > 1


@dataclass(frozen=True)
class Finding:
    """A verdict under one set of conditions, with what it rests on."""

    claim: Claim
    against: str
    verdict: Verdict
    why: str
    evidence: tuple[Evidence, ...]

    @property
    def enough(self) -> int:
        """How many of the comparisons have seeds enough to count."""
        return sum(one.counts for one in self.evidence)

    @property
    def diverged(self) -> int:
        """How many of the runs that were to be compared diverged, each counted once."""
        both = [runs for one in self.evidence for runs in (one.mine, one.other)]
        return len({run for runs in both for run in runs.loc[runs["status"] == DIVERGED, "id"]})


@dataclass(frozen=True)
class Claim(ABC):
    """One sentence of a paper. text: in our words; source: where it stands, in the paper's own."""

    text: str
    source: str
    pairs: tuple[Pair, ...]

    def on(self, datasets: Mapping[str, str]) -> Claim:
        """The same of other datasets, old -> new."""
        return replace(self, pairs=tuple(pair.on(datasets) for pair in self.pairs))

    @abstractmethod
    def judge(self, runs: Runs, right: Right) -> list[Finding]:
        """What the runs under one set of conditions say: a finding for each thing that it is compared with."""


@dataclass(frozen=True)
class Paired(Claim):
    """A claim on every one of its pairs, whose control of equal budget is the other that started as `mine` did."""

    @abstractmethod
    def verdict(self, evidence: Sequence[Evidence]) -> tuple[Verdict, str]:
        """What the evidence, complete or not, says, and why, in words."""

    def judge(self, runs: Runs, right: Right) -> list[Finding]:
        """Against what the paper compares with, and at equal budget where that is something else."""
        as_published = _at_usual_widths(self.pairs, runs)
        equal = tuple(_at_equal_budget(pair, runs) for pair in as_published)
        against = {AS_PUBLISHED: as_published} | ({EQUAL_BUDGET: equal} if equal != as_published else {})
        findings = []
        for name, pairs in against.items():
            evidence = gather(pairs, runs, right)
            verdict, why = self.verdict(evidence)
            unequal = [one for one in evidence if one.unequal]
            if unequal and verdict != Verdict.UNDECIDED:
                epochs = sorted({one.budgets for one in unequal})
                budgets = ", ".join(f"{mine} epochs in the weights beside {other}" for mine, other in epochs)
                verdict, why = Verdict.UNDECIDED, f"{why}; but budgets differ in {len(unequal)} of them: {budgets}"
            findings.append(Finding(self, name, verdict, why, tuple(evidence)))
        return findings


@dataclass(frozen=True)
class Above(Paired):
    """In every pair `mine` is better. One pair that is worse beyond chance is enough to contradict it."""

    def verdict(self, evidence: Sequence[Evidence]) -> tuple[Verdict, str]:
        more, less = [one for one in evidence if one.more], [one for one in evidence if one.less]
        why = _counted(evidence, {"better beyond chance": len(more), "worse": len(less)}, "undecided")
        if less:
            return Verdict.NOT_SUPPORTED, f"{why}; against it: {', '.join(one.label for one in less)}"
        return Verdict.SUPPORTED if len(more) == len(evidence) else Verdict.UNDECIDED, why


@dataclass(frozen=True)
class NoGain(Paired):
    """In no pair `mine` is better by `margin` percentage points or more.

    That none was found does not support it: the whole 95% interval must lie below the margin, in every pair. It is
    contradicted by a gain beyond chance whose whole interval lies at the margin or above.
    """

    margin: float = field(kw_only=True)

    def verdict(self, evidence: Sequence[Evidence]) -> tuple[Verdict, str]:
        ends = {one.label: one.comparison.interval for one in evidence if one.comparison and one.counts}
        below = [label for label, (_, high) in ends.items() if high < self.margin]
        gains = [one.label for one in evidence if one.more and ends[one.label][0] >= self.margin]
        points = f"{self.margin:g} points"
        told = {f"gain {points} or more for certain": len(gains), f"gain less than {points} for certain": len(below)}
        why = _counted(evidence, told, f"may gain more or less than {points}")
        if gains:
            return Verdict.NOT_SUPPORTED, f"{why}; against it: {', '.join(gains)}"
        return Verdict.SUPPORTED if len(below) == len(evidence) else Verdict.UNDECIDED, why


@dataclass(frozen=True)
class BestNear(Claim):
    """The best value of a setting is near `value`, on each backbone. pairs: that value, and each that is not near.

    Supported where it is better, beyond chance, than each of them. Contradicted where one of them is better than
    it, beyond chance, and in the mean than each of `near`, all of which must have been run.
    """

    setting: str = field(kw_only=True)
    value: float = field(kw_only=True)
    near: tuple[float, ...] = field(kw_only=True)

    def judge(self, runs: Runs, right: Right) -> list[Finding]:
        evidence = gather(_at_usual_widths(self.pairs, runs), runs, right)
        against = [one for one in evidence if one.less and self._beats_near(one, runs)]
        more, less = [one for one in evidence if one.more], [one for one in evidence if one.less]
        told = {f"in which {self.setting} {self.value:g} is better beyond chance": len(more), "worse": len(less)}
        why = f"{_counted(evidence, told, 'undecided')}; the highest mean is {self._best(runs)}"
        verdict = Verdict.SUPPORTED if len(more) == len(evidence) else Verdict.UNDECIDED
        if against:
            verdict, why = Verdict.NOT_SUPPORTED, f"{why}; against it: {', '.join(one.label for one in against)}"
        return [Finding(self, f"other values of {self.setting}", verdict, why, tuple(evidence))]

    def _means(self, pair: Pair, width: float, runs: Runs) -> dict[float, float | None]:
        """Value -> mean top-1 of what was run on a pair's network, dataset and scale; None where all diverged."""
        swept = replace(pair.mine, free=(self.setting,), width=width)
        found = runs.ways(swept, *pair.place)
        return {json.loads(text)[self.setting]: summary(same)["top1_mean"] for (text, _), same in found.items()}

    def _beats_near(self, one: Evidence, runs: Runs) -> bool:
        means = self._means(one.pair, one.other.iloc[0]["width"], runs)
        best, near = summary(one.other)["top1_mean"], [means.get(value) for value in self.near]
        return best is not None and all(mean is not None and best > mean for mean in near)

    def _best(self, runs: Runs) -> str:
        """The value of the highest mean, for each backbone."""
        words = []
        pairs = {pair.mine.backbone: pair for pair in self.pairs}
        for backbone, pair in pairs.items():
            for width in sorted(runs.table["width"].unique()):
                means = self._means(pair, width, runs)
                done = {value: mean for value, mean in means.items() if mean is not None}
                if done:
                    best = max(done, key=lambda value: done[value])
                    words.append(f"at {best:g} on {naming.network(backbone, width)} ({len(means)} values run)")
        return ", ".join(words) or "not known"


def _counted(evidence: Sequence[Evidence], told: Mapping[str, int], rest: str) -> str:
    """How many of the comparisons that have seeds enough to count are what; that none has, where it is so."""
    enough = sum(one.counts for one in evidence)
    if not enough:
        return f"no comparison of {len(evidence)} has {SEEDS} seeds"
    counts = {**told, rest: enough - sum(told.values())}
    found = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{enough} of {len(evidence)} comparisons have {SEEDS} seeds or more: {found}"


def gather(pairs: Sequence[Pair], runs: Runs, right: Right) -> list[Evidence]:
    """What there is of the pairs; of one with free settings, one evidence for each of their values that were run.

    Their comparisons are made together, see compare.family.
    """
    evidence = []
    for pair in pairs:
        ran, others = (runs.ways(side, *pair.place) or {("", 0.0): runs.nothing} for side in pair.sides)
        for mine in ran.values():
            for key, other in others.items():
                gain = None
                if len(mine) and len(other):  # at the precision of `mine`, if it was run at it
                    other = runs.ways(pair.other, *pair.place, mine.iloc[0]["precision"])[key]
                    gain = comparison(mine, other, right)
                there = [(side, way.iloc[0]) for side, way in zip(pair.sides, (mine, other), strict=True) if len(way)]
                told = " ".join(filter(None, (side.told_apart(run) for side, run in there)))
                evidence.append(Evidence(f"{pair.label} ({told})" if told else pair.label, pair, mine, other, gain))
    together = family([one.comparison for one in evidence])
    return [replace(one, comparison=made) for one, made in zip(evidence, together, strict=True)]


def _at_usual_widths(pairs: Sequence[Pair], runs: Runs) -> tuple[Pair, ...]:
    """The pairs, each backbone at the width at which most seeds of them were run."""
    asked = [same for pair in pairs for side in pair.sides for same in runs.ways(side, *pair.place).values()]
    widths = usual_widths(asked)

    def at_width(one: Wanted) -> Wanted:
        return replace(one, width=widths.get(one.backbone))

    return tuple(replace(pair, mine=at_width(pair.mine), other=at_width(pair.other)) for pair in pairs)


def _at_equal_budget(pair: Pair, runs: Runs) -> Pair:
    """The pair with one of the two started as the other was: that which was run; the other one where neither was.

    A pair whose two start alike stays as it is.
    """
    choices = (
        replace(pair, other=pair.other.started_as(pair.mine, runs.defaults)),
        replace(pair, mine=pair.mine.started_as(pair.other, runs.defaults)),
    )
    there = [one for one in choices if all(runs.ways(side, *pair.place) for side in one.sides)]
    return there[0] if there else choices[0]


def installed(note: Callable[[str], None]) -> list[Claim]:
    """The claims of every plugin, in the order of their names; `note` is told of a plugin that is broken."""
    all_claims: list[Claim] = []
    for name, claims in published.installed(CLAIMS, "claims", note):
        if isinstance(claims, list | tuple) and all(isinstance(claim, Claim) for claim in claims):
            all_claims += claims
        else:
            note(f"claims '{name}' is not a sequence of lrbench.claims.Claim")
    return all_claims

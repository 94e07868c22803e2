"""What a paper says, put to the runs that there are: supported, not supported, or undecided.

Claims are plugins, of the entry-point group `lrbench.claims`: each is a sequence of Claim. One is judged under one
set of conditions, against what the paper compared with and again at equal budget. A claim is over ways of training, so
only differences over SEEDS seeds or more count, by the test that tables use (`compare.family`) over all the
comparisons of that verdict. With fewer seeds two networks are compared, and nothing is decided; nor is it where one of
two was trained for more epochs. No difference that is found is not a difference that is not there: it leaves a claim
undecided, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from lrbench.errors import UserError
from lrbench.method import naming, registry
from lrbench.report.cells import Cells, Column
from lrbench.report.compare import Right
from lrbench.report.evidence import Evidence, Pair, at_usual_widths, gather
from lrbench.report.rows import Wanted

CLAIMS = "lrbench.claims"
AS_PUBLISHED, EQUAL_BUDGET = "as in the paper", "at equal budget"


class Verdict(StrEnum):
    """What the runs say of a claim."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    UNDECIDED = "undecided"


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
        cells = (cell for one in self.evidence for cell in (one.mine, one.other) if cell)
        return len({record.id for cell in cells for record in cell.records if record.diverged})


@dataclass(frozen=True)
class Claim(ABC):
    """One sentence of a paper. text: in our words; source: where it stands, in the paper's own."""

    text: str
    source: str
    pairs: tuple[Pair, ...]

    @abstractmethod
    def judge(self, found: Cells, right: Right) -> list[Finding]:
        """What the runs under one set of conditions say: a finding for each thing that it is compared with."""


@dataclass(frozen=True)
class Paired(Claim):
    """A claim on every one of its pairs, whose control of equal budget is the other that started as `mine` did."""

    @abstractmethod
    def verdict(self, evidence: Sequence[Evidence]) -> tuple[Verdict, str]:
        """What the evidence, complete or not, says, and why, in words."""

    def judge(self, found: Cells, right: Right) -> list[Finding]:
        """Against what the paper compares with, and at equal budget where that is something else."""
        published = at_usual_widths(self.pairs, found)
        equal = tuple(_at_equal_budget(pair, found) for pair in published)
        against = {AS_PUBLISHED: published} | ({EQUAL_BUDGET: equal} if equal != published else {})
        findings = []
        for name, pairs in against.items():
            evidence = gather(pairs, found, right)
            verdict, why = self.verdict(evidence)
            unequal = [one for one in evidence if one.unequal]
            if unequal and verdict != Verdict.UNDECIDED:
                epochs = sorted({one.budgets for one in unequal if one.budgets})
                budgets = ", ".join(f"{mine} epochs in the weights beside {other}" for mine, other in epochs)
                verdict, why = Verdict.UNDECIDED, f"{why}; but budgets differ in {len(unequal)} of them: {budgets}"
            findings.append(Finding(self, name, verdict, why, tuple(evidence)))
        return findings


def _at_equal_budget(pair: Pair, found: Cells) -> Pair:
    """The pair with one of the two started as the other was: that which was run; the other one where neither was.

    A pair whose two start alike stays as it is.
    """
    column = Column(pair.dataset, pair.scale)
    choices = (
        replace(pair, other=pair.other.started_as(pair.mine)),
        replace(pair, mine=pair.mine.started_as(pair.other)),
    )
    there = [one for one in choices if one.mine.find(found, column) and one.other.find(found, column)]
    return there[0] if there else choices[0]


@dataclass(frozen=True)
class Above(Paired):
    """In every pair `mine` is better. One pair that is worse beyond chance is enough to contradict it."""

    def verdict(self, evidence: Sequence[Evidence]) -> tuple[Verdict, str]:
        more, less = [one for one in evidence if one.more], [one for one in evidence if one.less]
        why = f"better beyond chance in {len(more)}, worse in {len(less)} of {len(evidence)}"
        if less:
            return Verdict.NOT_SUPPORTED, f"{why}: {', '.join(one.label for one in less)}"
        return Verdict.SUPPORTED if len(more) == len(evidence) else Verdict.UNDECIDED, why


@dataclass(frozen=True)
class NoGain(Paired):
    """In no pair `mine` is better by `margin` percentage points or more.

    That none was found does not support it: the whole 95% interval must lie below the margin, in every pair. It is
    contradicted by a gain beyond chance whose whole interval lies at the margin or above.
    """

    margin: float = field(kw_only=True)

    def verdict(self, evidence: Sequence[Evidence]) -> tuple[Verdict, str]:
        below = [one for one in evidence if (interval := self._interval(one)) and interval[1] < self.margin]
        gains = [one for one in evidence if one.more and (ends := self._interval(one)) and ends[0] >= self.margin]
        points = f"{self.margin:g} points"
        why = f"a gain of {points} or more in {len(gains)}, of less than {points} in {len(below)} of {len(evidence)}"
        if gains:
            return Verdict.NOT_SUPPORTED, f"{why}: {', '.join(one.label for one in gains)}"
        return Verdict.SUPPORTED if len(below) == len(evidence) else Verdict.UNDECIDED, why

    def _interval(self, one: Evidence) -> tuple[float, float] | None:
        return one.comparison.interval if one.comparison and one.counts else None


@dataclass(frozen=True)
class BestNear(Claim):
    """The best value of a setting is near `value`, on each backbone. pairs: that value, and each that is not near.

    Supported where it is better, beyond chance, than each of them. Contradicted where one of them is better than
    it, beyond chance, and in the mean than each of `near`, all of which must have been run.
    """

    setting: str = field(kw_only=True)
    value: float = field(kw_only=True)
    near: tuple[float, ...] = field(kw_only=True)

    @classmethod
    def over(
        cls,
        text: str,
        source: str,
        column: tuple[str, int],
        method: str,
        backbones: Mapping[str, str],
        setting: str,
        values: Sequence[float],
        value: float,
        near: tuple[float, ...],
    ) -> BestNear:
        """The claim over a grid of values. backbones: name -> label."""
        pairs = tuple(
            Pair(
                f"{label}, {setting} {value:g} over {other:g}",
                *column,
                Wanted(method, backbone, {setting: value}),
                Wanted(method, backbone, {setting: other}),
            )
            for backbone, label in backbones.items()
            for other in values
            if other not in (value, *near)
        )
        return cls(text, source, pairs, setting=setting, value=value, near=near)

    def judge(self, found: Cells, right: Right) -> list[Finding]:
        evidence = gather(at_usual_widths(self.pairs, found), found, right)
        against = [one for one in evidence if one.less and self._beats_near(one, found)]
        more = [one for one in evidence if one.more]
        why = f"better beyond chance than {len(more)} of {len(evidence)} values that are not near; best in the mean: "
        why += self._best(found)
        verdict = Verdict.SUPPORTED if len(more) == len(evidence) else Verdict.UNDECIDED
        if against:
            verdict, why = Verdict.NOT_SUPPORTED, f"{why}; against it: {', '.join(one.label for one in against)}"
        return [Finding(self, f"other values of {self.setting}", verdict, why, tuple(evidence))]

    def _beats_near(self, one: Evidence, found: Cells) -> bool:
        column = Column(one.pair.dataset, one.pair.scale)
        width = one.other.width if one.other else None
        wanted = [replace(one.pair.mine, settings={self.setting: value}, width=width) for value in self.near]
        near = [want.cell(found, column) for want in wanted]
        best = one.other.top1 if one.other else None
        return best is not None and all(cell and cell.top1 and best.mean > cell.top1.mean for cell in near)

    def _best(self, found: Cells) -> str:
        """The value of the highest mean, for each backbone."""
        words = []
        widths = sorted({key.width for key, _ in found})
        networks = {(pair.mine.backbone, width): pair for pair in self.pairs for width in widths}
        for (backbone, width), pair in networks.items():
            wanted = replace(pair.mine, free=(self.setting,), width=width)
            there = list(wanted.find(found, Column(pair.dataset, pair.scale)).values())
            means = {cell.records[0].spec.config[self.setting]: top1.mean for cell in there if (top1 := cell.top1)}
            if means:
                words.append(
                    f"{naming.network(backbone, width)} {max(means, key=lambda value: means[value])} of {len(there)}"
                )
        return ", ".join(words) or "none was run"


def installed(note: Callable[[str], None]) -> list[Claim]:
    """The claims of every plugin, in the order of their names; `note` is told of a plugin that is broken."""
    found: list[Claim] = []
    for name in registry.installed(CLAIMS):
        try:
            claims = registry.load(CLAIMS, "claims", name)
        except UserError as error:
            note(str(error))
            continue
        if isinstance(claims, list | tuple) and all(isinstance(claim, Claim) for claim in claims):
            found += claims
        else:
            note(f"claims '{name}' is not a sequence of lrbench.report.claims.Claim")
    return found

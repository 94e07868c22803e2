"""Comparisons as tables show them: their marks, what these mean, and their numbers by flat names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lrbench.report.compare import SEEDS, Comparison
from lrbench.report.formats import DASH, NETWORKS_MARK, WAYS_MARK
from lrbench.report.stats import CHANCE
from lrbench.spec.record import Record

_SIGNIFICANCE = (
    ("gain_over_", ""), ("", "_n"), ("", "_diverged"), ("", "_mcnemar_p"), ("", "_test"), ("", "_sd"), ("", "_df"),
    ("", "_low_over_seeds"), ("", "_high_over_seeds"), ("", "_low"), ("", "_high"),
    ("", "_own_p"), ("", "_p"), ("", "_p_holm"), ("", "_mark"),
)  # fmt: skip


def about_marks(comparisons: Sequence[Comparison]) -> str:
    """What the marks of a table's differences mean. comparisons: all that it makes."""
    ways, networks = sum(one.of_ways for one in comparisons), sum(one.of_networks for one in comparisons)
    words = []
    if ways or not networks:
        words.append(
            f"A difference marked {WAYS_MARK} has {SEEDS} seeds or more and is more than chance (p < {CHANCE:g}): the "
            "two ways of training differ. That is by a paired t-test over the seeds, whose spread is pooled over the "
            "comparisons of this table (moderated, Smyth 2004, where they vary differently) and is at least what the "
            "test images alone give, after Holm's correction for "
            f"{_number(ways)} of so many seeds."
        )
    if networks:
        words.append(
            f"One marked {NETWORKS_MARK} has one seed and is more than chance by McNemar's test, after Holm's "
            f"correction for {_number(networks)} of one seed, a family of its own: the two networks differ, which says "
            "nothing of another seed."
        )
    return " ".join([*words, "Without a mark no difference is shown; that does not say that there is none."])


def _number(comparisons: int) -> str:
    return "the one comparison" if comparisons == 1 else f"the {comparisons} comparisons"


def marked(comparison: Comparison | None) -> str:
    """A difference with what stands beside it where it is more than chance."""
    return DASH if comparison is None else f"{comparison} {_mark(comparison)}".rstrip()


def _mark(comparison: Comparison) -> str:
    """What stands beside a difference that is more than chance; nothing for another."""
    if not comparison.beyond_chance:
        return ""
    return WAYS_MARK if comparison.of_ways else NETWORKS_MARK


def significance(other: str, comparison: Comparison | None) -> dict[str, Any]:
    """A comparison's numbers by flat names: gain, intervals, p before and after Holm's correction, mark.

    other: what it is with, "reference" or "control". {other}_own_p is of the t-test that knows this row's gains alone.
    """
    if comparison is None:
        return dict.fromkeys(f"{start}{other}{end}" for start, end in _SIGNIFICANCE)
    test = "McNemar, one seed" if comparison.of_networks else "paired t over seeds, spread pooled or moderated"
    spread, over = comparison.spread, comparison.over_seeds or (None, None)
    low, high = comparison.interval
    numbers = [
        round(comparison.gain, 4),
        len(comparison.seeds),
        len(comparison.diverged),
        " ".join(f"{p:.3g}" for p in comparison.mcnemar),
        test,
        spread and round(spread.sd, 4),
        spread and spread.df,
        *(None if end is None else round(end, 4) for end in (*over, low, high)),
        significant(comparison.own_p),
        significant(comparison.p),
        significant(comparison.corrected),
        _mark(comparison),
    ]
    return {f"{start}{other}{end}": number for (start, end), number in zip(_SIGNIFICANCE, numbers, strict=True)}


def significant(p: float | None) -> float | None:
    """A p with six significant digits."""
    return None if p is None else float(f"{p:.6g}")


def precisions(rows: Mapping[str, Sequence[Record]]) -> list[str]:
    """The precision of some rows, by name, as a note; where they differ, that they are compared across it."""
    of_row = {
        label: values_of(record.spec.precision for record in records) for label, records in rows.items() if records
    }
    different = list(dict.fromkeys(of_row.values()))
    if len(different) < 2:
        return [f"Precision: {one}." for one in different]
    most = max(different, key=list(of_row.values()).count)
    others = ", ".join(f"{label}: {' and '.join(one.split())}" for label, one in of_row.items() if one != most)
    return [
        f"Precision: {' and '.join(most.split())}, but of {others}. "
        "A row is compared with its reference at the row's own precision, where the reference was run at it; else the "
        "difference is across precisions, too."
    ]


def values_of(values: Iterable[Any]) -> str:
    """The different values of several runs, one as a rule."""
    return " ".join(dict.fromkeys(str(value) for value in values if value is not None))

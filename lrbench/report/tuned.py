"""A setting of a method chosen three ways: as its paper has it, by validation, and, as one must not, by the test."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrbench.report import cells
from lrbench.report.cells import Cell
from lrbench.report.compare import Comparison, Right, family
from lrbench.report.formats import DASH, Sheet
from lrbench.report.marks import precisions, significance
from lrbench.report.published import PublishedSweep
from lrbench.report.render import shown
from lrbench.report.rows import compared
from lrbench.report.stats import Summary, summarise
from lrbench.report.sweep import Sweep, common_seeds, confined, sweeps
from lrbench.spec.record import Record

PAPER, VALIDATION, TEST = "the paper's", "by validation", "best by test ‡"


@dataclass(frozen=True)
class Choice:
    """One way to choose: the value, or None where it cannot be chosen, and its runs."""

    way: str
    value: float | None
    cell: Cell | None


def validation(cell: Cell) -> Summary | None:
    """Top-1 on held-out images over seeds, in percent, of what was tested; None unless every run has it.

    Of the runs that did not diverge; not to be shown without how many did.
    """
    values = [record.metrics.get("val_top1") for record in cell.kept]
    return summarise([value for value in values if value is not None]) if values and None not in values else None


def choices(source: PublishedSweep, one: Sweep) -> list[Choice]:
    """The three ways. Means are compared over the seeds that all values have; of equal ones the smallest value wins.

    The smallest, because it changes the plain loss least. A value at which a run diverged is not chosen.
    """
    points = {value: cell for value, cell in one.points.items() if not cell.diverged}
    seeds = common_seeds(points.values())
    shared = {value: confined(cell, seeds) for value, cell in points.items()} if seeds else {}
    measured = {value: score for value, cell in shared.items() if (score := validation(cell))}
    by_validation = _best(
        {value: score.mean for value, score in measured.items()} if len(measured) == len(shared) else {}
    )
    by_test = _best({value: top1.mean for value, cell in shared.items() if (top1 := cell.top1)})
    ways = ((PAPER, source.chosen), (VALIDATION, by_validation), (TEST, by_test))
    return [Choice(way, value, None if value is None else one.points.get(value)) for way, value in ways]


def _best(scores: Mapping[float, float]) -> float | None:
    return min(scores, key=lambda value: (-scores[value], value), default=None)


def sheets(sources: Iterable[PublishedSweep], records: Sequence[Record], right: Right) -> list[Sheet]:
    """A table for each protocol and column of each sweep of two values or more; an empty one where there is none."""
    found = []
    for source in sources:
        several = [one for one in sweeps(source, records) if len(one.points) > 1]
        for _, group in itertools.groupby(several, key=lambda one: (one.shared, one.column)):
            found.append(_sheet(source, list(group), right))
    return found or [Sheet("Tuned", "no run yet", [""], [], ["No setting has been run at two values or more."], [])]


def _sheet(source: PublishedSweep, lines: Sequence[Sweep], right: Right) -> Sheet:
    rows = [_Row(source, one, choice) for one in lines for choice in choices(source, one)]
    pairs = {_ids(pair): pair for row in rows for pair in row.pairs if pair}  # one value may be chosen twice
    alone = {ids: one for ids, pair in pairs.items() if (one := compared(*pair, right))}
    made = dict(zip(alone, family(list(alone.values())), strict=True))
    for row in rows:
        row.reference, row.control = (made.get(_ids(pair)) if pair else None for pair in row.pairs)
    own, reference = cells.label(source.method), cells.label(source.reference)
    title = f"Tuned: {own} on {lines[0].label}, {source.symbol} chosen three ways"
    controlled = any(row.control for row in rows)
    head = ["", source.symbol, "of", "validation", "test", f"vs {reference}", *["vs its control"] * controlled]
    return Sheet(
        title,
        str(lines[0].shared),
        head,
        [row.line(controlled) for row in rows],
        [*_notes(source, lines), *precisions({row.label: row.records for row in rows})],
        [row.flat() for row in rows],
    )


def _ids(pair: tuple[Cell, Cell]) -> tuple[str, str]:
    return pair[0].records[0].id, pair[1].records[0].id


def _notes(source: PublishedSweep, lines: Sequence[Sweep]) -> list[str]:
    symbol, reference = source.symbol, cells.label(source.reference)
    notes = [
        "Top-1 %, mean ± sample standard deviation over seeds (number of seeds). "
        f"of: the number of values of {symbol} that were run, and chosen from.",
        f"By validation: the {symbol} of the highest mean top-1 on held-out training images, over the seeds that all "
        "values have; of equal ones the smallest, which changes the plain loss least. Nothing else is chosen.",
        "‡ What one must not do: the test images choose the value and are then its score, which is too high for it. "
        "It is here to show by how much.",
        f"vs {reference}, and its control, the {reference} of the same budget, where that is another: mean difference "
        "in points over the seeds that both have, its 95% interval over seeds and images, and their number.",
    ]
    if any(validation(cell) is None for one in lines for cell in one.points.values()):
        notes.append(
            f"{symbol} is not chosen by validation: these runs held no image out; "
            "`lrbench reproduce SUITE --select held-out` does, and makes runs of their own."
        )
    for one in lines:
        name, missing = (
            one.network(source),
            [v for v in source.values if v not in one.points],
        )
        if missing:
            notes.append(f"{name}: not run at {symbol} = {', '.join(f'{value:g}' for value in missing)}.")
        if diverged := [f"{value:g} ({cell.diverged} of {len(cell.records)})" for value, cell in one.points.items()
                        if cell.diverged]:  # fmt: skip
            notes.append(f"{name}: runs diverged at {symbol} = {', '.join(diverged)}; these values are not chosen.")
        if not common_seeds(one.points.values()):
            notes.append(f"{name}: its values share no seed, so none is chosen.")
    return notes


class _Row:
    """One choice as it is shown."""

    reference: Comparison | None = None
    control: Comparison | None = None

    def __init__(self, source: PublishedSweep, one: Sweep, choice: Choice) -> None:
        self.source, self.one, self.choice = source, one, choice
        self.validation = validation(choice.cell) if choice.cell else None

    @property
    def pairs(self) -> list[tuple[Cell, Cell] | None]:
        """The cells that are compared: with the reference, and with the control."""
        cell = self.choice.cell
        return [(cell, other) if cell and other else None for other in (self.one.reference, self.one.control)]

    @property
    def records(self) -> list[Record]:
        """Its own, and those that it is compared with."""
        pairs = (self.choice.cell, self.one.reference, self.one.control)
        return [record for cell in pairs if cell for record in cell.records]

    @property
    def label(self) -> str:
        return f"{self.one.network(self.source)}, {self.choice.way}"

    def line(self, controlled: bool) -> list[str]:
        cell, value = self.choice.cell, self.choice.value
        return [
            self.label,
            DASH if value is None else f"{value:g}",
            str(len(self.one.points)),
            cells.scores(cell.records, "val_top1") if cell and self.validation else DASH,
            shown(cell),
            difference(self.reference),
            *[difference(self.control)] * controlled,
        ]

    def flat(self) -> dict[str, Any]:
        cell, one = self.choice.cell, self.one
        summaries = {"top1": cell.top1 if cell else None, "val_top1": self.validation}
        records = cell.records if cell else ()
        return {
            "table": "Tuned",
            **cells.flat(one.shared),
            "row": self.label,
            "method": self.source.method,
            "backbone": one.backbone,
            "width": one.width,
            "dataset": one.column.dataset,
            "scale": one.column.scale,
            "setting": self.source.setting,
            "chosen": {PAPER: "paper", VALIDATION: "validation", TEST: "test"}[self.choice.way],
            "value": self.choice.value,
            "values_run": " ".join(f"{value:g}" for value in one.points),
            **{f"{name}_mean": _rounded(of.mean if of else None) for name, of in summaries.items()},
            **{f"{name}_sd": _rounded(of.sd if of else None) for name, of in summaries.items()},
            **significance("reference", self.reference),
            **significance("control", self.control),
            "n": cell.top1.n if cell and cell.top1 else 0,
            "diverged": cell.diverged if cell else 0,
            "seeds": " ".join(str(record.spec.seed) for record in records),
            "runs": " ".join(record.id for record in records),
        }


def difference(comparison: Comparison | None) -> str:
    """Such as "+1.39 [+0.52, +2.26] (3)": points, their 95% interval over seeds and images, seeds."""
    if comparison is None:
        return DASH
    low, high = comparison.interval
    return f"{comparison.gain:+.2f} [{low:+.2f}, {high:+.2f}] ({len(comparison.seeds)}{comparison.left_out})"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)

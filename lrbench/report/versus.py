"""`lrbench compare`: one experiment against another, on the same test images, in numbers and in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lrbench.errors import UserError
from lrbench.report import cells, needed
from lrbench.report.compare import SEEDS, Comparison, compare
from lrbench.report.experiments import Experiment, differences, two
from lrbench.report.formats import DASH, fixed, grid
from lrbench.report.needed import Known
from lrbench.report.stats import RESAMPLES, summarise
from lrbench.spec.record import Record
from lrbench.spec.runspec import PROTOCOL
from lrbench.store.store import Store

FEW = 5  # seeds; with fewer the bootstrap is said to see too little of their spread


@dataclass(frozen=True)
class Images:
    """How many test images only one of two networks got right, of one seed."""

    seed: int
    only_first: int
    only_second: int


@dataclass(frozen=True)
class Versus:
    """The first experiment minus the second.

    left_out: seeds that the first, the second alone has. known: every run that is stored.
    """

    first: Experiment
    second: Experiment
    comparison: Comparison
    images: tuple[Images, ...]
    left_out: tuple[tuple[int, ...], tuple[int, ...]]
    known: Known

    @property
    def names(self) -> tuple[str, str]:
        """Of the two, with what tells them apart where methods and settings do not: conditions, or else a run's id."""
        if self.first.name != self.second.name:
            return self.first.name, self.second.name
        told_by = differences(self.first, self.second).items()
        first, second = (
            ", ".join(f"{key} {_value(values[side])}" for key, values in told_by) or f"as in {one.records[0].id}"
            for side, one in enumerate((self.first, self.second))
        )
        return f"{self.first.name} ({first})", f"{self.second.name} ({second})"


def versus(first: str, second: str, store: Store, shared: Mapping[str, Any] | None = None) -> Versus:
    """Two experiments by name, see lrbench.report.experiments, compared over the seeds that both have.

    Raises UserError for names that do not mean one each, and for experiments that were not put to the same test.
    """
    records = store.records()
    return of_experiments(*two(first, second, records, shared), store, {record.id: record for record in records})


def of_experiments(first: Experiment, second: Experiment, store: Store, known: Known) -> Versus:
    """Two experiments, compared over the seeds that both have. Raises UserError where they cannot be."""
    _check(first, second)
    first, second = (Experiment(tuple(store.counted(one.records))) for one in (first, second))
    mine, its = ({record.spec.seed: record for record in one.records} for one in (first, second))
    seeds = sorted(mine.keys() & its.keys())
    stored = {record.id: store.predictions(record.id) for seed in seeds for record in (mine[seed], its[seed])}
    for seed in seeds:
        if not np.array_equal(stored[mine[seed].id]["label"], stored[its[seed].id]["label"]):
            raise UserError(f"{mine[seed].id} and {its[seed].id} were not tested on the same images: labels differ")
    right = {run: one["predicted"] == one["label"] for run, one in stored.items()}
    comparison = compare([mine[seed] for seed in seeds], list(its.values()), lambda record: right[record.id])
    if comparison is None and seeds:
        ends = [f"{one.name} {one.cell.text}" for one in (first, second)]
        raise UserError(f"of each seed that both have, {_seeds(seeds)}, a run diverged: {' and '.join(ends)}")
    if comparison is None:
        have = " and ".join(_seeds(sorted(one)) for one in (mine, its))
        raise UserError(f"{first.name} and {second.name} have no seed in common, but {have}: run one with --seed")
    images = [
        Images(seed, int((gain > 0).sum()), int((gain < 0).sum()))
        for seed, gain in zip(comparison.seeds, comparison.differences, strict=True)
    ]
    left_out = tuple(sorted(mine.keys() - its.keys())), tuple(sorted(its.keys() - mine.keys()))
    return Versus(first, second, comparison, tuple(images), left_out, known)


def _check(first: Experiment, second: Experiment) -> None:
    """Raise UserError unless both were put to the same test."""
    one, other = first.spec, second.spec
    pair = f"{first.name} and {second.name} cannot be compared"
    if one.dataset != other.dataset:
        raise UserError(f"{pair}: one was tested on {one.dataset}, the other on {other.dataset}")
    if one.fingerprint != other.fingerprint:
        contents = f"{cells.content(one)} and {cells.content(other)}"
        raise UserError(f"{pair}: {one.dataset} has had two contents, {contents}; run the older one again")
    if one.limit_test != other.limit_test:
        counts = f"{first.records[0].data.test_images:,} and {second.records[0].data.test_images:,}"
        raise UserError(f"{pair}: they were tested on {counts} test images; run one with the other's --limit-test")


def conclusion(result: Versus) -> str:
    """What may be said, in a sentence or two; where more than the method differs, that is said with it."""
    alike = {
        "protocol": (result.first.spec.protocol, result.second.spec.protocol),
        "epochs in the weights": (result.first.epochs_in_weights, result.second.epochs_in_weights),
    }
    differ = [f"{name} ({one} and {other})" for name, (one, other) in alike.items() if one != other]
    confounded = f" That may be due to what differs beside the method: {', '.join(differ)}." if differ else ""
    return _conclusion(result) + confounded


def _conclusion(result: Versus) -> str:
    comparison, (first, second) = result.comparison, result.names
    better = f"{first} is {'better' if comparison.gain > 0 else 'worse'} than {second}"
    diverged = f" Not counted, since they diverged: {_seeds(comparison.diverged)}." if comparison.diverged else ""
    if comparison.of_networks:
        differ = f"differ by {'more than' if comparison.beyond_chance else 'no more than'} chance on these images"
        return (
            f"These two networks {differ} (McNemar's test, {_p(comparison.p)}). With one seed nothing can be said of "
            f"the two ways of training: another seed may turn it round. Run more with --seed.{diverged}"
        )
    low, high = comparison.interval
    if not comparison.of_ways:
        return (
            f"{better} by {abs(comparison.gain):.2f} points in these {_seeds(comparison.seeds)}, and may be anything "
            f"from {_ends((low, high))} points. Nothing is said of the two ways of training with fewer than {SEEDS} "
            f"seeds: run more with --seed.{diverged}"
        )
    over = f"over {len(comparison.seeds)} seeds (paired t-test, {_p(comparison.p)})"
    if comparison.beyond_chance:
        return f"{better} by {abs(comparison.gain):.2f} points, more than chance {over}.{diverged}"
    return (
        f"No difference between {first} and {second} is shown {over}; by the seeds and images it may be anything from "
        f"{_ends((low, high))} points.{diverged}"
    )


def notes(result: Versus) -> list[str]:
    """What weakens the comparison: conditions and budgets that differ, seeds that are left out."""
    said = [
        f"{key} differs: {_value(one)} and {_value(other)}{', so this is across precisions' * (key in cells.NOTED)}"
        for key, (one, other) in differences(result.first, result.second).items()
    ]
    budgets = result.first.epochs_in_weights, result.second.epochs_in_weights
    if budgets[0] != budgets[1]:
        said.append(
            f"budgets differ: {budgets[0]} and {budgets[1]} epochs went into the weights, which alone moves scores"
        )
    on_hr = [one.name for one in (result.first, result.second) if one.spec.scale is None]
    if on_hr:
        said.append(f"tested on HR images: {' and '.join(on_hr)}")
    for one, seeds in zip(result.names, result.left_out, strict=True):
        if seeds:
            said.append(f"left out: {_seeds(seeds)} of {one}, which the other does not have")
    for name, side in zip(result.names, (result.first, result.second), strict=True):
        for record in side.records:
            if record.diverged:
                said.append(f"seed {record.spec.seed} of {name} diverged and is in no mean: {record.why}")
        if side.cell.one_class:
            said.append(f"{name} predicts one class in {_seeds(side.cell.one_class)}: it has learned nothing there")
    said += needed.differing_weights([*result.first.records, *result.second.records], result.known)
    if 1 < len(result.comparison.seeds) < FEW:
        said.append(
            f"{len(result.comparison.seeds)} seeds are few: where seeds differ much, trust the t-interval, "
            "for the bootstrap sees too little of their spread"
        )
    return said


def text(result: Versus) -> str:
    """The comparison to be read."""
    comparison, names = result.comparison, result.names
    lines = []
    for seed, gain, p, images in zip(
        comparison.seeds, comparison.gains, comparison.mcnemar, result.images, strict=True
    ):
        tops = [_of_seed(one, seed).top1 for one in (result.first, result.second)]
        counts = [str(images.only_first), str(images.only_second)]
        lines.append([str(seed), *map(fixed, tops), fixed(gain, "+"), *counts, f"{p:.2g}"])
    for seed in comparison.diverged:
        words = [_top1(_of_seed(one, seed)) for one in (result.first, result.second)]
        lines.append([str(seed), *words, *[DASH] * 4])
    if not comparison.of_networks:
        means = [
            summarise([_of_seed(one, seed).top1 for seed in comparison.seeds]).text()
            for one in (result.first, result.second)
        ]
        lines.append(["mean", *means, fixed(comparison.gain, "+"), "", "", ""])
    head = ["seed", "A top-1 %", "B top-1 %", "A - B", "only A right", "only B right", "McNemar p"]
    several = not comparison.of_networks
    over = f"{len(comparison.seeds)} seed{'s' * several} and {result.first.records[0].data.test_images:,}"
    numbers = [
        ["mean difference", f"{comparison.gain:+.2f} points"],
        ["95% interval over seeds (t)", f"{_ends(ends)} points" if (ends := comparison.over_seeds) else DASH],
        [f"95% interval over {'seeds and ' * several}images (bootstrap)", f"{_ends(comparison.resampled)} points"],
        ["sd of a seed's difference that the images alone give", f"{comparison.images_sd:.2f} points"],
        ["p over seeds (paired t)", f"{comparison.p:.2g}" if several else DASH],
    ]
    wide = max(len(name) for name, _ in numbers)
    floored = several and comparison.spread is not None and comparison.own_p != comparison.p
    floor = "; the seeds differ by less than the images alone give, so t takes that" if floored else ""
    return (
        f"A: {names[0]}\nB: {names[1]}\n{_about(result)}\n{_teachers(result)}\n{grid(head, lines)}\n"
        + "".join(f"{name.ljust(wide)}  {value}\n" for name, value in numbers)
        + f"({over} test images, {RESAMPLES:,} resamples{floor})\n\n{conclusion(result)}\n"
        + "".join(f"- {note}\n" for note in notes(result))
    )


def _teachers(result: Versus) -> str:
    """A line for each of the two that has a teacher, with the teacher's score."""
    lines = ""
    for side, one in zip("AB", (result.first, result.second), strict=True):
        if about := needed.about_teachers(one.records, result.known):
            lines += f"{side}'s teacher: top-1 {about}\n"
    return lines


def _top1(record: Record) -> str:
    return "diverged" if record.diverged else fixed(record.top1)


def as_json(result: Versus) -> str:
    """The comparison as an object; percentages, percentage points."""
    comparison = result.comparison
    sides = {
        side: {
            "name": name,
            "method": one.spec.method,
            "config": dict(one.spec.config),
            "conditions": one.conditions,
            "epochs_in_weights": one.epochs_in_weights,
            "top1": [_of_seed(one, seed).top1 for seed in comparison.seeds],
            "runs": [_of_seed(one, seed).id for seed in comparison.seeds],
            "seeds_left_out": list(left_out),
            "seeds_diverged": [record.spec.seed for record in one.records if record.diverged],
            "predicts_one_class": list(one.cell.one_class),
            "teacher": needed.about_teachers(one.records, result.known) or None,
        }
        for side, name, one, left_out in zip(
            "ab", result.names, (result.first, result.second), result.left_out, strict=True
        )
    }
    content = {
        **sides,
        "seeds": list(comparison.seeds),
        "gains": list(comparison.gains),
        "gain": comparison.gain,
        "seeds_diverged": list(comparison.diverged),
        "interval_over_seeds": comparison.over_seeds,
        "interval_over_seeds_and_images": comparison.resampled,
        "interval": comparison.interval,
        "images_sd": comparison.images_sd,
        "p_over_seeds": None if comparison.of_networks else comparison.p,
        "p_over_seeds_alone": comparison.own_p,
        "mcnemar": [{**asdict(images), "p": p} for images, p in zip(result.images, comparison.mcnemar, strict=True)],
        "more_than_chance": comparison.beyond_chance,
        "differing": {key: list(values) for key, values in differences(result.first, result.second).items()},
        "conclusion": conclusion(result),
        "notes": notes(result),
    }
    return json.dumps(content, indent=1) + "\n"


def _about(result: Versus) -> str:
    """The conditions that both share, but for what is usual."""
    differing = differences(result.first, result.second)
    shared = result.first.conditions | {
        key: value for key, value in result.second.conditions.items() if result.first.conditions[key] is None
    }
    usual = {"protocol": PROTOCOL, "batch_size": 128, "dropout": 0.0}
    told = {key: value for key, value in shared.items() if key not in differing and usual.get(key) != value}
    return ", ".join(f"{key} {value}" for key, value in told.items() if value not in (None, "none"))


def _of_seed(one: Experiment, seed: int) -> Record:
    return next(record for record in one.records if record.spec.seed == seed)


def _ends(interval: tuple[float, float]) -> str:
    return f"{interval[0]:+.2f} to {interval[1]:+.2f}"


def _p(p: float) -> str:
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"


def _seeds(seeds: tuple[int, ...] | list[int]) -> str:
    return f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"


def _value(value: Any) -> str:
    return "all" if value is None else str(value)

"""`lrbench compare`: one experiment against another, on the same test images, in numbers and in words."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lrbench.errors import UserError
from lrbench.report import notes
from lrbench.report.compare import SEEDS, Comparison, numbers
from lrbench.report.formats import Table, grid
from lrbench.report.frame import DIVERGED
from lrbench.report.stats import RESAMPLES, summarise
from lrbench.report.ways import DASH, comparison, fixed, score, summary
from lrbench.report.ways_by_name import conditions, differences, find, text
from lrbench.spec import PROTOCOL
from lrbench.store import Store

FEW = 5  # seeds; with fewer the bootstrap is said to see too little of their spread
# Conditions that are as usual.
UNSAID = {"protocol": PROTOCOL, "batch_size": 128, "dropout": 0, "select": "none", "rare_classes": "by share"}


def compare(
    first: str, second: str, results: pd.DataFrame, store: Store, shared: Mapping[str, Any] | None = None
) -> Versus:
    """Two experiments by name, see lrbench.report.ways_by_name, over the seeds that both have; store: of their runs.

    Raises UserError for names that do not mean one each, and for experiments that were not put to the same test.
    """
    mine, its = find((first, second), results, shared)
    one, other = mine.iloc[0], its.iloc[0]
    _check(one, other)
    both = mine.merge(its, on="seed")
    stored = {run: store.predictions(run) for run in (*both["id_x"], *both["id_y"])}
    for pair in zip(both["id_x"], both["id_y"], strict=True):
        if not np.array_equal(stored[pair[0]]["label"], stored[pair[1]]["label"]):
            raise UserError(f"{' and '.join(pair)} were not tested on the same images: labels differ")
    found = comparison(mine, its, lambda run: stored[run]["predicted"] == stored[run]["label"])
    if found is None and len(both):
        ends = f"{one['name']} {score(summary(mine))} and {other['name']} {score(summary(its))}"
        raise UserError(f"of each seed that both have, {_seeds(both['seed'])}, a run diverged: {ends}")
    if found is None:
        have = f"{_seeds(mine['seed'])} and {_seeds(its['seed'])}"
        raise UserError(f"{one['name']} and {other['name']} have no seed in common, but {have}: run one with --seed")
    return Versus(mine, its, found, differences(conditions(one), conditions(other)), results)


def _check(one: pd.Series, other: pd.Series) -> None:
    """Raise UserError unless two runs were put to the same test."""
    pair, dataset = f"{one['name']} and {other['name']} cannot be compared", one["dataset"]
    if dataset != other["dataset"]:
        raise UserError(f"{pair}: one was tested on {dataset}, the other on {other['dataset']}")
    if one["content"] != other["content"]:
        contents = f"{one['content']} and {other['content']}"
        raise UserError(f"{pair}: {dataset} has had two contents, {contents}; run the older one again")
    if text(one["limit_test"]) != text(other["limit_test"]):
        counts = f"{one['data.test_images']:,.0f} and {other['data.test_images']:,.0f}"
        raise UserError(f"{pair}: they were tested on {counts} test images; run one with the other's --limit-test")


@dataclass(frozen=True, eq=False, repr=False)
class Versus:
    """The first experiment, called A, minus the second, B, over the seeds that both have; to be printed, or shown.

    first, second: their runs by seed, rows of the frame. differing: the conditions that they do not share, by name.
    results: all runs, some of which theirs may have needed.
    """

    first: pd.DataFrame
    second: pd.DataFrame
    comparison: Comparison
    differing: dict[str, tuple[Any, Any]]
    results: pd.DataFrame

    @property
    def names(self) -> tuple[str, str]:
        """Of A and B, with what tells them apart where methods and settings do not: conditions, or else a run's id."""
        runs = self.first.iloc[0], self.second.iloc[0]
        names = [run["name"] for run in runs]
        if names[0] == names[1]:
            for side, run in enumerate(runs):
                told = ", ".join(f"{key} {text(pair[side])}" for key, pair in self.differing.items())
                names[side] += f" ({told or 'as in ' + run['id']})"
        return names[0], names[1]

    @property
    def seeds(self) -> pd.DataFrame:
        """A row per seed that is compared: ids, top-1 %, how many images only A or B got right, p of McNemar's test."""
        found, columns = self.comparison, ["seed", "id_a", "id_b", "top1_a", "top1_b"]
        both = self.first.merge(self.second, on="seed", suffixes=("_a", "_b"))
        only = {"only_a": (found.differences > 0).sum(axis=1), "only_b": (found.differences < 0).sum(axis=1)}
        return both.loc[both["seed"].isin(found.seeds), columns].assign(gain=found.gains, **only, p=found.mcnemar)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; percentages and percentage points, named as in the CSV of tables."""
        found = self.comparison
        sides = {
            letter: {"name": name, "conditions": conditions(runs.iloc[0]), **summary(runs)}
            | {"config": json.loads(runs.iloc[0]["config"]), "teacher": notes.teachers(runs, self.results) or None}
            for letter, name, runs in self._sides()
        }
        return {
            **sides,
            **{name.removeprefix("_"): value for name, value in numbers("", found).items()},
            "by_seed": self.seeds.to_dict("records"),
            "seeds_diverged": list(found.diverged),
            "images_sd": found.images_sd,
            "more_than_chance": found.beyond_chance,
            "differing": self.differing,
            "conclusion": self.conclusion,
            "notes": list(self._notes()),
        }

    def __str__(self) -> str:
        said = [self.conclusion, *(f"- {note}" for note in self._notes())]
        return "\n".join([*self._head(), "", grid(self._shown()), *self._numbers(), "", *said, ""])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        said = [*self._numbers(), self.conclusion, *self._notes()]
        return Table(" against ".join(self.names), "; ".join(self._head()), self._shown(), said)._repr_html_()

    @property
    def conclusion(self) -> str:
        """What may be said, in a sentence or two; where more than the method differs, that is said with it."""
        found, (first, second) = self.comparison, self.names
        better = f"{first} is {'better' if found.gain > 0 else 'worse'} than {second} by {abs(found.gain):.2f} points"
        p = f"p = {found.p:.2g}" if found.p >= 1e-4 else "p < 0.0001"
        over = f"over {len(found.seeds)} seeds (paired t-test, {p})"
        anything = f"may be anything from {_ends(found.interval)} points"
        if found.of_networks:
            more = "more than" if found.beyond_chance else "no more than"
            said = (
                f"These two networks differ by {more} chance on these images (McNemar's test, {p}). With one seed "
                "nothing can be said of the two ways of training: another seed may turn it round. Run more with --seed."
            )
        elif not found.of_ways:
            said = (
                f"{better} in these {_seeds(found.seeds)}, and {anything}. Nothing is said of the two ways of training "
                f"with fewer than {SEEDS} seeds: run more with --seed."
            )
        elif found.beyond_chance:
            said = f"{better}, more than chance {over}."
        else:
            said = f"No difference between {first} and {second} is shown {over}; by the seeds and images it {anything}."
        lost = f" Not counted, since they diverged: {_seeds(found.diverged)}." if found.diverged else ""
        return said + lost + self._beside()

    def _beside(self) -> str:
        """What else than the method a difference may come from, if there is anything that the names do not say."""
        differ = self.differing if self.first.iloc[0]["name"] != self.second.iloc[0]["name"] else {}
        epochs = summary(self.first)["epochs_in_weights"], summary(self.second)["epochs_in_weights"]
        if epochs[0] != epochs[1] and self.differing.get("epochs") != epochs:
            differ = differ | {"epochs in the weights": epochs}
        words = ", ".join(f"{name} ({text(mine)} and {text(its)})" for name, (mine, its) in differ.items())
        return f" That may be due to what differs beside the method: {words}." if words else ""

    def _sides(self) -> Iterator[tuple[str, str, pd.DataFrame]]:
        """A letter, the name and the runs of both."""
        return zip("ab", self.names, (self.first, self.second), strict=True)

    def _head(self) -> Iterator[str]:
        """The names of the two, the conditions that both share but for what is usual, and their teachers' scores."""
        yield from (f"{letter.upper()}: {name}" for letter, name, _ in self._sides())
        mine, its = conditions(self.first.iloc[0]), conditions(self.second.iloc[0])
        told = {name: its[name] if value is None else value for name, value in mine.items()}  # on HR images: any
        left_out = {*self.differing, *(name for name, value in told.items() if value in (None, UNSAID.get(name)))}
        yield ", ".join(f"{name} {value}" for name, value in told.items() if name not in left_out)
        for letter, _, runs in self._sides():
            if about := notes.teachers(runs, self.results):
                yield f"{letter.upper()}'s teacher: top-1 {about}"

    def _shown(self) -> pd.DataFrame:
        """A line per seed that both have, and their means."""
        found, seeds = self.comparison, self.seeds
        lines = [
            [seed, fixed(a), fixed(b), fixed(gain, "+"), only_a, only_b, f"{p:.2g}"]
            for seed, _, _, a, b, gain, only_a, only_b, p in seeds.itertuples(index=False)
        ]
        for seed in found.diverged:
            ends = [runs[runs["seed"] == seed].iloc[0] for _, _, runs in self._sides()]
            tops = ["diverged" if run["status"] == DIVERGED else fixed(run["top1"]) for run in ends]
            lines.append([seed, *tops, *[DASH] * 4])
        if not found.of_networks:
            means = [str(summarise(list(seeds[column]))) for column in ("top1_a", "top1_b")]
            lines.append(["mean", *means, fixed(found.gain, "+"), "", "", ""])
        head = ["seed", "A top-1 %", "B top-1 %", "A - B", "only A right", "only B right", "McNemar p"]
        return pd.DataFrame(lines, columns=head)

    def _numbers(self) -> list[str]:
        found, several = self.comparison, not self.comparison.of_networks
        values = {
            "mean difference": f"{found.gain:+.2f} points",
            "95% interval over seeds (t)": f"{_ends(found.over_seeds)} points" if found.over_seeds else DASH,
            f"95% interval over {'seeds and ' * several}images (bootstrap)": f"{_ends(found.resampled)} points",
            "sd of a seed's difference that the images alone give": f"{found.images_sd:.2f} points",
            "p over seeds (paired t)": f"{found.p:.2g}" if several else DASH,
        }
        over = f"{len(found.seeds)} seed{'s' * several} and {self.first.iloc[0]['data.test_images']:,.0f} test images"
        floored = several and found.spread is not None and found.own_p != found.p
        floor = "; the seeds differ by less than the images alone give, so t takes that" if floored else ""
        wide = max(map(len, values))
        lines = [f"{name.ljust(wide)}  {value}" for name, value in values.items()]
        return [*lines, f"({over}, {RESAMPLES:,} resamples{floor})"]

    def _notes(self) -> Iterator[str]:
        """What weakens the comparison, beside what differs."""
        on_hr = [name for _, name, runs in self._sides() if pd.isna(runs.iloc[0]["scale"])]
        if on_hr:
            yield f"tested on HR images: {' and '.join(on_hr)}"
        for (_, name, runs), other in zip(self._sides(), (self.second, self.first), strict=True):
            if alone := sorted({*runs["seed"]} - {*other["seed"]}):
                yield f"left out: {_seeds(alone)} of {name}, which the other does not have"
            for run in runs[runs["status"] == DIVERGED].itertuples():
                yield f"seed {run.seed} of {name} diverged and is in no mean: {run.why}"
            if one_class := summary(runs)["one_class"]:
                yield f"{name} predicts one class in {_seeds(one_class.split())}: it has learned nothing there"
        both = pd.concat([self.first, self.second])
        yield from notes.differing_weights(both, self.results)
        yield from notes.origins(both)
        if 1 < len(self.comparison.seeds) < FEW:
            yield (
                f"{len(self.comparison.seeds)} seeds are few: where seeds differ much, trust the t-interval, "
                "for the bootstrap sees too little of their spread"
            )


def _ends(interval: tuple[float, float]) -> str:
    return f"{interval[0]:+.2f} to {interval[1]:+.2f}"


def _seeds(seeds: Collection[Any]) -> str:
    return f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"

"""Ways of training, the runs that differ in their seed alone: chosen for a table, summed up, set beside a control."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from lrbench.report.compare import Comparison, Right
from lrbench.report.frame import DIVERGED, DONE, FAILED, column
from lrbench.report.stats import mcnemar, pooled, summarise

Defaults = Mapping[str, Mapping[str, Any]]  # method -> its settings where nothing is set
ROW = ["backbone", "method", "config", "width"]  # what tells rows of a table apart
DASH = "-"  # what has not been run


@dataclass(frozen=True)
class Wanted:
    """Runs that are asked for: a method on a backbone, at its defaults but for `settings`; any value of `free`."""

    method: str
    backbone: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    width: float | None = None  # of the backbone; None for any

    def config(self, defaults: Defaults) -> dict[str, Any]:
        """All settings, those that are free left out."""
        config = dict(defaults.get(self.method, {})) | dict(self.settings)
        return {name: value for name, value in config.items() if name not in self.free}

    def started_as(self, other: Wanted, defaults: Defaults) -> Wanted:
        """The same method, which shares with `other` what settings they both have, such as `init`.

        So a reference becomes a control of the same budget. Equal to this one where the two start alike.
        """
        own = self.config(defaults)
        like = controlled(own, other.config(defaults))
        shared = {name: like[name] for name in own if own[name] != like[name]}
        return replace(self, settings=dict(self.settings) | shared) if shared else self

    def fits(self, config: str, defaults: Defaults) -> bool:
        """Whether settings, `config` of the frame, are as wanted."""
        kept = {name: value for name, value in json.loads(config).items() if name not in self.free}
        return kept == self.config(defaults)

    def told_apart(self, run: pd.Series) -> str:
        """The free settings of one of its runs: "lam=0.5"; empty where they have their defaults."""
        return " ".join(change for change in json.loads(run["changes"]) if change.partition("=")[0] in self.free)


def controlled(reference: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """A reference's config with the settings that it has in common with a row's as the row has them, such as `init`."""
    return dict(reference) | {name: value for name, value in row.items() if name in reference}


def finished(runs: pd.DataFrame) -> pd.Series:
    """When runs were finished, as text that sorts by time."""
    return column(runs, "env.finished").fillna("").astype(str)


def shown(runs: pd.DataFrame, precision: str | None = None) -> pd.DataFrame:
    """Of the runs of one row in one place those that a table shows, by seed.

    They are of the newest version: those of older ones are not averaged with them. Of several precisions they are of
    the wanted one, or else of the one that most seeds have, then of the first: one that is tried later replaces none.
    """
    runs = runs[runs["status"] != FAILED]
    if len(runs) < 2:
        return runs
    when = finished(runs)
    runs = runs[runs["anyhow"] == runs["anyhow"][when.idxmax()]]
    if runs["precision"].nunique() > 1:
        there = {one: (-len(same), when[same.index].min()) for one, same in runs.groupby("precision")}
        runs = runs[runs["precision"] == (precision if precision in there else min(there, key=lambda one: there[one]))]
    return runs.sort_values("seed")


class Runs:
    """The runs of one of frame.tables, to be asked for by what is wanted; what has been found is kept."""

    def __init__(self, table: pd.DataFrame, defaults: Defaults) -> None:
        self.table, self.defaults, self.nothing = table, defaults, table[:0]
        self._parts = dict(iter(table.groupby(["dataset", "method", "backbone"])))
        self._found: dict[str, pd.DataFrame] = {}
        self._ways: dict[tuple[str, str | None], dict[tuple[str, float], pd.DataFrame]] = {}

    def find(self, wanted: Wanted, dataset: str, scale: float | None) -> pd.DataFrame:
        """The wanted runs in a place, failed ones too; those on HR images that were run alone are in every place."""
        key = _key(wanted, dataset, scale)
        if key not in self._found:
            runs = self._parts.get((dataset, wanted.method, wanted.backbone), self.nothing)
            there = (runs["scale"] == scale) | runs["scale"].isna()
            if wanted.width is not None:
                there &= runs["width"] == wanted.width
            fitting = [text for text in runs["config"].unique() if wanted.fits(text, self.defaults)]
            self._found[key] = runs[there & runs["config"].isin(fitting)]
        return self._found[key]

    def ways(
        self, wanted: Wanted, dataset: str, scale: float | None, precision: str | None = None
    ) -> dict[tuple[str, float], pd.DataFrame]:
        """Settings (JSON) and width -> the `shown` runs of each way of training that is wanted in a place."""
        key = _key(wanted, dataset, scale), precision
        if key not in self._ways:
            runs = self.find(wanted, dataset, scale)
            split = runs.groupby(["config", "width"]) if len(runs) else ()
            shown_of = {way: shown(same, precision) for way, same in split}
            self._ways[key] = {way: same for way, same in shown_of.items() if len(same)}
        return self._ways[key]

    def way(self, wanted: Wanted, dataset: str, scale: float | None, precision: str | None = None) -> pd.DataFrame:
        """The only one, of what is wanted without free settings at one width; no row where there is none."""
        return next(iter(self.ways(wanted, dataset, scale, precision).values()), self.nothing)


def _key(wanted: Wanted, dataset: str, scale: float | None) -> str:
    settings = dict(wanted.settings)
    return json.dumps([wanted.method, wanted.backbone, settings, wanted.free, wanted.width, dataset, float(scale or 0)])


def summary(runs: pd.DataFrame) -> dict[str, Any]:
    """One way of training by flat names: what it is, and its numbers over the seeds that did not diverge."""
    rows = runs.to_dict("records")  # for a few rows much quicker than as a frame
    done, diverged = ([one for one in rows if one["status"] == status] for status in (DONE, DIVERGED))
    measured = done or rows
    top1 = summarise([float(one["top1"]) for one in done]) if done else None
    teachers = list({one["teacher"]: one for one in measured if one["teacher"] is not None}.values())
    minutes = [seconds / 60 for seconds in _known(measured, "train_seconds")]
    return {
        **{
            name: rows[0][name] for name in ("content", "method", "version", "config", "backbone", "width", "precision")
        },
        "tested_on": rows[0]["tested_on"],
        "top1_mean": top1 and round(top1.mean, 6),
        "top1_sd": None if top1 is None or top1.sd is None else round(top1.sd, 6),
        "n": len(done),
        "diverged": len(diverged),
        "one_class": joined(one["seed"] for one in rows if one.get("predicted_classes") == 1),
        "epochs_in_weights": int(max(_known(measured, "epochs_in_weights"), default=0)),
        "teacher_top1": _mean(_known(teachers, "teacher_top1"), 4),
        "teacher_epochs": _different(measured, "teacher_epochs"),
        "sr_images": _different(measured, "sr_images"),
        "sr_epochs": _different(measured, "sr_epochs"),
        "parameters": max(map(int, _known(measured, "deployed")), default=None),
        "macs": max(map(int, _known(measured, "macs")), default=None),
        "minutes": _mean(minutes, 3),
        "devices": "; ".join(dict.fromkeys(_known(measured, "env.device"))),
        "seeds": joined(one["seed"] for one in done),
        "runs": joined(one["id"] for one in done),
        "diverged_runs": joined(one["id"] for one in diverged),
    }


def validation(runs: pd.DataFrame) -> dict[str, float | None]:
    """Top-1 on held-out images over seeds, in percent, of what was tested; its mean is None unless every run has it.

    Of the runs that did not diverge; not to be shown without how many did.
    """
    values = runs.loc[runs["status"] == DONE, "val_top1"]
    if not len(values) or values.isna().any():
        return {"val_top1_mean": None, "val_top1_sd": None}
    found = summarise([float(value) for value in values])
    return {"val_top1_mean": round(found.mean, 6), "val_top1_sd": found.sd and round(found.sd, 6)}


def score(way: Mapping[str, Any], name: str = "top1", digits: int = 2) -> str:
    """A summary's score: "66.10 ± 0.30 (3)", "66.10 ± 0.30 (2 of 3; 1 diverged)" or "diverged (3)"; "-" for none."""
    mean, sd, n, diverged = (way[key] for key in (f"{name}_mean", f"{name}_sd", "n", "diverged"))
    if mean is None or pd.isna(mean):
        if not diverged:
            return DASH
        text, counts = "diverged", [f"{diverged}"]
    else:
        text = f"{mean:.{digits}f}" + ("" if sd is None or pd.isna(sd) else f" ± {sd:.{digits}f}")
        counts = [f"{n} of {n + diverged}", f"{diverged} diverged"] if diverged else [f"{n}"]
    if name == "top1" and way["one_class"]:
        number = len(way["one_class"].split())
        counts.append("predicts one class" + ("" if number == n + diverged else f" in {number}"))
    return f"{text} ({'; '.join(counts)})"


def gain(flat: Mapping[str, Any], other: str) -> str:
    """A difference of compare.numbers: "+1.39 [+0.52, +2.26] (3)": points, their 95% interval, seeds."""
    if pd.isna(flat[f"{other}_gain"]):
        return DASH
    points, low, high, n, diverged = (flat[f"{other}_{name}"] for name in ("gain", "low", "high", "n", "diverged"))
    left_out = f"; {diverged:.0f} diverged" if diverged else ""
    return f"{points:+.2f} [{low:+.2f}, {high:+.2f}] ({n:.0f}{left_out})"


def control(way: pd.DataFrame, runs: Runs, references: Sequence[str]) -> tuple[str | None, pd.DataFrame]:
    """The runs of a reference that are trained like a way of training: settings that both have, network, epochs.

    Where the reference cannot be trained so, its default settings, at equal epochs. Of several precisions those at the
    way's own are taken; of several versions the newest. Those that diverged are among what is returned, with the
    reference's name; None and no run where there is none.
    """
    first, done = way.iloc[0], way[way["status"] == DONE]
    measured = done if len(done) else way
    for method in references:
        plain = runs.defaults.get(method, {})
        for settings in (controlled(plain, json.loads(first["config"])), plain):
            wanted = Wanted(method, first["backbone"], settings, width=first["width"])
            there = runs.find(wanted, first["dataset"], first["scale"])
            equal = there["epochs_in_weights"] == measured["epochs_in_weights"].max()
            found = there[(there["status"] == DONE) & equal & there["seed"].isin(measured["seed"])]
            if method != first["method"] and len(found):
                same = found[found["precision"] == first["precision"]]
                newest = (same if len(same) else found).pipe(lambda one: one.loc[finished(one).idxmax()])
                return method, there[(there["experiment"] == newest["experiment"]) & (there["status"] != FAILED)]
    return None, runs.nothing


def comparison(runs: pd.DataFrame, others: pd.DataFrame, right: Right) -> Comparison | None:
    """One way of training minus another, over the seeds that both have; None where none of them is finished.

    A seed of which one or both diverged is left out, and counted. It stands by itself: compare.family has several share
    what they know.
    """
    mine, its = (
        {seed: rest for seed, *rest in zip(one["seed"], one["status"], one["id"], one["top1"], strict=True)}
        for one in (runs, others)
    )
    seeds = sorted(mine.keys() & its.keys())
    ended = [seed for seed in seeds if mine[seed][0] == its[seed][0] == DONE]
    if not ended:
        return None
    hits = [(right(mine[seed][1]), right(its[seed][1])) for seed in ended]
    alone = Comparison(
        tuple(ended),
        tuple(mine[seed][2] - its[seed][2] for seed in ended),
        tuple(mcnemar(one, other) for one, other in hits),
        np.stack([one.astype(np.int8) - other.astype(np.int8) for one, other in hits]),
        tuple(seed for seed in seeds if seed not in ended),
    )
    own = pooled([alone.gains])
    return replace(alone, spread=own and own.at_least(alone.images_sd))


def usual_widths(asked: Iterable[pd.DataFrame]) -> dict[str, float]:
    """Backbone -> the width at which most seeds of what is asked for were run, of equal ones the first.

    asked: the `shown` runs of each row and place. Published tables and claims speak of that width: fewer runs at
    another, or runs of something else, change nothing there. A backbone that was not run is missing.
    """
    cells = pd.DataFrame(
        [(*runs.iloc[0][["backbone", "width"]], len(runs), finished(runs).min()) for runs in asked if len(runs)],
        columns=["backbone", "width", "seeds", "first"],
    )
    widths = cells.groupby(["backbone", "width"], as_index=False).agg({"seeds": "max", "first": "min"})
    best = widths.sort_values(["seeds", "first", "width"], ascending=[False, True, False]).drop_duplicates("backbone")
    return dict(zip(best["backbone"], best["width"].astype(float), strict=True))


def fixed(number: float | None, sign: str = "", digits: int = 2) -> str:
    """A number with its decimals, or a dash for None."""
    return DASH if number is None or pd.isna(number) else f"{number:{sign}.{digits}f}"


def joined(values: Iterable[Any]) -> str:
    """Ids or seeds in one cell."""
    return " ".join(map(str, values))


def _known(rows: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    """The values that are there."""
    return [one[name] for one in rows if not pd.isna(one.get(name))]


def _different(rows: Iterable[Mapping[str, Any]], name: str) -> str:
    """The different whole numbers, one as a rule."""
    return joined(dict.fromkeys(map(int, _known(rows, name))))


def _mean(values: Sequence[float], digits: int) -> float | None:
    return round(statistics.fmean(values), digits) if values else None

"""Ways of training: the runs that differ in their seed alone, chosen for a table, summed up and set beside a control."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from lrbench.report.compare import Comparison, Right, between
from lrbench.report.frame import DIVERGED, DONE, FAILED, column, each
from lrbench.report.stats import summarise

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
        shared = {
            name: value
            for name, value in controlled(own, other.config(defaults)).items()
            if own[name] != value
        }  # fmt: skip
        return replace(self, settings=dict(self.settings) | shared) if shared else self

    def find(self, runs: pd.DataFrame, defaults: Defaults) -> pd.DataFrame:
        """The rows of such runs, failed ones too; a setting that is newer than a run has its default there."""
        own = (runs["method"] == self.method) & (runs["backbone"] == self.backbone)
        if self.width is not None:
            own &= runs["width"] == self.width
        config, usual = self.config(defaults), defaults.get(self.method, {})

        def fits(text: str) -> bool:
            settings = dict(usual) | json.loads(text)
            return {name: value for name, value in settings.items() if name not in self.free} == config

        return runs[own & runs["config"].isin([text for text in runs.loc[own, "config"].unique() if fits(text)])]

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
    the wanted one, or else of the one that most seeds have, then of the first: one that is tried later replaces nothing.
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


def ways(runs: pd.DataFrame) -> list[pd.DataFrame]:
    """The runs of one place, a frame with the `shown` ones for each row."""
    return [shown(same) for _, same in runs[runs["status"] != FAILED].groupby(ROW, dropna=False)]


def summary(runs: pd.DataFrame) -> dict[str, Any]:
    """One way of training by flat names: what it is, and its numbers over the seeds that did not diverge."""
    first, done, diverged = runs.iloc[0], runs[runs["status"] == DONE], runs[runs["status"] == DIVERGED]
    measured = done if len(done) else runs
    top1 = summarise([float(value) for value in done["top1"]]) if len(done) else None
    one_class = runs[column(runs, "predicted_classes") == 1]
    return {
        **{name: first[name] for name in ("method", "version", "config", "backbone", "width", "precision")},
        "tested_on": first["tested_on"],
        "top1_mean": top1 and round(top1.mean, 6),
        "top1_sd": None if top1 is None or top1.sd is None else round(top1.sd, 6),
        "n": len(done),
        "diverged": len(diverged),
        "one_class": joined(one_class["seed"]),
        "epochs_in_weights": int(column(measured, "epochs_in_weights").fillna(0).max()),
        "teacher_top1": _mean(_of_teachers(measured)["teacher_top1"]),
        "teacher_epochs": joined(map(int, each(measured, "teacher_epochs"))),
        "sr_images": joined(map(int, each(measured, "sr_images"))),
        "sr_epochs": joined(map(int, each(measured, "sr_epochs"))),
        "parameters": _most(measured, "deployed"),
        "macs": _most(measured, "macs"),
        "minutes": _mean(column(measured, "train_seconds") / 60, 3),
        "devices": "; ".join(map(str, each(measured, "env.device"))),
        "seeds": joined(done["seed"]),
        "runs": joined(done["id"]),
        "diverged_runs": joined(diverged["id"]),
    }


def score(way: Mapping[str, Any], name: str = "top1", digits: int = 2) -> str:
    """A summary's score: "66.10 ± 0.30 (3)", "66.10 ± 0.30 (2 of 3; 1 diverged)" or "diverged (3)"."""
    mean, sd, n, diverged = (way[key] for key in (f"{name}_mean", f"{name}_sd", "n", "diverged"))
    if mean is None or pd.isna(mean):
        return f"diverged ({diverged})" if diverged else DASH
    spread = "" if sd is None or pd.isna(sd) else f" ± {sd:.{digits}f}"
    counts = [f"{n} of {n + diverged}", f"{diverged} diverged"] if diverged else [f"{n}"]
    if name == "top1" and way["one_class"]:
        number = len(way["one_class"].split())
        counts.append("predicts one class" + ("" if number == n + diverged else f" in {number}"))
    return f"{mean:.{digits}f}{spread} ({'; '.join(counts)})"


def control(
    way: pd.DataFrame, candidates: pd.DataFrame, references: Sequence[str], defaults: Defaults
) -> tuple[str | None, pd.DataFrame]:
    """The runs of a reference that are trained like a way of training: settings that both have, network, epochs.

    Where the reference cannot be trained so, its default settings, at equal epochs. candidates: the runs of one place.
    Of several precisions those at the way's own are taken; of several versions the newest. Those that diverged are
    among what is returned, with the reference's name; None and no run where there is none.
    """
    first, done = way.iloc[0], way[way["status"] == DONE]
    measured = done if len(done) else way
    finished_ones = candidates[candidates["status"] == DONE]
    equal = (
        (finished_ones["backbone"] == first["backbone"])
        & (finished_ones["width"] == first["width"])
        & (finished_ones["epochs_in_weights"] == measured["epochs_in_weights"].max())
        & finished_ones["seed"].isin(measured["seed"])
    )
    for method in references:
        plain = defaults.get(method, {})
        config = controlled(plain, json.loads(first["config"]))
        for settings in (config, plain):
            found = Wanted(method, first["backbone"], settings, width=first["width"]).find(
                finished_ones[equal], defaults
            )
            if method != first["method"] and len(found):
                same = found[found["precision"] == first["precision"]]
                newest = (same if len(same) else found).pipe(lambda one: one.loc[finished(one).idxmax()])
                return method, candidates[candidates["experiment"] == newest["experiment"]]
    return None, candidates[:0]


def comparison(runs: pd.DataFrame, others: pd.DataFrame, right: Right) -> Comparison | None:
    """One way of training minus another, over the seeds that both have; None where none of them is finished.

    A seed of which one or both diverged is left out, and counted.
    """
    columns = ["seed", "status", "id", "top1"]
    both = runs[columns].merge(others[columns], on="seed", suffixes=("", "_other")).sort_values("seed")
    ended = (both["status"] == DONE) & (both["status_other"] == DONE)
    pairs, diverged = both[ended], both.loc[~ended, "seed"].tolist()
    if not len(pairs):
        return None
    hits = [(right(one), right(other)) for one, other in zip(pairs["id"], pairs["id_other"], strict=True)]
    gains = [one - other for one, other in zip(pairs["top1"], pairs["top1_other"], strict=True)]
    return between(pairs["seed"].tolist(), gains, hits, diverged)


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


def _of_teachers(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per teacher: seeds may share one."""
    return runs.dropna(subset=["teacher"]).drop_duplicates("teacher")


def _mean(values: pd.Series, digits: int = 4) -> float | None:
    known = pd.to_numeric(values).dropna()
    return round(float(known.mean()), digits) if len(known) else None


def _most(runs: pd.DataFrame, name: str) -> int | None:
    known = column(runs, name).dropna()
    return int(known.max()) if len(known) else None

"""What `lrbench run` prints: a row per run, the seeds of one way of training together, with their mean below."""

from __future__ import annotations

import pandas as pd

from lrbench.method import naming
from lrbench.report import frame, notes, sr
from lrbench.report.formats import HR_MARK, SHORT_HR, Table
from lrbench.report.frame import DIVERGED, RESTORES, column
from lrbench.report.stats import summarise
from lrbench.report.ways import DASH, fixed, score, summary

SCORES = {"top1": "top-1 %", "psnr": "PSNR dB"}  # a column for each that there is


def table(results: pd.DataFrame) -> Table:
    """The rows of runs, those that were asked for last; runs that they needed before them."""
    scores = [name for name in SCORES if column(results, name).notna().any()]
    head = ["run", "seed", *(SCORES[name] for name in scores), "epochs in weights", "images/s", "id"]
    wanted, lines = results.iloc[-1], []
    for _, runs in results.groupby("experiment", sort=False):
        first = runs.iloc[0]
        name = first["name"] + (f" {HR_MARK}" if first["tested_on"] == "hr" else "")
        name += "" if _alike(first, wanted) else f" ({_about(results, first)})"
        for _, run in runs.iterrows():
            values = [_value(run, one) for one in scores]
            speed, epochs = f"{run['images_per_second'] or 0:.0f}", f"{run['epochs_in_weights']:.0f}"
            lines.append([name, str(run["seed"]), *values, epochs, speed, run["id"]])
        if len(runs) > 1:
            lines.append([name, "mean", *(_mean(runs, one) for one in scores), "", "", ""])
    said = [SHORT_HR] if (results["tested_on"] == "hr").any() else []
    said += notes.origins(results)
    return Table("Runs", _about(results, wanted), pd.DataFrame(lines, columns=head), said, lambda: results)


def _alike(one: pd.Series, other: pd.Series) -> bool:
    """Whether two runs may stand under one heading: same data, backbone and conditions, HR runs included."""
    names = [*frame.CONDITIONS, "backbone", "width"]
    names = [name for name in names if not (name in frame.ON_LR and pd.isna(one[name]))]
    return all(one[name] == other[name] or (pd.isna(one[name]) and pd.isna(other[name])) for name in names)


def _value(run: pd.Series, name: str) -> str:
    if pd.isna(run[name]):
        return DASH
    if run["status"] == DIVERGED:
        epoch = run.get("diverged_epoch")  # 0 of one that is tested only
        return f"diverged in epoch {epoch:.0f}" if epoch and not pd.isna(epoch) else "diverged"
    return fixed(run[name]) + (", predicts one class" if run.get("predicted_classes") == 1 else "")


def _mean(runs: pd.DataFrame, name: str) -> str:
    if name == "top1":
        return score(summary(runs)) if runs[name].notna().any() else DASH
    kept = [float(value) for value in runs.loc[runs["status"] != DIVERGED, name].dropna()]
    return str(summarise(kept)) if kept else DASH


def _about(results: pd.DataFrame, run: pd.Series) -> str:
    """What a run was made on, and how."""
    if run["backbone"] == RESTORES:
        trained = sr.training(results[results["experiment"] == run["experiment"]])
        return f"{run['dataset']}, {run['degradation']}, {trained}"
    network = naming.network(run["backbone"], run["width"])
    return f"{run['dataset']}, {network}, {frame.conditions(run)}, {run['precision']}"

"""Sentences below tables: what marks mean, and what one has to know of the runs to read a row."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from lrbench.errors import few
from lrbench.method import naming
from lrbench.report.compare import NETWORKS_MARK, SEEDS, WAYS_MARK, Comparison
from lrbench.report.formats import Aside
from lrbench.report.frame import RESTORES, column
from lrbench.report.stats import CHANCE
from lrbench.report.ways import joined, score, summary


def about_marks(reference: str) -> Iterator[str]:
    """What the marks say, a line each. reference: what rows are compared with."""
    differs = f"a row differs from {reference} by more than chance (p < {CHANCE:g})"
    yield (
        f"{WAYS_MARK}: of {SEEDS} seeds or more, {differs}: the two ways of training differ. By a paired t-test over "
        "the seeds, whose spread is pooled over the comparisons of the table (moderated, Smyth 2004, where they vary "
        "differently) and is at least what the test images alone give, after Holm's correction."
    )
    yield (
        f"{NETWORKS_MARK}: of one seed, {differs}: the two networks differ, which says nothing of another seed. By "
        "McNemar's test, after Holm's correction in a family of its own."
    )
    yield "Without a mark no difference is shown; that does not say that there is none."


def about_family(comparisons: Sequence[Comparison]) -> str:
    """How many of a table's differences are marked, and for how many they are corrected. comparisons: all of them."""
    families = {
        f"{WAYS_MARK}: more than chance": [one.beyond_chance for one in comparisons if one.of_ways],
        f"{NETWORKS_MARK}: one seed, more than chance": [one.beyond_chance for one in comparisons if one.of_networks],
    }
    said = []
    for mark, marked in families.items():
        count, total = sum(marked), len(marked)
        if total > 1:
            told = f"corrected for {total} comparisons); {count or 'none'} of them {'are' if count > 1 else 'is'}."
            said.append(f"{mark} (p < {CHANCE:g}, {told}")
        elif marked:
            said.append(f"{mark} (p < {CHANCE:g}, one comparison); it is{' not' * (not count)}.")
    return " ".join(said) or "No difference has the seeds to be tested."


def precisions(rows: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """The precision of some rows, by name; where they differ, that they are compared across it."""
    of_row = {label: joined(column(runs, "precision").dropna().unique()) for label, runs in rows.items() if len(runs)}
    different = list(dict.fromkeys(of_row.values()))
    if len(different) == 1:
        yield f"Precision: {' and '.join(different[0].split())}."
    elif different:
        most = max(different, key=list(of_row.values()).count)
        others = ", ".join(f"{label}: {' and '.join(one.split())}" for label, one in of_row.items() if one != most)
        yield (
            f"Precision: {' and '.join(most.split())}, but of {others}. A row is compared with its reference at the "
            "row's own precision, where the reference was run at it; else the difference is across precisions, too."
        )


def teachers_of(runs: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """The runs that are the teachers of some runs, each once, of those that are in `results`."""
    return results[results["id"].isin(runs["teacher"].dropna())].drop_duplicates("id")


def teachers(runs: pd.DataFrame, results: pd.DataFrame) -> str:
    """The teachers of some runs: "76.83 ± 0.84 (3), 20 epochs"; empty where none is known."""
    found = teachers_of(runs, results)
    if not len(found):
        return ""
    *fewer, most = sorted({int(epochs) for epochs in found["epochs_in_weights"].fillna(0)})
    return f"{score(summary(found))}, {' or '.join([*map(str, fewer), naming.in_epochs(most)])}"


def origins(runs: pd.DataFrame, named: bool = True) -> Iterator[str]:
    """A sentence for each store that is read beside the user's own, on its share of some runs; `named`: by name."""
    runs = runs.drop_duplicates("id")
    for origin, same in runs.groupby("origin"):
        share = "All" if len(same) == len(runs) else f"{len(same)} of {len(runs)}"
        names = f" ({few(column(same, 'name').dropna().unique())})" if named else ""
        yield Aside(f"{share} runs here{names} came from {origin}, not from your own results.")


def differing_weights(runs: pd.DataFrame, results: pd.DataFrame) -> Iterator[str]:
    """A sentence on the needed runs, of which some of these runs used weights other than the stored run's.

    That happens where a run was repeated: on another machine, or on a GPU, equal runs do not end with equal weights.
    """
    known = results.drop_duplicates("id").set_index("id")
    used: dict[str, dict[str, str]] = defaultdict(dict)  # needed run -> user -> its weights
    role = {run: role for text in runs["needs"] for role, _, run in (one.partition("=") for one in text.split())}
    for run, text in zip(runs["id"], column(runs, "needs_weights"), strict=True):
        for need, weights in (json.loads(text) if isinstance(text, str) else {}).items():
            used[need][run] = weights
    seeds: dict[str, list[int]] = defaultdict(list)  # needed way of training -> seeds; none of one that is not stored
    usual: list[bool] = []  # of each use of these, whether it was of the stored weights, or else of those most used
    for need, of_user in used.items():
        stored, given = need in known.index, list(of_user.values())
        now = known.loc[need, "weights"] if stored else max(given, key=given.count)
        if set(given) != {now}:
            name = _described(known.loc[need]) if stored else f"The {role[need]} {need}, which is not here"
            seeds[name] += [int(known.loc[need, "seed"])] if stored else []
            usual += [weights == now for weights in given]
    if seeds:
        said = [
            name + (f", seed{'s' * (len(some) > 1)} {', '.join(map(str, sorted(some)))}" if some else "")
            for name, some in seeds.items()
        ]
        yield (
            f"Trained more than once, to different weights: {'; '.join(said)}. {usual.count(False)} of the "
            f"{len(usual)} uses of them here are of other weights than those of the stored run."
        )


def restorers(runs: pd.DataFrame) -> str:
    """How the SR nets of some runs were trained, and the runs' cost; empty where none is known."""
    trained = runs.dropna(subset=["sr_images"]).drop_duplicates(["sr_images", "sr_epochs"])
    if not len(trained):
        return ""
    words = sorted(
        f"{images:,.0f} images for {naming.in_epochs(int(epochs))}"
        for images, epochs in zip(trained["sr_images"], trained["sr_epochs"], strict=True)
    )
    macs = joined(f"{one / 1e6:,.1f}" for one in column(runs, "macs").dropna().unique())
    cost = f"; {macs} million MACs a test image, its classifier's among them" if macs else ""
    return f"{' or '.join(words)}{cost}"


def failed(runs: pd.DataFrame) -> Iterator[str]:
    """A sentence for each failed run that a table misses."""
    for _, run in runs.iterrows():
        yield f"Failed, and missing here: {_described(run)}, seed {run['seed']}: {run['why']}."


def _described(run: pd.Series) -> str:
    """A run but for its seed, in words: "DFD lam=0.5 (resnet18) on cifar10 x4"."""
    network = "" if run["backbone"] == RESTORES else f" ({naming.network(run['backbone'], run['width'])})"
    scale = "HR" if pd.isna(run["scale"]) else f"x{run['scale']:g}"
    return f"{run['name']}{network} on {run['dataset']} {scale}"

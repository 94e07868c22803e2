"""The numbers of a rendered table, recomputed from the CSV of predictions with nothing of lrbench."""

import csv
import math
import os
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest
import scipy.stats
from test_table import LR, record

from lrbench.store import Store

COMMAND = [sys.executable, "-c", "from lrbench.cli import main; main()"]
N = 997  # a prime: no mean of percentages lies half-way between two of two decimals


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Table 2 of a small store as CSV and Markdown, and the predictions of its runs, by processes of their own."""
    folder = tmp_path_factory.mktemp("by-hand")
    (folder / "runs").mkdir()
    store, draw = Store(folder / "runs"), np.random.default_rng(0)
    runs = [
        (LR, {"init": start}, seed, 0.5 + 0.04 * (start != "scratch"))
        for start in ("scratch", "lr-baseline")
        for seed in range(4)
    ]
    runs += [("dfd", {}, seed, 0.85) for seed in range(1, 5)] + [("espcn", {}, seed, 0.53) for seed in range(2)]
    runs += [("vdsr", {}, 0, 0.75)]
    for method, settings, seed, accuracy in runs:
        label = np.arange(N) % 10
        predicted = np.where(draw.random(N) < accuracy, label, (label + 1) % 10)
        one = record(method, 100 * float((predicted == label).mean()), seed, settings)
        one = one.model_copy(update={"data": one.data.model_copy(update={"test_images": N})})
        store.save(one, "", {"predicted": predicted, "label": label}, b"")

    def lrbench(*args):
        env = os.environ | {"LRBENCH_RESULTS": str(store.root)}
        done = subprocess.run([*COMMAND, *args], env=env, text=True, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    lrbench("predictions", "--table", "2", "--out", str(folder / "predictions.csv"))
    right = defaultdict(list)
    with (folder / "predictions.csv").open() as file:
        for line in csv.DictReader(file):
            assert int(line["index"]) == len(right[line["run"]])
            right[line["run"]].append(line["label"] == line["predicted"])
    rows = [line for line in csv.DictReader(lrbench("table", "2", "--format", "csv").splitlines()) if line["runs"]]
    shown = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in lrbench("table", "2").splitlines()
        if line[:1] == "|"
    ]
    return rows, shown, right


def top1(right):
    return 100 * sum(right) / len(right)


def mcnemar(one, other):
    only = [
        sum(a and not b for a, b in zip(one, other, strict=True)),
        sum(b and not a for a, b in zip(one, other, strict=True)),
    ]
    return min(1, 2 * sum(math.comb(sum(only), k) for k in range(min(only) + 1)) / 2 ** sum(only))


def by_seed(row):
    return dict(zip(row["seeds"].split(), row["runs"].split(), strict=True))


def compared(row, other, right):
    """Gains in points, p of McNemar's test, and p of the difference, over the seeds that two rows share."""
    mine, its = by_seed(row), by_seed(other)
    pairs = [(right[mine[seed]], right[its[seed]]) for seed in mine if seed in its]
    gains = [top1(one) - top1(two) for one, two in pairs]
    each = [mcnemar(one, two) for one, two in pairs]
    return gains, each, scipy.stats.ttest_1samp(gains, 0).pvalue if len(gains) > 1 else each[0]


def test_every_number_of_the_table_follows_from_the_predictions(written):
    rows, shown, right = written
    head, body = shown[0], {line[0]: dict(zip(shown[0], line, strict=True)) for line in shown[2:]}
    plain = next(row for row in rows if row["row"] == "LR-baseline")
    control = next(row for row in rows if row["row"].startswith("LR-baseline init=lr-baseline"))
    comparisons = {}
    for row in rows:
        scores = [top1(right[run]) for run in row["runs"].split()]
        mean, sd = sum(scores) / len(scores), scipy.stats.tstd(scores) if len(scores) > 1 else None
        assert float(row["top1_mean"]) == pytest.approx(mean, abs=1e-4) and int(row["n"]) == len(scores)
        assert row["top1_sd"] == "" if sd is None else float(row["top1_sd"]) == pytest.approx(sd, abs=1e-4)
        spread = "" if sd is None else f" ± {sd:.2f}"
        assert body[row["row"]]["cifar10 8x8"] == f"{mean:.2f}{spread} ({len(scores)})"
        if row["published"]:
            assert body[row["row"]]["difference"] == f"{mean - float(row['published']):+.2f}"
        if row is not plain:
            comparisons[row["row"], "reference"] = compared(row, plain, right)
        if row["method"] == "dfd":
            comparisons[row["row"], "control"] = compared(row, control, right)
    assert len(rows) == 5 and len(comparisons) == 5 and head[-2:] == ["vs LR-baseline", "vs its control"]

    largest, corrected = 0.0, {}  # Holm's correction over all that the table compares
    for rank, key in enumerate(sorted(comparisons, key=lambda key: comparisons[key][2])):
        largest = corrected[key] = max(largest, min(1, (len(comparisons) - rank) * comparisons[key][2]))
    marks = set()
    for row in rows:
        for other, column, each_p in (
            ("reference", "vs LR-baseline", "mcnemar_p"),
            ("control", "vs its control", "control_mcnemar_p"),
        ):
            key = row["row"], other
            if key not in comparisons:
                continue
            gains, each, p = comparisons[key]
            gain = sum(gains) / len(gains)
            assert float(row[f"gain_over_{other}"]) == pytest.approx(gain, abs=1e-4)
            assert [float(one) for one in row[each_p].split()] == pytest.approx(each, rel=1e-2)
            assert float(row[f"{other}_p"]) == pytest.approx(p, rel=1e-4)
            assert float(row[f"{other}_p_holm"]) == pytest.approx(corrected[key], rel=1e-4)
            mark = "" if corrected[key] >= 0.05 else "*" if len(gains) > 1 else "‡"
            counts = f"{sum(one < 0.05 for one in each)} of {len(each)}"
            assert row[f"{other}_mark"] == mark
            assert body[row["row"]][column] == f"{gain:+.2f} ({counts}) {mark}".rstrip()
            marks.add(mark)
    assert marks == {"", "*", "‡"}

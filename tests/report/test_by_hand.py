"""The numbers of a rendered table, recomputed from the CSV of predictions with nothing of lrbench."""

import csv
import math
import os
import subprocess
from collections import defaultdict

import numpy as np
import pytest
import scipy.stats
from helpers.cli import COMMAND
from helpers.records import LR, diverged, record

from lrbench.store.store import Store

pytestmark = pytest.mark.slow

N = 997  # a prime: no mean of percentages lies half-way between two of two decimals


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Table 2 of a small store as CSV and Markdown, and the predictions of its runs, by processes of their own."""
    folder = tmp_path_factory.mktemp("by-hand")
    (folder / "runs").mkdir()
    store, draw = Store(folder / "runs"), np.random.default_rng(0)
    runs = [(LR, {}, seed, 0.5) for seed in range(4)]
    runs += [("dfd", {}, seed, 0.85) for seed in range(1, 5)] + [("espcn", {}, seed, 0.53) for seed in range(2)]
    runs += [("vdsr", {}, 0, 0.75)] + [("srgan", {}, seed, 0.5) for seed in range(3)]
    runs += [("dfd", {}, 5, 0.1)]  # which diverges
    for method, settings, seed, accuracy in runs:
        label = np.arange(N) % 10
        predicted = np.where(draw.random(N) < accuracy, label, (label + 1) % 10)
        one = record(method, 100 * float((predicted == label).mean()), seed, settings)
        one = one.model_copy(update={"data": one.data.model_copy(update={"test_images": N})})
        one = diverged(one) if seed == 5 else one
        store.save(one, "", {"predicted": predicted, "label": label}, b"")

    def lrbench(*args):
        env = os.environ | {"LRBENCH_RESULTS": str(store.root), "LRBENCH_BASELINES": "none"}
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
        for line in lrbench("table", "2", "--long").splitlines()
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
    """Of each seed that two rows share: gain in points, p of McNemar's test; and the sd that images alone give."""
    mine, its = by_seed(row), by_seed(other)
    gains, each, variances = [], [], []
    for seed in mine:
        if seed in its:
            one, two = right[mine[seed]], right[its[seed]]
            only = [
                sum(a and not b for a, b in zip(one, two, strict=True)),
                sum(b and not a for a, b in zip(one, two, strict=True)),
            ]
            gains.append(top1(one) - top1(two))
            each.append(mcnemar(one, two))
            variances.append(100**2 * (sum(only) - (only[0] - only[1]) ** 2 / N) / N**2)
    return gains, each, math.sqrt(sum(variances) / len(variances))


def holm(p):
    """Key -> p corrected for their number."""
    largest, corrected = 0.0, {}
    for rank, key in enumerate(sorted(p, key=lambda key: p[key])):
        largest = corrected[key] = max(largest, min(1, (len(p) - rank) * p[key]))
    return corrected


def test_every_number_of_the_table_follows_from_the_predictions(written):
    rows, shown, right = written
    head, body = shown[0], {line[0]: dict(zip(shown[0], line, strict=True)) for line in shown[2:]}
    plain = next(row for row in rows if row["row"] == "LR-baseline")
    comparisons = {}
    for row in rows:
        runs = by_seed(row)
        scores, lost = [top1(right[run]) for run in runs.values()], len(row["diverged_runs"].split())
        assert lost == (row["method"] == "dfd") and all(run in right for run in row["diverged_runs"].split())
        mean, sd = sum(scores) / len(scores), scipy.stats.tstd(scores) if len(scores) > 1 else None
        assert float(row["top1_mean"]) == pytest.approx(mean, abs=1e-4)
        assert (int(row["n"]), int(row["diverged"])) == (len(scores), lost) and lost == (row["method"] == "dfd")
        assert row["top1_sd"] == "" if sd is None else float(row["top1_sd"]) == pytest.approx(sd, abs=1e-4)
        spread = "" if sd is None else f" ± {sd:.2f}"
        of = (
            f"{len(scores)} of {len(scores) + lost}; {lost} diverged; predicts one class in 1"
            if lost
            else str(len(scores))
        )
        assert body[row["row"]]["cifar10 8x8"] == f"{mean:.2f}{spread} ({of})"
        if row["published"]:
            assert body[row["row"]]["difference"] == f"{mean - float(row['published']):+.2f}"
        if row is not plain:
            comparisons[row["row"]] = compared(row, plain, right)
    assert len(rows) == 5 and {len(gains) for gains, _, _ in comparisons.values()} == {1, 2, 3}
    assert head[-1] == "vs LR-baseline"  # which is the control of equal budget

    several = [gains for gains, _, _ in comparisons.values() if len(gains) > 1]
    df = sum(len(gains) - 1 for gains in several)
    squares = sum(sum((gain - sum(gains) / len(gains)) ** 2 for gain in gains) for gains in several)
    pooled, p = math.sqrt(squares / df), {}  # of the spread of gains over seeds
    for name, (gains, each, images) in comparisons.items():
        error = max(pooled, images) / math.sqrt(len(gains))
        p[name] = each[0] if len(gains) == 1 else 2 * scipy.stats.t.sf(abs(sum(gains) / len(gains)) / error, df)
    corrected = holm({name: p[name] for name in p if len(comparisons[name][0]) > 2})
    corrected |= holm({name: p[name] for name in p if len(comparisons[name][0]) == 1})
    marks = set()
    for row in rows:
        if row is plain:
            continue
        name, (gains, each, images) = row["row"], comparisons[row["row"]]
        gain = sum(gains) / len(gains)
        assert float(row["reference_gain"]) == pytest.approx(gain, abs=1e-4)
        assert int(row["reference_n"]) == len(gains)
        assert [float(one) for one in row["reference_mcnemar_p"].split()] == pytest.approx(each, rel=1e-2)
        assert float(row["reference_p"]) == pytest.approx(p[name], rel=1e-4)
        if name in corrected:
            assert float(row["reference_p_holm"]) == pytest.approx(corrected[name], rel=1e-4)
        else:
            assert row["reference_p_holm"] == "" and len(gains) == 2
        if len(gains) > 1:
            assert float(row["reference_own_p"]) == pytest.approx(scipy.stats.ttest_1samp(gains, 0).pvalue, rel=1e-4)
            assert float(row["reference_sd"]) == pytest.approx(max(pooled, images), abs=1e-4)
            assert int(row["reference_df"]) == df
            half = scipy.stats.t.ppf(0.975, df) * max(pooled, images) / math.sqrt(len(gains))
            ends = [float(row[f"reference_{end}"]) for end in ("t_low", "t_high")]
            assert ends == pytest.approx([gain - half, gain + half], abs=1e-4)
        assert float(row["reference_low"]) < gain < float(row["reference_high"])
        beyond = corrected.get(name, 1) < 0.05
        mark = ("*" if len(gains) > 2 else "‡") if beyond else ""
        counts = f"{sum(one < 0.05 for one in each)} of {len(each)}"
        assert row["reference_mark"] == mark
        assert body[name]["vs LR-baseline"] == f"{gain:+.2f} ({counts}) {mark}".rstrip()
        marks.add(mark)
    assert marks == {"", "*", "‡"}

"""The table of restoration quality: every SR net in the store beside plain enlargement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from lrbench.method import naming
from lrbench.report import notes
from lrbench.report.formats import Table
from lrbench.report.frame import DIVERGED, DONE, FAILED, RESTORES, column
from lrbench.report.stats import summarise
from lrbench.report.ways import DASH, joined, score

MEASURES = {
    "psnr": ("PSNR RGB (dB)", 2),
    "ssim": ("SSIM RGB", 4),
    "psnr_y": ("PSNR Y (dB)", 2),
    "ssim_y": ("SSIM Y", 4),
}
WINDOW = 11  # pixels: the side of SSIM's window; see lrbench.train.tasks, which brings torch
TITLE = "Restoration quality"
PLACE = ["dataset", "content", "scale", "size", "degradation", "data.test_images"]  # of a table's long form
HEAD = ["", "trained", *(title for title, _ in MEASURES.values())]
TEST = ["dataset", "variant", "lr_side", "restored_side", "degradation", "test_images"]  # nets of one are compared


def nets(results: pd.DataFrame) -> pd.DataFrame:
    """The runs of SR nets, with what they restore: `lr_side` and `restored_side` in pixels, `test_images`."""
    found = results[results["backbone"] == RESTORES].sort_values(["method", "seed", "id"])
    small = (found["side"] // found["scale"].fillna(1)).astype("Int64")
    magnified = column(found, "set.sr_scale").astype("Int64")
    return found.assign(lr_side=small, restored_side=small * magnified, test_images=column(found, "data.test_images"))


def tests(results: pd.DataFrame) -> list[pd.DataFrame]:
    """The SR nets that were trained to their end, a frame for each test that they were put to."""
    there = nets(results[results["status"] != FAILED])
    return [test for _, test in there.groupby(TEST, dropna=False)]


def named(test: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Label -> the seeds of one SR net; it says how the net was trained where two would have one name."""
    found = _nets(test)
    labels = [label for label, _ in found]
    return {f"{label} ({training(runs)})" if labels.count(label) > 1 else label: runs for label, runs in found}


def _nets(test: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The seeds of each SR net; with an id in the name where neither that nor its training tells it apart."""
    ways = [runs for _, runs in test.groupby("experiment", sort=False)]
    names = [(str(runs.iloc[0]["name"]), training(runs)) for runs in ways]
    return [
        (f"{one[0]} [{runs.iloc[0]['id']}]" if names.count(one) > 1 else one[0], runs)
        for one, runs in zip(names, ways, strict=True)
    ]


def about(run: pd.Series) -> str:
    """What is restored from what: "cifar10 8x8 to 16x16, pil-bicubic, 10,000 test images"."""
    sizes = f"{run['size']} to {run['restored_side']}x{run['restored_side']}"
    content = f", {run['variant']}" if isinstance(run["variant"], str) else ""
    return f"{run['dataset']} {sizes}, {run['degradation']}, {run['test_images']:,.0f} test images{content}"


def training(runs: pd.DataFrame) -> str:
    """How an SR net was trained, in words: the epochs of all stages, the pairs of the last."""
    run = runs.iloc[0]
    epochs, pairs = naming.in_epochs(int(run["epochs_in_weights"])), f"{run['data.train_images']:,.0f} pairs"
    selected = "" if column(runs, "best_epoch").isna().iloc[0] else ", best epoch by validation"
    return f"{run['recipe']}, {epochs}, {pairs}, {run['precision']}{selected}"


def tables(results: pd.DataFrame) -> list[Table]:
    """A table for each test that SR nets were put to; one without lines where there is none."""
    failed = nets(results[results["status"] == FAILED])
    found = [_table(test, failed) for test in tests(results)]
    note = "No SR net has been run yet; 'lrbench methods' lists them."
    return found or [Table(TITLE, "no run yet", pd.DataFrame(columns=HEAD), [note, *notes.failed(failed)])]


def _table(test: pd.DataFrame, failed: pd.DataFrame) -> Table:
    first, rows = test.iloc[0], [_plain(test), *(_net(label, runs) for label, runs in _nets(test))]
    same = [failed[name] == first[name] for name in ("dataset", "content", "degradation", "scale", "set.sr_scale")]
    missed = failed[pd.concat(same, axis=1).all(axis=1)] if len(failed) else failed
    lines = [_line(row) for row in rows]
    texts = dict(zip(HEAD, zip(*lines, strict=True), strict=True))
    restored = f"{first['restored_side']}x{first['restored_side']}"
    place = {"table": TITLE, **{name: first[name] for name in PLACE}, "restored_size": restored}
    return Table.of(
        TITLE,
        about(first),
        [(name, texts[name], [row["runs"] for row in rows] if name == HEAD[0] else None) for name in HEAD],
        [*notes.origins(test), *notes.failed(missed)],
        lambda: pd.DataFrame([place | row for row in rows]),
        _legend(rows),
    )


def _legend(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield (
        "Means over the test images, rounded to 8 bits, then mean ± sample standard deviation over seeds (number of "
        "seeds). RGB: the whole image. Y: luma of BT.601, without as many pixels at each border as the net enlarges by."
    )
    yield "bicubic: LR enlarged by the degradation protocol's own way up, without any network."
    yield "Trained: the epochs of all stages, and the pairs of the last one."
    if any(DASH in _line(row)[2:] for row in rows):
        yield f"{DASH}: the images are too small; SSIM's window has {WINDOW} pixels."


def _plain(test: pd.DataFrame) -> dict[str, Any]:
    """Plain enlargement, which has no seed."""
    none = dict.fromkeys(("method", "config", "training", "epochs_in_weights", "data.train_images"))
    measured = _measured(test.iloc[:1], "bicubic_")
    return {"row": "bicubic", **none, **measured, "n": 0, "diverged": 0, "seeds": "", "runs": ""}


def _net(label: str, runs: pd.DataFrame) -> dict[str, Any]:
    run, done = runs.iloc[0], runs[runs["status"] == DONE]
    return {
        "row": label,
        "method": run["method"],
        "config": run["config"],
        "training": training(runs),
        "epochs_in_weights": run["epochs_in_weights"],
        "data.train_images": run["data.train_images"],
        **_measured(done),
        "n": len(done),
        "diverged": int((runs["status"] == DIVERGED).sum()),
        "seeds": joined(runs["seed"]),
        "runs": joined(runs["id"]),
    }


def _measured(runs: pd.DataFrame, prefix: str = "") -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in MEASURES:
        values = [float(value) for value in column(runs, prefix + name).dropna()]
        measured = summarise(values) if values else None
        found[f"{name}_mean"] = None if measured is None else round(measured.mean, 7)
        found[f"{name}_sd"] = None if measured is None or measured.sd is None else round(measured.sd, 7)
    return found


def _line(row: dict[str, Any]) -> list[str]:
    values = []
    for name, (_, digits) in MEASURES.items():
        mean = row[f"{name}_mean"]
        plain = DASH if mean is None else f"{mean:.{digits}f}"
        values.append(score(row, name, digits) if row["runs"] else plain)
    return [row["row"], row["training"] or DASH, *values]

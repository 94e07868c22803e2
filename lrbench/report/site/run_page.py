"""What a run's page shows: its score, settings, spec, provenance, and the runs about it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from lrbench.method import naming
from lrbench.report.formats import Table
from lrbench.report.frame import DIVERGED, RESTORES, SELECTED, column
from lrbench.report.ways import DASH, finished, fixed
from lrbench.spec.runspec import id_of

Content = Mapping[str, Any]  # of a record or a spec, as JSON has it
Run = Any  # a row of `listed`

# metric -> how it is called, its unit
METRICS = {
    "top1": ("top-1, test images", "%"),
    "val_top1": ("top-1, validation images", "%"),
    "train_top1": ("top-1, training images", "%"),
    "psnr": ("PSNR, RGB", "dB"),
    "ssim": ("SSIM, RGB", ""),
    "psnr_y": ("PSNR, luma", "dB"),
    "ssim_y": ("SSIM, luma", ""),
    "bicubic_psnr": ("PSNR, RGB, of plain enlargement", "dB"),
    "bicubic_ssim": ("SSIM, RGB, of plain enlargement", ""),
    "bicubic_psnr_y": ("PSNR, luma, of plain enlargement", "dB"),
    "bicubic_ssim_y": ("SSIM, luma, of plain enlargement", ""),
    "train_psnr": ("PSNR, training images", "dB"),
    "val_psnr": ("PSNR, validation images", "dB"),
    "best_epoch": ("epoch that was tested", ""),
    "epochs": ("epochs", ""),
    "epochs_in_weights": ("epochs in the weights", ""),
    "images_per_second": ("images per second, training", ""),
    "train_seconds": ("training time", "s"),
    "wall_seconds": ("time of the process that finished it", "s"),
    "parameters": ("parameters that this run trained", ""),
    "macs": ("multiply-accumulates of one test image", ""),
    "peak_memory_mib": ("peak memory", "MiB"),
    "predicted_classes": ("classes that it predicts on the test images", ""),
    "diverged_epoch": ("epoch in which it diverged", ""),
    "last_finite_loss": ("last loss that was a number", ""),
}
RECIPE = {
    "lr": "learning rate",
    "ema": "decay of averaged weights",
    "crop": "random crop, padding / side",
    "flip": "random flip",
}
PARTS = {"train": "training", "val": "validation", "test": "test"}


def listed(results: pd.DataFrame) -> pd.DataFrame:
    """What lists and pages say of runs, a row per run of the frame `results`.

    backbone: with its width, empty for an SR net. size: "8x8", or of an SR net "8x8 to 16x16". score: what it is judged
    by, its value and its unit; of a run that diverged the value says so. finished: to the minute.
    """
    restores, width = results["backbone"] == RESTORES, results["width"].map("{:g}".format)
    enlarged = results["side"] // results["scale"].fillna(1) * column(results, "set.sr_scale").astype(float).fillna(1)
    value = column(results, "psnr").where(restores, column(results, "top1")).map(fixed)
    diverged = results["status"] == DIVERGED
    measure, unit = restores.map({True: "PSNR", False: "top-1"}), restores.map({True: "dB", False: "%"})
    score = value.where(~diverged, "diverged")
    kept = ["id", "experiment", "method", "name", "seed", "dataset", "recipe", "status", "why", "defaults"]
    return results[kept].assign(
        hr=results["scale"].isna(),
        size=results["size"].where(~restores, results["size"] + " to " + enlarged.map("{0:.0f}x{0:.0f}".format)),
        backbone=(results["backbone"] + " x" + width).where(~restores, ""),
        epochs=column(results, "epochs_in_weights"),
        train=results["data.train_images"].map("{:,.0f}".format),
        score=list(zip(measure, score, unit.where(~diverged, ""), strict=True)),
        top1=score.where(~restores, ""),
        psnr=score.where(restores, ""),
        predicted_classes=column(results, "predicted_classes"),
        finished=finished(results).str[:16].str.replace("T", " ").replace("", DASH),
    )


class Related:
    """Who needs whom in a store, and which runs are seeds of one experiment; `runs`: id -> row of `listed`."""

    def __init__(self, results: pd.DataFrame) -> None:
        by_seed = results.sort_values("seed", kind="stable")
        needs = by_seed.assign(need=by_seed["needs"].str.findall(r"=(\w+)")).explode("need")
        self.runs = {run.id: run for run in listed(results).itertuples(index=False)}
        self._seeds = by_seed.groupby("experiment")["id"].agg(list)
        self._users = needs.drop_duplicates(["id", "need"]).groupby("need")["id"].agg(list)

    def siblings(self, run: Run) -> list[Run]:
        """The other seeds of a run's experiment."""
        return [self.runs[one] for one in self._seeds[run.experiment] if one != run.id]

    def users(self, run: Run) -> list[Run]:
        """The runs that need a run."""
        return [self.runs[one] for one in self._users.get(run.id, ())]

    def tree(self, spec: Content) -> list[dict[str, Any]]:
        """What a run needs, by role, and what that needs; `known`: whether it is in the store."""
        return [
            {
                "role": role,
                "id": id_of(need),
                "name": self._name(need),
                "known": id_of(need) in self.runs,
                "seed": need["seed"],
                "epochs": naming.in_epochs(need["recipe"]["epochs"]),
                "needs": self.tree(need),
            }
            for role, need in spec["needs"].items()
        ]

    def cells(self, table: Table) -> list[list[tuple[str, list[str]]]]:
        """The rows of a table: of each cell its text, empty for a dash, and the ids of its runs that are here."""
        behind = table.shown.map(lambda text: ()) if table.runs is None else table.runs
        return [
            [
                ("" if text == DASH else text, [one for one in ids if one in self.runs])
                for text, ids in zip(*row, strict=True)
            ]
            for row in zip(table.shown.to_numpy(), behind.to_numpy(), strict=True)
        ]

    def experiments(self, ids: list[str]) -> list[tuple[str, list[Run]]]:
        """Runs by method; by all that names them where one method has several settings."""
        runs = sorted((self.runs[one] for one in ids), key=lambda run: (run.method, run.name, run.seed))
        found = [(*key, list(same)) for key, same in groupby(runs, lambda run: (run.method, run.name))]
        methods = [method for method, _, _ in found]
        return [(name if methods.count(method) > 1 else method, same) for method, name, same in found]

    def _name(self, spec: Content) -> str:
        if (known := self.runs.get(id_of(dict(spec)))) is not None:
            return str(known.name)
        about = naming.about(spec["method"])
        return " ".join([about.label, *naming.changes(spec["config"], about)])


def warning(run: Run) -> str:
    """What keeps a run's score from meaning anything, in a sentence; mostly nothing."""
    said = [f"Diverged: {run.why}."] if run.status == DIVERGED else []
    said += ["It predicts one class, whatever the image."] if run.predicted_classes == 1 else []
    return " ".join(said)


def metrics(run: Run, measured: Content) -> list[tuple[str, float | int, str]]:
    """What was measured: name, value, unit. What has no value is left out."""
    names = [*(name for name in METRICS if name in measured), *(name for name in measured if name not in METRICS)]
    found = [(*METRICS.get(name, (name, "")), measured[name]) for name in names]
    return [(title, value, unit) for title, unit, value in found if value is not None]


def settings(run: Run, config: Content) -> list[dict[str, str | None]]:
    """The method's settings, each with its default, if known, and its source, where the method is installed."""
    about = naming.descriptions(run.method)
    defaults = json.loads(run.defaults) if isinstance(run.defaults, str) else {}
    return [
        {
            "name": name,
            "value": _text(value),
            "default": _text(defaults[name]) if name in defaults else None,
            "about": about.get(name, ""),
        }
        for name, value in config.items()
    ]


def protocol(run: Run, record: Content) -> list[tuple[str, str]]:
    """What else can move the score: data, sizes, network and training, named and in words."""
    spec, data = record["spec"], record["data"]
    images = [f"{data[f'{part}_images']:,} {word}" for part, word in PARTS.items()]
    return [
        ("dataset", spec["dataset"]),
        ("classes", f"{len(data['classes'])}: {', '.join(data['classes'])}"),
        ("images", ", ".join(images)),
        ("limits", f"training {_limit(spec['limit_train'])}, test {_limit(spec['limit_test'])}"),
        ("HR image", f"{data['side']}x{data['side']} pixels"),
        ("scale", _text(spec["scale"])),
        ("degradation", _text(spec["degradation"])),
        ("backbone", run.backbone or DASH),
        ("recipe", run.recipe),
        *((RECIPE.get(name, name.replace("_", " ")), _text(value)) for name, value in spec["recipe"].items()),
        ("precision", spec["precision"]),
        ("selection", SELECTED[spec["select"]]),
        ("seed", str(spec["seed"])),
        ("version of the method", spec["version"]),
        ("version of the harness", str(spec["protocol"])),
    ]


def restored_png(arrays: Mapping[str, np.ndarray]) -> bytes | None:
    """The first restored images beside each other, a pixel a pixel; None for a run that restores none."""
    if "restored" not in arrays:
        return None
    out = io.BytesIO()
    Image.fromarray(np.concatenate(list(arrays["restored"][:8]), axis=1)).save(out, format="png")
    return out.getvalue()


def _limit(images: int | None) -> str:
    return "all" if images is None else f"{images:,}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else DASH if value is None else json.dumps(value)

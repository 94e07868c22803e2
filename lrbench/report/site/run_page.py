"""What a run's page shows: its score, settings, spec, provenance, and the runs about it."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.method.backbones import NONE
from lrbench.report import cells
from lrbench.report.formats import DASH, fixed
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec

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


@dataclass(frozen=True)
class Setting:
    """One setting of the method; `default` is None where the method cannot be asked."""

    name: str
    value: str
    default: str | None
    about: str


@dataclass(frozen=True)
class Need:
    """A run in the tree of what a run needs."""

    role: str
    spec: RunSpec
    name: str
    known: bool
    needs: tuple[Need, ...]


@dataclass
class Relations:
    """Who needs whom in a store, and which runs are seeds of one experiment."""

    records: dict[str, Record] = field(default_factory=dict)
    needed_by: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    seeds: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    variant: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Relations:
        """The relations between the records of a store."""
        found = cls()
        for record in sorted(records, key=lambda record: record.spec.seed):
            found.records[record.id] = record
            found.variant[record.id] = cells.variant(record.spec)
            found.seeds[found.variant[record.id]].append(record.id)
            for needed in dict.fromkeys(need.id for need in record.spec.needs.values()):
                found.needed_by[needed].append(record.id)
        return found

    def siblings(self, run: str) -> list[Record]:
        """The other seeds of a run's experiment."""
        return [self.records[one] for one in self.seeds[self.variant[run]] if one != run]

    def users(self, run: str) -> list[Record]:
        """The runs that need a run."""
        return [self.records[one] for one in self.needed_by.get(run, ())]

    def tree(self, spec: RunSpec) -> tuple[Need, ...]:
        """What a run needs, and what that needs."""
        return tuple(
            Need(role, need, name(need), need.id in self.records, self.tree(need)) for role, need in spec.needs.items()
        )


def name(spec: RunSpec) -> str:
    """A run as lists call it, without its seed."""
    return cells.name(cells.row_key(spec))


def experiments(records: Iterable[Record]) -> list[tuple[str, list[Record]]]:
    """Runs by method; by all that names them where one method has several settings."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.spec.method, name(record.spec), record.spec.seed)):
        groups[record.spec.method, name(record.spec)].append(record)
    methods = [method for method, _ in groups]
    return [(label if methods.count(method) > 1 else method, runs) for (method, label), runs in groups.items()]


def score(record: Record) -> tuple[str, str, str]:
    """What a run is judged by: its name, value and unit; of one that diverged the value says so."""
    metric, name, unit = ("psnr", "PSNR", "dB") if record.restores else ("top1", "top-1", "%")
    return (name, "diverged", "") if record.diverged else (name, fixed(record.metrics.get(metric)), unit)


def warning(record: Record) -> str:
    """What keeps a run's score from meaning anything, in a sentence; mostly nothing."""
    said = [f"Diverged: {record.why}."] if record.diverged else []
    said += ["It predicts one class, whatever the image."] if record.metrics.get("predicted_classes") == 1 else []
    return " ".join(said)


def size(record: Record) -> str:
    """The size of the images that it sees: "8x8", or of an SR net "8x8 to 16x16"."""
    side = record.data.side // (record.spec.scale or 1)
    if not record.restores:
        return f"{side}x{side}"
    enlarged = side * int(str(record.spec.config.get("sr_scale", 1)))
    return f"{side}x{side} to {enlarged}x{enlarged}"


def backbone(spec: RunSpec) -> str:
    """Such as "resnet18 x0.25", its width last; empty for an SR net, which has none."""
    return "" if spec.backbone == NONE else f"{spec.backbone} x{spec.width:g}"


def metrics(record: Record) -> list[tuple[str, float | int, str]]:
    """What was measured: name, value, unit. What has no value is left out."""
    known = [name for name in METRICS if name in record.metrics]
    others = [name for name in record.metrics if name not in METRICS]
    found = [(*METRICS.get(name, (name, "")), record.metrics[name]) for name in [*known, *others]]
    return [(title, value, unit) for title, unit, value in found if value is not None]


def settings(spec: RunSpec) -> list[Setting]:
    """The method's settings, with their defaults and sources where the method is installed."""
    try:
        fields = registry.method(spec.method).Config.model_fields
    except UserError:
        fields = {}
    defaults = cells.default_config(spec.method)
    return [
        Setting(
            name,
            _text(value),
            _text(defaults[name]) if name in defaults else None,
            (fields[name].description or "") if name in fields else "",
        )
        for name, value in spec.config.items()
    ]


def protocol(record: Record) -> list[tuple[str, str]]:
    """What else can move the score: data, sizes, network and training, named and in words."""
    spec, data, recipe = record.spec, record.data, record.spec.recipe.model_dump(mode="json")
    return [
        ("data set", spec.dataset),
        ("classes", f"{len(data.classes)}: {', '.join(data.classes)}"),
        ("images", f"{data.train_images:,} training, {data.val_images:,} validation, {data.test_images:,} test"),
        ("limits", f"training {_limit(spec.limit_train)}, test {_limit(spec.limit_test)}"),
        ("HR image", f"{data.side}x{data.side} pixels"),
        ("scale", _text(spec.scale)),
        ("degradation", _text(spec.degradation)),
        ("backbone", backbone(spec) or DASH),
        ("recipe", cells.fields(record.spec)["recipe"]),
        *((RECIPE.get(name, name.replace("_", " ")), _text(value)) for name, value in recipe.items()),
        ("precision", spec.precision),
        ("selection", cells.SELECTED[spec.select]),
        ("seed", str(spec.seed)),
        ("version of the method", spec.version),
        ("version of the harness", str(spec.protocol)),
    ]  # fmt: skip


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

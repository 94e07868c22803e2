"""Restored images side by side: rows of test images, a column for each way to enlarge them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from lrbench import prepare, registry, sr_table
from lrbench.errors import UserError, did_you_mean
from lrbench.quality import quality
from lrbench.record import Record
from lrbench.store import Store

FIGURES = "lrbench.figures"


@dataclass(frozen=True)
class PublishedGallery:
    """A paper's figure of restored images. `nets` are its columns in order, label -> the SR net's method."""

    title: str
    source: str
    nets: Mapping[str, str]


@dataclass(frozen=True)
class Column:
    """One way to see the test images: uint8 (n, H, W, 3); `psnr` in dB, None for LR and HR."""

    label: str
    images: np.ndarray
    psnr: Sequence[float] | None = None


def published(name: str) -> PublishedGallery:
    """The figure of that name. Raises UserError, naming the nearest, where there is none."""
    found = registry.load(FIGURES, "figure", name)
    if not isinstance(found, PublishedGallery):
        raise UserError(f"figure '{name}' is not a lrbench.gallery.PublishedGallery")
    return found


def choose(
    records: Sequence[Record], methods: Collection[str], sr_scale: int | None = None, dataset: str | None = None
) -> list[Record]:
    """The runs to draw: of one test, the first by name that most of the methods were put to, one run a method.

    Of several runs of a method, that with the highest PSNR over training images is drawn, so that the test
    images do not choose it. Raises UserError where there is none.
    """
    nets = [record for record in records if record.restores and record.spec.method in methods]
    if not nets:
        raise UserError(f"there is no run of {', '.join(methods)} to draw; start with 'lrbench run'")
    for option, wanted, there in (
        ("--sr-scale", sr_scale, {record.spec.config["sr_scale"] for record in nets}),
        ("--dataset", dataset, {record.spec.dataset for record in nets}),
    ):
        if wanted is not None and wanted not in there:
            hint = did_you_mean(str(wanted), sorted(map(str, there)))
            raise UserError(f"{option} {wanted}: there is no such run of {', '.join(methods)}; {hint}")
    best: dict[str, Record] = {}
    for _, experiments in sr_table.group(nets).items():
        drawn: dict[str, Record] = {}
        for record in itertools.chain(*experiments):
            spec = record.spec
            if sr_scale in (None, spec.config["sr_scale"]) and dataset in (None, spec.dataset):
                drawn[spec.method] = max(record, drawn.get(spec.method, record), key=_rank)
        best = max(best, drawn, key=len)  # the first of equals
    return [best[method] for method in methods if method in best]


def _rank(record: Record) -> tuple[float, str]:
    return float(record.metrics["train_psnr"] or 0.0), record.id


def columns(records: Sequence[Record], nets: Mapping[str, str], store: Store, data_root: Path) -> list[Column]:
    """LR, its plain enlargement, each run's restored images, HR: the first test images, in canonical order.

    records: of one test, as `choose` gives them; nets: label -> method. Raises UserError where the data set is
    missing.
    """
    kept = [store.predictions(record)["restored"] for record in records]
    n, shave = min(map(len, kept)), int(str(records[0].spec.config["sr_scale"]))
    images = prepare.prepare(records[0].spec, data_root, torch.device("cpu")).test.first(n)
    true, plain = images.hr, images.view("up")

    def enlarged(label: str, restored: torch.Tensor) -> Column:
        return Column(label, restored.numpy(), quality(restored, true, shave)["psnr"].tolist())

    labels = {method: label for label, method in nets.items()}
    restored = [
        enlarged(labels[record.spec.method], torch.from_numpy(made[:n]))
        for record, made in zip(records, kept, strict=True)
    ]
    lr = Column("LR", images.view("lr").numpy())
    return [lr, enlarged("bicubic", plain), *restored, Column("HR", true.numpy())]


def draw(title: str, shown: Sequence[Column], rows: int) -> Figure:
    """The first `rows` images of each column, pixels enlarged by nearest neighbour, PSNR below each."""
    rows = min(rows, *(len(column.images) for column in shown))
    figure = Figure(figsize=(1.5 * len(shown), 1.72 * rows + 0.7), layout="constrained")
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(rows, len(shown), squeeze=False)
    for number, column in enumerate(shown):
        side = column.images.shape[1]
        panels[0, number].set_title(f"{column.label}\n{side}x{side}", fontsize=10)
        for panel, image, row in zip(panels[:, number], column.images, range(rows), strict=False):
            panel.imshow(image, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.set_xlabel("" if column.psnr is None else f"{column.psnr[row]:.2f} dB", fontsize=9)
    return figure


def title(gallery: PublishedGallery, records: Sequence[Record]) -> str:
    """What the figure shows, and of which runs."""
    seeds: Mapping[int, None] = dict.fromkeys(record.spec.seed for record in records)
    [test] = sr_table.group(records)
    return f"{gallery.title}: {test}\nPSNR (RGB) below each; seed {', '.join(map(str, seeds))}"

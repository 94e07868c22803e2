"""Restored images side by side: rows of test images, a column for each way to enlarge them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from lrbench.data import prepare
from lrbench.data.degradation import DEFAULT
from lrbench.errors import UserError, did_you_mean
from lrbench.method import restorer
from lrbench.report import cells
from lrbench.report import sr as sr_table
from lrbench.report.published import PublishedGallery
from lrbench.spec.record import Record
from lrbench.store.store import Store
from lrbench.train.tasks import quality


@dataclass(frozen=True)
class Column:
    """One way to see the test images: uint8 (n, H, W, 3); `psnr` in dB, None for LR and HR."""

    label: str
    images: np.ndarray
    psnr: Sequence[float] | None = None


def choose(
    records: Sequence[Record], methods: Collection[str], sr_scale: int | None = None, dataset: str | None = None
) -> list[Record]:
    """The runs to draw, one a method, all of one test: that which most of the methods were put to.

    Of equal tests the default degradation's, then the one on most images, then the first by name; of several runs
    of a method the plainest, see `_rank`: how well it restores does not choose it. Raises UserError where there
    is none.
    """
    nets = [one for one in records if one.restores and one.spec.method in methods and not one.diverged]
    if not nets:
        raise UserError(f"there is no run of {', '.join(methods)} to draw; start with 'lrbench run'")
    nets = _with("--dataset", dataset, nets, lambda record: record.spec.dataset)
    nets = _with("--sr-scale", sr_scale, nets, lambda record: record.spec.config["sr_scale"])
    drawn: dict[sr_table.Test, dict[str, Record]] = {}
    for test, experiments in sr_table.group(nets).items():
        best = drawn.setdefault(test, {})
        for record in itertools.chain(*experiments):
            best[record.spec.method] = max(record, best.get(record.spec.method, record), key=_rank)
    most = max(drawn, key=lambda test: (len(drawn[test]), test.degradation == DEFAULT, test.test_images))
    return [drawn[most][method] for method in methods if method in drawn[most]]


def _with(option: str, wanted: Any, nets: Sequence[Record], value: Callable[[Record], Any]) -> list[Record]:
    """The nets that an option asks for; all where it is None. Raises UserError where there is none."""
    kept = [record for record in nets if wanted in (None, value(record))]
    if not kept:
        hint = did_you_mean(str(wanted), sorted({str(value(record)) for record in nets}))
        raise UserError(f"{option} {wanted}: there is no such run to draw; {hint}")
    return kept


def _rank(record: Record) -> tuple[int, int, int, int, str]:
    """Fewest settings changed; then most training images, most epochs, lowest seed."""
    epochs = int(record.metrics["epochs_in_weights"] or 0)
    return -len(_changes(record)), record.data.train_images, epochs, -record.spec.seed, record.id


def _changes(record: Record) -> list[str]:
    """A net's settings that differ from its defaults, but for what all nets have: scale, pairs and epochs."""
    return [
        change
        for change in cells.changes(cells.row_key(record.spec))
        if change.partition("=")[0] not in restorer.Config.model_fields
    ]


def columns(records: Sequence[Record], nets: Mapping[str, str], store: Store, data_root: Path) -> list[Column]:
    """LR, its plain enlargement, each run's restored images, HR: the first test images, in canonical order.

    records: of one test, as `choose` gives them; nets: label -> method. Raises UserError where the data set is
    missing, or a run's restored images.
    """
    kept = [_restored(record, store) for record in records]
    n, shave = min(map(len, kept)), int(str(records[0].spec.config["sr_scale"]))
    images = prepare.prepare(records[0].spec, data_root, torch.device("cpu")).test.first(n)
    true, plain = images.hr, images.view("up")

    def enlarged(label: str, restored: torch.Tensor) -> Column:
        return Column(label, restored.numpy(), quality(restored, true, shave)["psnr"].tolist())

    labels = {method: label for label, method in nets.items()}
    restored = [
        enlarged("\n".join([labels[record.spec.method], *_changes(record)]), torch.from_numpy(made[:n]))
        for record, made in zip(records, kept, strict=True)
    ]
    lr = Column("LR", images.view("lr").numpy())
    return [lr, enlarged("bicubic", plain), *restored, Column("HR", true.numpy())]


def _restored(record: Record, store: Store) -> np.ndarray:
    found = store.predictions(record)
    if "restored" not in found:
        raise UserError(f"run {record.id} ({record.spec.method}) has kept no restored image")
    return found["restored"]


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
    """What the figure shows, and of which runs; settings that were changed stand over their columns."""
    seeds: Mapping[int, None] = dict.fromkeys(record.spec.seed for record in records)
    [test] = sr_table.group(records)
    return f"{gallery.title}: {test}\nPSNR (RGB) below each; seed {', '.join(map(str, seeds))}"

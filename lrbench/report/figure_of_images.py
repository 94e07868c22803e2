"""Restored images side by side: rows of test images, a column for each way to enlarge them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from lrbench.data import prepare
from lrbench.data.degradation import DEFAULT
from lrbench.errors import UserError, did_you_mean
from lrbench.method import naming
from lrbench.method.restorer import Config
from lrbench.report import sr
from lrbench.report.frame import DONE
from lrbench.report.plots import Picture
from lrbench.report.published import PublishedGallery
from lrbench.spec import RunSpec
from lrbench.store import Store
from lrbench.train.tasks import quality

WRAP = 22  # characters of the caption for each column


@dataclass(frozen=True)
class Column:
    """One way to see the test images: uint8 (n, H, W, 3); `psnr` in dB, None for LR and HR."""

    label: str
    images: np.ndarray
    psnr: Sequence[float] | None = None


def of_store(
    figure: PublishedGallery,
    results: pd.DataFrame,
    store: Store,
    data: Path,
    note: Callable[[str], None],
    datasets: Sequence[str] = (),
    sr_scale: int | None = None,
    images: int = 6,
) -> Figure:
    """The figure of the runs in a store, `images` rows of it; `note` is told of a net that has no column.

    datasets: of one name, or empty for what most nets were tested on. Raises UserError as `choose` and `columns` do.
    """
    if len(datasets) > 1:
        raise UserError("restored images are shown of one dataset; name one")
    chosen = choose(results, figure.nets.values(), sr_scale, *datasets)
    for method in figure.nets.values():
        if method not in set(chosen["method"]):
            been_run = method in set(results["method"])
            note(f"{method} has no column: it was not run" + (" on what the others were" if been_run else ""))
    return draw(title(figure, chosen), columns(chosen, figure.nets, store, data), images, caption(figure, chosen))


def choose(
    results: pd.DataFrame, methods: Collection[str], sr_scale: int | None = None, dataset: str | None = None
) -> pd.DataFrame:
    """The runs to draw, one for each method, all of one test: that which most of the methods were put to.

    Of equal tests the default degradation's, then the one on most images, then the first by name; of several runs
    of a method that with the fewest settings changed, then of most training images, most epochs, the lowest seed: how
    well it restores does not choose it. Raises UserError where there is none.
    """
    nets = sr.nets(results)
    nets = nets[nets["method"].isin(methods) & (nets["status"] == DONE)]
    if not len(nets):
        raise UserError(f"there is no run of {', '.join(methods)} to draw; start with 'lrbench run'")
    for option, column, wanted in (("--dataset", "dataset", dataset), ("--sr-scale", "set.sr_scale", sr_scale)):
        there = nets[nets[column] == wanted] if wanted is not None else nets
        if not len(there):
            values = sorted({f"{value:g}" if isinstance(value, float) else str(value) for value in nets[column]})
            raise UserError(f"{option} {wanted}: there is no such run to draw; {did_you_mean(str(wanted), values)}")
        nets = there
    rank = nets.assign(changed=[len(_changes(text)) for text in nets["changes"]]).sort_values(
        ["changed", "data.train_images", "epochs_in_weights", "seed", "id"], ascending=[True, False, False, True, False]
    )
    best = [test.drop_duplicates("method") for _, test in rank.groupby(sr.TEST, dropna=False)]
    most = max(best, key=lambda test: (len(test), test.iloc[0]["degradation"] == DEFAULT, test.iloc[0]["test_images"]))
    order = {method: place for place, method in enumerate(methods)}
    return most.sort_values("method", key=lambda names: names.map(order))


def _changes(text: str) -> list[str]:
    """A net's settings that differ from its defaults, but for what all nets have: scale, pairs and epochs."""
    return [change for change in json.loads(text) if change.partition("=")[0] not in Config.model_fields]


def columns(chosen: pd.DataFrame, nets: Mapping[str, str], store: Store, data_root: Path) -> list[Column]:
    """LR, its plain enlargement, each run's restored images, HR: the first test images, in canonical order.

    chosen: as `choose` gives them; nets: label -> method. Raises UserError where the dataset is missing, or a run's
    restored images.
    """
    kept = [_restored(run, method, store) for run, method in zip(chosen["id"], chosen["method"], strict=True)]
    spec = RunSpec.model_validate(store.contents([chosen.iloc[0]["id"]])[0]["spec"])
    n, shave = min(map(len, kept)), int(chosen.iloc[0]["set.sr_scale"])
    images = prepare.prepare(spec, data_root, torch.device("cpu")).test.first(n)
    true, plain = images.hr, images.view("up")

    def enlarged(label: str, restored: torch.Tensor) -> Column:
        return Column(label, restored.numpy(), quality(restored, true, shave)["psnr"].tolist())

    labels = {method: label for label, method in nets.items()}
    restored = [
        enlarged(labels[method], torch.from_numpy(made[:n]))
        for method, made in zip(chosen["method"], kept, strict=True)
    ]
    lr = Column("LR", images.view("lr").numpy())
    return [lr, enlarged("bicubic", plain), *restored, Column("HR", true.numpy())]


def _restored(run: str, method: str, store: Store) -> np.ndarray:
    found = store.predictions(run)
    if "restored" not in found:
        raise UserError(f"run {run} ({method}) has kept no restored image")
    return found["restored"]


def draw(title: str, shown: Sequence[Column], rows: int, caption: str = "") -> Figure:
    """The first `rows` images of each column, pixels enlarged by nearest neighbour, PSNR below each."""
    rows = min(rows, *(len(column.images) for column in shown))
    figure = Picture(figsize=(1.5 * len(shown), 1.72 * rows + 0.7), layout="constrained")
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(textwrap.fill(caption, WRAP * len(shown)), fontsize=8)
    panels = figure.subplots(rows, len(shown), squeeze=False)
    for number, column in enumerate(shown):
        side = column.images.shape[1]
        panels[0, number].set_title(f"{column.label}\n{side}x{side}", fontsize=10)
        for panel, image, row in zip(panels[:, number], column.images, range(rows), strict=False):
            panel.imshow(image, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.set_xlabel("" if column.psnr is None else f"{column.psnr[row]:.2f} dB", fontsize=9)
    return figure


def title(gallery: PublishedGallery, chosen: pd.DataFrame) -> str:
    """What the figure shows."""
    seeds = ", ".join(map(str, dict.fromkeys(chosen["seed"])))
    return f"{gallery.title}: {sr.about(chosen.iloc[0])} (the first are shown)\nPSNR (RGB) below each; seed {seeds}"


def caption(gallery: PublishedGallery, chosen: pd.DataFrame) -> str:
    """What each net is: its settings that were changed, its epochs and the pairs that it was trained on."""
    labels = {method: label for label, method in gallery.nets.items()}
    return "; ".join(
        ", ".join(
            [
                f"{labels[run['method']]}: {naming.in_epochs(int(run['epochs_in_weights']))}",
                f"{run['data.train_images']:,.0f} pairs",
                *_changes(run["changes"]),
            ]
        )
        for _, run in chosen.iterrows()
    )

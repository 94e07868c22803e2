"""`lrbench demo`: everything in small, on images that come with a dependency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrbench import device as devices
from lrbench.data import datasets
from lrbench.data.degradation import DEFAULT, degrade
from lrbench.execute.session import Request, run
from lrbench.method import naming, registry
from lrbench.report import plots
from lrbench.report.filled import fill
from lrbench.report.formats import Table
from lrbench.report.frame import frame
from lrbench.report.published import PublishedTable
from lrbench.report.table import table as as_table
from lrbench.spec.record import Record
from lrbench.store.store import Store

DEMO, SHOWN = "lrbench.demo", 7  # the entry-point group of the table that is run, and pairs in the picture
EPOCHS = 10  # so that it ends within a minute
RIGHT, WRONG = (plots.COLOURS[3], "✓"), (plots.COLOURS[1], "✗")  # of a prediction: colour and mark


def demo(out: Path, device: str, threads: str | int = devices.AUTO) -> tuple[Table, Path]:
    """Train and test the rows of the demo's table, three seeds each, in the folder `out`.

    Returns the table and the file of a picture. Raises OSError where the folder cannot be written.
    """
    source: PublishedTable = registry.load(DEMO, "demo", "digits")
    ((dataset, scale, _),) = source.columns
    threads = devices.choose_threads(threads)
    records: list[Record] = []
    for row in source.rows:
        how: dict[str, Any] = {"backbone": row.backbone, "settings": row.settings, "device": device, "threads": threads}
        how |= {"recipe": "quick", "epochs": EPOCHS}
        quick = Request(row.method, dataset, out / "runs", (0, 1, 2), scale=scale, width=0.25, **how)
        records += run(quick)
    store, drawn = Store(out / "runs"), out / "pairs.png"
    plots.save(_pairs(store, [record for record in records if record.spec.scale]), drawn)
    (filled,) = fill(source, frame(records), store.right)
    return as_table(filled), drawn


def _pairs(store: Store, records: Sequence[Record]) -> plots.Figure:
    """HR / LR pairs with the predictions of the first seed of each row: a sample of those of which some are right."""
    first: dict[str, Record] = {}
    for record in records:
        first.setdefault(naming.name(record.spec, record.about), record)
    predicted = {name: store.predictions(record.id)["predicted"] for name, record in first.items()}
    spec, classes = records[0].spec, records[0].data.classes
    test = datasets.load(spec.dataset, datasets.data_root(None)).splits["test"]
    right = np.stack(list(predicted.values())) == test.labels
    (some,) = np.nonzero(right.any(axis=0) & ~right.all(axis=0))
    some = some if len(some) else np.arange(len(test.labels))
    some = some[np.lexsort(right[:, some])]  # by which are right: each kind has its share of an even sample
    shown = some[np.linspace(0, len(some) - 1, min(SHOWN, len(some))).round().astype(int)]
    lr, _ = degrade(test.images[shown], spec.scale or 1, spec.degradation or DEFAULT)
    names = {
        f"{name} ({first[name].metrics['top1']:.1f} %)": [classes[p] for p in values[shown]]
        for name, values in predicted.items()
    }
    about = f"{naming.network(spec.backbone, spec.width)}, {spec.recipe.epochs} epochs, seed {spec.seed}"
    return picture(test.images[shown], lr, [classes[label] for label in test.labels[shown]], names, about)


@plots.defaults()
def picture(
    hr: np.ndarray, lr: np.ndarray, labels: Sequence[str], predicted: Mapping[str, Sequence[str]], about: str
) -> plots.Figure:
    """Pairs of HR and LR images, uint8 (n, H, W, 3), each with its label and what each method saw in it.

    labels: the true class of each; predicted: method -> the class it predicts for each; about: the networks, in words.
    Pixels are shown as they are, enlarged by nearest neighbour.
    """
    n = len(labels)
    figure = plots.Picture(figsize=(1.15 * n + 2, 2.6 + 0.2 * len(predicted)), layout="constrained")
    figure.suptitle(
        "An even sample of the test images that some methods get right and some wrong, and the class that each predicts"
        f"\nfrom the LR image: ✓ right, ✗ wrong; in brackets its top-1 on all test images. {about}",
        fontsize=9,
    )
    panels = figure.subplots(2, n, squeeze=False)
    for column in range(n):
        for line, images in enumerate((hr, lr)):
            panels[line, column].imshow(images[column], interpolation="nearest")
            panels[line, column].set(xticks=[], yticks=[])
        panels[0, column].set_title(f"true {labels[column]}", fontsize=9)
        for line, classes in enumerate(predicted.values()):
            colour, mark = RIGHT if classes[column] == labels[column] else WRONG
            _below(panels[1, column], line, 0.5, f"{classes[column]} {mark}", ha="center", color=colour)
    for line, name in enumerate(predicted):
        _below(panels[1, 0], line, -0.05, name, ha="right", color="black")
    for panel, name, images in ((panels[0, 0], "HR", hr), (panels[1, 0], "LR", lr)):
        panel.set_ylabel(f"{name} {images.shape[1]}x{images.shape[2]}")
    return figure


def _below(panel, line: int, x: float, text: str, **style: str) -> None:  # type: ignore[no-untyped-def]
    """A word below a panel, on a line of its own; x is a fraction of the panel's width."""
    place = {"xy": (x, 0), "xycoords": "axes fraction", "xytext": (0, -14 - 14 * line), "textcoords": "offset points"}
    panel.annotate(text, **place, fontsize=9, **style)

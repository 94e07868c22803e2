"""`lrbench demo`: everything in small, on images that come with a dependency."""

from __future__ import annotations

from collections.abc import Sequence
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
    store, picture = Store(out / "runs"), out / "pairs.png"
    plots.save(_pairs(store, [record for record in records if record.spec.scale]), picture)
    (filled,) = fill(source, frame(records), store.right)
    return as_table(filled), picture


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
    return plots.predictions(test.images[shown], lr, [classes[label] for label in test.labels[shown]], names, about)

"""The figures that can be drawn by name: the learning curves, and those of papers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from lrbench.method import registry
from lrbench.report import curves, gallery, published, sweep_plot
from lrbench.store.store import Store

CURVES = "curves"


def names() -> list[str]:
    """Of all figures."""
    return [CURVES, *registry.installed(published.FIGURES)]


def draw(name: str, store: Store, data: Path, note: Callable[[str], None]) -> Figure:
    """A figure of the runs in a store, as it is drawn when nothing is chosen. Raises UserError."""
    if name == CURVES:
        return curves.curves(store)
    found = published.figure(name)
    if isinstance(found, published.PublishedSweep):
        return sweep_plot.draw(found, sweep_plot.chosen(found, store.counted(store.records())))
    return draw_gallery(found, store, data, note)


def draw_gallery(
    figure: published.PublishedGallery,
    store: Store,
    data: Path,
    note: Callable[[str], None],
    sr_scale: int | None = None,
    dataset: str | None = None,
    images: int = 6,
) -> Figure:
    """Restored test images side by side; `note` is told of a net that has no column. Raises UserError."""
    records = store.records()
    chosen = gallery.choose(records, figure.nets.values(), sr_scale, dataset)
    for method in figure.nets.values():
        if method not in [record.spec.method for record in chosen]:
            been_run = any(record.spec.method == method for record in records)
            note(f"{method} has no column: it was not run" + (" on what the others were" if been_run else ""))
    return gallery.draw(gallery.title(figure, chosen), gallery.columns(chosen, figure.nets, store, data), images)

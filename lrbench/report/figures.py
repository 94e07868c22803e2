"""The figures that can be drawn by name: the learning curves, and those of papers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lrbench.errors import UserError, unknown
from lrbench.method import registry
from lrbench.report import published
from lrbench.report.published import PublishedGallery, PublishedSweep
from lrbench.store import Store

CURVES = "curves"
Note = Callable[[str], None]


def names() -> list[str]:
    """Of all figures."""
    return [CURVES, *registry.installed(published.FIGURES)]


def draw(name: str, results: pd.DataFrame, store: Store, data: Path, note: Note, **options: Any) -> Figure:
    """A figure of the runs in a store, whose frame `results` is; `note` is told of what it leaves out.

    options: of curves `datasets` and `methods`; of a figure of a setting `datasets` and `settings`; of restored images
    `datasets` (one), `sr_scale` and `images` (rows); all as they are by default where left out. Raises UserError for a
    name or an option that there is not, and where there is nothing to draw.
    """
    if name not in names():
        raise unknown("figure", name, names())
    given = {option: value for option, value in options.items() if value not in (None, (), {}, [])}
    if name == CURVES:
        from lrbench.report.curves import curves

        return curves(results, store, **_checked(name, given, "datasets", "methods"))
    figure = published.figure(name)
    if isinstance(figure, PublishedSweep):
        from lrbench.report import sweep_plot

        chosen = sweep_plot.chosen(figure, results, **_checked(name, given, "datasets", "settings"))
        return sweep_plot.draw(figure, chosen, given.get("settings"))
    return _gallery(figure, results, store, data, note, **_checked(name, given, "datasets", "sr_scale", "images"))


def _checked(name: str, given: dict[str, Any], *known: str) -> dict[str, Any]:
    for option in given:
        if option not in known:
            raise UserError(f"{name} has no option {option}; it has {', '.join(known)}")
    return given


def _gallery(
    figure: PublishedGallery,
    results: pd.DataFrame,
    store: Store,
    data: Path,
    note: Note,
    datasets: tuple[str, ...] = (),
    sr_scale: int | None = None,
    images: int = 6,
) -> Figure:
    """Restored test images side by side; `note` is told of a net that has no column."""
    from lrbench.report import gallery

    if len(datasets) > 1:
        raise UserError("restored images are shown of one dataset; name one")
    chosen = gallery.choose(results, figure.nets.values(), sr_scale, *datasets)
    for method in figure.nets.values():
        if method not in set(chosen["method"]):
            been_run = method in set(results["method"])
            note(f"{method} has no column: it was not run" + (" on what the others were" if been_run else ""))
    columns = gallery.columns(chosen, figure.nets, store, data)
    return gallery.draw(gallery.title(figure, chosen), columns, images)

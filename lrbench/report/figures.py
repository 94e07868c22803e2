"""The figures that can be drawn by name: the learning curves, the gains, and those of papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lrbench.errors import UserError, unknown
from lrbench.method import registry
from lrbench.report import notes, plots, published
from lrbench.report.published import PublishedSweep
from lrbench.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES, GAINS = "curves", "gains"
Note = Callable[[str], None]


def names() -> list[str]:
    """Of all figures."""
    return [CURVES, GAINS, *registry.installed(published.FIGURES)]


def draw(name: str, results: pd.DataFrame, store: Store, data: Path, note: Note, **options: Any) -> Figure:
    """A figure of the runs in a store, whose frame `results` is; `note` is told of what it leaves out,
    and of other stores that the runs are from.

    options: of curves `datasets`, `methods`, `backbones` and `scale`; of gains the first three and `settings`; of a
    figure of a setting `datasets`, `settings` and `scale`; of restored images `datasets` (one), `sr_scale` and
    `images` (rows); all as they are by default where left out. Raises UserError for a name or an option that there is
    not, and where there is nothing to draw.
    """
    if name not in names():
        raise unknown("figure", name, names())
    figure = _drawn(name, results, store, data, note, options)
    for said in notes.origins(results, named=False):
        note(said)
    return figure


@plots.defaults()
def _drawn(
    name: str, results: pd.DataFrame, store: Store, data: Path, note: Note, options: Mapping[str, Any]
) -> Figure:
    given = {option: value for option, value in options.items() if value not in (None, (), {}, [])}
    if name == CURVES:
        from lrbench.report import figure_of_epochs

        return figure_of_epochs.draw(
            results, store, note, **_checked(name, given, "datasets", "methods", "backbones", "scale")
        )
    if name == GAINS:
        from lrbench.report import figure_of_gains, leaderboard

        references = leaderboard.references(note)
        wanted = _checked(name, given, "datasets", "methods", "backbones", "settings")
        return figure_of_gains.draw(results, store, references, note, **wanted)
    figure = published.figure(name)
    if isinstance(figure, PublishedSweep):
        from lrbench.report import figure_of_setting

        wanted = _checked(name, given, "datasets", "settings", "scale")
        chosen = figure_of_setting.chosen(figure, results, lambda said: note(f"{name}: {said}"), **wanted)
        return figure_of_setting.draw(figure, chosen, given.get("settings"))
    from lrbench.report import figure_of_images

    return figure_of_images.of_store(
        figure, results, store, data, note, **_checked(name, given, "datasets", "sr_scale", "images")
    )


def _checked(name: str, given: dict[str, Any], *known: str) -> dict[str, Any]:
    for option in given:
        if option not in known:
            raise UserError(f"{name} takes no {option}; it takes {', '.join(known)}")
    return given

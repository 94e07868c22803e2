"""The commands that read results: table, compare, predictions, plot, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from lrbench.cli.options import (
    baselines_option,
    data_option,
    out_file,
    plugin_option,
    results_option,
    settings_of,
    warn,
)
from lrbench.errors import UserError


@click.command()
@click.argument("name", required=False)
@click.option("--format", "style", help="md, csv, latex or json.  [default: a table on a terminal, md in a pipe]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file instead.")
@plugin_option
@results_option
@baselines_option
def table(name: str | None, style: str | None, out: Path | None, plugins: tuple[str, ...], **stores: Any) -> None:
    """Fill a published table (1 or 2; default: all), or leaderboard, sr, tuned or claims, from the runs in the store.

    leaderboard: every way of training that was run, best first. sr: the quality of SR nets. tuned: a setting chosen by
    validation. claims: what a paper says, and whether it holds.
    """
    from lrbench import api
    from lrbench.report import formats

    _add_drafts(plugins)
    if style is not None:
        formats.check_style(style)
    found = api.table(name, **stores, warn=warn)
    if style is None and out is None:
        formats.print_tables(found)
    elif out is None:
        click.echo(formats.render(found, style or "md"), nl=False)
    else:
        out_file(out, formats.render(found, style or "md"))


CONDITIONS = {"dataset": str, "scale": int, "degradation": str, "backbone": str, "width": float, "recipe": str}
CONDITIONS |= {"epochs": int, "batch-size": int, "dropout": float, "limit-train": int, "limit-test": int}
CONDITIONS |= {"select": str, "precision": str}


def condition_options(command: Any) -> Any:
    """The options that say which runs are meant by what they were made under."""
    for name, kind in reversed(CONDITIONS.items()):
        command = click.option(f"--{name}", type=kind, help="Of the runs that are meant.")(command)
    return command


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@condition_options
@click.option("--json", "as_json", is_flag=True, help="Print an object and nothing else.")
@plugin_option
@results_option
@baselines_option
def compare(
    first: str,
    second: str,
    as_json: bool,
    plugins: tuple[str, ...],
    results: Path,
    baselines: tuple[Path, ...],
    **conditions: Any,
) -> None:
    """Is A better than B, and is it more than chance? Over the seeds that both have, on the same test images.

    A and B name experiments: the id of a run or its beginning (all its seeds are meant), or a method, with settings and
    conditions where there are several: "dfd lam=0.5 width=0.25". What is not said is as in the other, or the default.
    """
    import json

    from lrbench import api

    _add_drafts(plugins)
    shared = {name: value for name, value in conditions.items() if value is not None}
    found = api.compare(first, second, results, baselines, warn=warn, **shared)
    click.echo(json.dumps(found.to_dict(), indent=1) if as_json else str(found), nl=as_json)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--table", "tables", multiple=True, help="All runs of this table; repeat for more.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file instead.")
@plugin_option
@results_option
@baselines_option
def predictions(
    names: tuple[str, ...], tables: tuple[str, ...], out: Path | None, plugins: tuple[str, ...], **stores: Any
) -> None:
    """The stored predictions as CSV: run, index, label, predicted. Of NAMES as in compare, or of all."""
    from io import TextIOWrapper

    from lrbench import api
    from lrbench.report import predictions
    from lrbench.report.frame import frame
    from lrbench.store.files import written_whole

    _add_drafts(plugins)
    store = api.open_store(**stores, warn=warn)
    chosen = predictions.choose(frame(store), names, tables)
    if out is None:
        predictions.write(chosen, store, sys.stdout)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out) as file:
        text = TextIOWrapper(file, encoding="ascii", newline="")
        count = predictions.write(chosen, store, text)
        text.detach().flush()
    click.echo(f"{out}: {count:,} predictions of {len(chosen)} runs")


@click.command()
@click.argument("name", required=False)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="PNG, PDF or SVG.  [default: NAME.png]")
@click.option("--dataset", "datasets", multiple=True, help="Only this one; repeat for more.  [default: all]")
@click.option("--method", "methods", multiple=True, help="Of curves: only this one; repeat for more.  [default: all]")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Of the runs to draw: init=scratch.")
@click.option("--sr-scale", type=int, help="Of the SR nets to draw.  [default: what most of them were run at]")
@click.option("--images", type=click.IntRange(1, 16), help="Rows of restored images.  [default: 6]")
@plugin_option
@results_option
@baselines_option
@data_option
def plot(
    name: str | None,
    out: Path | None,
    settings: tuple[str, ...],
    plugins: tuple[str, ...],
    results: Path,
    baselines: tuple[Path, ...],
    data: Path | None,
    **options: Any,
) -> None:
    """Draw a figure from the runs in the store: curves (losses and scores by epoch), or an installed one (fig2, fig3).

    fig2: top-1 against a setting, with the baselines to beat. fig3: restored test images side by side.
    """
    from lrbench import api
    from lrbench.report import figures, plots

    _add_drafts(plugins)
    if name is None:
        raise UserError(f"say which figure: {', '.join(figures.names())}")
    out = out or Path(f"{name}.png")
    plots.check_suffix(out)
    options = {option: value for option, value in options.items() if value} | {"settings": settings_of(settings)}
    plots.save(api.plot(name, results, baselines, data, warn=warn, **options), out)
    click.echo(str(out))


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("site"),
    show_default=True,
    help="Folder; a report that is there is replaced.",
)
@plugin_option
@results_option
@baselines_option
@data_option
def report(out: Path, plugins: tuple[str, ...], data: Path | None, results: Path, baselines: tuple[Path, ...]) -> None:
    """Write a static site of every table, figure and run in the store, to be read here or put online.

    Of your own runs, and of those of --baselines where it is given.
    """
    from lrbench import api
    from lrbench.data.datasets import data_root
    from lrbench.report.site import writer

    _add_drafts(plugins)
    store = api.open_store(results, baselines or (api.NONE,), warn)
    click.echo(str(writer.write(store, out, data_root(data), warn)))


def _add_drafts(plugins: tuple[str, ...]) -> None:
    from lrbench.method import registry

    registry.add_drafts(plugins)


COMMANDS = (table, compare, predictions, plot, report)

"""The commands that read results: table, compare, predictions, plot, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrbench.cli.options import (
    FILE,
    FOLDER,
    command,
    data_option,
    option,
    options,
    out_option,
    read_options,
    settings_of,
    warn,
    wrote,
)
from lrbench.cli.streams import results as stdout
from lrbench.cli.streams import show
from lrbench.errors import UserError


@command()
@click.argument("name", required=False)
@option("--format", "style", help="md, csv, latex or json.  [default: by --out; a table on a terminal, md in a pipe]")
@option(
    "--dataset",
    "datasets",
    many=True,
    metavar="NAME|OLD=NEW",
    help="Of runs on this one only; repeat for more. Or NEW in OLD's columns of a published table.  [default: all]",
)
@option("--backbone", "backbones", many=True, help="Of runs with this one only; repeat for more.  [default: all]")
@option(
    "--long",
    is_flag=True,
    help="Every column and note, of published tables and the leaderboard, and tables of older protocols.",
)
@out_option
@read_options
def table(name: str | None, style: str | None, out: Path | None, **options: Any) -> None:
    """Print a table of the runs.

    A published table (1 or 2; all where none is named), filled with your numbers beside the published ones; or one of
    these. leaderboard: every way of training that was run, best first. sr: the quality of SR nets. tuned: a setting
    chosen by validation. claims: what a paper says, and whether it holds.
    """
    from lrbench import api
    from lrbench.report import formats
    from lrbench.store.files import utf8, write_out

    style = formats.style_of(style, out)
    found = api.table(name, **options, warn=warn)
    if style is None:
        formats.print_tables(found, stdout())
        return
    text = formats.render(found, style)
    content = text if style == "md" else utf8(text)  # no terminal's substitutes in what machines read
    if out is None:
        show(content, nl=False)
    else:
        write_out(out, content, stdout())


CONDITIONS = {"dataset": str, "scale": int, "degradation": str, "backbone": str, "width": float, "recipe": str}
CONDITIONS |= {"epochs": int, "batch-size": int, "dropout": float, "limit-train": int, "limit-test": int}
CONDITIONS |= {"select": str, "precision": str}
condition_options = options(
    *(option(f"--{name}", type=kind, help="Of both, as in 'lrbench run'.") for name, kind in CONDITIONS.items())
)


@command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@condition_options
@option("--json", "as_json", is_flag=True, help="Print an object and nothing else.")
@read_options
def compare(first: str, second: str, as_json: bool, **options: Any) -> None:
    """Say whether A is better than B, beyond chance.

    Over the seeds that both have, on the same test images. A and B name experiments: the id of a run or its beginning
    (all its seeds are meant), or a method, with settings and conditions where there are several:
    "dfd lam=0.5 width=0.25". What is not said is as in the other, or the default.
    """
    import json

    from lrbench import api

    asked = {name: value for name, value in options.items() if value is not None}
    found = api.compare(first, second, warn=warn, **asked)
    show(json.dumps(found.to_dict(), indent=1) if as_json else str(found), nl=as_json)


@command()
@click.argument("names", nargs=-1)
@option("--table", "tables", many=True, help="All runs of this table; repeat for more.")
@out_option
@read_options
def predictions(names: tuple[str, ...], tables: tuple[str, ...], out: Path | None, **stores: Any) -> None:
    """Write what runs predicted, image by image, as CSV.

    Its columns: run, index, label, predicted. Of NAMES as in compare, or of all your own classifiers.
    """
    from codecs import getwriter

    from lrbench import api
    from lrbench.report import predictions
    from lrbench.report.frame import frame
    from lrbench.store.files import STDOUT, written_out

    store = api.open_store(**stores, warn=warn)
    chosen = predictions.choose(frame(store), names, tables)
    with written_out(out or STDOUT, stdout()) as file:
        count = predictions.write(chosen, store, getwriter("ascii")(file))
    if out:
        wrote(out, f"{out}: {count:,} predictions of {len(chosen)} runs")


@command()
@click.argument("name", required=False)
@option("--out", type=FILE, help="PNG, PDF or SVG; - is stdout, as PNG.  [default: NAME.png]")
@option(
    "--dataset",
    "datasets",
    many=True,
    help="Only this one; of gains, repeat for more.  [default: that of most runs; of gains all]",
)
@option("--method", "methods", many=True, help="Of gains and curves: only this one; repeat for more.")
@option("--backbone", "backbones", many=True, help="Of gains and curves: only this one.  [default: that of most runs]")
@option(
    "--set",
    "settings",
    many=True,
    metavar="NAME=VALUE",
    help="Of fig2 and gains: of methods with this setting only the runs with this value, such as init=scratch.",
)
@option(
    "--scale",
    type=int,
    help="Of fig2 and curves: HR side / LR side.  [default: the paper's; of curves that of most runs]",
)
@option("--sr-scale", type=int, help="Of the SR nets to draw.  [default: what most of them were run at]")
@option("--images", type=click.IntRange(1, 16), help="Rows of restored images.  [default: 6]")
@read_options
@data_option
def plot(name: str | None, out: Path | None, settings: tuple[str, ...], **options: Any) -> None:
    """Draw a figure of the runs: fig2, fig3, gains, curves.

    curves: losses, scores and learning rate by epoch, by default of the rows of published tables. gains: each way of
    training by its gain over the control of equal budget. fig2: top-1 against a setting, with the baselines to beat.
    fig3: restored test images side by side.
    """
    from lrbench import api
    from lrbench.report import figures, plots
    from lrbench.store.files import write_out

    if name is None:
        raise UserError(f"say which figure: {', '.join(figures.names())}")
    out = out or Path(f"{name}.png")
    suffix = plots.suffix_of(out)
    options = {option: value for option, value in options.items() if value} | {"settings": settings_of(settings)}
    write_out(out, plots.image(api.plot(name, warn=warn, **options), suffix), stdout())
    wrote(out, str(out))


@command()
@option("--out", type=FOLDER, default=Path("site"), help="Folder; a report that is there is replaced.")
@option(
    "--dataset",
    "datasets",
    many=True,
    metavar="OLD=NEW",
    help="NEW in OLD's columns of the published tables and in the claims; repeat for more.",
)
@read_options
@data_option
def report(
    out: Path,
    datasets: tuple[str, ...],
    data: Path | None,
    results: Path | None,
    baselines: tuple[Path, ...] | None,
) -> None:
    """Write a website of all tables, figures and runs.

    It is read from the disk or put online as it is. Of your own runs and those of the baselines; '--baselines none' is
    of your own alone.
    """
    from lrbench import api
    from lrbench.checks import instead
    from lrbench.data.datasets import data_root
    from lrbench.report.site import writer

    named, renamed = instead(datasets)
    if named:
        raise UserError(f"--dataset wants OLD=NEW; got '{named[0]}'")
    store = api.open_store(results, baselines, warn, api.SHOWN)
    show(str(writer.write(store, out, data_root(data), warn, renamed)))


COMMANDS = (table, compare, predictions, plot, report)

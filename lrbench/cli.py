"""The command line: thin. What a command needs is imported when it is called."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrbench.errors import OUT_OF_MEMORY, RunError, UserError, did_you_mean, out_of_memory
from lrbench.plan import presets

if TYPE_CHECKING:
    from lrbench.execute.reproduce import Preview

RESULTS = Path("results/runs")  # below the current folder, unless --results or $LRBENCH_RESULTS says otherwise


class Group(click.Group):
    """A group that names the nearest command for a mistyped one, and shows its help where none is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UserError(f"no command '{args[0]}'; {did_you_mean(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def main() -> None:
    """Entry point: every error is one line; status 2 for the user's mistakes, 1 for the machine's."""
    try:
        status = cli(prog_name="lrbench", standalone_mode=False)
    except UserError as error:
        status = _fail(str(error), 2)
    except RunError as error:
        status = _fail(str(error), 1)
    except click.UsageError as error:
        status = _fail(f"{error.format_message()} See 'lrbench --help'.", 2)
    except click.exceptions.Exit as exit:
        status = exit.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = _fail("interrupted; run the same command again to go on from the last finished epoch", 130)
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        status = _fail(f"cannot write or read{place}: {error.strerror or error}", 1)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        status = _fail(OUT_OF_MEMORY, 1)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> int:
    click.echo(f"lrbench: {message}", err=True)
    return status


results_option = click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="LRBENCH_RESULTS",
    default=RESULTS,
    help=f"Folder of the runs.  [default: $LRBENCH_RESULTS or {RESULTS}]",
)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="LRBENCH_DATA",
    default=None,
    help="Folder of the datasets.  [default: $LRBENCH_DATA or the user's cache]",
)
capture_option = click.option(
    "--capture/--no-capture", default=True, show_default=True, help="On a GPU: steps in CUDA graphs, which are quicker."
)
preset_option = click.option(
    "--preset",
    help=f"Several options at once; one that is given beside it overrides it. {presets.HELP}",
)
SELECT_HELP = (
    "none: train on all training images, test the last epoch. With the other two a tenth of them is held out (or it "
    "is the dataset's val split). best-epoch: test the epoch that is best on those. held-out: test the last epoch, "
    "and measure those, so that a setting, such as the lambda of a figure, can be chosen by them."
)
RESOURCES = ("executor", "jobs", "address", "gpus", "device", "precision", "capture", "threads")  # of reproduce
DROPOUT_HELP = "The part of the features that training drops in front of the classifier's last layer, such as 0.5."
RECIPE_HELP = "paper, quick, strong, or FILE.toml: fields of a recipe, and 'base', the name of the one to start from."
threads_option = click.option(
    "--threads",
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="Of the CPU, to train with. auto: as many as there are cores that nobody else uses when it starts. A run that "
    "goes on after a break keeps the number that it was begun with.",
)
plugin_option = click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE.py:Class", help="A draft of a method, not installed."
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="lrbench")
def cli() -> None:
    """A benchmark harness for recognising low-resolution images."""


@cli.command()
@click.option("--method", required=True, help="See 'lrbench methods'.")
@click.option("--dataset", required=True, help="See 'lrbench datasets'.")
@click.option("--scale", type=int, default=4, show_default=True, help="HR side / LR side.")
@click.option("--backbone", default="resnet18", show_default=True, help="See 'lrbench backbones'.")
@click.option("--width", type=float, default=1.0, show_default=True, help="Factor on the backbone's channels.")
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(min=0),
    multiple=True,
    default=(0,),
    show_default=True,
    help="Repeat for more.",
)
@preset_option
@click.option("--recipe", default="paper", show_default=True, help=RECIPE_HELP)
@click.option("--epochs", type=int, help="Instead of the recipe's.")
@click.option("--batch-size", type=int, help="Images a step, instead of the recipe's.")
@click.option("--lr", type=float, help="Peak learning rate of classifiers, instead of the recipe's.")
@click.option("--dropout", type=float, default=0.0, show_default=True, help=DROPOUT_HELP)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the method: lam=2.")
@click.option("--degradation", default="pil-bicubic", show_default=True, help="How LR images are made.")
@click.option("--select", default="none", show_default=True, help=SELECT_HELP)
@click.option("--limit-train", type=int, help="Train on a stratified subset.")
@click.option("--limit-test", type=int, help="Test on a stratified subset.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--precision", default="auto", show_default=True, type=click.Choice(["auto", "fp32", "bf16"]))
@capture_option
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print the records and nothing else.")
@plugin_option
@results_option
@data_option
def run(settings: tuple[str, ...], preset: str | None, as_json: bool, **options: Any) -> None:
    """Train and test a method, and first the runs it needs; what is in the store is reused."""
    from lrbench.execute.session import Request, run, with_needs
    from lrbench.spec.recipes import for_backbone

    chosen = _of_preset(preset)
    if "seeds" in chosen:
        chosen["seeds"] = range(chosen["seeds"])
    options |= chosen
    options["seeds"] = tuple(dict.fromkeys(options["seeds"]))
    options["width"] = for_backbone(options["width"], options["backbone"])
    records = run(Request(settings=_settings(settings), cap_limits="limit_train" in chosen, **options))
    if as_json:
        click.echo(json.dumps([record.model_dump(mode="json") for record in records], indent=1))
    else:
        from lrbench.report.render import runs

        click.echo(runs(with_needs(records, options["results"], _warn)), nl=False)


def _of_preset(name: str | None) -> dict[str, Any]:
    """What a preset sets, without the options of this command that the user has given."""
    if name is None:
        return {}
    source, default = click.get_current_context().get_parameter_source, click.core.ParameterSource.DEFAULT
    return {option: value for option, value in presets.preset(name).items() if source(option) is default}


def _settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is JSON where it reads as JSON, else text."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UserError(f"--set wants NAME=VALUE, such as lam=2; got '{pair}'")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


@cli.command()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("lrbench-demo"), show_default=True
)
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@threads_option
def demo(out: Path, device: str, threads: str) -> None:
    """Everything in small: HR-baseline, LR-baseline and DFD on digits, a table and a picture."""
    from lrbench.demo import demo
    from lrbench.report.formats import markdown
    from lrbench.report.render import sheet

    table, picture = demo(out, device, threads=threads)
    click.echo(markdown([sheet(table)]), nl=False)
    click.echo(f"\nHR / LR pairs and what each method sees in them: {picture}")


@cli.command()
@click.argument("suite")
@click.option("--seeds", type=click.IntRange(min=1), help="How many, from 0.  [default: the suite's]")
@click.option("--dataset", "datasets", multiple=True, metavar="NAME|OLD=NEW", help="Instead of the suite's, or of one.")
@click.option("--scale", type=int, multiple=True, help="Instead of the suite's; repeat for more.")
@click.option("--backbone", multiple=True, help="Instead of the suite's; repeat for more.")
@click.option("--width", type=float, multiple=True, help="Instead of the suite's.")
@preset_option
@click.option("--recipe", multiple=True, help=f"Instead of the suite's: {RECIPE_HELP}")
@click.option("--epochs", type=int, multiple=True, help="Instead of the recipe's.")
@click.option("--batch-size", type=int, multiple=True, help="Images a step, instead of the recipe's.")
@click.option("--lr", type=float, multiple=True, help="Peak learning rate of classifiers, instead of the recipe's.")
@click.option("--dropout", type=float, multiple=True, help=f"Instead of the suite's. {DROPOUT_HELP}")
@click.option("--degradation", multiple=True, help="Instead of the suite's.")
@click.option("--limit-train", type=int, multiple=True, help="Train on a stratified subset.")
@click.option("--limit-test", type=int, multiple=True, help="Test on a stratified subset.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the methods that have it.")
@click.option("--select", multiple=True, help=f"Instead of the suite's. {SELECT_HELP}")
@click.option("--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs at once, on each machine; they share its threads.",
)
@click.option("--address", help="Of a running Ray cluster, or auto.  [default: one of its own]")
@click.option(
    "--gpus-per-run", "gpus", type=click.FloatRange(0, 1), help="With Ray; 0.25: four on a GPU.  [default: 1]"
)
@click.option("--dry-run", is_flag=True, help="Print what would be trained, and how long it takes where that is known.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Of tables and figures.  [results/SUITE]")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--precision", default="auto", show_default=True, type=click.Choice(["auto", "fp32", "bf16"]))
@capture_option
@threads_option
@plugin_option
@results_option
@data_option
def reproduce(
    suite: str,
    seeds: int | None,
    datasets: tuple[str, ...],
    settings: tuple[str, ...],
    preset: str | None,
    dry_run: bool,
    out: Path | None,
    plugins: tuple[str, ...],
    results: Path,
    data: Path | None,
    **options: Any,
) -> None:
    """Make the runs of SUITE (table1, table2, fig2, fig3, paper, smoke or FILE.toml), then its tables and figures."""
    from lrbench.execute import reproduce as suites
    from lrbench.execute.schedule import State
    from lrbench.plan.suite import Overrides
    from lrbench.report import outputs
    from lrbench.store.files import check_writable

    resources = {name: options.pop(name) for name in RESOURCES}
    chosen = _of_preset(preset)
    seeds = chosen.pop("seeds", seeds)
    fields = {name: list(values) for name, values in options.items() if values}
    fields |= {name: [value] for name, value in chosen.items()}
    if named := [name for name in datasets if "=" not in name]:
        fields["dataset"] = named
    renamed = dict(name.split("=", 1) for name in datasets if "=" in name)
    overrides = Overrides(fields, renamed, _settings(settings), seeds)
    ordered = suites.order(suite, overrides, suites.Resources(**resources), results, data, plugins, _warn)
    outputs.check(ordered.suite)
    if dry_run:
        click.echo(_previewed(suites.preview(ordered)))
        return
    out = out or Path("results") / Path(suite).stem
    check_writable(out)  # before the training, not after it
    schedule = suites.carry_out(ordered)
    outputs.write(ordered.suite, ordered.store.only(ordered.graph.specs), out, ordered.place.data, _warn)
    click.echo(f"{suites.outcome(schedule)}tables and figures: {out}")
    if schedule.count(State.FAILED):
        raise click.exceptions.Exit(1)


def _previewed(preview: Preview) -> str:
    """What `reproduce --dry-run` prints: one row per run, and the sum."""
    from lrbench.execute.estimate import words
    from lrbench.report.formats import grid

    def about(row: dict[str, Any]) -> str:
        return "-" if row["state"] == "there" else "unknown" if row["seconds"] is None else words(row["seconds"])

    lines = [
        [
            row["run"],
            row["state"],
            about(row),
            " ".join(f"{role} {run[:8]}" for role, run in row["needs"].items()) or "-",
            ", ".join(f"{role} of {count}" for role, count in row["roles"].items()) or "-",
        ]
        for row in preview.rows
    ]
    total, missing = len(preview.rows), [row["seconds"] for row in preview.rows if row["state"] == "train"]
    time = f"{'at least' if None in missing else 'about'} {words(sum(filter(None, missing)))}"
    return (
        f"{grid(['run', 'state', 'about', 'needs', 'shared as'], lines)}\n{preview.title}: {total} runs, "
        f"{total - len(missing)} there, {len(missing)} to train, {time} of training on this device"
    )


@cli.command()
@click.option(
    "--method", "methods", multiple=True, help="Repeat for more.  [default: a plain run and one with a teacher]"
)
@click.option(
    "--backbone", "backbones", multiple=True, default=("resnet18",), show_default=True, help="Repeat for more."
)
@click.option(
    "--width", "widths", type=float, multiple=True, default=(1.0,), show_default=True, help="Repeat for more."
)
@click.option("--dataset", help="Time it on these images.  [default: noise, 32x32]")
@click.option("--scale", type=int, default=4, show_default=True, help="HR side / LR side.")
@click.option("--batch", type=click.IntRange(min=1), default=128, show_default=True, help="Images a step.")
@click.option("--images", type=click.IntRange(min=1), help="A slice.  [default: 1024 on a CPU, 51200 on a GPU]")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Slices of each, in turn.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the methods that have it.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--threads", type=click.IntRange(min=1), help="Of the CPU.  [default: PyTorch's]")
@click.option(
    "--workers", type=click.IntRange(min=0), help="Of the reference's loader.  [default: a core each, up to 8]"
)
@click.option("--precision", default="auto", show_default=True, type=click.Choice(["auto", "fp32", "bf16"]))
@capture_option
@click.option("--json", "as_json", is_flag=True, help="Print the machine and every slice, as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print one line per case, as CSV.")
@plugin_option
@data_option
def bench(rounds: int, settings: tuple[str, ...], as_json: bool, as_csv: bool, **options: Any) -> None:
    """Time the training loop against the bare step, its limit, and against the usual loop of public code."""
    from lrbench.bench import sheets, timing
    from lrbench.bench.case import cases

    if as_json and as_csv:
        raise UserError("--json or --csv, not both")
    wanted = cases(settings=_settings(settings), **options)
    here = sheets.machine(wanted[0].device, wanted[0].threads)
    if warning := sheets.warning(here):
        _warn(warning)
    results = [timing.time(case, rounds, _warn) for case in wanted]
    write = sheets.as_json if as_json else sheets.as_csv if as_csv else sheets.markdown
    click.echo(write(results, here), nl=False)


@cli.command()
@click.argument("name", required=False)
@click.option("--format", "style", default="md", show_default=True, help="md, csv, latex or json.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file instead.")
@plugin_option
@results_option
def table(name: str | None, style: str, out: Path | None, plugins: tuple[str, ...], results: Path) -> None:
    """Fill a published table (1 or 2; default: all), or leaderboard, sr, tuned or claims, from the runs in the store.

    leaderboard: every way of training that was run, best first. sr: the quality of SR nets. tuned: a setting chosen by
    validation. claims: what a paper says, and whether it holds.
    """
    from lrbench.method import registry
    from lrbench.report import formats as sheet
    from lrbench.report import tables
    from lrbench.store.files import write_atomic
    from lrbench.store.store import Store

    registry.add_drafts(plugins)
    sheet.check_style(style)
    text = tables.text(name, Store(results, _warn), style)
    if out is None:
        click.echo(text, nl=False)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, text)


CONDITIONS = {"dataset": str, "scale": int, "degradation": str, "backbone": str, "width": float, "recipe": str}
CONDITIONS |= {
    "epochs": int,
    "batch-size": int,
    "dropout": float,
    "limit-train": int,
    "limit-test": int,
    "select": str,
    "precision": str,
}


def condition_options(command: Any) -> Any:
    """The options that say which runs are meant by what they were made under."""
    for name, kind in reversed(CONDITIONS.items()):
        command = click.option(f"--{name}", type=kind, help="Of the runs that are meant.")(command)
    return command


@cli.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@condition_options
@click.option("--json", "as_json", is_flag=True, help="Print an object and nothing else.")
@plugin_option
@results_option
def compare(first: str, second: str, as_json: bool, plugins: tuple[str, ...], results: Path, **conditions: Any) -> None:
    """Is A better than B, and is it more than chance? Over the seeds that both have, on the same test images.

    A and B name experiments: the id of a run or its beginning (all its seeds are meant), or a method, with settings and
    conditions where there are several: "dfd lam=0.5 width=0.25". What is not said is as in the other, or the default.
    """
    from lrbench.method import registry
    from lrbench.report.frame import frame
    from lrbench.report.versus import compare
    from lrbench.store.store import Store

    registry.add_drafts(plugins)
    shared = {name: value for name, value in conditions.items() if value is not None}
    store = Store(results, _warn)
    result = compare(first, second, frame(store), store, shared)
    click.echo(json.dumps(result.to_dict(), indent=1) if as_json else result)


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--table", "tables", multiple=True, help="All runs of this table; repeat for more.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file instead.")
@plugin_option
@results_option
def predictions(
    names: tuple[str, ...], tables: tuple[str, ...], out: Path | None, plugins: tuple[str, ...], results: Path
) -> None:
    """The stored predictions as CSV: run, index, label, predicted. Of NAMES as in compare, or of all."""
    from io import TextIOWrapper

    from lrbench.method import registry
    from lrbench.report import predictions
    from lrbench.report.frame import frame
    from lrbench.store.files import written_whole
    from lrbench.store.store import Store

    registry.add_drafts(plugins)
    store = Store(results, _warn)
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


def _warn(message: str) -> None:
    click.echo(f"lrbench: {message}", err=True)


@cli.group(cls=Group)
def plot() -> None:
    """Draw figures from the runs in the store."""


@plot.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("curves.png"), show_default=True)
@click.option("--dataset", "datasets", multiple=True, help="Only this one; repeat for more.  [default: all]")
@click.option("--method", "methods", multiple=True, help="Only this one; repeat for more.  [default: all]")
@plugin_option
@results_option
def curves(
    out: Path, datasets: tuple[str, ...], methods: tuple[str, ...], plugins: tuple[str, ...], results: Path
) -> None:
    """Learning curves: the loss, its terms, and accuracy, or PSNR of SR nets, against the epoch."""
    from lrbench.method import registry
    from lrbench.report import curves, plots
    from lrbench.store.store import Store

    plots.check_suffix(out)
    registry.add_drafts(plugins)
    plots.save(curves.curves(Store(results, _warn), datasets, methods), out)
    click.echo(str(out))


@plot.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("fig2.png"), show_default=True)
@click.option("--dataset", "datasets", multiple=True, help="Only this one; repeat for more.  [default: all]")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Of the runs to draw: init=scratch.")
@plugin_option
@results_option
def fig2(
    out: Path, datasets: tuple[str, ...], settings: tuple[str, ...], plugins: tuple[str, ...], results: Path
) -> None:
    """Top-1 against lambda, with the baselines to beat, as in the paper's Fig. 2."""
    from lrbench.method import registry
    from lrbench.report import plots, published, sweep_plot
    from lrbench.store.store import Store

    plots.check_suffix(out)
    registry.add_drafts(plugins)
    figure, given = published.sweep("fig2"), _settings(settings)
    store = Store(results, _warn)
    drawn = sweep_plot.chosen(figure, store.counted(store.records()), datasets, given)
    plots.save(sweep_plot.draw(figure, drawn, given), out)
    click.echo(str(out))


@plot.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("fig3.png"), show_default=True)
@click.option("--dataset", help="To draw.  [default: what most of the SR nets were run on]")
@click.option("--sr-scale", type=int, help="Of the SR nets to draw.  [default: what most of them were run at]")
@click.option("--images", type=click.IntRange(1, 16), default=6, show_default=True, help="Rows.")
@results_option
@data_option
def fig3(out: Path, dataset: str | None, sr_scale: int | None, images: int, results: Path, data: Path | None) -> None:
    """Restored test images side by side: LR, bicubic, each SR net of the paper's Fig. 3, HR."""
    from lrbench.data.datasets import data_root
    from lrbench.report import figures, plots, published
    from lrbench.store.store import Store

    plots.check_suffix(out)
    store, root = Store(results, _warn), data_root(data)
    plots.save(figures.draw_gallery(published.gallery("fig3"), store, root, _warn, sr_scale, dataset, images), out)
    click.echo(str(out))


@cli.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("site"),
    show_default=True,
    help="Folder; a report that is there is replaced.",
)
@plugin_option
@results_option
@data_option
def report(out: Path, plugins: tuple[str, ...], results: Path, data: Path | None) -> None:
    """Write a static site of every table, figure and run in the store, to be read here or put online."""
    from lrbench.data.datasets import data_root
    from lrbench.method import registry
    from lrbench.report.site import writer
    from lrbench.store.store import Store

    registry.add_drafts(plugins)
    click.echo(str(writer.write(Store(results, _warn), out, data_root(data), _warn)))


@cli.command()
@plugin_option
def methods(plugins: tuple[str, ...]) -> None:
    """List the methods, where they come from, and their settings."""
    from lrbench.method import registry
    from lrbench.report.listing import methods

    registry.add_drafts(plugins)
    click.echo(methods(), nl=False)


@cli.command()
@data_option
def datasets(data: Path | None) -> None:
    """List the data sets, those that are here and those that can be fetched."""
    from lrbench.data.datasets import data_root
    from lrbench.report.listing import datasets

    click.echo(datasets(data_root(data)), nl=False)


@cli.command()
def backbones() -> None:
    """List the backbones."""
    from lrbench.report.listing import backbones

    click.echo(backbones(), nl=False)


@cli.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("."), help="Where to put it.")
def new(name: str, out: Path) -> None:
    """Write a plugin package with a method of your own, which installs and runs as it is."""
    from lrbench.method.scaffold import create

    click.echo(str(create(name, out)))


@cli.group(cls=Group)
def data() -> None:
    """Fetch or import data sets."""


@data.command("import")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@data_option
def import_(name: str, path: Path, data: Path | None) -> None:
    """Import NAME from PATH: an .npz with MedMNIST's keys, or a folder of class folders."""
    from lrbench.data.datasets import data_root
    from lrbench.data.importing import import_dataset
    from lrbench.report.listing import dataset

    click.echo(dataset(import_dataset(name, path, data_root(data))))


@data.command()
@click.argument("name")
@data_option
def fetch(name: str, data: Path | None) -> None:
    """Download NAME, check it and keep it."""
    from lrbench.data.datasets import data_root
    from lrbench.data.fetching import fetch_dataset
    from lrbench.report.listing import dataset

    click.echo(dataset(fetch_dataset(name, data_root(data))))

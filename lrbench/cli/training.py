"""The commands that train: run, demo, reproduce, bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrbench.cli.options import baselines_option, data_option, given, plugin_option, results_option, settings_of, warn
from lrbench.errors import UserError
from lrbench.plan import presets

if TYPE_CHECKING:
    from lrbench.execute.reproduce import Preview

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
HEAD = ["run", "state", "about", "needs", "shared as"]  # of `reproduce --dry-run`
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


@click.command()
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
@baselines_option
@data_option
def run(
    method: str,
    dataset: str,
    settings: tuple[str, ...],
    preset: str | None,
    as_json: bool,
    results: Path,
    baselines: tuple[Path, ...],
    data: Path | None,
    **options: Any,
) -> None:
    """Train and test a method, and first the runs it needs; what is in the store is reused."""
    from lrbench import api
    from lrbench.execute import session
    from lrbench.report import formats, runs

    options = given(options) | {"settings": settings_of(settings), "results": results, "baselines": baselines}
    asked = api.request(method, dataset, preset, data=data, **options)
    records = session.run(asked)
    if as_json:
        click.echo(json.dumps([record.model_dump(mode="json") for record in records], indent=1))
    else:
        store = api.open_store(results, baselines, warn)
        formats.print_tables([runs.table(session.with_needs(records, store))])


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("lrbench-demo"), show_default=True
)
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@threads_option
def demo(out: Path, device: str, threads: str) -> None:
    """Everything in small: HR-baseline, LR-baseline and DFD on digits, a table and a picture."""
    from lrbench.demo import demo
    from lrbench.report.formats import print_tables

    table, picture = demo(out, device, threads=threads)
    print_tables([table])
    click.echo(f"\nHR / LR pairs and what each method sees in them: {picture}")


@click.command()
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
@baselines_option
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
    baselines: tuple[Path, ...],
    data: Path | None,
    **options: Any,
) -> None:
    """Make the runs of SUITE (table1, table2, fig2, fig3, paper, smoke or FILE.toml), then its tables and figures."""
    from lrbench import api
    from lrbench.execute import reproduce as suites
    from lrbench.execute.schedule import State
    from lrbench.plan.suite import Overrides
    from lrbench.report import outputs
    from lrbench.store.files import check_writable

    resources = {name: options.pop(name) for name in RESOURCES}
    unset = given(options)
    chosen = {name: value for name, value in (presets.preset(preset) if preset else {}).items() if name not in unset}
    seeds = seeds or chosen.pop("seeds", None)
    chosen.pop("seeds", None)
    fields = {name: list(values) for name, values in options.items() if values}
    fields |= {name: [value] for name, value in chosen.items()}
    if named := [name for name in datasets if "=" not in name]:
        fields["dataset"] = named
    renamed = dict(name.split("=", 1) for name in datasets if "=" in name)
    overrides = Overrides(fields, renamed, settings_of(settings), seeds)
    ordered = suites.order(
        suite, overrides, suites.Resources(**resources), api.open_store(results, baselines, warn), data, plugins
    )
    outputs.check(ordered.suite)
    if dry_run:
        click.echo(_previewed(suites.preview(ordered)))
        return
    out = out or Path("results") / Path(suite).stem
    check_writable(out)  # before the training, not after it
    schedule = suites.carry_out(ordered)
    outputs.write(ordered.suite, set(ordered.graph.specs), ordered.store, out, ordered.place.data, warn)
    click.echo(f"{suites.outcome(schedule)}tables and figures: {out}")
    if schedule.count(State.FAILED):
        raise click.exceptions.Exit(1)


def _previewed(preview: Preview) -> str:
    """What `reproduce --dry-run` prints: one row per run, and the sum."""
    import pandas as pd

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
        f"{grid(pd.DataFrame(lines, columns=HEAD))}\n{preview.title}: {total} runs, "
        f"{total - len(missing)} there, {len(missing)} to train, {time} of training on this device"
    )


@click.command()
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
    wanted = cases(settings=settings_of(settings), **options)
    here = sheets.machine(wanted[0].device, wanted[0].threads)
    if warning := sheets.warning(here):
        warn(warning)
    results = [timing.time(case, rounds, warn) for case in wanted]
    write = sheets.as_json if as_json else sheets.as_csv if as_csv else sheets.markdown
    click.echo(write(results, here), nl=False)


COMMANDS = (run, demo, reproduce, bench)

"""The commands that train: run, demo, reproduce, bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrbench.cli.options import (
    FOLDER,
    command,
    data_option,
    given,
    option,
    options,
    plugin_option,
    setting_option,
    settings_of,
    store_options,
    warn,
)
from lrbench.cli.streams import results as stdout
from lrbench.cli.streams import show
from lrbench.errors import UserError
from lrbench.plan import presets

if TYPE_CHECKING:
    from lrbench.execute.session import Ordered

RECIPE = "paper, quick, strong, or FILE.toml: fields of a recipe, and 'base', the name of the one to start from."
SELECT = (
    "none: train on all training images, test the last epoch. With the other two a tenth of them is held out (or it "
    "is the dataset's val split). best-epoch: test the epoch that is best on those. held-out: test the last epoch, "
    "and measure those, so that a setting, such as the lambda of a figure, can be chosen by them."
)
DROPOUT = "The part of the features that training drops in front of the classifier's last layer, such as 0.5."
DEGRADED = "How LR images are made: pil-bicubic, matlab-bicubic, area or torch-bicubic-aa."
PROTOCOL: dict[str, tuple[type, Any, str]] = {  # of a run, and in place of a suite's: type, default of a run, help
    "scale": (int, 4, "HR side / LR side."),
    "backbone": (str, "resnet18", "See 'lrbench backbones'."),
    "width": (float, 1.0, "Factor on the backbone's channels."),
    "recipe": (str, "paper", RECIPE),
    "epochs": (int, None, "Instead of the recipe's."),
    "batch-size": (int, None, "Images a step, instead of the recipe's."),
    "lr": (float, None, "Peak learning rate of classifiers, instead of the recipe's."),
    "dropout": (float, 0.0, DROPOUT),
    "degradation": (str, "pil-bicubic", DEGRADED),
    "select": (str, "none", SELECT),
    "limit-train": (int, None, "Train on a stratified subset."),
    "limit-test": (int, None, "Test on a stratified subset."),
}

COUNT = click.IntRange(min=1)

preset_option = option("--preset", help=f"Several options at once; one given beside it overrides it. {presets.HELP}")
device_option = option(
    "--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]), help="auto: a GPU where there is one."
)
arithmetic_options = options(
    option(
        "--precision", default="auto", type=click.Choice(["auto", "fp32", "bf16"]), help="auto: bf16 where it is quick."
    ),
    option("--capture/--no-capture", default=True, help="On a GPU: steps in CUDA graphs, which are quicker."),
)
threads_option = option(
    "--threads",
    default="auto",
    metavar="N|auto",
    help="Of the CPU, to train with. auto: as many as there are cores that nobody else uses when it starts. A run that "
    "goes on after a break keeps the number that it was begun with.",
)
machine_options = options(device_option, arithmetic_options, threads_option)


@command()
@option("--method", required=True, help="See 'lrbench methods'.")
@option("--dataset", required=True, help="See 'lrbench datasets'.")
@option("--seed", "seeds", default=(0,), many=True, type=click.IntRange(min=0), help="Repeat for more.")
@preset_option
@options(*(option(f"--{name}", type=kind, default=value, help=text) for name, (kind, value, text) in PROTOCOL.items()))
@setting_option
@machine_options
@option("--json", "as_json", is_flag=True, help="Print the records and nothing else.")
@store_options
def run(method: str, dataset: str, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Train and test a method.

    The runs that it needs, such as its teacher, are trained first; what was run before is reused. A run that was
    stopped goes on from its last finished epoch.
    """
    from lrbench import api
    from lrbench.execute import session
    from lrbench.report import formats, runs

    preset, data, results, baselines = (options.pop(name) for name in ("preset", "data", "results", "baselines"))
    told = given(options) | {"settings": settings_of(settings), "results": results, "baselines": baselines}
    asked = api.request(method, dataset, preset, data=data, **told)
    records = session.run(asked)
    if as_json:
        show(json.dumps([record.model_dump(mode="json") for record in records], indent=1))
    else:
        found = runs.table(api.rows([record.spec for record in records], api.open_store(results, baselines, warn)))
        formats.print_tables([found], stdout())


@command()
@option("--out", type=FOLDER, default=Path("lrbench-demo"), help="Folder of the picture and the runs.")
@device_option
@threads_option
def demo(out: Path, device: str, threads: str) -> None:
    """See everything in small, in about a minute.

    Trains and tests four methods on scikit-learn's digits, prints a table and draws what each sees in LR images.
    """
    from lrbench.demo import demo
    from lrbench.report.formats import print_tables

    table, picture = demo(out, device, threads=threads)
    print_tables([table], stdout())
    show(f"\nHR / LR pairs and what each method sees in them: {picture}")


@command()
@click.argument("suite")
@option("--seeds", type=COUNT, help="How many, from 0.  [default: the suite's]")
@option("--dataset", "datasets", many=True, metavar="NAME|OLD=NEW", help="Instead of the suite's, or of one.")
@preset_option
@options(*(option(f"--{name}", type=kind, many=True, help=text) for name, (kind, _, text) in PROTOCOL.items()))
@setting_option
@option("--executor", default="local", type=click.Choice(["local", "ray"]), help="Processes here, or a Ray cluster.")
@option("--jobs", default=1, type=COUNT, help="Runs at once, on each machine; they share its threads.")
@option("--address", help="Of a running Ray cluster, or auto.  [default: one of its own]")
@option("--gpus-per-run", "gpus", type=click.FloatRange(0, 1), help="With Ray; 0.25: four on a GPU.  [default: 1]")
@option("--dry-run", is_flag=True, help="Print what would be trained, and how long it takes where that is known.")
@option("--out", type=FOLDER, help="Folder of its tables and figures.  [default: results/SUITE]")
@machine_options
@store_options
def reproduce(
    suite: str, datasets: tuple[str, ...], settings: tuple[str, ...], dry_run: bool, out: Path | None, **options: Any
) -> None:
    """Run a whole suite, such as a table of the paper.

    The runs that are missing are trained, then the suite's tables and figures are written.

    SUITE is table1, table2, fig2, fig3, paper, leaderboard, weights, smoke or FILE.toml.
    Options that say what is run, such as --scale, stand in place of the suite's; repeat them for more.
    """
    from lrbench import api
    from lrbench.execute import session
    from lrbench.execute.schedule import State

    asked = api.ordered(suite, datasets=datasets, settings=settings_of(settings), warn=warn, **options)
    if dry_run:
        show(_preview(asked))
        return
    out = out or Path("results") / Path(suite).stem
    schedule = api.make(asked, out)
    show(f"{session.outcome(schedule)}tables and figures: {out}")
    if schedule.count(State.FAILED):
        raise click.exceptions.Exit(1)


def _preview(ordered: Ordered) -> str:
    """What `reproduce --dry-run` prints: one row per run, needs first, and the sum.

    How long it takes is known as far as records of runs like them tell.
    """
    import pandas as pd

    from lrbench.execute.estimate import words
    from lrbench.method.naming import title
    from lrbench.report.formats import grid

    runs, lines, times = ordered.graph, [], list[float | None]()
    for run, spec in runs.specs.items():
        state, about = "there", "-"
        if run in runs.missing:
            seconds = ordered.estimate.seconds(spec)
            state, about = "train", "unknown" if seconds is None else words(seconds)
            times.append(seconds)
        needs = " ".join(f"{role} {need.id[:8]}" for role, need in spec.needs.items())
        roles = ", ".join(f"{role} of {count}" for role, count in runs.roles(run).items())
        line = {"run": title(spec), "state": state, "about": about, "needs": needs or "-", "shared as": roles or "-"}
        lines.append(line)
    time = f"{'at least' if None in times else 'about'} {words(sum(filter(None, times)))}"
    return (
        f"{grid(pd.DataFrame(lines))}\n{ordered.suite.title}: {len(lines)} runs, "
        f"{len(lines) - len(times)} there, {len(times)} to train, {time} of training on this device"
    )


@command()
@option("--method", "methods", many=True, help="Repeat for more.  [default: a plain run and one with a teacher]")
@option("--backbone", "backbones", default=("resnet18",), many=True, help="Repeat for more.")
@option("--width", "widths", default=(1.0,), many=True, type=float, help="Repeat for more.")
@option("--dataset", help="Time it on these images.  [default: noise, 32x32]")
@option("--scale", default=4, type=int, help="HR side / LR side.")
@option("--batch", default=128, type=COUNT, help="Images a step.")
@option("--images", type=COUNT, help="A slice.  [default: 1024 on a CPU, 51200 on a GPU]")
@option("--rounds", default=5, type=COUNT, help="Slices of each, in turn.")
@setting_option
@device_option
@option("--threads", type=COUNT, help="Of the CPU.  [default: PyTorch's]")
@arithmetic_options
@option("--json", "as_json", is_flag=True, help="Print the machine and every slice, as JSON.")
@option("--csv", "as_csv", is_flag=True, help="Print one line per case, as CSV.")
@plugin_option
@data_option
def bench(rounds: int, settings: tuple[str, ...], as_json: bool, as_csv: bool, **options: Any) -> None:
    """Measure how fast this machine trains and tests.

    The training loop against the bare step, its limit, and a test against the forward passes in it.
    """
    from lrbench.bench import timing
    from lrbench.bench.case import cases
    from lrbench.store.files import utf8

    if as_json and as_csv:
        raise UserError("--json or --csv, not both")
    wanted = cases(settings=settings_of(settings), note=warn, **options)
    here = timing.machine(wanted[0].device, wanted[0].threads)
    if warning := timing.warning(here):
        warn(warning)
    results = [timing.time(case, rounds, warn) for case in wanted]
    if as_csv:
        show(utf8(timing.as_csv(results, here)), nl=False)
    else:
        show(timing.as_json(results, here) if as_json else timing.markdown(results, here), nl=False)


COMMANDS = (run, demo, reproduce, bench)

"""How cost grows: time and memory against images, width, batch size, runs side by side, records in the store.

OMP_NUM_THREADS=1 taskset -c 0 python results/bench/growth.py [--small] [FOLDER]

Writes growth.csv, growth.md, growth.png and growth.svg to the folder, this one if none is named. Every point is
measured in a process of its own, on images of noise. --small: a few small points, to try the script.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from lrbench import device
from lrbench.bench import timing
from lrbench.bench.case import Case, cases
from lrbench.bench.contenders import Evaluation, Loop
from lrbench.bench.timing import forget_peak
from lrbench.data.degradation import degrade
from lrbench.data.pairs import Pairs
from lrbench.execute import provenance
from lrbench.execute.provenance import peak_memory_mib
from lrbench.report.formats import grid
from lrbench.spec.record import DataFacts, Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store
from lrbench.train import build
from lrbench.train.capture import graph as capture
from lrbench.train.loop import one_epoch
from lrbench.train.remembering import Remembering
from lrbench.train.training import Training

METHOD, SETTINGS, WIDTH, SLICE = "dfd", {"init": "scratch"}, 0.25, 1_024
AXES = {
    "training images": (1_000, 2_000, 5_000, 10_000, 20_000, 50_000),
    "width": (0.125, 0.25, 0.5, 1.0),
    "batch size": (32, 64, 128, 256, 512),
    "runs side by side": (1, 2, 4, 7, 14),
    "records in the store": (30, 100, 300, 1_000, 3_000),
}
SMALL = {
    "training images": (256, 512), "width": (0.125, 0.25), "batch size": (32, 64), "runs side by side": (1, 2),
    "records in the store": (2, 4),
}  # fmt: skip
ROUNDS = 3  # of runs side by side, which are timed in turn with the same alone: medians
TAIL = 3  # of an axis' points, the largest: below them fixed costs hide how cost grows
STEEP = 1.15  # an exponent above it counts as steeper than linear; noise alone makes one of 1.1
MARK = "steeper than linear"


def case(images: int = SLICE, width: float = WIDTH, batch: int = 128) -> Case:
    """What is timed, with one of its numbers changed."""
    images = max(images, batch)
    return cases([METHOD], widths=[width], batch=batch, images=images, settings=SETTINGS, threads=1)[0]


def trained(wanted: Case) -> dict[str, float]:
    """What one run costs: its LR images, an epoch (after a warm-up of a few batches), a test, the most memory held."""
    on, pairs = wanted.enter(), wanted.pairs()
    Loop(wanted, pairs.first(2 * wanted.batch)).slice()
    loop = Loop(wanted, pairs)
    forget_peak(on)
    if on.type == "cuda":
        loop.slice()  # its step is captured; what that holds is counted then
    started = time.perf_counter()
    degrade(pairs.hr.numpy(), wanted.spec.scale or 1)
    degraded = time.perf_counter() - started
    epoch = loop.slice()
    return {
        "making LR images, s": degraded,
        "an epoch, s": epoch,
        "a step, s": epoch / wanted.updates,
        "a test of as many images, s": Evaluation(wanted, pairs).slice(),
        "peak memory, MiB": peak_memory_mib(on),
    }


def side_by_side(n: int) -> dict[str, float]:
    """What `n` runs cost side by side and one after the other, timed in turn; the most memory held."""
    wanted = case(images=1_000)
    on, pairs = wanted.enter(), wanted.pairs()
    members = group([wanted.spec] * n, build.noise_facts(wanted.info, wanted.images), pairs.to(on))
    # the steps of runs that are trained together are captured together, apart from those of the same runs alone
    graphs = [capture.capture_group(on, wanted.capture, print) for _ in range(n + 1)]
    captured: list[list[capture.Captured | None]] = [[None] * n, *([None] for _ in members)]

    def epoch(place: int, runs: Sequence[Training]) -> float:
        for run, step in zip(runs, captured[place], strict=True):
            run.captured = step
        before = sum(run.history.seconds for run in runs)
        one_epoch(runs, capture=graphs[place])
        captured[place] = [run.captured for run in runs]
        return sum(run.history.seconds for run in runs) - before  # as a record's: without the learning curve's tests

    forget_peak(on)
    beside, alone = [], []
    for _ in range(1 + ROUNDS):  # the first warms up
        beside.append(epoch(0, members))
        alone.append(sum(epoch(place, [run]) for place, run in enumerate(members, 1)))
    return {
        "an epoch of all, s": statistics.median(beside[1:]),
        "the same one after the other, s": statistics.median(alone[1:]),
        "side by side / one after the other": statistics.median(
            one / other for one, other in zip(beside[1:], alone[1:], strict=True)
        ),
        "peak memory, MiB": peak_memory_mib(on),
    }


def group(specs: Sequence[RunSpec], facts: DataFacts, pairs: Pairs) -> list[Training]:
    """Runs that share what the first one needs, with new weights, on the device of the pairs."""
    on = pairs.y.device
    needs = {role: Remembering(need) for role, need in build.untrained(specs[0], facts, on).needs.items()}
    return [Training(build.build(spec, facts, needs, on), spec, pairs, None) for spec in specs]


def kept(n: int) -> dict[str, float]:
    """What a store of `n` runs costs: to read them all, to look one up, the most memory held."""
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory(prefix="lrbench-growth-") as folder:
        store = Store(Path(folder))
        specs = fill(store, case(images=1_000), n)
        forget_peak(cpu)
        started = time.perf_counter()
        records = store.records()
        read = time.perf_counter() - started
        started = time.perf_counter()
        found = [store.get(spec) for spec in specs[:: max(1, n // 30)]]
        looked_up = (time.perf_counter() - started) / len(found)
        assert len(records) == n and None not in found
        return {
            "reading every record, s": read,
            "looking one up, s": looked_up,
            "peak memory, MiB": peak_memory_mib(cpu),
        }


def fill(store: Store, wanted: Case, n: int) -> list[RunSpec]:
    """Put `n` runs that differ in their seed into a store, as large as real ones but without their weights."""
    draw = np.random.default_rng(0)
    outputs = {name: draw.integers(0, 10, 10_000) for name in ("predicted", "label")}
    curve = "epoch,loss,train_top1\n" + "".join(f"{epoch},{1 / epoch},{epoch / 2}\n" for epoch in range(1, 101))
    facts, env = build.noise_facts(wanted.info, wanted.images), provenance.environment(torch.device("cpu"))
    specs = [wanted.spec.model_copy(update={"seed": seed}) for seed in range(n)]
    for spec in specs:
        record = Record(
            id=spec.id, spec=spec, metrics={"top1": 50.0}, data=facts, env=env, method_source=None, files={}
        )
        store.save(record, curve, outputs, b"")
    return specs


def measure(axes: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """One row per point and cost: against, x, cost, y, and of the whole curve its exponent and whether it is steep."""
    tasks: dict[str, Callable[[float], tuple[Callable[..., dict[str, float]], object]]] = {
        "training images": lambda x: (trained, case(images=int(x))),
        "width": lambda x: (trained, case(width=x)),
        "batch size": lambda x: (trained, case(batch=int(x))),
        "runs side by side": lambda x: (side_by_side, int(x)),
        "records in the store": lambda x: (kept, int(x)),
    }
    rows = []
    for axis, places in axes.items():
        for x in places:
            print(f"{axis}: {x:g}", file=sys.stderr)
            task, argument = tasks[axis](x)
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                costs = pool.submit(task, argument).result()
            rows += [{"against": axis, "x": x, "cost": cost, "y": y} for cost, y in costs.items()]
    points = pd.DataFrame(rows)
    curves = points.groupby(["against", "cost"], sort=False)[["x", "y"]]
    points = points.merge(curves.apply(exponent).rename("exponent").reset_index(), on=["against", "cost"])
    return points.assign(steeper_than_linear=points.exponent > STEEP)


def exponent(curve: pd.DataFrame) -> float:
    """p where cost grows as x**p, fitted to the TAIL largest x; NaN where a cost is 0."""
    x, y = curve.sort_values("x").tail(TAIL).to_numpy().T
    return float("nan") if len(x) < 2 or (y <= 0).any() else float(np.polyfit(np.log(x), np.log(y), 1)[0])


def table(points: pd.DataFrame, title: str, machine: dict[str, object]) -> str:
    """Markdown, one row per curve."""
    lines = []
    for (axis, cost), curve in points.groupby(["against", "cost"], sort=False):
        first, last = curve.iloc[0], curve.iloc[-1]
        values = (f"{value:,.4g}" for value in (first.x, last.x, first.y, last.y))
        lines.append([axis, cost, *values, f"{last.exponent:.2f}", MARK if last.steeper_than_linear else ""])
    head = ["against", "cost", "from", "to", "cost from", "cost to", "grows as x to the", ""]
    notes = [f"the exponent is fitted to the {TAIL} largest; above {STEEP} it is marked", timing.warning(machine)]
    shown = grid(pd.DataFrame(lines, columns=head))
    text = f"## How cost grows\n\nProtocol: {title}; {timing.words(machine)}.\n\n{shown}\n"
    return text + "".join(f"- {note}\n" for note in notes if note)


def drawn(points: pd.DataFrame, title: str) -> Figure:
    """One panel per axis, both of its scales logarithmic; a dashed grey line is linear growth."""
    figure = Figure(figsize=(16.2, 9.2), layout="constrained")
    figure.suptitle(f"How cost grows: {title}. Dashed: proportional to x", fontsize=10)
    panels = figure.subplots(2, 3).flatten()
    panels[-1].set_axis_off()
    for panel, (axis, own) in zip(panels, points.groupby("against", sort=False), strict=False):
        for (cost, steep), curve in own.groupby(["cost", "steeper_than_linear"], sort=False):
            x, y = curve.x.to_numpy(), curve.y.to_numpy()
            label = f"{cost} (x^{curve.exponent.iloc[0]:.2f}{', ' + MARK if steep else ''})"
            panel.plot(x, y, label=label, linewidth=2.6 if steep else 1.4, marker="o", markersize=4)
            panel.plot(x, y[-1] * x / x[-1], color="0.7", linewidth=0.8, linestyle="--", zorder=0)
        panel.set(xlabel=axis, ylabel="s or MiB", xscale="log", yscale="log")
        panel.set_xticks(own.x.unique(), [f"{value:,g}" for value in own.x.unique()])
        panel.minorticks_off()
        panel.grid(alpha=0.3, which="major")
        panel.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13))
    return figure


def main(small: bool, out: Path) -> None:
    """Measure every axis, then write table, points and plots."""
    title = str(case())
    machine = timing.machine(device.pick("auto").type, 1)
    points = measure(SMALL if small else AXES)
    (out / "growth.md").write_text(table(points, title, machine))
    points.assign(**machine).to_csv(out / "growth.csv", index=False)
    for suffix in ("png", "svg"):
        drawn(points, title).savefig(out / f"growth.{suffix}", metadata={"Date": None} if suffix == "svg" else None)


if __name__ == "__main__":
    words = sys.argv[1:]
    folders = [word for word in words if word != "--small"]
    main("--small" in words, Path(folders[0]) if folders else Path(__file__).parent)

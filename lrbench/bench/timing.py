"""Timing cases, contenders in turn in one process and each alone in its own, and what `lrbench bench` prints of it."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import torch

from lrbench import device as devices
from lrbench.bench.case import Case
from lrbench.bench.contenders import Bare, Contender, Evaluation, Forward, Loop, synchronise
from lrbench.execute import provenance
from lrbench.report import formats

ALL = (Bare, Loop, Evaluation, Forward)  # in the order of each round
WARM = 5  # steps, at least, before the first timed slice: a captured step is captured by then
CLEAR = Path("/proc/self/clear_refs")
ALONE = {"first_step_seconds": ("first step, s", ".2f"), "peak_memory_mib": ("peak memory, MiB", ",")}
NOTES = ("evaluation seconds / forward: the time of a test over that of the bare forward passes in it",)
BUSY = 0.3  # of the cores used by others, from where on timings are not to be trusted


@dataclass(frozen=True)
class Alone:
    """What a contender needed in a process of its own, over one slice.

    The peak leaves out a loader's workers. On a GPU it is the device's. On the CPU it is the most that the process held
    after its images were there, Python and torch included, about 400 MiB; not on Linux, that of its whole life.
    """

    first_step_seconds: float  # from prepared images to the end of the first step: networks built, loader started
    peak_memory_mib: int


@dataclass(frozen=True)
class Result:
    """A case timed: contender -> seconds of each of its slices of `images` images, one per round, and Alone."""

    case: Case
    images: int
    seconds: dict[str, list[float]]
    alone: dict[str, Alone]

    def rounds(self) -> pd.DataFrame:
        """One row per round: images a second, and within it the ratio of lrbench's speed to each other training's."""
        seconds = pd.DataFrame(self.seconds)
        found = self.images / seconds.add_suffix("_images_per_second")
        for other in (name for name in self.alone if name != Loop.name):
            found[f"lrbench_to_{other}"] = seconds[other] / seconds[Loop.name]
        if Forward.name in seconds:
            found["evaluation_seconds_to_forward"] = seconds[Evaluation.name] / seconds[Forward.name]
        return found


def time(case: Case, rounds: int, note: Callable[[str], None], contenders: Sequence[type[Contender]] = ALL) -> Result:
    """Time a case: after a round to warm up, `rounds` rounds in which each contender has one slice, in turn.

    Before it, each that trains is measured in a process of its own. `note` is told what goes on.
    """
    note(f"{case}: {', '.join(one.name for one in contenders)}")
    apart = {one.name: alone(one, case) for one in contenders if one.trains}
    device, pairs = case.enter(), case.pairs()
    seconds = interleaved([one(case, pairs) for one in contenders], rounds)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()  # of this case's networks: the next one's memory is its own
    return Result(case, case.updates * case.batch, seconds, apart)


def interleaved(running: Sequence[Contender], rounds: int) -> dict[str, list[float]]:
    """Contender -> seconds of each of its slices: A B A B, so that what disturbs one disturbs all."""
    for one in running:
        for _ in range(-(-WARM // one.case.updates)):
            one.slice()  # to warm up
    slices = [{one.name: one.slice() for one in running} for _ in range(rounds)]
    return {one.name: [of[one.name] for of in slices] for one in running}


def alone(contender: type[Contender], case: Case) -> Alone:
    """Measure a contender in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, contender, case).result()


def _measure(contender: type[Contender], case: Case) -> Alone:
    device, pairs = case.enter(), case.pairs()
    forget_peak(device)
    started, ends = perf_counter(), list[float]()

    def after() -> None:
        if not ends:
            synchronise(device)
            ends.append(perf_counter())

    contender(case, pairs).slice(after)
    return Alone(ends[0] - started, provenance.peak_memory_mib(device))


def forget_peak(device: torch.device) -> None:
    """Count the most memory held from now on."""
    if device.type == "cuda":
        torch.cuda.init()  # in a new process there is nothing to reset yet, and torch refuses to
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # not Linux, or not allowed: the peak of the process's whole life counts
        CLEAR.write_text("5")  # proc(5): resets the peak resident set size


def machine(name: str, threads: int) -> dict[str, Any]:
    """CPU, cores, threads, the GPU where `name` is cuda, versions, git revision, load average of the last minute."""
    on = torch.device(name)
    return {
        "cpu": cpu_model(),
        "cores": devices.cores(),
        "gpu": torch.cuda.get_device_name(on) if on.type == "cuda" else None,
        "load_average": round(os.getloadavg()[0], 2),
        **provenance.environment(on),
        "threads": threads,
    }


def cpu_model(listing: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as Linux tells it, else as Python does."""
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.processor() or platform.machine())


def words(machine: Mapping[str, Any]) -> str:
    """The machine in a line."""
    gpu = f"{machine['gpu']}; " if machine["gpu"] else ""
    return (
        f"{gpu}{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads; "
        f"torch {machine['torch']}; load {machine['load_average']:.1f} at the start"
    )


def warning(machine: Mapping[str, Any]) -> str | None:
    """A line where other processes load the cores, else None."""
    load, count = machine["load_average"], machine["cores"]
    if load < BUSY * count:
        return None
    return f"other processes load this machine ({load:.1f} on {count} cores): trust the ratios, not the images/s"


def row(result: Result) -> dict[str, Any]:
    """A result, flat. A column of `rounds` is its median over them; with _low and _high it is a quartile."""
    spec, rounds = result.case.spec, result.rounds()
    quartiles = rounds.quantile((0.5, 0.25, 0.75)).set_axis(["", "_low", "_high"]).T.stack()
    return {
        **{name: getattr(spec, name) for name in ("method", "backbone", "width", "dataset", "scale")},
        "batch": spec.recipe.batch_size,
        "precision": spec.precision,
        "images": result.images,
        "rounds": len(rounds),
        **{f"{name}{part}": value for (name, part), value in quartiles.items()},
        **{f"{name}_{one}": value for name, alone in result.alone.items() for one, value in vars(alone).items()},
    }


def markdown(
    results: Sequence[Result],
    machine: Mapping[str, Any],
    title: str = "lrbench bench: images/s",
    notes: Sequence[str] = NOTES,
) -> str:
    """Results of the same contenders as a table: images a second and ratios, medians with their quartiles."""
    first, lines = results[0], []
    for result in results:
        flat, line = row(result), {"case": str(result.case)}
        for name in result.rounds():
            median, low, high = (flat[name + part] for part in ("", "_low", "_high"))
            speed = name.removesuffix("_images_per_second")
            head, form = (name.replace("_to_", " / ").replace("_", " "), ".3f") if speed == name else (speed, ",.0f")
            line[head] = f"{median:{form}} ({low:{form}}–{high:{form}})"
        for name, (head, form) in ALONE.items():
            line[head] = " · ".join(f"{getattr(alone, name):{form}}" for alone in result.alone.values())
        lines.append(line)
    protocol = (
        f"{words(machine)}; x{first.case.spec.scale}, batch {first.case.spec.recipe.batch_size}, "
        f"{first.case.spec.precision}, {len(first.rounds())} rounds of {first.images} images"
    )
    spread = "images/s and ratios: median (quartiles) over the rounds; a ratio is taken within a round"
    apart = f"first step and peak memory: {' · '.join(first.alone)}, each in a process of its own"
    shown = [one for one in (spread, *notes, apart, warning(machine)) if one]
    return str(formats.Table(title, protocol, pd.DataFrame(lines), shown))


def as_csv(results: Sequence[Result], machine: Mapping[str, Any]) -> str:
    """One line per result, with the machine."""
    return pd.DataFrame([{**row(result), **machine} for result in results]).to_csv(index=False)


def as_json(results: Sequence[Result], machine: Mapping[str, Any]) -> str:
    """The machine, and every result with the seconds of each of its slices."""
    cases = [row(result) | {"seconds": result.seconds} for result in results]
    return json.dumps({"machine": dict(machine), "cases": cases}, indent=1) + "\n"

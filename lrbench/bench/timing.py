"""Timing a case: contenders in turn in one process, and each alone in a process of its own."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import pandas as pd
import torch

from lrbench.bench import reference
from lrbench.bench.case import Case
from lrbench.bench.contenders import Bare, Contender, Evaluation, Forward, Loop, synchronise
from lrbench.bench.reference import Reference
from lrbench.execute import provenance
from lrbench.method import registry
from lrbench.spec.runspec import RunSpec

ALL = (Bare, Loop, Reference, Evaluation, Forward)  # in the order of each round
WARM = 5  # steps, at least, before the first timed slice: a captured step is captured by then
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Alone:
    """What a contender needed in a process of its own.

    peak_memory_mib leaves out a loader's workers. On a GPU it is the device's, as torch allocated it. On the CPU it is
    the most that the process held after its images were there, Python and torch included, about 400 MiB; where the
    system cannot forget an earlier peak (only Linux can), that of its whole life.
    """

    first_step_seconds: float  # from prepared images to the end of the first step: networks built, loader started
    peak_memory_mib: int  # over one slice


@dataclass(frozen=True)
class Result:
    """A case timed: contender -> seconds of each of its slices of `images` images, one per round, and Alone."""

    case: Case
    images: int
    seconds: dict[str, list[float]]
    alone: dict[str, Alone]

    def rounds(self) -> pd.DataFrame:
        """One row per round: images a second, and ratios of speeds within it. NaN for what did not run."""
        seconds = pd.DataFrame(self.seconds).reindex(columns=[one.name for one in ALL])
        found = self.images / seconds.add_suffix("_images_per_second")
        for other in ("bare", "reference"):
            found[f"lrbench_to_{other}"] = seconds[other] / seconds["lrbench"]
        return found.assign(evaluation_seconds_to_forward=seconds["evaluation"] / seconds["forward"])


def contenders(spec: RunSpec) -> list[type[Contender]]:
    """Who takes part, in the order of each round."""
    covered = reference.covers(registry.method(spec.method))
    return [one for one in ALL if one is not Reference or covered]


def time(case: Case, rounds: int, note: Callable[[str], None]) -> Result:
    """Time a case: after a round to warm up, `rounds` rounds in which each contender has one slice, in turn.

    Before it, each is measured in a process of its own. `note` is told what goes on.
    """
    taking_part = contenders(case.spec)
    note(f"{case}: {', '.join(one.name for one in taking_part)}")
    apart = {one.name: alone(one, case) for one in taking_part if one.trains}
    device, pairs = case.enter(), case.pairs()
    seconds = interleaved([one(case, pairs) for one in taking_part], rounds)
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
    return Alone(ends[0] - started, peak_memory_mib(device))


def forget_peak(device: torch.device) -> None:
    """Count the most memory held from now on."""
    if device.type == "cuda":
        torch.cuda.init()  # in a new process there is nothing to reset yet, and torch refuses to
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # not Linux, or not allowed: the peak of the process's whole life counts
        CLEAR.write_text("5")  # proc(5): resets the peak resident set size


def peak_memory_mib(device: torch.device) -> int:
    """Most memory held since `forget_peak`, in MiB: the device's, or this process's on the CPU."""
    if device.type != "cuda" and STATUS.exists():
        fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) // 2**10
    return provenance.peak_memory_mib(device)

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

import numpy as np
import torch

from lrbench.bench import reference
from lrbench.bench.case import Case
from lrbench.bench.contenders import Bare, Contender, Evaluation, Forward, Loop, synchronise
from lrbench.bench.reference import Reference
from lrbench.execute import provenance
from lrbench.method import registry
from lrbench.spec.runspec import RunSpec

WARM = 5  # steps, at least, before the first timed slice: a captured step is captured by then
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Spread:
    """The median of some measurements, and their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        return cls(median, low, high)


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

    def speed(self, contender: str) -> Spread | None:
        """Images a second; None where it did not run."""
        seconds = self.seconds.get(contender)
        return Spread.of([self.images / one for one in seconds]) if seconds else None

    def ratio(self, other: str, one: str = Loop.name) -> Spread | None:
        """The speed of one, lrbench's loop, as a multiple of another's, round by round; None where one did not run."""
        if other not in self.seconds or one not in self.seconds:
            return None
        return Spread.of([b / a for a, b in zip(self.seconds[one], self.seconds[other], strict=True)])


def contenders(spec: RunSpec) -> list[type[Contender]]:
    """Who takes part, in the order of each round."""
    covered = [Reference] if reference.covers(registry.method(spec.method)) else []
    return [Bare, Loop, *covered, Evaluation, Forward]


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
    seconds: dict[str, list[float]] = {one.name: [] for one in running}
    try:
        for one in running:
            for _ in range(-(-WARM // one.case.updates)):
                one.slice()  # to warm up
        for _ in range(rounds):
            for one in running:
                seconds[one.name].append(one.slice())
    finally:
        for one in running:
            one.close()
    return seconds


def alone(contender: type[Contender], case: Case) -> Alone:
    """Measure a contender in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, contender, case).result()


def _measure(contender: type[Contender], case: Case) -> Alone:
    device, pairs = case.enter(), case.pairs()
    forget_peak(device)
    started, first = perf_counter(), 0.0

    def after() -> None:
        nonlocal first
        if not first:
            synchronise(device)
            first = perf_counter() - started

    one = contender(case, pairs)
    one.slice(after)
    peak = peak_memory_mib(device)
    one.close()
    return Alone(first, peak)


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

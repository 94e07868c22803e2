"""A contender in a process of its own: the time to its first step, and the most memory it holds."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from lrbench.bench.case import CaseSpec
from lrbench.bench.contenders import Contender, synchronise
from lrbench.execute import provenance

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Alone:
    """What a fresh process needed. `peak_memory_mib` leaves out a loader's workers.

    On a GPU it is the device's, as torch allocated it. On the CPU it is the most that the process held after its
    images were there, Python and torch included, about 400 MiB; where the system cannot forget an earlier peak
    (only Linux can), that of its whole life.
    """

    first_step_seconds: float  # from prepared images to the end of the first step: networks built, loader started
    peak_memory_mib: int  # over one slice


def alone(contender: type[Contender], wanted: CaseSpec) -> Alone:
    """Measure a contender in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, contender, wanted).result()


def measure(contender: type[Contender], wanted: CaseSpec) -> Alone:
    """The same in this process, which should be new."""
    case = wanted.case()
    forget_peak(case.device)
    started, first = time.perf_counter(), 0.0

    def after() -> None:
        nonlocal first
        if not first:
            synchronise(case.device)
            first = time.perf_counter() - started

    one = contender(case)
    one.slice(after)
    peak = peak_memory_mib(case.device)
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

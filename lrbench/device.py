"""This machine: the device that trains, the arithmetic it does quickly, the threads of its CPU.

On a busy machine more threads than free cores are far slower than few: each waits for the others at every layer.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

import torch

from lrbench.errors import UserError

AUTO = "auto"
WINDOW = 0.3  # seconds for which the load of the machine is measured
SPARE = 0.3  # of a core, which others may use while it still counts as free
STAT, GROUPS, GROUP = Path("/proc/stat"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # of Linux
MOST = torch.get_num_threads()  # PyTorch's choice for this machine, or what OMP_NUM_THREADS says

Precision = Literal["fp32", "bf16"]
Times = dict[int, tuple[int, int]]  # core -> see _idle
_in_use = MOST


def pick(name: str) -> torch.device:
    """`auto` is CUDA where there is one; a CUDA device always has its index, for torch holds cuda unequal to cuda:0.

    Raises UserError where the device asked for is missing.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("no CUDA device here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        torch.backends.cudnn.benchmark = True  # shapes never change within a run
        torch.backends.cudnn.allow_tf32 = False  # else "fp32" would not be what it says
    return torch.device("cuda", 0) if name == "cuda" else torch.device(name)


def enter(device: torch.device) -> torch.device:
    """Make it this process's own, so that nothing is put on another."""
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.set_device(device)
    return device


def precision(name: str, device: torch.device) -> Precision:
    """`auto` is bf16 where the device computes in it natively. The choice is part of the spec."""
    if name != "auto":
        return "bf16" if name == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.backends.mkldnn.is_available() and _cpu_has_bf16() else "fp32"


def _cpu_has_bf16() -> bool:
    """AVX-512 with bf16 arithmetic; AVX-512 without it only converts, and is slower than fp32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def memory(device: torch.device) -> int:
    """Bytes of the device's memory, or of the machine's for the CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def describe(device: torch.device) -> str:
    """The device in words, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} thread(s), {torch.backends.cpu.get_cpu_capability()}"


def check_threads(asked: str | int) -> None:
    """Raise UserError, naming the nearest valid number, for what is neither `auto` nor a number of threads."""
    if asked == AUTO:
        return
    try:
        number = int(asked)
    except ValueError as error:
        raise UserError(f"--threads {asked} is no number of threads; say one, or auto") from error
    if number < 1:
        raise UserError(f"--threads {number} trains nothing; the fewest threads are 1")
    if number > (most := cores()):
        raise UserError(f"--threads {number}: this machine has {most} cores; the most threads are {most}")


def choose_threads(asked: str | int) -> int:
    """How many threads to train with: the number that was asked for, or of `auto` the cores that are free now."""
    check_threads(asked)
    if asked != AUTO:
        return int(asked)
    return 1 if MOST == 1 else min(MOST, free_cores())


def use_threads(number: int) -> None:
    """Train what is begun from now on, in this process, with so many threads."""
    global _in_use
    _in_use = number
    torch.set_num_threads(number)


def threads_in_use() -> int:
    """How many threads a run that is begun now trains with."""
    return _in_use


def cores() -> int:
    """Cores that this process may use: of its affinity, and as far as the limits of its control groups go."""
    return max(1, min([len(_affinity()), *(int(limit) for limit, _ in _limits())]))


def free_cores() -> int:
    """Cores that this process may use and nobody else does, at least one."""
    limits = _limits()
    idle, spent = _idle(), [_spent(folder) for _, folder in limits]
    time.sleep(WINDOW)
    left = [limit - (_spent(folder) - was) / WINDOW for (limit, folder), was in zip(limits, spent, strict=True)]
    return max(1, int(min([_unused(idle, _idle()), *left]) + SPARE))


def _affinity() -> set[int]:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    return affinity(0) if affinity else set(range(os.cpu_count() or 1))


def _idle() -> Times:
    """Core -> its time without work, and all of it, in ticks since the machine was started; empty where unknown."""
    if not STAT.exists():
        return {}
    found, mine = {}, _affinity()
    for line in STAT.read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in mine:
            values = [int(one) for one in ticks[:8]]  # user, nice, system, idle, iowait, irq, softirq, steal
            found[int(name[3:])] = (sum(values[3:5]), sum(values))
    return found


def _unused(before: Times, after: Times) -> float:
    """Cores that had nothing to do between two times; by the load of the last minute where these are not known."""
    passed = {core: (idle - before[core][0], all_ - before[core][1]) for core, (idle, all_) in after.items()}
    if not passed or any(all_ <= 0 for _, all_ in passed.values()):
        return len(_affinity()) - os.getloadavg()[0]
    return sum(idle / all_ for idle, all_ in passed.values())


def _limits() -> list[tuple[float, Path]]:
    """Each limit on this process's time, in cores, and the folder of its control group, whichever the version."""
    folders: list[Path] = []
    for line in GROUP.read_text().splitlines() if GROUP.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            below = Path(path.lstrip("/"))
            root = GROUPS / "cpu" if controllers else GROUPS
            folders += [root / one for one in (below, *below.parents)]
    found = {folder: _limit(folder) for folder in folders}
    return [(limit, folder) for folder, limit in found.items() if limit is not None]


def _limit(folder: Path) -> float | None:
    """Cores that a control group may use; None for no limit."""
    try:
        if (both := folder / "cpu.max").exists():
            quota, period = both.read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
    except (OSError, ValueError):  # there is none, or it is not for us to read
        return None


def _spent(folder: Path) -> float:
    """Seconds of CPU time that a control group has used so far; 0 where that is not known."""
    try:
        if (stat := folder / "cpu.stat").exists() and (text := stat.read_text()).startswith("usage_usec"):
            return int(text.split()[1]) / 1e6
        return int((folder / "cpuacct.usage").read_text()) / 1e9
    except (OSError, ValueError):
        return 0.0

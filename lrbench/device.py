"""This machine: the device that trains, the arithmetic it does quickly, the threads of its CPU.

On a busy machine more threads than free cores are far slower than few: each waits for the others at every layer.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from lrbench.errors import UserError

AUTO = "auto"
WINDOW = 0.3  # seconds for which the load of the machine is measured
SPARE = 0.3  # of a core, which others may use while it still counts as free
STAT, GROUPS, GROUP = Path("/proc/stat"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # of Linux
MOST = torch.get_num_threads()  # PyTorch's choice for this machine, or what OMP_NUM_THREADS says

Precision = Literal["fp32", "bf16"]
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
    # AVX-512 with bf16 arithmetic; AVX-512 without it only converts, and is slower than fp32
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if torch.backends.mkldnn.is_available() and supported() else "fp32"


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


def choose_threads(asked: str | int) -> int:
    """How many threads to train with: the number that was asked for, or of `auto` the cores that are free now.

    Raises UserError, naming the nearest valid number, for what is neither.
    """
    if asked == AUTO:
        return 1 if MOST == 1 else min(MOST, free_cores())
    if not str(asked).removeprefix("-").isdecimal():
        raise UserError(f"--threads {asked} is no number of threads; say one, or auto")
    if (number := int(asked)) < 1:
        raise UserError(f"--threads {number} trains nothing; the fewest threads are 1")
    if number > (most := cores()):
        raise UserError(f"--threads {number}: this machine has {most} cores; the most threads are {most}")
    return number


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
    limits, before = _limits(), _busy()
    spent = [_spent(folder) for _, folder in limits]
    time.sleep(WINDOW)
    passed = _busy() - before  # ticks of every core: with work, and in all
    busy = (passed[:, 0] / passed[:, 1]).sum() if len(passed) and passed[:, 1].all() else os.getloadavg()[0]
    left = [limit - (_spent(folder) - was) / WINDOW for (limit, folder), was in zip(limits, spent, strict=True)]
    return max(1, int(min([len(_affinity()) - busy, *left]) + SPARE))


def _affinity() -> set[int]:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    return affinity(0) if affinity else set(range(os.cpu_count() or 1))


def _busy() -> np.ndarray:
    """A row per core of ours: ticks with work since the machine was started, and all; empty where unknown."""
    rows, mine = [], {f"cpu{core}" for core in _affinity()}
    for line in _read(STAT).splitlines():
        name, *ticks = line.split()
        if name in mine:
            user, nice, system, idle, iowait, *others = map(int, ticks[:8])
            work = user + nice + system + sum(others)
            rows.append((work, work + idle + iowait))
    return np.array(rows).reshape(-1, 2)


def _limits() -> list[tuple[float, Path]]:
    """Each limit on this process's time, in cores, and the folder of its control group, whichever the version."""
    folders: dict[Path, float | None] = {}
    for line in _read(GROUP).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            below, root = Path(path.lstrip("/")), GROUPS / "cpu" if controllers else GROUPS
            folders |= {root / one: _limit(root / one) for one in (below, *below.parents)}
    return [(limit, folder) for folder, limit in folders.items() if limit is not None]


def _limit(folder: Path) -> float | None:
    """Cores that a control group may use; None for no limit."""
    files = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")  # of version 2, and of version 1
    quota, period = " ".join(_read(folder / name) for name in files).split() or ("max", "")
    return int(quota) / int(period) if quota.isdecimal() and int(quota) > 0 else None


def _spent(folder: Path) -> float:
    """Seconds of CPU time that a control group has used so far; 0 where that is not known."""
    if nanoseconds := _read(folder / "cpuacct.usage"):  # of version 1
        return int(nanoseconds) / 1e9
    words = _read(folder / "cpu.stat").split()
    return int(words[1]) / 1e6 if words[:1] == ["usage_usec"] else 0.0


def _read(path: Path) -> str:
    """A file's text; none where there is no such file, or it is not for us to read."""
    try:
        return path.read_text()
    except OSError:
        return ""

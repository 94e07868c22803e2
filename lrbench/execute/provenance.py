"""Where a result came from: versions, git revision, device, time."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import JsonValue

from lrbench import device as devices

STATUS = Path("/proc/self/status")
PACKAGES = ("lrbench", "torch", "torchvision", "timm", "numpy", "pillow", "torchmetrics", "basicsr")


def environment(device: torch.device) -> dict[str, JsonValue]:
    """What the record keeps of the machine and the code."""
    versions: dict[str, JsonValue] = dict.fromkeys(PACKAGES)  # None for those that are not installed
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **versions,
        "git": _git_revision(),
        "device": devices.describe(device),
        "threads": torch.get_num_threads(),  # of the CPU
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def peak_memory_mib(device: torch.device) -> int:
    """Most memory held so far: the device's, or this process's on the CPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    if STATUS.exists():  # Linux, which can be told to forget an earlier peak
        fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) // 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def _git_revision() -> str | None:
    """The commit of the checkout that lrbench runs from, "+dirty" where its code differs; None for a wheel."""
    here = Path(__file__).resolve().parent
    if _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # installed, perhaps below somebody else's repository
    code = ("lrbench", "baselines", "methods")
    changed = _git(here.parents[1], "status", "--porcelain", "--untracked-files=no", "--", *code)
    return f"{_git(here, 'rev-parse', '--short=12', 'HEAD')}{'+dirty' if changed else ''}"


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

"""The machine that a benchmark was run on, and whether it was alone there."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from lrbench.execute import provenance
from lrbench.threads import cores

BUSY = 0.3  # of the cores used by others, from where on timings are not to be trusted


def describe(name: str, threads: int) -> dict[str, Any]:
    """CPU, cores, threads, the GPU where `name` is cuda, versions, git revision, load average of the last minute."""
    device = torch.device(name)
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "load_average": round(os.getloadavg()[0], 2),
        **provenance.environment(device),
        "threads": threads,
    }


def cpu_model(listing: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as Linux tells it, else as Python does."""
    if listing.exists():
        for line in listing.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()


def words(machine: dict[str, Any]) -> str:
    """The machine in a line."""
    gpu = f"{machine['gpu']}; " if machine["gpu"] else ""
    return (
        f"{gpu}{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads; "
        f"torch {machine['torch']}; load {machine['load_average']:.1f} at the start"
    )


def warning(machine: dict[str, Any]) -> str | None:
    """A line where other processes load the cores, else None."""
    load, count = machine["load_average"], machine["cores"]
    if load < BUSY * count:
        return None
    return f"other processes load this machine ({load:.1f} on {count} cores): trust the ratios, not the images/s"

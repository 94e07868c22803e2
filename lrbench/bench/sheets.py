"""What `lrbench bench` prints: a Markdown table, CSV or JSON, and the machine that it was run on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lrbench import device
from lrbench.bench.timing import Result, Spread
from lrbench.execute import provenance
from lrbench.report.formats import DASH, grid

TRAINING = ("bare", "lrbench", "reference")
MACHINE = ("gpu", "cpu", "cores", "threads", "load_average", "torch", "lrbench", "git", "finished")
HEAD = ("case", "bare", "lrbench", "reference", "lrbench / bare", "lrbench / reference",
        "evaluation", "evaluation / forward, time", "first step, s", "peak memory, MiB")  # fmt: skip
NOTES = (
    "images/s and ratios: median (quartiles) over the rounds; a ratio is taken within a round",
    "evaluation / forward: time of a test over that of the bare forward passes in it",
    "first step and peak memory: bare · lrbench · reference, each in a process of its own; workers are left out",
)
BUSY = 0.3  # of the cores used by others, from where on timings are not to be trusted


def machine(name: str, threads: int) -> dict[str, Any]:
    """CPU, cores, threads, the GPU where `name` is cuda, versions, git revision, load average of the last minute."""
    on = torch.device(name)
    return {
        "cpu": cpu_model(),
        "cores": device.cores(),
        "gpu": torch.cuda.get_device_name(on) if on.type == "cuda" else None,
        "load_average": round(os.getloadavg()[0], 2),
        **provenance.environment(on),
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


def markdown(results: Sequence[Result], machine: Mapping[str, Any]) -> str:
    """Results as a table: images a second and ratios, medians with their quartiles."""
    first, rounds = results[0], len(next(iter(results[0].seconds.values())))
    protocol = (
        f"{words(machine)}; x{first.case.spec.scale}, batch {first.case.spec.recipe.batch_size}, "
        f"{first.case.spec.precision} (the reference fp32), {rounds} rounds of {first.images} images"
    )
    notes = [*NOTES, *filter(None, [warning(machine)])]
    table = grid(pd.DataFrame([_line(result) for result in results], columns=HEAD))
    return f"## lrbench bench: images/s\n\nProtocol: {protocol}.\n\n{table}\n" + "".join(f"- {one}\n" for one in notes)


def as_csv(results: Sequence[Result], machine: Mapping[str, Any]) -> str:
    """One line per result, with the machine."""
    rows = [row(result) | {name: machine[name] for name in MACHINE} for result in results]
    return pd.DataFrame(rows).to_csv(index=False)


def as_json(results: Sequence[Result], machine: Mapping[str, Any]) -> str:
    """The machine, and every result with the seconds of each of its slices."""
    cases = [row(result) | {"seconds": result.seconds} for result in results]
    return json.dumps({"machine": dict(machine), "cases": cases}, indent=1) + "\n"


def row(result: Result) -> dict[str, Any]:
    """A result, flat: names are the same for every result, what was not measured is None."""
    spec, flat = result.case.spec, dict[str, Any]()
    for name in (*TRAINING, "evaluation", "forward"):
        flat |= _spread(f"{name}_images_per_second", result.speed(name))
    for other in ("bare", "reference"):
        flat |= _spread(f"lrbench_to_{other}", result.ratio(other))
    flat |= _spread("evaluation_seconds_to_forward", result.ratio("evaluation", "forward"))
    for name in TRAINING:
        alone = result.alone.get(name)
        flat[f"{name}_first_step_seconds"] = alone and alone.first_step_seconds
        flat[f"{name}_peak_memory_mib"] = alone and alone.peak_memory_mib
    return {
        "method": spec.method,
        "backbone": spec.backbone,
        "width": spec.width,
        "dataset": spec.dataset,
        "scale": spec.scale,
        "batch": spec.recipe.batch_size,
        "precision": spec.precision,
        "images": result.images,
        "rounds": len(result.seconds["lrbench"]),
        **flat,
    }


def _spread(name: str, spread: Spread | None) -> dict[str, float | None]:
    names = (name, f"{name}_low", f"{name}_high")
    values = (spread.median, spread.low, spread.high) if spread else (None, None, None)
    return dict(zip(names, values, strict=True))


def _line(result: Result) -> list[str]:
    peaks = [result.alone.get(name) for name in TRAINING]
    return [
        str(result.case),
        *(_text(result.speed(name), ",.0f") for name in TRAINING),
        _text(result.ratio("bare"), ".3f"),
        _text(result.ratio("reference"), ".2f"),
        _text(result.speed("evaluation"), ",.0f"),
        _text(result.ratio("evaluation", "forward"), ".2f"),
        " · ".join(f"{one.first_step_seconds:.2f}" if one else DASH for one in peaks),
        " · ".join(f"{one.peak_memory_mib:,}" if one else DASH for one in peaks),
    ]


def _text(spread: Spread | None, form: str) -> str:
    if spread is None:
        return DASH
    return f"{spread.median:{form}} ({spread.low:{form}}–{spread.high:{form}})"

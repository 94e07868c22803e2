"""What `lrbench bench` prints: a table to be read, CSV, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lrbench.bench import machine as machines
from lrbench.bench.timing import Result, Spread, title
from lrbench.report.formats import DASH, Sheet

TRAINING = ("bare", "lrbench", "reference")
MACHINE = ("gpu", "cpu", "cores", "threads", "load_average", "torch", "lrbench", "git", "finished")
HEAD = ("case", "bare", "lrbench", "reference", "lrbench / bare", "lrbench / reference",
        "evaluation", "evaluation / forward, time", "first step, s", "peak memory, MiB")  # fmt: skip


def sheet(results: Sequence[Result], machine: Mapping[str, Any]) -> Sheet:
    """Results as a table: images a second and ratios, medians with their quartiles."""
    rounds = len(next(iter(results[0].seconds.values())))
    spec = results[0].spec
    notes = [
        "images/s and ratios: median (quartiles) over the rounds; a ratio is taken within a round",
        "evaluation / forward: time of a test over that of the bare forward passes in it",
        "first step and peak memory: bare · lrbench · reference, each in a process of its own; workers are left out",
    ]
    if warning := machines.warning(dict(machine)):
        notes.append(warning)
    return Sheet(
        title="lrbench bench: images/s",
        protocol=f"{machines.words(dict(machine))}; x{spec.scale}, batch {spec.recipe.batch_size}, {spec.precision} "
        f"(the reference fp32), {rounds} rounds of {results[0].images} images",
        head=HEAD,
        lines=[_line(result) for result in results],
        notes=notes,
        long_form=[row(result) | {name: machine[name] for name in MACHINE} for result in results],
    )


def row(result: Result) -> dict[str, Any]:
    """A result, flat: names are the same for every result, what was not measured is None."""
    spec, flat = result.spec, dict[str, Any]()
    for name in (*TRAINING, "evaluation", "forward"):
        flat |= _spread(f"{name}_images_per_second", result.speed(name) if name in result.seconds else None)
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


def as_json(results: Sequence[Result], machine: Mapping[str, Any]) -> str:
    """The machine, and every result with the seconds of each of its slices."""
    cases = [row(result) | {"seconds": result.seconds} for result in results]
    return json.dumps({"machine": dict(machine), "cases": cases}, indent=1) + "\n"


def _spread(name: str, spread: Spread | None) -> dict[str, float | None]:
    names = (name, f"{name}_low", f"{name}_high")
    values = (spread.median, spread.low, spread.high) if spread else (None, None, None)
    return dict(zip(names, values, strict=True))


def _line(result: Result) -> list[str]:
    spec = result.spec
    peaks = [result.alone.get(name) for name in TRAINING]
    return [
        title(spec),
        *(_text(result.speed(name) if name in result.seconds else None, ",.0f") for name in TRAINING),
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

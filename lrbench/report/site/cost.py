"""The table of what runs cost: size, arithmetic, speed, time and memory, seeds together."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from lrbench.report import headings
from lrbench.report.formats import DASH, HR_MARK, Sheet
from lrbench.report.headings import Named
from lrbench.spec.record import Record

TITLE = "Cost"
# column -> its key in the long form, the metric, the factor from the metric to the column, how seeds become one
# number, decimals
COLUMNS: dict[str, tuple[str, str, float, Callable[[Iterable[float]], float], int]] = {
    "parameters (M)": ("parameters_m", "parameters", 1e-6, max, 3),
    "MACs (M)": ("macs_m", "macs", 1e-6, max, 1),
    "epochs in weights": ("epochs_in_weights", "epochs_in_weights", 1, max, 0),
    "images/s": ("images_per_second", "images_per_second", 1, statistics.fmean, 0),
    "minutes": ("minutes", "train_seconds", 1 / 60, statistics.fmean, 1),
    "peak memory (MiB)": ("peak_memory_mib", "peak_memory_mib", 1, max, 0),
}
HEAD = ["", *COLUMNS, "device", "runs"]
NOTES = [
    "parameters: those that the run itself trained; MACs: multiply-accumulates of one test image, from LR on.",
    "images/s and minutes: of this run's own training, without the runs that it needed; means over seeds.",
    "peak memory: of the GPU, or on a CPU of the whole process; the largest of the seeds.",
    f"{HR_MARK} trained and tested on HR images.",
    "Seeds that ran on different devices have a line for each device.",
]


def sheets(records: Iterable[Record]) -> list[Sheet]:
    """A table for each heading of `headings.grouped`."""
    return [_sheet(str(heading), found) for heading, found in headings.grouped(records).items()]


def _sheet(heading: str, found: Iterable[Named]) -> Sheet:
    lines, long_form = [], []
    for experiment in found:
        for device, records in _by_device(experiment.records).items():
            numbers = {column: _number(records, column) for column in COLUMNS}
            shown = [_text(numbers[column], COLUMNS[column][-1]) for column in COLUMNS]
            lines.append([experiment.marked, *shown, device, str(len(records))])
            long_form.append(_flat(heading, experiment.label, device, numbers, records))
    return Sheet(TITLE, heading, HEAD, lines, NOTES, long_form)


def _by_device(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[str(record.env.get("device") or DASH)].append(record)
    return found


def _number(records: Iterable[Record], column: str) -> float | None:
    _, metric, factor, together, _ = COLUMNS[column]
    values = [value for record in records if (value := record.metrics.get(metric)) is not None]
    return together(values) * factor if values else None


def _text(number: float | None, digits: int) -> str:
    return DASH if number is None else f"{number:,.{digits}f}"


def _flat(
    heading: str, label: str, device: str, numbers: dict[str, float | None], records: list[Record]
) -> dict[str, Any]:
    return {
        "table": TITLE,
        "protocol": heading,
        "row": label,
        "device": device,
        **{COLUMNS[column][0]: number for column, number in numbers.items()},
        "n": len(records),
        "seeds": " ".join(str(record.spec.seed) for record in records),
        "runs": " ".join(record.id for record in records),
    }

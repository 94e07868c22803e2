"""How long runs will take, known from the records of runs like them."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress

import torch

from lrbench import device
from lrbench.data.dataset import DatasetInfo
from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.method.registry import trains
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec

LATEST = 100  # speeds that are kept of runs that are alike: the oldest are forgotten


class Estimate:
    """Speeds, in training images a second, of runs that are alike."""

    def __init__(self, info: Callable[[str], DatasetInfo]) -> None:
        """info: what is known of a dataset, by its name."""
        self.info = info
        self.speeds: defaultdict[tuple[object, ...], deque[float]] = defaultdict(lambda: deque(maxlen=LATEST))

    def learn(self, spec: RunSpec, images_per_second: float, side: int | None = None) -> None:
        """A run of this spec has been trained at this speed. side: of its images, if the dataset may not be here."""
        self.speeds[_kind(spec, side or self.info(spec.dataset).side)].append(images_per_second)

    def learn_all(self, records: Iterable[Record], on: torch.device) -> None:
        """The speeds of finished runs, those that were trained on a device like this one."""
        here = device.describe(on).partition(",")[0]  # without a CPU's number of threads
        for record in records:
            speed = float(record.metrics.get("images_per_second") or 0)
            if speed and str(record.env.get("device")).partition(",")[0] == here:
                with suppress(UserError):  # its method is no longer installed
                    self.learn(record.spec, speed, record.data.side)

    def seconds(self, spec: RunSpec, epochs: int | None = None) -> float | None:
        """Of training for so many epochs (None: all of them); None where no run like it is known."""
        if not trains(spec):
            return 0.0
        info = self.info(spec.dataset)
        known = self.speeds.get(_kind(spec, info.side))
        if not known:
            return None
        images = spec.limit_train or info.counts["train"]
        return images * (spec.recipe.epochs if epochs is None else epochs) / statistics.median(known)


def words(seconds: float) -> str:
    """A time to be read: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _kind(spec: RunSpec, side: int) -> tuple[object, ...]:
    """What runs of about one speed have in common. side: of the dataset's images.

    Of the settings only whole numbers count: the number of channels changes the speed, a weight or a name hardly does.
    """
    config = {name: value for name, value in spec.config.items() if isinstance(value, int)}
    scale = spec.scale if registry.method(spec.method).view == "lr" else None  # an enlarged image has the HR size
    return spec.method, json.dumps(config, sort_keys=True), scale, spec.backbone, spec.width, spec.precision, side

"""How long runs will take: from the records of runs like them, else from a short probe."""

from __future__ import annotations

import itertools
import json
import statistics
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import torch

from lrbench import device
from lrbench.data.dataset import DatasetInfo
from lrbench.data.prepare import HELD_OUT
from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.method.registry import trains
from lrbench.method.restorer import Restorer
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.train import build
from lrbench.train.loop import one_epoch
from lrbench.train.training import Training

FIRST = 16  # images of a probe's first batch
LONG = 1.0  # seconds that a whole batch may take, by the speed of the first: else it is not tried
UPDATES = 3  # on one batch of noise; the first warms up, the quickest of the others counts
START = "init"  # the setting, where a method has it, that says only where its weights start
TRAINED_BY = ("__init__", "loss", "step", "forward", "optimizers", "view")  # methods that share them have one speed
LATEST = 100  # speeds of a kind that are kept: the oldest are forgotten
Kind = tuple[object, ...]  # what runs of one speed have in common


@dataclass
class Estimate:
    """Speeds, in training images a second, by kind of run; `info` says how large a data set is."""

    info: Callable[[str], DatasetInfo]
    speeds: dict[Kind, deque[float]] = field(default_factory=dict)

    def learn(self, spec: RunSpec, images_per_second: float) -> None:
        """A run of this spec has gone at this speed."""
        self._add(self._kind(spec), images_per_second)

    def _add(self, kind: Kind, images_per_second: float) -> None:
        self.speeds.setdefault(kind, deque(maxlen=LATEST)).append(images_per_second)

    def learn_all(self, records: Iterable[Record], on: torch.device) -> None:
        """The speeds of finished runs on a device like this one."""
        here = device.describe(on).partition(",")[0]  # a CPU's threads may be divided otherwise
        for record in records:
            speed = float(record.metrics.get("images_per_second") or 0)
            if speed and str(record.env.get("device")).partition(",")[0] == here:
                with suppress(UserError):  # of a method that is not installed any more
                    kind = _kind(record.spec, record.data.side, len(record.data.classes))
                    self._add(kind, speed)

    def probe(self, spec: RunSpec, on: torch.device) -> None:
        """Measure the speed of a run that none is known of: a few updates on noise."""
        if trains(spec) and self._kind(spec) not in self.speeds:
            self.learn(spec, _measure(spec, self.info(spec.dataset), on))

    def seconds(self, spec: RunSpec, epochs: int | None = None) -> float | None:
        """Of training for so many epochs (None: all of them); None where the speed is not known."""
        if not trains(spec):
            return 0.0
        known = self.speeds.get(self._kind(spec))
        if not known:
            return None
        images = spec.limit_train or self.info(spec.dataset).counts["train"]
        if spec.select != "none" and "val" not in self.info(spec.dataset).counts:
            images = round(images * (1 - HELD_OUT))
        return images * (spec.recipe.epochs if epochs is None else epochs) / statistics.median(known)

    def _kind(self, spec: RunSpec) -> Kind:
        info = self.info(spec.dataset)
        return _kind(spec, info.side, len(info.classes))


def words(seconds: float) -> str:
    """A time to be read: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _kind(spec: RunSpec, side: int, classes: int) -> Kind:
    """A network's speed is that of its input's side, whatever the scale; images are restored before the training."""
    cls = registry.method(spec.method)
    # a weight, such as lam=0.5, changes no speed; a number of layers or a name may
    config = {k: v for k, v in spec.config.items() if not isinstance(v, float) and k != START}
    if issubclass(cls, Restorer):
        net: Kind = (spec.method, spec.scale)
    else:
        net = (*(getattr(cls, name) for name in TRAINED_BY), spec.scale if cls.view == "lr" else None)
        for need in spec.needs.values():
            if issubclass(registry.method(need.method), Restorer):
                config = {k: v for k, v in config.items() if k not in need.config}
    return *net, json.dumps(config, sort_keys=True), spec.backbone, spec.width, spec.precision, side, classes


def _measure(spec: RunSpec, info: DatasetInfo, on: torch.device) -> float:
    """Images a second. Of few images where a whole batch takes long: a probe is short."""
    few = min(FIRST, spec.recipe.batch_size)
    speed = _try(spec, info, on, few)
    whole = spec.recipe.batch_size
    return speed if whole == few or whole / speed > LONG else _try(spec, info, on, whole)


def _try(spec: RunSpec, info: DatasetInfo, on: torch.device, images: int) -> float:
    method = build.untrained(spec, build.noise_facts(info, images), on)
    training = Training(method, spec, build.noise(spec, info, images).to(on), None, 0)
    seconds = [0.0]
    for _ in range(UPDATES):
        one_epoch([training])
        seconds.append(training.history.seconds)
    return images / min(after - before for before, after in itertools.pairwise(seconds[1:]))

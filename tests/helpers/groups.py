"""Small runs on the digits, trained alone or as a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lrbench_baselines.lr_baseline import LRBaseline
from torch import Tensor

from lrbench.data import datasets
from lrbench.execute.progress import Progress
from lrbench.execute.runner import Runner
from lrbench.method.base import Batch
from lrbench.plan.plan import Protocol, plan
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import CURVE, PREDICTIONS, WEIGHTS, Store

CPU = torch.device("cpu")
LAMBDAS = (0.1, 1.0, 10.0)


def spec(method: str = "dfd", settings: dict[str, Any] | None = None, **changes: Any) -> RunSpec:
    protocol = {"scale": 2, "precision": "fp32", "width": 0.125, "recipe": "quick", "epochs": 3, "limit_train": 500}
    return plan(method, settings or {}, Protocol(**({"data": datasets.info("digits", Path())} | protocol | changes)))


def dfds() -> list[RunSpec]:
    return [spec(settings={"lam": lam, "init": "scratch"}) for lam in LAMBDAS]


def runner(folder: Path, progress: Callable[[RunSpec], Progress] = lambda _: Progress()) -> Runner:
    return Runner(Store(folder), Path(), CPU, progress)


def together(folder: Path, specs: Sequence[RunSpec], **options: Any) -> dict[str, Record | Exception]:
    """How runs of one group ended, which are trained after what they need."""
    ends: dict[str, Record | Exception] = {}
    for need in [need for spec in specs for need in spec.needs.values()]:
        runner(folder).run(need)
    runner(folder, **options).run_group(specs, lambda spec, end: ends.update({spec.id: end}))
    return ends


def files(folder: Path, run: RunSpec) -> list[bytes]:
    return [(folder / run.id / name).read_bytes() for name in (CURVE, PREDICTIONS, WEIGHTS)]


class Leaves(LRBaseline):
    """Fails at its 8th batch, when steps are replayed."""

    name = "leaves"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.seen += 1
        terms = super().loss(batch)
        return {name: term * torch.where(self.seen < 8, 1.0, float("nan")) for name, term in terms.items()}

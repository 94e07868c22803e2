"""Whether a run ends the same with its steps captured in a CUDA graph as with plain steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from safetensors.torch import load

from lrbench.method.base import Optimizer
from lrbench.store.store import Store
from lrbench.testing import Trial

STEPS = 50  # that captured and plain steps are compared over
BOUND = 1e-3


def check_captured(trial: Trial, device: torch.device) -> None:
    """With its steps captured in a CUDA graph it ends where the plain steps end, after STEPS of them or more.

    Up to BOUND of the norm of all weights. One that cannot be captured is trained the plain way, and passes.
    """
    spec, cls = trial.record.spec, trial.cls
    updates = max(1, trial.record.data.train_images // spec.recipe.batch_size)
    longer = spec.recipe.model_copy(update={"epochs": -(-STEPS // updates)})
    spec = spec.model_copy(update={"recipe": longer})
    plain, captured = trial.runner("plain", device), trial.runner("captured", device, capture=True)
    with deterministic():
        for runner in (plain, captured):
            runner.run(spec)
    missed = distance(plain.store, captured.store, spec.id)
    assert missed <= BOUND, f"{cls.name}: captured in a CUDA graph, it ends {missed:.2g} from the plain steps"


@contextmanager
def deterministic() -> Iterator[None]:
    """Kernels that do the same each time, and plain steps with the rate of captured ones, which is a float32."""
    set_rate = Optimizer.set_rate

    def rounded(self: Optimizer, done: int) -> None:
        set_rate(self, done)
        for group in self.optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32).item()

    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with patch.object(Optimizer, "set_rate", rounded), flags:
        yield


def distance(one: Store, other: Store, run: str) -> float:
    """How far a run, by its id, ended in one store from the same in another, as a part of the norm of its weights."""
    ends = []
    for store in (one, other):
        values = [value for _, value in sorted(load(store.weights(run)).items()) if value.is_floating_point()]
        ends.append(torch.cat([value.double().flatten() for value in values]))
    return float((ends[0] - ends[1]).norm() / ends[0].norm())

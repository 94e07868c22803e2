"""What a method's code may not change, lest it change the runs beside it: torch's settings, and the runs it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from lrbench.errors import UserError
from lrbench.method.base import Method
from lrbench.train.remembering import touched

FLAGS = ("enabled", "benchmark", "deterministic", "allow_tf32")  # of cuDNN


def _set_flags(values: Any) -> None:
    for name, value in zip(FLAGS, values, strict=True):
        setattr(torch.backends.cudnn, name, value)


# What it is -> how it is read, and set.
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "whether gradients are computed": (torch.is_grad_enabled, torch.set_grad_enabled),
    "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "the use of deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "the precision of matrix products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "the flags of cuDNN": (lambda: [getattr(torch.backends.cudnn, name) for name in FLAGS], _set_flags),
    **{
        f"autocast on {kind}": (partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind))
        for kind in ("cpu", "cuda")
    },
}


@contextmanager
def undisturbed(name: str, needs: Mapping[str, Method], whole: bool = False) -> Iterator[None]:
    """Within the block the code of a method runs. Raises UserError after it where another run might feel it.

    name: of the method. needs: the frozen runs that it was given; whole: all their weights are compared. Settings of
    torch are put back, whatever happens.
    """
    before = {what: read() for what, (read, _) in SETTINGS.items()}
    try:
        yield
    finally:
        changed = [what for what, (read, _) in SETTINGS.items() if read() != before[what]]
        for what in changed:
            SETTINGS[what][1](before[what])
        if changed:  # which may also be why something else failed
            raise UserError(f"{name} changes {changed[0]} for the whole process, and so for other runs; put it back")
    for role, need in needs.items():
        if done := touched(need, whole):
            raise UserError(f"{name}: its {role} {done}, but needed runs are frozen; change a copy.deepcopy of it")

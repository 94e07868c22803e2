"""What a run keeps on the host, where a captured step cannot change it: Python values and random numbers."""

from __future__ import annotations

import pickle
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrbench.method import Method, Optimizer

DEPTH = 4  # of containers in containers
PLAIN = (bool, int, float, complex, str, bytes, type(None))


def host_state(method: Method, optimizers: Sequence[Optimizer], device: torch.device) -> dict[str, Any]:
    """Name -> a mark that changes where a method's objects, its classes, its optimizers or random numbers have changed.

    Tensors on `device` are marked by which they are, not by what they hold: that is for the captured step to change.
    """
    found: dict[str, Any] = {
        "random": hash(random.getstate()),
        "numpy.random": pickle.dumps(np.random.get_state()),
        "torch's random numbers on the CPU": torch.get_rng_state().numpy().tobytes(),
    }
    for cls in type(method).__mro__:
        if issubclass(cls, Method) and cls is not Method:
            found |= {f"{cls.__name__}.{key}": _mark(value, device) for key, value in vars(cls).items()}
    for name, module in method.named_modules():
        for key, value in vars(module).items():
            inside = value.items() if key in ("_parameters", "_buffers") else [(key, value)]
            found |= {f"{name}.{part}".lstrip("."): _mark(one, device) for part, one in inside}
    for place, one in enumerate(optimizers):
        optimizer = one.optimizer
        states = [*optimizer.param_groups, *optimizer.state.values()]
        for number, state in enumerate(states):
            own = {key: value for key, value in state.items() if key != "params"}
            found |= {f"{key} of an optimizer ({place}.{number})": _mark(value, device) for key, value in own.items()}
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The name of something that differs; None where nothing does."""
    return next((name for name in {**before, **after} if before.get(name) != after.get(name)), None)


def _mark(value: Any, device: torch.device, depth: int = DEPTH) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return id(value), 0 if value.device == device else value._version
    if isinstance(value, nn.Module):
        return id(value)
    if isinstance(value, Mapping) and depth:
        return tuple((_mark(key, device, 0), _mark(one, device, depth - 1)) for key, one in value.items())
    if isinstance(value, (list, tuple)) and depth:
        return type(value).__name__, tuple(_mark(one, device, depth - 1) for one in value)
    if isinstance(value, torch.Generator):
        return id(value), value.get_state().numpy().tobytes()
    try:
        return pickle.dumps(value)
    except Exception:  # whatever a class may raise: it is known by its identity
        return id(value)

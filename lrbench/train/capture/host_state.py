"""What a run keeps on the host, where a captured step cannot change it: Python values and random numbers."""

from __future__ import annotations

import pickle
import random
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrbench.method.base import Method, Optimizer

DEPTH = 4  # of containers in containers
PLAIN = (bool, int, float, complex, str, bytes, type(None))
MOVED = ("params", "lr")  # of a group: tensors, and the rate, which a replay reads anew
KNOWN = ("state", "param_groups", "defaults")  # of an optimizer, looked at by themselves or never changed


def host_random() -> dict[str, Any]:
    """Name -> the state of each of the host's global random numbers."""
    return {
        "Python's random numbers": hash(random.getstate()),
        "NumPy's random numbers": pickle.dumps(np.random.get_state()),
        "torch's random numbers on the CPU": torch.get_rng_state().numpy().tobytes(),
    }


def host_state(method: Method, optimizers: Sequence[Optimizer], device: torch.device) -> dict[str, Any]:
    """Name -> a mark that changes where a value of a method, its classes or its optimizers has changed.

    Tensors on `device` are marked by which they are, not by what they hold: that is for the captured step to change.
    An object that cannot be pickled is marked by what it refers to, to a depth; what a C extension hides is not seen.
    """
    found: dict[str, Any] = {}
    for cls in type(method).__mro__:
        if cls not in (object, nn.Module):
            found |= {f"{cls.__name__}.{key}": _mark(value, device) for key, value in vars(cls).items()}
    for name, module in method.named_modules():
        for key, value in vars(module).items():
            inside = value.items() if key in ("_parameters", "_buffers") else [(key, value)]
            found |= {f"{name}.{part}".lstrip("."): _mark(one, device) for part, one in inside}
    for place, one in enumerate(optimizers):
        optimizer = one.optimizer
        parts = [*optimizer.param_groups, *optimizer.state.values()]
        parts += [{key: value for key, value in vars(optimizer).items() if key not in KNOWN and "hook" not in key}]
        parts += [vars(one)]
        for number, part in enumerate(parts):
            own = {key: value for key, value in part.items() if key not in MOVED}
            found |= {f"{key} of an optimizer ({place}.{number})": _mark(value, device) for key, value in own.items()}
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The name of something that differs; None where nothing does."""
    return next((name for name in {**before, **after} if before.get(name) != after.get(name)), None)


def _mark(value: Any, device: torch.device, depth: int = DEPTH) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return id(value), 0 if value.device.type == device.type else value._version
    if isinstance(value, (nn.Module, torch.optim.Optimizer, type)) or not depth:
        return id(value)
    if isinstance(value, Mapping):
        return tuple((_mark(key, device, 0), _mark(one, device, depth - 1)) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return type(value).__name__, tuple(_mark(one, device, depth - 1) for one in value)
    if isinstance(value, torch.Generator):
        return id(value), value.get_state().numpy().tobytes()
    try:
        return pickle.dumps(value)
    except Exception:  # whatever a class may raise
        return id(value), _mark(_references(value), device, depth - 1)


def _references(value: Any) -> Any:
    if isinstance(value, FunctionType):
        return [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    return getattr(value, "__dict__", None)


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True

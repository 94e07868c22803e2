"""What a run keeps on the host, where a captured step cannot change it: Python values and random numbers."""

from __future__ import annotations

import pickle
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import CellType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrbench.method.base import Method, Optimizer

DEPTH = 4  # of containers in containers
PLAIN = (bool, int, float, complex, str, bytes, type(None))
MOVED = ("params", "lr")  # of an optimizer's parameter groups: tensors, and the rate, which a replay reads anew
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
    values: dict[str, Any] = {}
    for cls in type(method).__mro__:
        if cls not in (object, nn.Module):
            values |= {f"{cls.__name__}.{key}": value for key, value in vars(cls).items()}
    for name, module in method.named_modules():
        for key, value in vars(module).items():
            inside = value.items() if key in ("_parameters", "_buffers") else [(key, value)]
            values |= {f"{name}.{part}".lstrip("."): one for part, one in inside}
    for place, one in enumerate(optimizers):
        optimizer = one.optimizer
        own = {key: value for key, value in vars(optimizer).items() if key not in KNOWN and "hook" not in key}
        for number, part in enumerate([*optimizer.param_groups, *optimizer.state.values(), own, vars(one)]):
            where = f"of an optimizer ({place}.{number})"
            values |= {f"{key} {where}": value for key, value in part.items() if key not in MOVED}
    return {name: _mark(value, device) for name, value in values.items()}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The name of something that differs; None where nothing does."""
    return next((name for name in {**before, **after} if before.get(name) != after.get(name)), None)


def parts(value: Any) -> list[Any]:
    """What a container, a function or a plain object refers to."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, FunctionType):
        return [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
    return list(getattr(value, "__dict__", {}).values())


def _mark(value: Any, device: torch.device, depth: int = DEPTH) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return id(value), 0 if value.device.type == device.type else value._version
    if isinstance(value, (nn.Module, torch.optim.Optimizer, type)) or not depth:
        return id(value)
    if isinstance(value, torch.Generator):
        return id(value), value.get_state().numpy().tobytes()
    name: Any = id(value)
    if isinstance(value, Mapping):
        name = [_mark(key, device, 0) for key in value]
    elif isinstance(value, (list, tuple)):
        name = type(value).__name__
    else:
        with suppress(Exception):  # whatever a class may raise
            return pickle.dumps(value)
    return name, [_mark(one, device, depth - 1) for one in parts(value)]

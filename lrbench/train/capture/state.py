"""All that a training step may change: looked at, compared, and kept so that the step can be taken back."""

from __future__ import annotations

import io
import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import BuiltinFunctionType, CellType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrbench.method.base import Method, Optimizer
from lrbench.spec.seeds import random_state, set_random_state

# Written down as which they are: they are looked at by themselves, or never changed.
THEMSELVES = (nn.Module, torch.optim.Optimizer, type, BuiltinFunctionType, ModuleType)
MOVED = ("params", "lr")  # of an optimizer's parameter groups: tensors, and the rate, which a replay reads anew
KNOWN = ("state", "param_groups", "defaults")  # of an optimizer, looked at by themselves or never changed


class _Look(pickle.Pickler):
    """Writes down what a value consists of, in `mark`, and collects its tensors.

    What a tensor on `device` holds is left out: the captured step changes it. What cannot be pickled is written down by
    its attributes; what a C extension hides is not seen.
    """

    def __init__(self, value: Any, device: torch.device) -> None:
        self.device, self.tensors, written = device, list[Tensor](), io.BytesIO()
        super().__init__(written)
        try:
            self.dump(value)
        except Exception:  # whatever a class may raise
            written.write(str(id(value)).encode())
        self.mark = written.getvalue()

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            self.tensors.append(value)
            return id(value), 0 if value.device.type == self.device.type else value._version
        return id(value) if isinstance(value, THEMSELVES) else None

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            inside: Any = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
        elif isinstance(value, torch.Generator):
            inside = value.get_state().numpy().tobytes()
        else:
            try:
                inside = value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
            except Exception:
                inside = getattr(value, "__dict__", None)
            if isinstance(inside, tuple):
                return inside
        return id, (id(value),), inside


def host_random() -> dict[str, Any]:
    """Name -> the state of each of the host's global random numbers."""
    return {
        "Python's random numbers": hash(random.getstate()),
        "NumPy's random numbers": pickle.dumps(np.random.get_state()),
        "torch's random numbers on the CPU": torch.get_rng_state().numpy().tobytes(),
    }


def host_state(method: Method, optimizers: Sequence[Optimizer], device: torch.device) -> dict[str, bytes]:
    """Name -> a mark that changes where a value of a method, its classes or its optimizers has changed on the host."""
    return {name: _Look(value, device).mark for name, value in _values(method, optimizers)}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The name of something that differs; None where nothing does."""
    return next((name for name in {**before, **after} if before.get(name) != after.get(name)), None)


def _values(method: Method, optimizers: Sequence[Optimizer]) -> Iterator[tuple[str, Any]]:
    """Each value that a method, its classes and its optimizers keep, and what it is called."""
    for cls in type(method).__mro__:
        if cls not in (object, nn.Module):
            yield from ((f"{cls.__name__}.{key}", value) for key, value in vars(cls).items())
    for name, module in method.named_modules():
        for key, value in vars(module).items():
            inside = value.items() if key in ("_parameters", "_buffers") else [(key, value)]
            yield from ((f"{name}.{part}".lstrip("."), one) for part, one in inside)
    for place, one in enumerate(optimizers):
        optimizer = one.optimizer
        own = {key: value for key, value in vars(optimizer).items() if key not in KNOWN and "hook" not in key}
        for number, part in enumerate([*optimizer.param_groups, *optimizer.state.values(), own, vars(one)]):
            where = f"of an optimizer ({place}.{number})"
            yield from ((f"{key} {where}", value) for key, value in part.items() if key not in MOVED)


class RunState:
    """The tensors of a method and its optimizers, by kind, and the random numbers: to be read, and put back."""

    def __init__(self, method: Method, optimizers: Sequence[Optimizer], device: torch.device) -> None:
        self.device = device
        weights, state = [*method.parameters()], list[Tensor]()
        for one in optimizers:
            state += [x for part in one.optimizer.state.values() for x in part.values() if isinstance(x, Tensor)]
        seen = {id(x): x for _, value in _values(method, optimizers) for x in _Look(value, device).tensors}
        others = [x for place, x in seen.items() if place not in set(map(id, [*weights, *state]))]
        self.places = [[x for x in kind if _writable(x)] for kind in (weights, others, state)]

    def read(self) -> tuple[list[list[Tensor]], list[Tensor]]:
        """What the tensors hold, and the random numbers."""
        return [[x.detach().clone() for x in kind] for kind in self.places], random_state(self.device)

    @torch.no_grad()
    def put_back(self, values: list[list[Tensor]], random: list[Tensor]) -> None:
        for place, value in zip(chain(*self.places), chain(*values), strict=True):
            place.copy_(value)
        set_random_state(random, self.device)


@torch.no_grad()
def near(
    found: Sequence[Tensor], wanted: Sequence[Tensor], start: Sequence[Tensor], bound: float, device: torch.device
) -> Tensor:
    """Whether values are as wanted, up to `bound` of how far they have come; what is counted must be equal.

    The answer, (), bool, is on the device: nothing has waited for it.
    """
    if not [x.shape for x in found] == [x.shape for x in wanted] == [x.shape for x in start]:
        return torch.zeros((), dtype=torch.bool, device=device)
    same = torch.ones((), dtype=torch.bool, device=device)
    missed, moved = torch.zeros(2, dtype=torch.float64, device=device)
    for values in zip(found, wanted, start, strict=True):
        one, other, before = (torch.view_as_real(x) if x.is_complex() else x for x in values)
        if one.is_floating_point():
            missed += _square(one, other).to(device)
            moved += _square(other, before).to(device)
        else:
            same &= (one == other).all().to(device)
    return same & (missed <= bound**2 * moved)


def _square(one: Tensor, other: Tensor) -> Tensor:
    return torch.where(one == other, 0.0, one.double() - other.double()).square().sum()  # infinities may be equal


def _writable(tensor: Tensor) -> bool:
    """Not where several places are one in memory: no step writes there."""
    return all(step or size == 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True))

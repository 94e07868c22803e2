"""All that a training step may change, kept so that the step can be taken back and taken in another way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lrbench.method.base import Method, Optimizer
from lrbench.spec.seeds import random_state, set_random_state
from lrbench.train.capture.host_state import DEPTH, parts


class RunState:
    """The tensors of a method and its optimizers, by kind, and the random numbers, as they were when it was made."""

    def __init__(self, method: Method, optimizers: Sequence[Optimizer], device: torch.device) -> None:
        self.device = device
        self.places = [_writable(kind) for kind in _tensors(method, optimizers)]
        self.values = [[tensor.detach().clone() for tensor in kind] for kind in self.places]
        self.random = random_state(device)

    @torch.no_grad()
    def put_back(self) -> None:
        """Make all as it was."""
        for places, values in zip(self.places, self.values, strict=True):
            for place, value in zip(places, values, strict=True):
                place.copy_(value)
        self.put_back_random()

    def put_back_random(self) -> None:
        """Make the random numbers as they were."""
        set_random_state(self.random, self.device)

    def is_near(self, wanted: RunState, start: RunState, bound: float) -> Tensor:
        """Whether each kind is as wanted, up to `bound` of how far it has come since `start`: as `near` says it."""
        kinds = zip(self.values, wanted.values, start.values, strict=True)
        return torch.stack([near(*kind, bound, self.device) for kind in kinds]).all()


@torch.no_grad()
def near(
    found: Sequence[Tensor], wanted: Sequence[Tensor], start: Sequence[Tensor], bound: float, device: torch.device
) -> Tensor:
    """Whether values are as wanted, up to `bound` of how far they have come; what is counted must be equal.

    The answer, (), bool, is on the device: nothing has waited for it.
    """
    if [one.shape for one in found] != [one.shape for one in wanted]:
        return torch.zeros((), dtype=torch.bool, device=device)
    one, other, before = (_values(tensors, device) for tensors in (found, wanted, start))
    counts, other_counts = (_values(tensors, device, counted=True) for tensors in (found, wanted))
    return (_square_of(one, other) <= bound**2 * _square_of(other, before)) & (counts == other_counts).all()


def _values(tensors: Sequence[Tensor], device: torch.device, counted: bool = False) -> Tensor:
    """All in one row, (n,): real numbers as float64, or what is counted as int64."""
    dtype = torch.int64 if counted else torch.float64
    tensors = [torch.view_as_real(one) if one.is_complex() else one for one in tensors]
    rows = [one.reshape(-1).to(device, dtype) for one in tensors if one.is_floating_point() != counted]
    return torch.cat([torch.empty(0, dtype=dtype, device=device), *rows])


def _square_of(one: Tensor, other: Tensor) -> Tensor:
    return torch.where(one == other, 0.0, one - other).square().sum()  # infinities may be equal


def _tensors(method: Method, optimizers: Sequence[Optimizer]) -> list[list[Tensor]]:
    kept = [value for one in optimizers for state in one.optimizer.state.values() for value in state.values()]
    weights: list[Tensor] = [*method.parameters()]
    buffers = [*method.buffers()]
    known = set(map(id, (*weights, *buffers)))
    others = {
        id(tensor): tensor
        for part in method.modules()
        for name, value in vars(part).items()
        if name not in ("_parameters", "_buffers", "_modules")
        for tensor in _inside(value, DEPTH)
        if id(tensor) not in known
    }
    return [weights, [*buffers, *others.values()], [value for value in kept if isinstance(value, Tensor)]]


def _inside(value: Any, depth: int) -> Iterator[Tensor]:
    """The tensors in a value, in containers and in plain objects; a network's are its own."""
    if isinstance(value, Tensor):
        yield value
    elif depth and not isinstance(value, (nn.Module, type)):
        for one in parts(value):
            yield from _inside(one, depth - 1)


def _writable(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Without those of which several places are one in memory: no step writes into them."""
    return [
        one for one in tensors if all(step or size == 1 for step, size in zip(one.stride(), one.shape, strict=True))
    ]

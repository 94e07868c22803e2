"""An exponential moving average of a method's weights, to be tested in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lrbench.method.base import Method


class Average:
    """w <- d * w + (1 - d) * new, over weights and floating buffers; others are copied.

    d = min(decay, (1 + t) / (10 + t)) after t updates, as TensorFlow's ExponentialMovingAverage has it, lest a short
    training test its random start.
    """

    def __init__(self, method: Method, decay: float) -> None:
        self.method, self.decay = method, decay
        self.weights = {name: value.detach().clone() for name, value in method.state_dict().items()}

    @torch.no_grad()
    def update(self, done: int) -> None:
        """Take in the method's weights after update number `done`, counted from 0."""
        decay = min(self.decay, (1 + done) / (10 + done))
        live = self.method.state_dict()
        floating = [name for name, value in live.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in floating], [live[name] for name in floating], 1 - decay)
        for name in live.keys() - floating:
            self.weights[name].copy_(live[name])

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from saved averages."""
        for name, value in weights.items():
            self.weights[name].copy_(value)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The method with the averaged weights, for as long as the block lasts."""
        live = {name: value.detach().clone() for name, value in self.method.state_dict().items()}
        self.method.load_state_dict(self.weights)
        try:
            yield
        finally:
            self.method.load_state_dict(live)

"""Random numbers: each use has its own stream, derived from the seed and from what it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, the same on every machine."""
    text = ":".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


class Stream:
    """torch's global random numbers as one of several runs in this process sees them."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        with self._kept():
            torch.manual_seed(seed)
            self._state = self._now()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Draw from it; what is drawn outside does not move it."""
        with self._kept():
            self._set(self._state)
            try:
                yield
            finally:
                self._state = self._now()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        before = self._now()
        try:
            yield
        finally:
            self._set(before)

    def _now(self) -> list[torch.Tensor]:
        on_device = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return [torch.get_rng_state(), *on_device]

    def _set(self, state: list[torch.Tensor]) -> None:
        torch.set_rng_state(state[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state[1], self.device)

"""Random numbers: each use of them has its own seed, derived from the run's seed and from what it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *purpose: str | float) -> int:
    """A 63-bit seed for one purpose, such as `derive(seed, "batches", epoch)`; the same on every machine."""
    text = ":".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A generator on the CPU, seeded as `derive` does."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def random_state(device: torch.device) -> list[torch.Tensor]:
    """The state of torch's global generators, of the CPU and, if the device is one, of a GPU."""
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *on_device]


def set_random_state(state: list[torch.Tensor], device: torch.device) -> None:
    """Put back what `random_state` returned for the same device."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


class Stream:
    """A state of torch's global generators for one run of a group, which draws what it would draw if it was alone."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device, self._others = device, [device] if device.type == "cuda" else []
        with torch.random.fork_rng(self._others):
            torch.manual_seed(seed)
            self._state = random_state(device)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Within the block torch draws from this stream; what is drawn outside the block does not move it."""
        with torch.random.fork_rng(self._others):
            set_random_state(self._state, self.device)
            yield
            self._state = random_state(self.device)

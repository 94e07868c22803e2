"""The device that trains, and the arithmetic it does quickly."""

from __future__ import annotations

import os
from typing import Literal

import torch

from lrbench.errors import UserError

Precision = Literal["fp32", "bf16"]


def pick(name: str) -> torch.device:
    """`auto` is CUDA where there is one; a CUDA device always has its index, for torch holds cuda unequal to cuda:0.

    Raises UserError where the device asked for is missing.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("no CUDA device here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        torch.backends.cudnn.benchmark = True  # shapes never change within a run
        torch.backends.cudnn.allow_tf32 = False  # else "fp32" would not be what it says
    return torch.device("cuda", 0) if name == "cuda" else torch.device(name)


def enter(device: torch.device) -> torch.device:
    """Make it this process's own, so that nothing is put on another."""
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.set_device(device)
    return device


def precision(name: str, device: torch.device) -> Precision:
    """`auto` is bf16 where the device computes in it natively. The choice is part of the spec."""
    if name != "auto":
        return "bf16" if name == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.backends.mkldnn.is_available() and _cpu_has_bf16() else "fp32"


def _cpu_has_bf16() -> bool:
    """AVX-512 with bf16 arithmetic; AVX-512 without it only converts, and is slower than fp32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def memory(device: torch.device) -> int:
    """Bytes of the device's memory, or of the machine's for the CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def describe(device: torch.device) -> str:
    """The device in words, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} thread(s), {torch.backends.cpu.get_cpu_capability()}"

"""What a method's code may not change, lest it change the runs beside it: torch's settings, and the runs it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import nn

from lrbench.errors import RunError, UserError, broken, out_of_memory
from lrbench.method.base import Method
from lrbench.train.remembering import touched

CPU = torch.device("cpu")
FLAGS = ("enabled", "benchmark", "deterministic", "allow_tf32")  # of cuDNN


BACKENDS: Any = torch.backends
PRECISIONS = (BACKENDS, BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv, BACKENDS.cudnn.conv)


def _set_flags(values: Any) -> None:
    for name, value in zip(FLAGS, values, strict=True):
        setattr(BACKENDS.cudnn, name, value)


HOOKS = [hooks for name, hooks in vars(nn.modules.module).items() if name.startswith("_global_") and hooks is not None]
MODES: list[Any] = []  # see `_set_inference_mode`
TINY = 5e-324  # the smallest double


def _set_inference_mode(on: bool) -> None:
    """For good: torch has it only for the length of a block."""
    MODES.append(torch._C._InferenceMode(on))
    MODES[-1].__enter__()


def _set_hooks(values: Any) -> None:
    for hooks, value in zip(HOOKS, values, strict=True):
        hooks.clear()
        hooks.update(value)


def _set_precisions(values: Any) -> None:
    for place, value in zip(PRECISIONS, values, strict=True):
        place.fp32_precision = value


# What it is -> how it is read, and set.
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "inference mode": (torch.is_inference_mode_enabled, _set_inference_mode),
    "whether gradients are computed": (torch.is_grad_enabled, torch.set_grad_enabled),
    "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "the default device": (torch.get_default_device, lambda on: torch.set_default_device(None if on == CPU else on)),
    "the search for anomalies": (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    "oneDNN's switch": (lambda: BACKENDS.mkldnn.enabled, lambda on: setattr(BACKENDS.mkldnn, "enabled", on)),
    "how the smallest numbers are computed": (lambda: TINY * 1.0 == 0.0, torch.set_flush_denormal),
    "hooks of all modules": (lambda: [dict(hooks) for hooks in HOOKS], _set_hooks),
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "the use of deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "the precision of matrix products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "the precision of float32": (lambda: [place.fp32_precision for place in PRECISIONS], _set_precisions),
    "the flags of cuDNN": (lambda: [getattr(BACKENDS.cudnn, name) for name in FLAGS], _set_flags),
    **{
        f"autocast on {kind}": (partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind))
        for kind in ("cpu", "cuda")
    },
}


def _settings() -> dict[str, Any]:
    """What is set now; nothing for what torch does not say, once its new and old words for precision were mixed."""
    found = {}
    for what, (read, _) in SETTINGS.items():
        with suppress(RuntimeError):
            found[what] = read()
    return found


@contextmanager
def _kept(name: str) -> Iterator[None]:
    """Settings are put back after the block; UserError where one had changed, unless the block was interrupted."""
    before, interrupted, cause = _settings(), False, None
    try:
        yield
    except BaseException as error:
        cause, interrupted = error, not isinstance(error, Exception) or out_of_memory(error)
        if not isinstance(error, Exception | KeyboardInterrupt | GeneratorExit):  # such as sys.exit: its own end only
            raise RunError(f"{name} raised {broken(error)}") from error
        raise
    finally:
        now = _settings()
        changed = [what for what, value in before.items() if what not in now or now[what] != value]
        for what in changed:
            with suppress(RuntimeError):
                SETTINGS[what][1](before[what])
        if changed and not interrupted:  # it may be why something else failed
            said = f"{name} changes {changed[0]} for the whole process, and so for the runs beside it; put it back"
            raise UserError(said) from cause


@contextmanager
def undisturbed(name: str, needs: Mapping[str, Method], whole: bool = False) -> Iterator[None]:
    """Within the block the code of a method runs. Raises UserError after it where another run might feel it.

    name: of the method. needs: the frozen runs that it was given; whole: all their weights are compared. Settings of
    torch are put back, whatever happens.
    """
    with _kept(name):
        yield
    for role, need in needs.items():
        if done := touched(need, whole):
            raise UserError(f"{name}: its {role} {done}, but needed runs are frozen; change a copy.deepcopy of it")

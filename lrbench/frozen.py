"""The frozen networks of runs that are trained side by side: each loaded once, and asked once a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lrbench import build
from lrbench.method import Method
from lrbench.spec import RunSpec
from lrbench.store import Store

ASKED = ("forward", "features", "maps")  # of a network and of its parts, such as its backbone


class Frozen:
    """Finished runs, loaded and frozen for the use of others. shared: whether several runs will ask them."""

    def __init__(self, store: Store, device: torch.device, shared: bool) -> None:
        self.store, self.device, self.shared = store, device, shared
        self._loaded: dict[str, Method] = {}

    def get(self, spec: RunSpec) -> Method:
        """The network of a finished run, the same one each time. It must be in the store with its weights."""
        if spec.id not in self._loaded:
            need = build.load_frozen(spec, self.store, self.device)
            if self.shared:
                remember_answers(need)
            self._loaded[spec.id] = need
        return self._loaded[spec.id]


def remember_answers(need: Method) -> None:
    """Make a frozen network keep its last answer, for whoever asks it about the same tensor again."""
    for module in (need, *need.children()):
        for name in ASKED:
            ask = getattr(module, name, None)
            if ask is not None:
                setattr(module, name, _Remembering(ask, module))
    for other in need.needs.values():
        remember_answers(other)


class _Remembering:
    """A function of one tensor that answers from memory where nothing that its answer depends on has changed."""

    def __init__(self, ask: Callable[..., Any], module: nn.Module) -> None:
        self.ask, self.module = ask, module
        self.question: Tensor | None = None
        self.state: tuple[object, ...] = ()
        self.answer: Any = None
        self.versions: list[int] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        question = args[0] if len(args) == 1 and not kwargs else None
        if not isinstance(question, Tensor) or question.requires_grad:  # an answer with a graph serves one backward
            return self.ask(*args, **kwargs)
        device = question.device.type
        state = (
            question._version,
            self.module.training,
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled(device),
            torch.get_autocast_dtype(device),
        )
        known = question is self.question and state == self.state and self.versions == _versions(self.answer)
        if not known:
            answer = self.ask(question)
            if any(tensor.requires_grad for tensor in _tensors(answer)):
                return answer
            self.question, self.state, self.answer = question, state, answer
            self.versions = _versions(answer)
        return self.answer


def _tensors(answer: Any) -> list[Tensor]:
    return [answer] if isinstance(answer, Tensor) else [one for one in answer if isinstance(one, Tensor)]


def _versions(answer: Any) -> list[int]:
    """They tell whether somebody has written into a tensor."""
    return [tensor._version for tensor in _tensors(answer)]

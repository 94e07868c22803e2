"""A frozen network that keeps its last answer, for whoever asks it about the same tensor again."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field
from types import MethodType
from typing import Any
from weakref import WeakMethod

import torch
from torch import Tensor

from lrbench.method.base import Method
from lrbench.spec.seeds import random_state

ASKED = ("forward", "features", "maps")  # of a network and of its parts, such as its backbone


def remember_answers(need: Method) -> None:
    """Make a frozen network keep its last answer, for whoever asks it about the same tensor again."""
    for module in (need, *need.children()):
        for name in ASKED:
            ask = getattr(module, name, None)
            if inspect.ismethod(ask):  # it may be a network, such as the `features` of torchvision's VGG
                setattr(module, name, _Remembering(ask))
    for other in need.needs.values():
        remember_answers(other)


@dataclass(frozen=True)
class _Memory:
    """The last question, and the answer."""

    question: Tensor | None = None
    state: tuple[object, ...] = ()
    answer: Any = None
    versions: list[int] = field(default_factory=list)  # of the answer

    def knows(self, question: Tensor, state: tuple[object, ...]) -> bool:
        return question is self.question and state == self.state and self.versions == _versions(self.answer)


def is_capturing(device: str) -> bool:
    """Whether a CUDA graph is being captured: what is asked for then is computed when the graph is replayed."""
    return device == "cuda" and torch.cuda.is_current_stream_capturing()


class _Remembering:
    """A method of one tensor that answers from memory where nothing that its answer depends on has changed.

    Where somebody listens, with a hook that was registered since, it is asked each time.
    """

    def __init__(self, ask: MethodType) -> None:
        self.ask = WeakMethod(ask)  # the network holds this: were it held in turn, only a search would free it
        network: Any = ask.__self__
        self.hooks = [hooks for part in network.modules() for hooks in (part._forward_hooks, part._forward_pre_hooks)]
        self.listeners = self._listeners()
        self.memories = {False: _Memory(), True: _Memory()}  # by whether a graph was being captured then

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy of a network, which a method may train, has nothing to remember."""
        return copy.deepcopy(self.ask(), memo)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        ask = self.ask()
        assert ask is not None, "the network that this belongs to is gone"
        network: Any = ask.__self__
        question = args[0] if len(args) == 1 and not kwargs else None
        if not isinstance(question, Tensor) or not _is_kept(question) or torch.is_inference_mode_enabled():
            return ask(*args, **kwargs)
        device = question.device.type
        weights = [*network.parameters(), *network.buffers()]
        state = (
            question._version,
            network.training,
            torch.is_autocast_enabled(device),
            torch.get_autocast_dtype(device),
            [(id(weight), weight._version) for weight in weights],  # torch.func puts others in their place
        )
        capturing = is_capturing(device)  # nothing is computed then
        memory = self.memories[capturing]
        if not memory.knows(question, state) or self._listeners() != self.listeners:
            drawn_on = torch.device("cpu") if capturing else question.device  # a GPU's may not be looked at then
            before = random_state(drawn_on)
            answer = ask(question)
            if not _is_kept(answer) or not all(map(torch.equal, before, random_state(drawn_on))):
                return answer
            memory = self.memories[capturing] = _Memory(question, state, answer, _versions(answer))
        return list(memory.answer) if isinstance(memory.answer, list) else memory.answer  # a list of the asker's own

    def _listeners(self) -> int:
        return sum(map(len, self.hooks))


def _is_kept(value: Any) -> bool:
    """Whether a tensor, or several, can be remembered: one with a graph serves one backward only."""
    tensors = [value] if isinstance(value, Tensor) else value
    return isinstance(tensors, list | tuple) and all(
        isinstance(one, Tensor) and not one.requires_grad and not one.is_inference()  # these have no versions
        for one in tensors
    )


def _versions(answer: Any) -> list[int]:
    """They tell whether somebody has written into a tensor."""
    return [tensor._version for tensor in ([answer] if isinstance(answer, Tensor) else answer or ())]

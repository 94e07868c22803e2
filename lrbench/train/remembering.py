"""What stands before a frozen network that several runs ask: it keeps the last answer to each kind of question."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lrbench.method.backbones import Backbone
from lrbench.spec.seeds import random_state

ASKED = ("forward", "features", "maps")


class Remembering:
    """A frozen network that answers from memory where it is asked about the same tensor again.

    So do `forward`, `features` and `maps`, its own and its `backbone`'s; all else is the network's own.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._hooks = [one for part in network.modules() for one in (part._forward_hooks, part._forward_pre_hooks)]
        self._own_hooks = sum(map(len, self._hooks))
        # State, question and answer, by what was asked and whether a CUDA graph was captured: nothing is computed then.
        self._memories: dict[tuple[str, bool], tuple[object, Tensor, Any]] = {}
        if isinstance(backbone := getattr(network, "backbone", None), Backbone):
            self.backbone = Remembering(backbone)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """To isinstance it is the network: torch registers it, and so finds it out, as a part of a method."""
        return type(self._network)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._network, name)
        asked = name in ASKED and callable(found) and not isinstance(found, nn.Module)  # VGG's `features` is a network
        return partial(self._answer, name) if asked else found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("__call__", *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy, which a method may train, is one of the network."""
        return copy.deepcopy(self._network, memo)

    def _answer(self, name: str, *args: Any, **kwargs: Any) -> Any:
        ask, question = getattr(self._network, name), args[0] if len(args) == 1 and not kwargs else None
        listened = sum(map(len, self._hooks)) != self._own_hooks  # by somebody who wants to hear each answer
        if listened or not isinstance(question, Tensor) or not _can_be_kept(question):
            return ask(*args, **kwargs)
        capturing = is_capturing(question.device.type)
        state, _, answer = self._memories.get((name, capturing), (None, None, None))
        if answer is None or state != self._state(question, answer):
            drawn_on = torch.device("cpu") if capturing else question.device  # a GPU's may not be looked at then
            before = random_state(drawn_on)
            answer = ask(question)
            if not _can_be_kept(answer) or not all(map(torch.equal, before, random_state(drawn_on))):
                return answer
            self._memories[name, capturing] = self._state(question, answer), question, answer
        return list(answer) if isinstance(answer, list) else answer  # a list of the asker's own

    def _state(self, question: Tensor, answer: Any) -> object:
        """All that the answer depends on, and what tells that somebody has written into a tensor: its version."""
        device = question.device.type
        tensors = [question, *_tensors(answer), *self._network.parameters(), *self._network.buffers()]
        autocast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        return autocast, self._network.training, [(id(one), one._version) for one in tensors]


def is_capturing(device: str) -> bool:
    """Whether a CUDA graph is being captured: what is asked for then is computed when the graph is replayed."""
    return device == "cuda" and torch.cuda.is_current_stream_capturing()


def _can_be_kept(value: Any) -> bool:
    """Whether a tensor, or several, can be: one with a graph serves one backward only, an inference tensor none."""
    tensors = all(isinstance(one, Tensor) and not (one.requires_grad or one.is_inference()) for one in _tensors(value))
    return tensors and not torch.is_inference_mode_enabled()


def _tensors(answer: Any) -> list[Any] | tuple[Any, ...]:
    return answer if isinstance(answer, list | tuple) else [answer]

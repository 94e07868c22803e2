"""What stands before a frozen network that several runs ask: it keeps the last answer to each kind of question."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lrbench.method.backbones import Backbone
from lrbench.spec.seeds import random_state

ASKED = ("forward", "features", "maps")


class Remembering:
    """A frozen network that answers from memory where it is asked about the same tensor again.

    So it is for `forward`, `features` and `maps`, of the network and of its `backbone`; all else is the network's own.
    A method that asks need not know; of several that ask about one batch only the first has to wait for the answer.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network, self._call = network, _Answers(network, network)
        for name in ASKED:
            ask = getattr(network, name, None)
            if callable(ask) and not isinstance(ask, nn.Module):  # torchvision's VGG has a network called `features`
                setattr(self, name, _Answers(network, ask))
        if isinstance(backbone := getattr(network, "backbone", None), Backbone):
            self.backbone = Remembering(backbone)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """To isinstance it is the network: torch registers it, and so finds it out, as a part of a method."""
        return type(self._network)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy, which a method may train, is one of the network."""
        return copy.deepcopy(self._network, memo)


class _Answers:
    """A function of a network and one tensor, and its last answer."""

    def __init__(self, network: nn.Module, ask: Callable[..., Any]) -> None:
        self.network, self.ask = network, ask
        self.hooks = [hooks for part in network.modules() for hooks in (part._forward_hooks, part._forward_pre_hooks)]
        self.own_hooks = sum(map(len, self.hooks))
        # State, question and answer; by whether a CUDA graph was being captured, as nothing is computed then.
        self.memories: dict[bool, tuple[object, Tensor, Any]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        question = args[0] if len(args) == 1 and not kwargs else None
        listened = sum(map(len, self.hooks)) != self.own_hooks  # by somebody who wants to hear each answer
        if listened or not isinstance(question, Tensor) or not _can_be_kept(question):
            return self.ask(*args, **kwargs)
        capturing = is_capturing(question.device.type)
        state, _, answer = self.memories.get(capturing, (None, None, None))
        if answer is None or state != self._state(question, answer):
            drawn_on = torch.device("cpu") if capturing else question.device  # a GPU's may not be looked at then
            before = random_state(drawn_on)
            answer = self.ask(question)
            if not _can_be_kept(answer) or not all(map(torch.equal, before, random_state(drawn_on))):
                return answer
            self.memories[capturing] = self._state(question, answer), question, answer
        return list(answer) if isinstance(answer, list) else answer  # a list of the asker's own

    def _state(self, question: Tensor, answer: Any) -> object:
        """All that the answer depends on, and what tells that somebody has written into a tensor: its version."""
        device = question.device.type
        tensors = [question, *_tensors(answer), *self.network.parameters(), *self.network.buffers()]
        autocast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        return autocast, self.network.training, [(id(one), one._version) for one in tensors]


def is_capturing(device: str) -> bool:
    """Whether a CUDA graph is being captured: what is asked for then is computed when the graph is replayed."""
    return device == "cuda" and torch.cuda.is_current_stream_capturing()


def _can_be_kept(value: Any) -> bool:
    """Whether a tensor, or several, can be: one with a graph serves one backward only, an inference tensor none."""
    return not torch.is_inference_mode_enabled() and all(
        isinstance(one, Tensor) and not one.requires_grad and not one.is_inference() for one in _tensors(value)
    )


def _tensors(answer: Any) -> list[Any] | tuple[Any, ...]:
    return answer if isinstance(answer, list | tuple) else [answer]

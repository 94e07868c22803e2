"""A frozen network that several runs ask keeps the last answer to each kind of question."""

from __future__ import annotations

import copy
import operator
from functools import partialmethod
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lrbench.method.backbones import Backbone
from lrbench.method.base import Method
from lrbench.spec.seeds import random_state

ASKED = ("forward", "features", "maps")
_memories: WeakKeyDictionary[nn.Module, dict[Any, _Memory]] = WeakKeyDictionary()  # by what was asked, see `_answer`
_asking: list[str] = []  # not empty while a network is: what it asks of itself then is not kept


def remembering(network: Method) -> Method:
    """The frozen network, which from now on answers from memory where it is asked about the same tensor again.

    So do `forward`, `features` and `maps`, its own and its `backbone`'s. It is asked anew where an attribute or a
    weight was set or written into, and always while a part of it is in training mode.
    """
    backbone = getattr(network, "backbone", None)
    for part in (network, backbone) if isinstance(backbone, Backbone) else (network,):
        cls, hooks = type(part), _hooks(part)
        asked = {name: partialmethod(_answer, name, hooks) for name in ASKED if callable(getattr(cls, name, None))}
        own = {"__module__": cls.__module__, "__deepcopy__": _plain_copy}
        part.__class__ = type(cls.__name__, (cls,), own | asked)
    return network


def _plain_copy(network: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A copy, which a method may train, remembers nothing."""
    cls: Any = type(network).__bases__[0]
    copied = memo[id(network)] = cls.__new__(cls)
    vars(copied).update(copy.deepcopy(vars(network), memo))
    return copied


def _answer(network: Any, name: str, own_hooks: int, *args: Any, **kwargs: Any) -> Any:
    ask, question = getattr(super(type(network), network), name), args[0] if len(args) == 1 and not kwargs else None
    if _asking or not isinstance(question, Tensor) or not _can_be_kept(question):
        return ask(*args, **kwargs)
    capturing = is_capturing(question.device.type)  # nothing is computed then: it has memories of its own
    memories = _memories.setdefault(network, {})
    memory = memories.get((name, capturing))
    if memory is None or not memory.answers(question):
        drawn_on = torch.device("cpu") if capturing else question.device  # a GPU's may not be looked at then
        before = random_state(drawn_on)
        _asking.append(name)
        try:
            answer = ask(question)
        finally:
            _asking.pop()
        changing = any(part.training for part in network.modules())
        heard = _hooks(network) != own_hooks  # by somebody who wants to hear each answer
        drawn = not all(map(torch.equal, before, random_state(drawn_on)))
        if changing or heard or drawn or not _can_be_kept(answer):
            return answer
        memory = memories[name, capturing] = _Memory(network, question, answer)
    return list(memory.answer) if isinstance(memory.answer, list) else memory.answer  # a list of the asker's own


class _Memory:
    """An answer, and all that it depends on: what the network's parts hold, as the same objects, not written into."""

    def __init__(self, network: nn.Module, question: Tensor, answer: Any) -> None:
        inside = [one for part in network.modules() for one in (vars(part), *vars(part).values())]
        self.places = [one for one in inside if isinstance(one, dict)]  # attributes, weights, modules, hooks
        self.answer, self.held = answer, self._hold(question, answer)
        self.tensors = [one for one in self.held if isinstance(one, Tensor) and not one.is_inference()]
        self.marks = self._mark()

    def answers(self, question: Tensor) -> bool:
        held = self._hold(question, self.answer)
        same = len(held) == len(self.held) and all(map(operator.is_, held, self.held))
        return same and self._mark() == self.marks

    def _hold(self, question: Tensor, answer: Any) -> list[Any]:
        return [question, *_tensors(answer), *chain.from_iterable(place.values() for place in self.places)]

    def _mark(self) -> list[Any]:
        device, graph = self.held[0].device.type, torch.is_grad_enabled()
        autocast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        return [autocast, *((one._version, graph and one.requires_grad) for one in self.tensors)]


def _hooks(network: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in network.modules())


def is_capturing(device: str) -> bool:
    """Whether a CUDA graph is being captured: what is asked for then is computed when the graph is replayed."""
    return device == "cuda" and torch.cuda.is_current_stream_capturing()


def _can_be_kept(value: Any) -> bool:
    """Whether a tensor, or several, can be: one with a graph serves one backward only, an inference tensor none."""
    tensors = all(isinstance(one, Tensor) and not (one.requires_grad or one.is_inference()) for one in _tensors(value))
    return tensors and not torch.is_inference_mode_enabled()


def _tensors(answer: Any) -> list[Any] | tuple[Any, ...]:
    return answer if isinstance(answer, list | tuple) else [answer]

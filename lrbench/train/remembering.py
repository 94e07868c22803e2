"""What stands before a frozen network that several runs ask: it keeps the last answer to each kind of question."""

from __future__ import annotations

import copy
import operator
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lrbench.method.backbones import Backbone
from lrbench.spec.seeds import random_state

ASKED = ("forward", "features", "maps")


class Remembering:
    """A frozen network that answers from memory where it is asked about the same tensor again.

    So do `forward`, `features` and `maps`, its own and its `backbone`'s; all else is the network's own. It is asked
    anew where an attribute or a weight was set or written into, and always while a part of it is in training mode.
    """

    def __init__(self, network: nn.Module) -> None:
        # Its own attributes go by `vars`: any other that is set is the network's. Memories are by what was asked and
        # whether a CUDA graph was captured: nothing is computed then.
        vars(self).update(_network=network, _own_hooks=_hooks(network), _memories={})
        if isinstance(backbone := getattr(network, "backbone", None), Backbone):
            vars(self)["backbone"] = Remembering(backbone)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """To isinstance it is the network: torch registers it, and so finds it out, as a part of a method."""
        return type(self._network)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._network, name)
        asked = name in ASKED and callable(found) and not isinstance(found, nn.Module)  # VGG's `features` is a network
        return partial(self._answer, name) if asked else found

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._network, name, value)
        if name == "backbone":
            vars(self).pop(name, None)

    def __delattr__(self, name: str) -> None:
        delattr(self._network, name)
        if name == "backbone":
            vars(self).pop(name, None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("__call__", *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy, which a method may train, is one of the network."""
        return copy.deepcopy(self._network, memo)

    def _answer(self, name: str, *args: Any, **kwargs: Any) -> Any:
        ask, question = getattr(self._network, name), args[0] if len(args) == 1 and not kwargs else None
        if not isinstance(question, Tensor) or not _can_be_kept(question):
            return ask(*args, **kwargs)
        capturing = is_capturing(question.device.type)
        memory = self._memories.get((name, capturing))
        if memory is None or not memory.answers(question):
            drawn_on = torch.device("cpu") if capturing else question.device  # a GPU's may not be looked at then
            before = random_state(drawn_on)
            answer = ask(question)
            changing = any(part.training for part in self._network.modules())
            heard = _hooks(self._network) != self._own_hooks  # by somebody who wants to hear each answer
            drawn = not all(map(torch.equal, before, random_state(drawn_on)))
            if changing or heard or drawn or not _can_be_kept(answer):
                return answer
            memory = self._memories[name, capturing] = _Memory(self._network, question, answer)
        return list(memory.answer) if isinstance(memory.answer, list) else memory.answer  # a list of the asker's own


class _Memory:
    """An answer, and all that it depends on: what the network's parts hold, as the same objects, not written into."""

    def __init__(self, network: nn.Module, question: Tensor, answer: Any) -> None:
        self.question, self.answer = question, answer
        inside = [one for part in network.modules() for one in (vars(part), *vars(part).values())]
        self.places = [one for one in inside if isinstance(one, dict)]  # attributes, weights, modules, hooks
        self.held = self._hold()
        inside = [question, *_tensors(answer), *self.held]
        self.tensors = [one for one in inside if isinstance(one, Tensor) and not one.is_inference()]
        self.marks = self._mark()

    def answers(self, question: Tensor) -> bool:
        held = self._hold()
        same = question is self.question and len(held) == len(self.held) and all(map(operator.is_, held, self.held))
        return same and self._mark() == self.marks

    def _hold(self) -> list[Any]:
        return list(chain.from_iterable(place.values() for place in self.places))

    def _mark(self) -> list[Any]:
        device, graph = self.question.device.type, torch.is_grad_enabled()
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

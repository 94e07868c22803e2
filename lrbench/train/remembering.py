"""A frozen network that several runs ask: each has a network of its own, and they share the answers of one more.

So whatever a run does to a need changes no other run; `touched` says what it has done.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from functools import cached_property, partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lrbench.method.backbones import Backbone
from lrbench.spec.seeds import random_state

ASKED = ("__call__", "forward", "features", "maps")


class Remembering:
    """A run's own frozen network. As long as it is as it was loaded, the shared answers are its own.

    So are those of `forward`, `features` and `maps`, its own and its `backbone`'s; all else is the network's own, and
    so is every answer from the moment that an attribute, a hook, a mode or a weight of it was set or written into.
    """

    def __init__(self, network: nn.Module, answers: Answers) -> None:
        # Its own attributes go by `vars`: any other that is set is the network's.
        vars(self).update(_network=network, _answers=answers, _loaded=_State(network))
        if isinstance(backbone := getattr(network, "backbone", None), Backbone):
            vars(self)["backbone"] = Remembering(backbone, answers.of_backbone)

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

    def __copy__(self) -> Any:
        return copy.copy(self._network)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy, which a method may train, is one of the network."""
        return copy.deepcopy(self._network, memo)

    def _answer(self, name: str, *args: Any, **kwargs: Any) -> Any:
        question = args[0] if len(args) == 1 and not kwargs else None
        if isinstance(question, Tensor) and _can_be_kept(question) and self._answers.serve and self._loaded.holds():
            answer = self._answers.to(name, question)
            if self._answers.serve:
                return answer
        return getattr(self._network, name)(*args, **kwargs)


class Answers:
    """The last answer of a frozen network, which nobody else may have, to each kind of question."""

    def __init__(self, network: nn.Module) -> None:
        # by what was asked and whether a CUDA graph was captured: nothing is computed then
        self.network, self._kept = network, dict[tuple[str, bool], _Memory]()
        self.loaded = _State(network)
        self.serve = True  # False of a network that an answer changes: each run asks its own

    @cached_property
    def of_backbone(self) -> Answers:
        """Those of its backbone."""
        return Answers(self.network.backbone)  # type: ignore[arg-type]

    def to(self, name: str, question: Tensor) -> Any:
        """What the network answers: computed, unless it was asked the same before."""
        capturing = is_capturing(question.device.type)
        memory = self._kept.get((name, capturing))
        if memory is None or not memory.answers(question):
            drawn_on = torch.device("cpu") if capturing else question.device  # a GPU's may not be looked at then
            before = random_state(drawn_on)
            answer = getattr(self.network, name)(question)
            drawn = not all(map(torch.equal, before, random_state(drawn_on)))
            self.serve = self.loaded.holds()
            if drawn or not _can_be_kept(answer):
                return answer
            memory = self._kept[name, capturing] = _Memory(question, answer)
        return list(memory.answer) if isinstance(memory.answer, list) else memory.answer  # a list of the asker's own


class _Memory:
    """A question and its answer, while neither of them is written into: through `.data`, too, on the CPU."""

    def __init__(self, question: Tensor, answer: Any) -> None:
        self.question, self.answer = question, answer
        self.tensors = [question, *_tensors(answer)]
        self.marks = self._mark()
        self.copies = [one.clone() for one in self.tensors] if question.device.type == "cpu" else []

    def answers(self, question: Tensor) -> bool:
        same = question is self.question and self._mark() == self.marks
        return same and _equal(self.copies, self.tensors)

    def _mark(self) -> list[Any]:
        device = self.question.device.type
        autocast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        return [autocast, *(one._version for one in self.tensors)]


class _State:
    """What the parts of a network hold, those of its needs too: as the same objects, tensors not written into."""

    def __init__(self, network: nn.Module) -> None:
        self.parts = [part for one in _with_needs(network) for part in one.modules()]
        inside = [one for part in self.parts for one in (vars(part), *vars(part).values())]
        self.places = [one for one in inside if isinstance(one, dict)]  # attributes, weights, modules, hooks
        self.held = self._hold()
        self.tensors = [one for one in self.held if isinstance(one, Tensor) and not one.is_inference()]
        self.marks = self._mark()
        self.layers, self.weights, self.versions = self.contents()

    def holds(self) -> bool:
        """Whether nothing has changed. What was written through `tensor.data` is not seen."""
        held = self._hold()
        return len(held) == len(self.held) and all(map(operator.is_, held, self.held)) and self._mark() == self.marks

    def _hold(self) -> list[Any]:
        return list(chain.from_iterable(place.values() for place in self.places))

    def _mark(self) -> list[Any]:
        return [(one._version, one.requires_grad) for one in self.tensors]

    def contents(self) -> tuple[list[Any], list[Tensor], list[int]]:
        """Its layers, its parameters and buffers, and how often each of these was written into."""
        places = [place for part in self.parts for place in (part._parameters, part._buffers)]
        weights = [one for place in places for one in place.values() if one is not None]
        layers = [layer for part in self.parts for layer in part._modules.values()]
        return layers, weights, [one._version for one in weights]


def touched(need: nn.Module, whole: bool) -> str | None:
    """What a run has done to the mode, gradients or weights of a network that it needs, in words; None for nothing.

    whole: every weight is compared, which finds what was written through `weight.data`, too.
    """
    if not isinstance(need, Remembering):
        return None
    loaded: _State = vars(need)["_loaded"]
    if any(part.training for part in loaded.parts):
        return "was put into training mode"
    layers, weights, versions = loaded.contents()
    if len(layers) != len(loaded.layers) or not all(map(operator.is_, layers, loaded.layers)):
        return "was given other layers"
    if any(weight.requires_grad or weight.grad is not None for weight in weights):
        return "was given gradients"
    same = versions == loaded.versions and all(map(operator.is_, weights, loaded.weights))
    if whole or not same:
        answers: Answers = vars(need)["_answers"]
        original = answers.loaded.weights
        if len(weights) != len(original) or (answers.serve and not _equal(weights, original)):
            return "was given other weights"
    return None


def _equal(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether as many tensors hold the same, a NaN in the same place included, as a run that diverged has them.

    A GPU is waited for once: one that many processes share takes milliseconds for each wait.
    """
    if [one.shape for one in ones] != [other.shape for other in others]:
        return False
    if all(one.device.type == "cpu" for one in ones) and all(map(torch.equal, ones, others)):
        return True  # the usual case, three times as fast
    pairs = zip(ones, others, strict=True)
    same = [((one == other) | ((one != one) & (other != other))).all().to(ones[0].device) for one, other in pairs]
    return bool(torch.stack(same).all())


def _with_needs(network: nn.Module) -> list[nn.Module]:
    """A network and all that it needs itself, which are no modules of it."""
    needs = getattr(network, "needs", {})
    return [network, *(one for need in needs.values() for one in _with_needs(need))]


def is_capturing(device: str) -> bool:
    """Whether a CUDA graph is being captured: what is asked for then is computed when the graph is replayed."""
    return device == "cuda" and torch.cuda.is_current_stream_capturing()


def _can_be_kept(value: Any) -> bool:
    """Whether a tensor, or several, can be: one with a graph serves one backward only, an inference tensor none."""
    tensors = all(isinstance(one, Tensor) and not (one.requires_grad or one.is_inference()) for one in _tensors(value))
    return tensors and not torch.is_inference_mode_enabled()


def _tensors(answer: Any) -> list[Any] | tuple[Any, ...]:
    return answer if isinstance(answer, list | tuple) else [answer]

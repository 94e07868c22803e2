"""The method contract: what a plugin author reads.

A method is one class in one file and one entry point of the group `lrbench.methods`. It is built with its validated
config, a context and the runs that it needs; the training loop calls `loss` and the test loop calls `forward`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench.errors import UserError
from lrbench.spec import schedules
from lrbench.spec.recipes import Recipe

if TYPE_CHECKING:
    from lrbench.method.backbones import Backbone

View = Literal["up", "lr", "hr"]
IMAGES: tuple[View, ...] = ("hr", "lr", "up")


class _Missing:
    """In place of an image that is not in a batch: a method that touches it gets a UserError."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself looks for, such as to copy it
            raise AttributeError(name)
        return self.__torch_function__()

    @classmethod
    def __torch_function__(cls, *_: Any) -> Any:
        raise UserError(
            "a method reads an image that is not in its batch: its class names in `reads` those that it is given, and "
            'where `view` is "hr" there is no LR image'
        )

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


@dataclass(frozen=True)
class Batch:
    """n training images on the training device. Images are float32 in [0, 1], RGB, channels first.

    hr and up share one crop and one flip. So does lr, rounded to whole LR pixels; it is exact for a method with
    `view = "lr"`. An image that is not in the class's `reads` is MISSING, and so are lr and up where `view` is "hr".
    """

    hr: Tensor  # (n, 3, S, S)
    y: Tensor  # (n,) int64 labels
    index: Tensor  # (n,) int64 places in the training set, for memory banks
    lr: Tensor = MISSING  # (n, 3, S/scale, S/scale), the low-resolution image
    up: Tensor = MISSING  # (n, 3, S, S), lr enlarged to the network's input by the degradation protocol


@dataclass(frozen=True)
class Context:
    """What a method may know about the run it is built for."""

    classes: int
    side: int  # of the HR image and of the network's input, in pixels
    scale: int | None  # HR side / LR side; None where view is "hr"
    train_images: int
    recipe: Recipe
    backbone: Callable[[], Backbone]  # a new network; the first one starts as any other method's first: the student's
    autocast: Callable[[], AbstractContextManager[Any]]  # the spec's precision, for a forward pass


@dataclass(frozen=True)
class Needs:
    """Another run that a method needs, by its method's name.

    It inherits dataset, degradation, backbone, recipe and seed, unless `overrides` says otherwise: field of
    lrbench.plan.plan.Protocol -> value, such as {"backbone": "vgg16", "epochs": 50}.
    """

    method: str
    config: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)


class Config(BaseModel):
    """Base of every method's config: frozen; unknown fields, NaN and infinity (no JSON has them) are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass
class Optimizer:
    """An optimizer and the schedule of its learning rate."""

    optimizer: torch.optim.Optimizer
    factor: Callable[[int], float]  # update number, from 0 -> what the peak rate is multiplied by

    def set_rate(self, done: int) -> None:
        """Set the learning rate for update number `done`; the rate that a group was given is its peak."""
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("peak_lr", group["lr"]) * self.factor(done)

    def minimize(self, loss: Tensor, clip: float | None = None) -> None:
        """One step down the gradient of `loss`, each element of which is clipped to [-clip, clip]."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if clip is not None:
            for group in self.optimizer.param_groups:
                nn.utils.clip_grad_value_(group["params"], clip)
        self.optimizer.step()


class Method(nn.Module):
    """Base class of every method.

    A subclass sets `name`, builds its networks in `__init__` and writes `loss` and `forward`. Needed runs are in
    `self.needs`: frozen (no gradient, eval mode) and outside the module tree, so neither optimised nor saved. A run
    that changes one, or a setting of torch, fails; a `copy.deepcopy` of a need may be trained.
    """

    name: ClassVar[str]
    label: ClassVar[str] = ""  # the name in tables; `name` where empty
    paper: ClassVar[str] = ""  # where it is from, for `lrbench methods`: "Hinton et al. 2015"
    version: ClassVar[str] = "1"  # raise it when the same config no longer gives the same scores
    view: ClassVar[View] = "up"  # the one image that `forward` gets; "hr" is marked in every report
    reads: ClassVar[tuple[View, ...]] = IMAGES  # the images that `loss` reads of a batch; no other is made
    falls: ClassVar[str] = "loss"  # the column of the learning curve that training must bring down
    steady: ClassVar[bool] = True  # False: its loss may grow a thousandfold on purpose, and has not diverged then
    selects: ClassVar[bool] = True  # False: its last epoch counts, whatever --select says
    # Names of the modules, parameters and buffers that only training needs: a projector, a memory bank, an adversary.
    # Checkpoints have them, the weights file has not: a run that needs this one finds them as they were first drawn.
    training_only: ClassVar[tuple[str, ...]] = ()
    Config: ClassVar[type[Config]] = Config
    progress: Tensor  # (), float32, on the training device: the part of the training that is done, from 0 to below 1

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "reads" not in vars(cls) and {"loss", "step"} & vars(cls).keys():
            cls.reads = IMAGES  # a loss of its own may read others than its base class's does
        if "progress" in vars(cls):
            raise UserError(f"{cls.__name__} has a 'progress' of its own: of a method that is how far it is trained")

    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__()
        self.config, self.context, self.needs = config, context, dict(needs)
        self.register_buffer("progress", torch.zeros(()), persistent=False)  # the loop sets it before each update

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        """Role -> another run that must exist before this one is trained."""
        return {}

    @classmethod
    def starts_from(cls, config: Any) -> str | None:
        """The role whose trained weights this one starts from: its epochs count in this one's budget."""
        return None

    @classmethod
    def trains(cls, config: Any) -> bool:
        """False for one that is tested with the weights that it starts from, see `starts_from`, and never trained."""
        return True

    @classmethod
    def restored_by(cls, config: Any) -> str | None:
        """The role of an SR net (lrbench.method.restorer) whose images it sees: `up` is then made from those."""
        return None

    @classmethod
    def own_protocol(cls, config: Any) -> Mapping[str, Any]:
        """Fields of the protocol that this run sets for itself; the runs that it needs do not inherit them."""
        return {}

    @classmethod
    def check(cls, config: Any, scale: int) -> None:
        """Raise UserError, naming the nearest valid value, for a config that cannot be run at this scale."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named terms, scalars, which the loop sums, minimises and logs; no name of lrbench.train.training.COLUMNS."""
        raise UserError(f"{type(self).__name__} has no loss: write the terms that it is trained by")

    def forward(self, image: Tensor) -> Tensor:
        """The test path: logits (n, classes) from the image that `view` names, and from it only.

        image: float32 in [0, 1]; (n, 3, S, S) for "up" and "hr", (n, 3, S/scale, S/scale) for "lr".
        """
        raise UserError(f"{type(self).__name__} has no forward: write its test path, from an image to logits")

    def optimizers(self, updates: int) -> list[Optimizer]:
        """What `step` updates the weights with, over `updates` steps: SGD, as the recipe says."""
        values = self.context.recipe.model_dump(include={"lr", "momentum", "nesterov", "weight_decay"})
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        sgd = torch.optim.SGD(weights, **values, fused=True)
        if values["momentum"]:  # the fused step wants all buffers or none, and a weight's gradient may come later
            for weight in weights:
                sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        return [self.scheduled(sgd, updates)]

    def scheduled(self, optimizer: torch.optim.Optimizer, updates: int) -> Optimizer:
        """An optimizer whose rate goes as the recipe's schedule says, over `updates` steps."""
        schedule = self.context.recipe.schedule
        return Optimizer(optimizer, lambda done: schedules.factor(schedule, done, updates))

    def step(self, batch: Batch, optimizers: list[Optimizer]) -> dict[str, Tensor]:
        """One update; returns the named terms to log. Override it only to alternate optimizers."""
        with self.context.autocast():
            terms = self.loss(batch)
        check_terms(self.name, terms)
        total = torch.stack(list(terms.values())).sum()
        if not total.requires_grad:
            raise UserError(f"{self.name}: no term of its loss has a gradient; none is made of what its networks give")
        optimizers[0].minimize(total)
        return terms

    @contextmanager
    def exact(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """A block without autocast, in which the tensors are float32: for losses made of products, such as distances.

        Within autocast `mm`, `bmm`, `einsum` and `@` round to bfloat16 even where their inputs are float32.
        """
        with torch.autocast(self.progress.device.type, enabled=False):
            yield tuple(tensor.float() for tensor in tensors)

    def cross_entropy(self, logits: Tensor, y: Tensor) -> Tensor:
        """Softmax loss, mean over the batch, with the recipe's label smoothing."""
        return F.cross_entropy(logits.float(), y, label_smoothing=self.context.recipe.label_smoothing)


def is_training_only(method: Method, name: str) -> bool:
    """Whether a part of a method's state, by its name in the state_dict, is or lies in one of `training_only`."""
    return any(name == one or name.startswith(f"{one}.") for one in method.training_only)


def deployed_state(method: Method) -> dict[str, Tensor]:
    """What a weights file holds: the state_dict without what only training needs."""
    return {name: value for name, value in method.state_dict().items() if not is_training_only(method, name)}


def load_deployed(method: Method, state: Mapping[str, Tensor]) -> None:
    """Load what `deployed_state` gave; what only training needs stays as it is."""
    own = {name: value for name, value in method.state_dict().items() if is_training_only(method, name)}
    method.load_state_dict({**state, **own})


def check_terms(name: str, terms: Any) -> None:
    """Raise UserError unless the terms of a loss are a dict of named scalars. name: of the method."""
    if not (isinstance(terms, dict) and terms):
        found = "an empty dict" if terms == {} else f"a {type(terms).__name__}"
        raise UserError(f"{name}: loss returned {found}; it must be a dict of one or more named tensors")
    for term, value in terms.items():
        if not isinstance(term, str):
            raise UserError(f"{name}: a term of its loss is called {term!r}; its name must be text")
        wrong = f"is a {type(value).__name__}"
        if isinstance(value, Tensor):
            is_number = value.is_floating_point() or value.dtype in (torch.int64, torch.int32)
            is_plain = value.layout == torch.strided and not value.is_meta
            wrong = "" if is_number and is_plain else f"is of {value.dtype}, {value.layout}, on {value.device}"
            wrong = f"has shape {tuple(value.shape)}" if value.shape else wrong
        if wrong:
            raise UserError(f"{name}: loss term '{term}' {wrong}; it must be a tensor, a scalar: a mean, say")

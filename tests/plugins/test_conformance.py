"""Every method that is installed keeps the contract, and `check_method` notices those that do not."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from helpers import captured
from helpers.extras import needs_basicsr
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench import device
from lrbench.errors import UserError
from lrbench.method import base as method
from lrbench.method import registry
from lrbench.method.base import Batch, Context, Method, Needs, Optimizer
from lrbench.testing import check_method, registered, try_out
from lrbench.train.capture import graph as capture

# Of the SR nets: small ones, so that they learn something in a few batches of digits.
SMALL = {"channels": 16, "blocks": 2, "depth": 4, "args": {"num_feat": 16, "num_block": 2}}
FAST = ("lr-baseline-scratch", "dfd-scratch", "sr-espcn")  # one of each kind; the others are marked slow
EVERY_START = ("lr-baseline", "dfd")  # the others' starts are the same code


def variants() -> list[Any]:
    """Every installed method, once for each start of its weights where it has a choice."""
    cases = []
    for name in registry.methods():
        cls = registry.method(name)
        fields = cls.Config.model_fields
        starts = [{"init": start} for start in get_args(fields["init"].annotation)] if "init" in fields else [{}]
        if name not in EVERY_START:
            starts = starts[:1]
        small = {key: value for key, value in SMALL.items() if key in fields}
        marks = [needs_basicsr] if "arch" in fields else []
        for start in starts:
            case = "-".join([name, *start.values()])
            slow = [] if case in FAST else [pytest.mark.slow]
            cases.append(pytest.param(name, small | start, id=case, marks=marks + slow))
    return cases


@pytest.mark.parametrize(("name", "settings"), variants())
def test_every_method_keeps_the_contract(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    check_method(name, tmp_path, settings)
    if torch.cuda.is_available():
        cls = registry.method(name)
        if cls.trains(registry.config_of(cls, settings)):
            captured.check_captured(try_out(cls, tmp_path, settings), device.pick("cuda"))
        if cls.step is Method.step:
            assert not [why for who, why in capture._warned if who == name]  # its step was captured


class Toy(Method):
    """A plain classifier of what its view is: the right ones and the wrong ones derive from it."""

    name = "toy"

    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.backbone = context.backbone()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"recognition": self.cross_entropy(self.backbone(getattr(batch, self.view)), batch.y)}

    def forward(self, image: Tensor) -> Tensor:
        return self.backbone(image)


class Native(Toy):
    """Sees the LR image at its own size, through noise from torch's own generator."""

    view = "lr"

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        noisy = batch.lr + 0.1 * torch.randn_like(batch.lr)
        return {"recognition": self.cross_entropy(self.backbone(noisy), batch.y)}


class Alternating(Toy):
    """Two optimizers that take turns, and a memory of every training image's features."""

    falls = "recognition"  # the other two work against each other

    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.critic = nn.Linear(self.backbone.dimension, 1)
        self.register_buffer("bank", torch.zeros(context.train_images, self.backbone.dimension))

    def optimizers(self, updates: int) -> list[Optimizer]:
        sgd = torch.optim.SGD(self.backbone.parameters(), lr=0.05, momentum=0.9)
        adam = torch.optim.Adam(self.critic.parameters(), lr=0.01)
        return [Optimizer(sgd, lambda done: 1 - done / updates), Optimizer(adam, lambda done: 1.0)]

    def step(self, batch: Batch, optimizers: list[Optimizer]) -> dict[str, Tensor]:
        student, critic = optimizers
        new, old = self.backbone.features(batch.up), self.bank[batch.index]
        criticism = F.softplus(-self.critic(old)).mean() + F.softplus(self.critic(new.detach())).mean()
        critic.minimize(criticism)
        recognition = self.cross_entropy(self.backbone.head(new), batch.y)
        memory = F.softplus(-self.critic(new)).mean()
        student.minimize(recognition + 0.1 * memory)
        self.bank[batch.index] = old.lerp(new.detach(), 0.5)
        return {"recognition": recognition, "memory": memory, "criticism": criticism}


class Rounding(Toy):
    """Hands a layer of its own maps as they come, which autocast makes bfloat16."""

    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.layer = nn.Linear(self.backbone.dimension, 4)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        features = self.backbone.features(batch.up)
        small = self.layer(features.bfloat16()).float().square().mean()
        return {"recognition": self.cross_entropy(self.backbone.head(features), batch.y), "small": small}


class Untidy(Toy):
    """Writes into its batch, which is its own business."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        batch.up.add_(0.1 * torch.randn_like(batch.up)).clamp_(0, 1)
        return super().loss(batch)


class Taught(Toy):
    """The base of those that are wrong about their teacher."""

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        return {"teacher": Needs("hr-baseline")}


class TeacherAsModule(Taught):
    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.teacher = needs["teacher"]


class TeacherAsParameter(Taught):
    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.prototypes = next(needs["teacher"].parameters())


class TeacherAsBuffer(Taught):
    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.register_buffer("prototypes", next(needs["teacher"].parameters()).detach())  # its memory, not a copy


class TeacherOptimised(Taught):
    def optimizers(self, updates: int) -> list[Optimizer]:
        weights = [*self.parameters(), *self.needs["teacher"].parameters()]
        return [Optimizer(torch.optim.SGD(weights, lr=0.05), lambda done: 1 - done / updates)]


class TeacherThawed(Taught):
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.needs["teacher"].requires_grad_(True)
        return super().loss(batch)


class TeacherInTrainingMode(Taught):
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.needs["teacher"].train()
        return super().loss(batch)


class TeacherChanged(Taught):
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.needs["teacher"].train()(batch.hr)  # moves the statistics of its batch normalisation
        self.needs["teacher"].eval()
        return super().loss(batch)


class TeacherThawedForAWhile(Taught):
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        distance = (self.backbone(batch.up) - self.needs["teacher"].backbone(batch.hr)).square().mean()
        return super().loss(batch) | {"distance": 0.01 * distance}

    def step(self, batch: Batch, optimizers: list[Optimizer]) -> dict[str, Tensor]:
        self.needs["teacher"].requires_grad_(True)
        terms = super().step(batch, optimizers)
        self.needs["teacher"].requires_grad_(False)  # but a gradient has come to it
        return terms


class ForgetsAtTheEnd(Toy):
    """Its classes are moved by a number that is not in the weights file."""

    training_only = ("moved",)

    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.register_buffer("moved", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.moved.fill_(3)
        return {"recognition": self.cross_entropy(self(batch.up), batch.y)}

    def forward(self, image: Tensor) -> Tensor:
        logits = self.backbone(image)
        return logits[:, (torch.arange(logits.shape[1]) + self.moved) % logits.shape[1]]


class RoundedDistances(Taught):
    """RKD's distances, through products that autocast rounds."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        s, t = self.backbone.features(batch.up), self.needs["teacher"].backbone.features(batch.hr)
        return super().loss(batch) | {"distance": F.smooth_l1_loss(self.distances(s), self.distances(t))}

    def distances(self, f: Tensor) -> Tensor:
        lengths = f.square().sum(dim=1)
        d = (lengths[:, None] + lengths - 2 * f @ f.t()).clamp(min=1e-12).sqrt()
        return d / d.mean()


class ExactDistances(RoundedDistances):
    def distances(self, f: Tensor) -> Tensor:
        with self.exact(f) as (exact,):
            return super().distances(exact)


class OwnRandomNumbers(Toy):
    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.generator = torch.Generator().manual_seed(0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        noise = torch.rand(batch.up.shape, generator=self.generator)
        return {"recognition": self.cross_entropy(self.backbone(batch.up + 0.1 * noise), batch.y)}


class CountsInPython(Toy):
    steps = 0

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.steps += 1
        return {"recognition": super().loss(batch)["recognition"] * (1 + 1 / self.steps)}


class CountsOnItsClass(Toy):
    shared = {"steps": 0}

    def optimizers(self, updates: int) -> list[Optimizer]:
        self.shared["steps"] = 0
        return super().optimizers(updates)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.shared["steps"] += 1
        return {"recognition": super().loss(batch)["recognition"] * (1 + 1 / self.shared["steps"])}


class BankNotSaved(Alternating):
    def __init__(self, config: Any, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.register_buffer("bank", self.bank, persistent=False)


class LearnsNothing(Toy):
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"recognition": 0 * super().loss(batch)["recognition"] + 2.3}


class FallsElsewhere(Toy):
    falls = "distillation"


class ReservedTerm(Toy):
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"epoch": super().loss(batch)["recognition"]}


class TermPerImage(Toy):
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"recognition": F.cross_entropy(self.backbone(batch.up), batch.y, reduction="none")[:1]}


class FeaturesForLogits(Toy):
    def forward(self, image: Tensor) -> Tensor:
        return self.backbone.features(image)


class NotFinite(Toy):
    def forward(self, image: Tensor) -> Tensor:
        return self.backbone(image) / 0


class SeesMore(Toy):
    def __call__(self, image: Tensor) -> Tensor:
        return super().__call__(image, torch.zeros(1))

    def forward(self, image: Tensor, more: Tensor | None = None) -> Tensor:
        return self.backbone(image)


class NoDefault(Toy):
    class Config(method.Config):
        lam: float = Field(description="ours")


class NoSource(Toy):
    class Config(method.Config):
        lam: float = 2.0


class AnotherRunEachTime(Toy):
    class Config(method.Config):
        lam: float = Field(default_factory=random.random, description="ours")


class RestoredByNobody(Taught):
    @classmethod
    def restored_by(cls, config: Any) -> str | None:
        return "restorer"


class RestoredByAClassifier(Taught):
    @classmethod
    def restored_by(cls, config: Any) -> str | None:
        return "teacher"


class RestoredButLooksElsewhere(Toy):
    view = "lr"

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        return {"restorer": Needs("sr-espcn")}

    @classmethod
    def restored_by(cls, config: Any) -> str | None:
        return "restorer"


@pytest.mark.slow
@pytest.mark.parametrize("toy", [Native, Alternating, Untidy, ExactDistances])
def test_an_unusual_method_keeps_the_contract(toy: type[Method], tmp_path: Path) -> None:
    check_method(toy, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("toy", "complaint"),
    [
        (TeacherAsModule, "keeps a needed run as a part of its own"),
        (TeacherAsParameter, "keeps a needed run as a part of its own"),
        (TeacherAsBuffer, "'teacher' is in the method's state_dict"),
        (TeacherOptimised, "'teacher' is in the method's optimizers"),
        (TeacherThawed, "its teacher was given gradients"),
        (TeacherInTrainingMode, "its teacher was put into training mode"),
        (TeacherChanged, "its teacher was given other weights"),
        (TeacherThawedForAWhile, "its teacher was given gradients"),
        (ForgetsAtTheEnd, r"another 'predicted' than its record; .* training_only, which is \('moved',\)"),
        (RoundedDistances, r"its 'distance' is .* `with self.exact\(...\)`"),
        (OwnRandomNumbers, "interrupted and resumed, it ends with another"),
        (CountsInPython, "interrupted and resumed, it ends with another"),
        (CountsOnItsClass, "in a group with another run, it ends with another"),
        (BankNotSaved, "interrupted and resumed, it ends with another"),
        (LearnsNothing, "'loss' does not fall: 2.3"),
        (FallsElsewhere, "its learning curve has no column 'distillation'"),
        (ReservedTerm, "no loss term may be called 'epoch'"),
        (TermPerImage, r"loss term 'recognition' has shape \(1,\)"),
        (FeaturesForLogits, r"forward returned \(\d+, 64\); logits \(n, classes\) would be \(\d+, 10\)"),
        (NotFinite, "logits that are not finite"),
        (SeesMore, "forward got 2 arguments"),
        (NoDefault, "setting 'lam' has no default"),
        (NoSource, "setting 'lam' does not say where its default comes from"),
        (RestoredByNobody, "restored_by says 'restorer', which is no role in needs_of"),
        (RestoredByAClassifier, "restored_by says 'teacher', but hr-baseline is not an SR net"),
        (RestoredButLooksElsewhere, "restored images are seen as 'up', and its view is 'lr'"),
        (AnotherRunEachTime, "lam has another default each time"),
    ],
)
def test_a_wrong_method_is_caught(toy: type[Method], complaint: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, TypeError, UserError), match=complaint):
        check_method(toy, tmp_path)


def test_a_class_is_known_for_as_long_as_it_is_registered() -> None:
    with registered(Toy):
        assert registry.method("toy") is Toy
        assert registry.methods()["toy"] == f"{__name__}.Toy"
    assert "toy" not in registry.methods()

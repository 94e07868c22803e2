"""From a spec to its method: built to be trained, loaded and frozen for others, or with new weights to be timed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from safetensors.torch import load, save

from lrbench.data.dataset import DatasetInfo
from lrbench.data.pairs import Pairs
from lrbench.errors import UserError, did_you_mean, one_line, raise_machines
from lrbench.method import backbones, registry
from lrbench.method.backbones import Backbone
from lrbench.method.base import Context, Method, deployed_state, load_deployed
from lrbench.method.restorer import magnification
from lrbench.spec.record import DataFacts
from lrbench.spec.runspec import RunSpec
from lrbench.spec.seeds import derive
from lrbench.store.store import Store
from lrbench.train.remembering import Answers, Remembering


def build(
    spec: RunSpec,
    facts: DataFacts,
    needs: Mapping[str, Method],
    device: torch.device,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> Method:
    """The method of a spec with new weights, drawn from the spec's seed, on the device."""
    cls, classes, numbers = registry.method(spec.method), len(facts.classes), itertools.count()

    def backbone() -> Backbone:
        """A new one, whose first weights depend on the seed, the backbone and how many were made before, alone.

        So a student and its control start from the same weights, whatever else either of them draws.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(spec.seed, "backbone", spec.backbone, spec.width, classes, next(numbers)))
            return backbones.create(spec.backbone, spec.width, facts.side, classes, mean, std, spec.dropout)

    scale = magnification(spec) or spec.scale
    context = Context(
        classes=classes,
        side=facts.side // (spec.scale or 1) * (scale or 1),
        scale=scale,
        train_images=facts.train_images,
        recipe=spec.recipe,
        backbone=backbone,
        autocast=lambda: torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(spec.seed, "weights", spec.method))
        method = cls(cls.Config.model_validate(dict(spec.config)), context, needs)
    frozen = {id(one) for need in needs.values() for one in (*need.parameters(), *need.buffers())}
    if any(id(one) in frozen for one in (*method.parameters(), *method.buffers())):
        way = "read it from self.needs, or keep a copy.deepcopy of it"
        raise UserError(f"{spec.method} keeps a needed run as a part of its own; {way}")
    if not any(weight.requires_grad for weight in method.parameters()):
        raise UserError(f"{spec.method} has no weights to train: build its networks in __init__, as modules")
    _check_training_only(method)
    return method.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _check_training_only(method: Method) -> None:
    """Raise UserError for a name in `training_only` that no module, parameter or buffer has."""
    parts = [
        name for kind in (method.named_modules(), method.named_parameters(), method.named_buffers()) for name, _ in kind
    ]
    if isinstance(method.training_only, str):
        raise UserError(f"{method.name}: training_only is text; it must be a tuple, ('{method.training_only}',)")
    for part in method.training_only:
        if part not in parts:
            raise UserError(f"{method.name}: training_only names '{part}'; {did_you_mean(part, filter(None, parts))}")


def start_from(method: Method, need: Method) -> None:
    """Copy the weights of the same name from `need` into `method`. UserError if there are none, or a shape differs."""
    own = method.state_dict()
    common = {name: value for name, value in deployed_state(need).items() if name in own}
    if not common:
        raise UserError(f"{method.name} cannot start from {need.name}: no weight has the same name in both")
    for name, value in common.items():
        if value.shape != own[name].shape:
            shapes = f"{tuple(value.shape)}, not {tuple(own[name].shape)}"
            raise UserError(f"{method.name} cannot start from {need.name}: its {name} has shape {shapes}")
    method.load_state_dict(common, strict=False)


def weights_file(method: Method) -> bytes:
    """The weights that a method is tested with, as safetensors. Raises UserError for a state that no file can hold."""
    weights = dict[str, torch.Tensor]()
    for name, value in deployed_state(method).items():
        fault = f"is a {type(value).__name__}"
        if isinstance(value, torch.Tensor):
            try:
                weights[name] = value.detach().cpu().contiguous().clone()
                save({name: weights[name]})
                continue
            except Exception as error:  # a sparse tensor, or of an unusual dtype: each has its own words
                raise_machines(error, name)
                fault = f"cannot be stored: {one_line(error)[:100]}"
        way = "make it a plain tensor, such as a buffer, or leave it out of the state_dict"
        raise UserError(f"{method.name}: its state '{name}' {fault}; {way}")
    return save(weights)


def check_weights(method: Method) -> dict[str, tuple[int, ...]]:
    """Store the weights and load them again, in memory; returns the shape of each. Raises UserError."""
    try:
        load_deployed(method, load(weights_file(method)))
    except UserError:
        raise
    except Exception as error:  # of torch, or of safetensors
        raise_machines(error, method.name)
        raise UserError(f"{method.name}: its weights do not load again: {one_line(error)[:200]}") from error
    return shapes(method)


def shapes(method: Method) -> dict[str, tuple[int, ...]]:
    """The name and the shape of each weight, which stay as they are while it is trained."""
    return {name: tuple(value.shape) for name, value in method.state_dict().items() if hasattr(value, "shape")}


def load_frozen(spec: RunSpec, store: Store, device: torch.device) -> Method:
    """The method of a finished run in the store: its weights, no gradient, eval mode."""
    record = store.get(spec, weights=True)
    if record is None:
        raise FileNotFoundError(f"run {spec.id} ({spec.method}) has no weights in {store}")
    needs = {role: load_frozen(need, store, device) for role, need in spec.needs.items()}
    method = build(spec, record.data, needs, device)
    load_deployed(method, load(store.weights(record.id)))
    return method.requires_grad_(False).eval()


class Frozen:
    """The frozen networks of runs that others need: each run of a group has its own, and they share the answers."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self.store, self.device = store, device
        self._answers: dict[str, Answers] = {}

    def get(self, spec: RunSpec) -> Method:
        """The network of a finished run, a new one each time. It must be in the store with its weights."""
        if spec.id not in self._answers:
            self._answers[spec.id] = Answers(load_frozen(spec, self.store, self.device))
        return cast(Method, Remembering(load_frozen(spec, self.store, self.device), self._answers[spec.id]))


def untrained(spec: RunSpec, facts: DataFacts, on: torch.device) -> Method:
    """The method of a spec with new weights, and all that it needs with new weights too: to be timed."""
    needs = {role: untrained(need, facts, on).requires_grad_(False).eval() for role, need in spec.needs.items()}
    return build(spec, facts, needs, on)


def noise_facts(info: DatasetInfo, images: int) -> DataFacts:
    """What a run would know of a dataset of `images` training images of noise."""
    return DataFacts(classes=info.classes, side=info.side, train_images=images, val_images=0, test_images=images)


def noise(spec: RunSpec, info: DatasetInfo, images: int) -> Pairs:
    """So many pairs as a run of this spec would see, of noise, on the CPU."""
    draw = torch.Generator().manual_seed(0)

    def pixels(side: int) -> torch.Tensor:
        return torch.randint(256, (images, side, side, 3), generator=draw, dtype=torch.uint8)

    labels = torch.randint(len(info.classes), (images,), generator=draw)
    if spec.scale is None:
        return Pairs(pixels(info.side), labels)
    small = info.side // spec.scale
    side = small * (magnification(spec) or spec.scale)
    return Pairs(pixels(side), labels, pixels(small), pixels(side))

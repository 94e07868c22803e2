"""Does a method keep the contract? What this repository's tests call, and a plugin's own.

    from lrbench.testing import check_method

    def test_contract(tmp_path):
        check_method("my-method", tmp_path)

Every check is a plain assertion that says what is wrong; pytest is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load
from torch import Tensor

from lrbench import device as devices
from lrbench.data import pairs
from lrbench.execute import session
from lrbench.execute.trial import SMALL, Interrupted, Trial, Watch, try_out
from lrbench.method import base as method
from lrbench.method import registry
from lrbench.method.base import IMAGES, Method, Needs, Optimizer
from lrbench.method.registry import registered
from lrbench.method.restorer import Restorer
from lrbench.spec.record import Record
from lrbench.store.store import CURVE, PREDICTIONS, WEIGHTS, Store
from lrbench.train.training import COLUMNS

__all__ = ["SMALL", "Interrupted", "Trial", "Watch", "check_method", "check_resume", "registered", "try_out"]

STEPS = 50  # that captured and plain steps are compared over
BOUND = 1e-3


def check_method(name_or_class: str | type[Method], tmp_path: Path, settings: Mapping[str, Any] | None = None) -> None:
    """Train a method, and the runs that it needs, on a few hundred 8x8 digits, and check the contract.

    name_or_class: a name that `lrbench methods` lists, or a class that need not be installed.
    settings: its config where it differs from the defaults. Takes seconds on one core; writes below
    `tmp_path` only. Raises AssertionError, with a line that says what is wrong, for a method that does
    not keep the contract, and lets through what the method itself raises.

    A class whose summed loss need not fall, such as a GAN's, names in an attribute `falls` the column
    of its learning curve that does: one of its loss terms.
    """
    cls = registry.method(name_or_class) if isinstance(name_or_class, str) else name_or_class
    with registered(cls):
        check_config(cls)
        trial = try_out(cls, tmp_path, settings)
        trains = cls.trains(registry.config_of(cls, settings or {}))
        if trains:
            check_terms(trial)
            check_learns(trial)
        check_view(trial)
        check_output(trial)
        check_needs(trial)
        check_reuse(trial)
        check_group(trial)
        if trains and torch.cuda.is_available():
            check_captured(trial, devices.pick("cuda"))
        if trains:
            check_resume(trial)


def check_config(cls: type[Method]) -> None:
    """The config has defaults and a source for each field, survives JSON, and its needs are declared by role."""
    assert issubclass(cls.Config, method.Config), f"{cls.name}: Config must derive from lrbench.method.base.Config"
    for name, about in cls.Config.model_fields.items():
        assert not about.is_required(), f"{cls.name}: setting '{name}' has no default"
        assert about.description, f"{cls.name}: setting '{name}' does not say where its default comes from"
    assert {*cls.reads} <= {*IMAGES}, f"{cls.name}: reads is {cls.reads}; the images of a batch are {IMAGES}"
    config = registry.config_of(cls, {})
    again = registry.config_of(cls, config.model_dump(mode="json"))
    assert again == config, f"{cls.name}: the config changes on its way through JSON: {config!r} -> {again!r}"
    needs = cls.needs_of(config)
    assert all(isinstance(need, Needs) for need in needs.values()), f"{cls.name}: needs_of must give role -> Needs"
    role = cls.starts_from(config)
    assert role is None or role in needs, f"{cls.name}: starts_from says '{role}', which is no role in needs_of"
    role = cls.restored_by(config)
    if role is not None:
        assert role in needs, f"{cls.name}: restored_by says '{role}', which is no role in needs_of"
        restores = issubclass(registry.method(needs[role].method), Restorer)
        assert restores, f"{cls.name}: restored_by says '{role}', but {needs[role].method} is not an SR net"
        assert cls.view == "up", f"{cls.name}: restored images are seen as 'up', and its view is '{cls.view}'"


def check_terms(trial: Trial) -> None:
    """Every step gives named scalars, and no name is that of another column of the learning curve."""
    name = trial.cls.name
    for terms in trial.watch.terms:
        assert isinstance(terms, dict) and terms, f"{name}: loss must return a dict of named terms, not {terms!r}"
        for term, value in terms.items():
            assert isinstance(term, str) and term, f"{name}: a loss term is called {term!r}"
            assert term not in COLUMNS, f"{name}: no loss term may be called '{term}', as the curve has a column so"
            assert isinstance(value, Tensor), f"{name}: loss term '{term}' is a {type(value).__name__}, not a tensor"
            assert value.shape == (), f"{name}: loss term '{term}' has shape {tuple(value.shape)}; it must be a scalar"


def check_learns(trial: Trial) -> None:
    """The loss, or the column that the class names in `falls`, ends lower than it began."""
    name, column = trial.cls.name, trial.cls.falls
    values = [row[column] for row in trial.curve if column in row]
    assert values, f"{name}: its learning curve has no column '{column}'"
    last = sum(values[-2:]) / len(values[-2:])
    assert last < values[0], f"{name}: '{column}' does not fall: {', '.join(f'{value:.4g}' for value in values)}"


def check_view(trial: Trial) -> None:
    """At test time `forward` got the one view that the class declares of every test image, and nothing else."""
    name, view = trial.cls.name, trial.cls.view
    test = pairs.to_float(trial.data.test.view(view))
    seen = set()
    for args, kwargs, _ in trial.watch.tested:
        assert len(args) == 1 and not kwargs, f"{name}: forward got {len(args)} arguments and {sorted(kwargs)}, not one"
        shape, expected = tuple(args[0].shape[1:]), tuple(test.shape[1:])
        assert shape == expected, f"{name}: forward got images {shape}; those of view '{view}' are {expected}"
        seen |= _bytes(args[0])
    expected_images = _bytes(test)
    assert not seen - expected_images, f"{name}: forward was tested on images that are not '{view}' test images"
    assert seen == expected_images, f"{name}: forward was tested on some of the test images only"


def _bytes(images: Tensor) -> set[bytes]:
    return {image.contiguous().numpy().tobytes() for image in images}


def check_output(trial: Trial) -> None:
    """What `forward` gives is finite; that it is of the right shape has been seen by the test loop."""
    kind = "images" if issubclass(trial.cls, Restorer) else "logits"
    for _, _, output in trial.watch.tested:
        assert output.isfinite().all(), f"{trial.cls.name}: forward returned {kind} that are not finite"


def check_needs(trial: Trial) -> None:
    """The needed runs are as they were stored, frozen, in eval mode, and no part of the method."""
    trained, name = trial.watch.method, trial.cls.name
    assert trained is not None, f"{name}: neither its step nor its forward was called"
    groups = [group for one in trial.watch.optimizers for group in one.optimizer.param_groups]
    places = {
        "parameters": _memory(trained.parameters()),
        "state_dict": _memory(trained.state_dict().values()),
        "optimizers": _memory(weight for group in groups for weight in group["params"]),
    }
    for role, spec in trial.record.spec.needs.items():
        need, record = trained.needs[role], trial.store.get(spec, weights=True)
        assert record is not None, f"{name}: the run it needs as '{role}' is not in the store any more"
        state, stored = need.state_dict(), load(trial.store.weights(record.id))
        changed = [key for key, value in state.items() if not torch.equal(value, stored[key])]
        assert not changed, f"{name}: training changed {', '.join(changed)} of the needed run '{role}'"
        for key, weight in need.named_parameters():
            frozen = not weight.requires_grad and weight.grad is None
            assert frozen, f"{name}: {key} of the needed run '{role}' has a gradient; needed runs are frozen"
        training = [key or "itself" for key, module in need.named_modules() if module.training]
        assert not training, f"{name}: the needed run '{role}' was put into training mode ({training[0]})"
        for place, memory in places.items():
            shared = memory & _memory(state.values())
            assert not shared, f"{name}: the needed run '{role}' is in the method's {place}; read it from self.needs"


def _memory(tensors: Any) -> set[int]:
    """Where tensors lie, so that one is known again under another name or as a view."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}


def check_reuse(trial: Trial) -> None:
    """Asked for again, the run is reused."""
    watch = Watch()
    again = session.run(trial.request, watch)
    assert not watch.started, f"{trial.cls.name}: asked for a second time, it trains again"
    assert again == [trial.record], f"{trial.cls.name}: asked for a second time, its record is another one"


def check_group(trial: Trial) -> None:
    """Trained in a group with another run, which shares its needed runs, it ends bit for bit as alone.

    The other is of the same method under another name, and so with other weights; it has each batch first.
    """
    cls, spec = trial.cls, trial.record.spec
    twin: Any = type(f"{cls.__name__}Twin", (cls,), {"name": f"{cls.name}-twin", "__module__": cls.__module__})
    ends: list[Record | Exception] = []
    with registered(twin):
        pair = [spec.model_copy(update={"method": twin.name}), spec]
        runner = trial.runner("group", torch.device("cpu"))
        runner.run_group(pair, lambda _, end: ends.append(end))
    for end in ends:
        assert isinstance(end, Record), f"{cls.name}: in a group with another run, it fails: {end!r}"
        assert end.metrics["side_by_side"] == 2, f"{cls.name}: it was not trained in a group with another run"
    differ = _differ(trial.request.results / spec.id, runner.store.root / spec.id)
    assert not differ, (
        f"{cls.name}: in a group with another run, it ends with another {', '.join(differ)} than alone. "
        "State belongs to the method's own object, not to its class or module"
    )


def check_captured(trial: Trial, device: torch.device) -> None:
    """With its steps captured in a CUDA graph it ends where the plain steps end, after STEPS of them or more.

    Up to BOUND of the norm of all weights. One that cannot be captured is trained the plain way, and passes.
    """
    spec, data = trial.record.spec, trial.data
    updates = len(data.train) // min(spec.recipe.batch_size, len(data.train))
    longer = spec.recipe.model_copy(update={"epochs": -(-STEPS // updates)})
    spec, stores = spec.model_copy(update={"recipe": longer}), list[Store]()
    with deterministic():
        for kind, capture in (("plain", False), ("captured", True)):
            runner = trial.runner(kind, device, capture)
            runner.run(spec)
            stores.append(runner.store)
    plain, captured = stores
    missed = distance(plain, captured, spec.id)
    assert missed <= BOUND, f"{trial.cls.name}: captured in a CUDA graph, it ends {missed:.2g} from the plain steps"


@contextmanager
def deterministic() -> Iterator[None]:
    """Kernels that do the same each time, and plain steps with the rate of captured ones, which is a float32."""
    set_rate = Optimizer.set_rate

    def rounded(self: Optimizer, done: int) -> None:
        set_rate(self, done)
        for group in self.optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32).item()

    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with patch.object(Optimizer, "set_rate", rounded), flags:
        yield


def distance(one: Store, other: Store, run: str) -> float:
    """How far a run, by its id, ended in one store from the same in another, as a part of the norm of its weights."""
    ends = []
    for store in (one, other):
        state = load((store.root / run / WEIGHTS).read_bytes())
        floating = [state[name] for name in sorted(state) if state[name].is_floating_point()]
        ends.append(torch.cat([value.double().flatten() for value in floating]))
    return float((ends[0] - ends[1]).norm() / ends[0].norm())


def _differ(one: Path, other: Path) -> list[str]:
    """The files of a run that are not equal in two folders."""
    names = (CURVE, PREDICTIONS, WEIGHTS)
    return [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]


def check_resume(trial: Trial) -> None:
    """Interrupted in each epoch and resumed, the run ends bit for bit as the one never interrupted.

    The trial's own run is moved out of its store, and the resumed one takes its place.
    """
    name, folder = trial.cls.name, trial.request.results / trial.record.id
    whole = folder.rename(trial.request.results.with_name("whole"))
    for done in range(trial.record.spec.recipe.epochs):
        try:
            session.run(trial.request, Watch(stop_after=done))
        except Interrupted:
            continue
        raise AssertionError(f"{name}: it was not trained for long enough to be interrupted after {done} epochs")
    watch = Watch()
    session.run(trial.request, watch)
    assert watch.started == [trial.record.id], f"{name}: after the interruptions {watch.started} were trained"
    differ = _differ(whole, folder)
    assert not differ, (
        f"{name}: interrupted and resumed, it ends with another {', '.join(differ)} than in one go. State belongs in "
        "parameters, buffers and optimizers; random numbers come from torch's global generator, without one of its own"
    )

"""Does a method keep the contract? What this repository's tests call, and a plugin's own.

    from lrbench.testing import check_method

    def test_contract(tmp_path):
        check_method("my-method", tmp_path)

Every check is a plain assertion that says what is wrong; pytest is not needed.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from lrbench.data import datasets, pairs
from lrbench.data.pairs import Pairs
from lrbench.execute import session
from lrbench.execute.progress import Progress
from lrbench.execute.runner import Job, Runner
from lrbench.method import base as method
from lrbench.method import registry
from lrbench.method.base import IMAGES, Batch, Method, Needs, Optimizer
from lrbench.method.registry import registered
from lrbench.method.restorer import Restorer
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import CURVE, PREDICTIONS, WEIGHTS, Store
from lrbench.train.build import Frozen, load_frozen
from lrbench.train.tasks import task_of

__all__ = ["SMALL", "Interrupted", "Trial", "Watch", "check_method", "check_resume", "registered", "try_out"]

SMALL: dict[str, Any] = {
    "dataset": "digits", "scale": 2, "backbone": "resnet18", "width": 0.125, "recipe": "quick", "epochs": 5,
    "limit_train": 600, "limit_test": 100, "device": "cpu", "precision": "fp32", "threads": 1,
}  # fmt: skip


class Interrupted(Exception):
    """Stands for whatever ends a process in the middle of an epoch."""


@dataclass
class Watch(Progress):
    """What is seen of the last run that was started; each run starts it afresh."""

    stop_after: int | None = None  # epochs: raises Interrupted at the first batch after as many
    started: list[str] = field(default_factory=list)  # the ids of the runs that were trained, in order
    done: int = 0  # epochs
    curve: list[Mapping[str, float]] = field(default_factory=list)  # what was logged of each
    method: Method | None = None
    batch: Batch | None = None  # the last that its step was given
    optimizers: list[Optimizer] = field(default_factory=list)
    tested: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = field(default_factory=list)  # args, kwargs, result

    def start(self, spec: RunSpec, title: str, done: int, images: int) -> None:
        self.started.append(spec.id)
        self.done, self.curve, self.method, self.batch, self.tested = done, [], None, None, []

    def step(self, images: int) -> None:
        if self.done == self.stop_after:
            raise Interrupted

    def epoch(self, row: Mapping[str, float], images_per_second: float) -> None:
        self.done += 1
        self.curve.append(row)
        self.tested.clear()  # what is tested after the last epoch is what remains

    @contextmanager
    def over(self, cls: type[Method]) -> Iterator[None]:
        """Look at every call of the class's `step`, and of its `forward` outside of training."""
        forward, step = cls.forward, cls.step

        def seen_step(this: Method, batch: Batch, optimizers: list[Optimizer]) -> Any:
            self.method, self.batch, self.optimizers = this, batch, optimizers
            return step(this, batch, optimizers)

        def seen_forward(this: Method, *args: Any, **kwargs: Any) -> Any:
            if self.method is None and not cls.trains(this.config):
                self.method = this  # of which no step is ever seen
            copies = tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in args)
            result = forward(this, *args, **kwargs)
            if this is self.method and not this.training and not torch.is_grad_enabled():
                self.tested.append((copies, kwargs, result))
            return result

        with patch.object(cls, "step", seen_step), patch.object(cls, "forward", seen_forward):
            yield


@dataclass(frozen=True)
class Trial:
    """A finished run of a method, and what was seen of it."""

    cls: type[Method]
    request: session.Request
    record: Record
    watch: Watch
    store: Store  # of the run and those it needs
    root: Path  # of the datasets

    def runner(self, name: str, device: torch.device, capture: bool = False) -> Runner:
        """With a new store, in which the runs that the trial's run needs are."""
        results = self.request.results.with_name(name)
        for need in [*self.record.spec.walk()][:-1]:
            shutil.copytree(self.request.results / need.id, results / need.id)
        return Runner(Store(results), self.root, device, lambda _: Progress(), capture)

    def test_images(self) -> Pairs:
        """As the run was tested on them: through an SR net, if any."""
        frozen = Frozen(self.store, torch.device("cpu"))
        return Job(self.record.spec, self.root, frozen, Progress(), None).data.test


def try_out(cls: type[Method], folder: Path, settings: Mapping[str, Any] | None = None, **options: Any) -> Trial:
    """Train a registered method in a new store below `folder`. options: fields of Request, instead of SMALL's."""
    results = Path(tempfile.mkdtemp(dir=folder)) / "runs"
    request = session.Request(method=cls.name, results=results, settings=settings or {}, **(SMALL | options))
    watch = Watch()
    with watch.over(cls):
        [record] = session.run(request, watch)
    assert watch.started[-1:] == [record.id], f"{cls.name}: nothing was trained for {record.id}"
    return Trial(cls, request, record, watch, Store(results), datasets.data_root(request.data))


def check_method(name_or_class: str | type[Method], tmp_path: Path, settings: Mapping[str, Any] | None = None) -> None:
    """Train a method, and the runs that it needs, on a few hundred 8x8 digits, and check the contract.

    name_or_class: a name that `lrbench methods` lists, or a class that need not be installed. settings: its config
    where it differs from the defaults. Takes seconds on one core; writes below `tmp_path` only. Raises AssertionError,
    with a line that says what is wrong, and lets through what the method or the training loop itself raises.
    """
    cls = registry.method(name_or_class) if isinstance(name_or_class, str) else name_or_class
    with registered(cls):
        check_config(cls)
        trial = try_out(cls, tmp_path, settings)
        check_test(trial)
        check_weights(trial)
        check_needs(trial)
        watch = Watch()
        again = session.run(trial.request, watch)
        assert not watch.started, f"{cls.name}: asked for a second time, it trains again"
        assert again == [trial.record], f"{cls.name}: asked for a second time, its record is another one"
        check_group(trial)
        if cls.trains(registry.config_of(cls, settings or {})):
            check_learns(trial)
            check_resume(trial)
            check_precision(trial)


def check_config(cls: type[Method]) -> None:
    """The config has defaults and a source for each field, survives JSON, and its needs are declared by role."""
    assert issubclass(cls.Config, method.Config), f"{cls.name}: Config must derive from lrbench.method.base.Config"
    for name, setting in cls.Config.model_fields.items():
        assert not setting.is_required(), f"{cls.name}: setting '{name}' has no default"
        assert setting.description, f"{cls.name}: setting '{name}' does not say where its default comes from"
    assert {*cls.reads} <= {*IMAGES}, f"{cls.name}: reads is {cls.reads}; the images of a batch are {IMAGES}"
    config = registry.config_of(cls, {})
    again = registry.config_of(cls, config.model_dump(mode="json"))
    assert again == config, f"{cls.name}: the config changes on its way through JSON: {config!r} -> {again!r}"
    needs = cls.needs_of(config)
    assert all(isinstance(need, Needs) for need in needs.values()), f"{cls.name}: needs_of must give role -> Needs"
    start, restorer = cls.starts_from(config), cls.restored_by(config)
    for about, role in (("starts_from", start), ("restored_by", restorer)):
        assert role is None or role in needs, f"{cls.name}: {about} says '{role}', which is no role in needs_of"
    if restorer is not None:
        other = needs[restorer].method
        restores = issubclass(registry.method(other), Restorer)
        assert restores, f"{cls.name}: restored_by says '{restorer}', but {other} is not an SR net"
        assert cls.view == "up", f"{cls.name}: restored images are seen as 'up', and its view is '{cls.view}'"


def check_learns(trial: Trial) -> None:
    """The loss, or the column that the class names in `falls`, ends lower than it began."""
    name, column = trial.cls.name, trial.cls.falls
    values = [row[column] for row in trial.watch.curve if column in row]
    assert values, f"{name}: its learning curve has no column '{column}'"
    last = sum(values[-2:]) / len(values[-2:])
    assert last < values[0], f"{name}: '{column}' does not fall: {', '.join(f'{value:.4g}' for value in values)}"


def check_test(trial: Trial) -> None:
    """When tested, `forward` got the one view that the class declares of every test image, and gave finite numbers."""
    name, view = trial.cls.name, trial.cls.view
    seen, wanted = set(), _bytes(pairs.to_float(trial.test_images().view(view)))
    kind = "images" if issubclass(trial.cls, Restorer) else "logits"
    for args, kwargs, output in trial.watch.tested:
        assert len(args) == 1 and not kwargs, f"{name}: forward got {len(args)} arguments and {sorted(kwargs)}, not one"
        assert output.isfinite().all(), f"{name}: forward returned {kind} that are not finite"
        seen |= _bytes(args[0])
    assert not seen - wanted, f"{name}: forward was tested on images that are not '{view}' test images"
    assert seen == wanted, f"{name}: forward was tested on some of the test images only"


def check_weights(trial: Trial) -> None:
    """Loaded from its weights file, it answers as its record says: what its `forward` needs is in there."""
    name, loaded = trial.cls.name, load_frozen(trial.record.spec, trial.store, torch.device("cpu"))
    stored = trial.store.predictions(trial.record.id)
    _, found = task_of(trial.cls).test(loaded, trial.test_images())
    for what, values in found.items():
        near = (abs(values.astype(float) - stored[what]) < 0.01).mean()
        assert near > 0.98, (  # with other threads than it was trained with, a sum or two may round otherwise
            f"{name}: loaded from its weights file, it has another '{what}' than its record; what forward looks at "
            f"may not be in training_only, which is {trial.cls.training_only}"
        )


def _bytes(images: Tensor) -> set[bytes]:
    return {image.contiguous().numpy().tobytes() for image in images}


def check_needs(trial: Trial) -> None:
    """The needed runs are no part of the method; that they stay as they were stored, training itself sees to."""
    trained, name = trial.watch.method, trial.cls.name
    assert trained is not None, f"{name}: neither its step nor its forward was called"
    groups = [group for one in trial.watch.optimizers for group in one.optimizer.param_groups]
    places = {  # of its parameters, `build` has seen to it
        "state_dict": _memory(trained.state_dict().values()),
        "optimizers": _memory(weight for group in groups for weight in group["params"]),
    }
    for role in trial.record.spec.needs:
        for place, memory in places.items():
            shared = memory & _memory(trained.needs[role].state_dict().values())
            assert not shared, f"{name}: the needed run '{role}' is in the method's {place}; read it from self.needs"


def _memory(tensors: Any) -> set[int]:
    """Where tensors lie, so that one is known again under another name or as a view."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}


def check_precision(trial: Trial) -> None:
    """Within bf16 autocast the terms of the loss are what they are in float32, but for what its networks round.

    Those, which are all modules with weights, compute in float32 here: what is left is the loss's own arithmetic. So
    this does not see a loss that computes with maps in bfloat16 as they come, without `.float()`.
    """
    trained, batch = trial.watch.method, trial.watch.batch
    if trained is None or batch is None or trial.cls.step is not Method.step:
        return
    state = {name: value.clone() for name, value in trained.state_dict().items()}
    modules = [one for net in (trained, *trained.needs.values()) for one in net.modules() if one is not trained]
    found: list[dict[str, float]] = []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for network in {type(one) for one in modules if any(True for _ in one.parameters())}:
            stack.enter_context(patch.object(network, "forward", _in_float32(network.forward)))
        for enabled in (False, True):
            torch.manual_seed(0)
            copies = {name: value.clone() for name, value in vars(batch).items() if isinstance(value, Tensor)}
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                terms = trained.train().loss(replace(batch, **copies))
            found.append({name: term.item() for name, term in terms.items()})
            trained.load_state_dict(state)
    for name, exact in found[0].items():
        rounded = found[1].get(name, math.nan)
        assert math.isclose(exact, rounded, rel_tol=1e-4, abs_tol=1e-6), (
            f"{trial.cls.name}: within bf16 autocast its '{name}' is {rounded:.6g}, and {exact:.6g} in float32, of the "
            "same answers of its networks: products (@, mm, einsum) round; compute them in `with self.exact(...)`"
        )


def _in_float32(forward: Callable[..., Any]) -> Callable[..., Any]:
    def exact(network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        exact = [one.float() if isinstance(one, Tensor) and one.is_floating_point() else one for one in args]
        with torch.autocast("cpu", enabled=False):
            return forward(network, *exact, **kwargs)

    return exact


def check_group(trial: Trial) -> None:
    """Trained in a group with its like, of another name and so with other weights, it ends bit for bit as alone."""
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


def _differ(one: Path, other: Path) -> list[str]:
    """The files of a run that are not equal in two folders."""
    return [x for x in (CURVE, PREDICTIONS, WEIGHTS) if (one / x).read_bytes() != (other / x).read_bytes()]


def check_resume(trial: Trial) -> None:
    """Interrupted in each epoch and resumed, in the place of the trial's own, the run ends bit for bit as that."""
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

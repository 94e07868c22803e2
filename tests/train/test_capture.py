"""Captured steps. What stands in for a CUDA graph on the CPU runs the recorded step anew at each replay.

So all around the graph is tested here: what is refused and why, images and learning rates that a replay reads anew,
who is captured with whom. That a graph computes the same is for tests/test_gpu.py.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import captured, tiny
from helpers.groups import LAMBDAS, Leaves, dfds, files, spec, together
from lrbench_baselines.lr_baseline import LRBaseline
from torch import Tensor

from lrbench.data.batches import Draw, epoch
from lrbench.method.backbones import Backbone
from lrbench.method.base import Batch, Method, Optimizer
from lrbench.spec.runspec import RunSpec
from lrbench.spec.seeds import generator
from lrbench.testing import registered, try_out
from lrbench.train import remembering
from lrbench.train.capture import graph as capture
from lrbench.train.capture.graph import Captured, CaptureGroup, Terms
from lrbench.train.capture.state import RunState

CPU = torch.device("cpu")


class Again:
    """Records work as a graph does: nothing is computed then, and each replay writes into the same tensors."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0  # steps

    def __call__(self, work: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        return self.step(work) if "optimizers" in inside(work) else self.making(work)

    def making(self, work: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        """Of a batch."""
        images = {name: torch.zeros_like(image) for name, image in work().items()}

        def replay() -> None:
            for name, value in work().items():
                images[name].copy_(value)

        return replay, images

    def step(self, step: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        self.recorded += 1
        run = inside(step)
        state = RunState(run["self"].method, run["optimizers"], CPU)
        before = state.read()
        terms = {name: term.clone() for name, term in step().items()}
        state.put_back(*before)
        for term in terms.values():
            term.fill_(float("nan"))

        def replay() -> None:
            self.replayed += 1
            for name, value in step().items():
                terms[name].copy_(value)

        return replay, terms


def inside(step: Callable[[], Terms]) -> dict[str, Any]:
    """The variables that a recorded step refers to."""
    cells = (cell.cell_contents for cell in step.__closure__ or ())
    return dict(zip(step.__code__.co_freevars, cells, strict=True))


class Fails(Again):
    """Records no step."""

    def step(self, step: Callable[[], Terms]) -> Any:
        raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")


class Stale(Again):
    """Records a step whose replay does nothing."""

    def step(self, step: Callable[[], Terms]) -> Any:
        return lambda: None, {"recognition": torch.zeros(())}


@pytest.fixture(autouse=True)
def _not_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "_warned", set())


def recorded(note: Callable[[str], None], record: Any) -> CaptureGroup:
    """What the steps of a group share on the CPU; `record` stands in for a CUDA graph."""
    group = CaptureGroup(CPU, note)
    group.record = record  # type: ignore[method-assign]
    return group


@pytest.fixture
def record() -> Again:
    return Again()


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> Iterator[Callable[[Any], None]]:
    """Makes runs on the CPU go through captured steps, recorded by what it is given."""

    def through(record: Any) -> None:
        monkeypatch.setattr(
            capture,
            "capture_group",
            lambda device, wanted, note: recorded(notes.append, record) if wanted else None,
        )

    yield through


def ends(folder: Path, specs: Sequence[RunSpec]) -> list[list[bytes]]:
    together(folder, specs)
    return [files(folder, one) for one in specs]


@pytest.mark.parametrize("method", ["lr-baseline", "hr-baseline", "dfd", "sr-espcn"])
def test_a_captured_run_ends_as_a_plain_one(method, tmp_path, capturing, record, notes):
    plain = ends(tmp_path / "plain", [spec(method)])
    capturing(record)
    assert ends(tmp_path / "captured", [spec(method)]) == plain
    assert record.recorded and record.replayed > record.recorded and not notes


@pytest.mark.slow
def test_runs_of_a_group_are_captured_each_and_end_as_plain_ones(tmp_path, capturing, record, notes):
    plain = ends(tmp_path / "plain", dfds())
    capturing(record)
    assert ends(tmp_path / "captured", dfds()) == plain
    assert record.recorded == 1 + len(dfds())  # the teacher, and each student
    assert not notes


class OwnStep(LRBaseline):
    name = "own-step"

    def step(self, batch: Batch, optimizers: list[Optimizer]) -> dict[str, Tensor]:
        return super().step(batch, optimizers)


class Counts(LRBaseline):
    name = "counts"
    seen: list[int]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.seen = [*getattr(self, "seen", []), len(batch.y)]
        return {name: term / len(self.seen) for name, term in super().loss(batch).items()}


class Draws(LRBaseline):
    name = "draws"

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        factor = random.Random(int(batch.index[0])).random()
        return {name: term * factor * (1 + 0 * random.random()) for name, term in super().loss(batch).items()}


class Notes(LRBaseline):
    """Is told of the step between steps, by its schedule."""

    name = "notes"
    done = 0

    def optimizers(self, updates: int) -> list[Optimizer]:
        [one] = super().optimizers(updates)

        def factor(done: int, usual: Callable[[int], float] = one.factor) -> float:
            self.done = done
            return usual(done)

        return [Optimizer(one.optimizer, factor)]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {name: term * (1 + self.done / 1000) for name, term in super().loss(batch).items()}


class Hides(LRBaseline):
    """Counts in an object that cannot be pickled."""

    name = "hides"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.hidden = type("Hidden", (), {})()
        self.hidden.steps, self.hidden.weight = 0, lambda steps: 1 + steps / 1000

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.hidden.steps += 1
        return {name: term * self.hidden.weight(self.hidden.steps) for name, term in super().loss(batch).items()}


class OwnSGD(LRBaseline):
    name = "own-sgd"

    class SGD(torch.optim.SGD):
        t = 0

        def step(self, closure: Any = None) -> Any:
            self.t += 1
            return super().step(closure)

    def optimizers(self, updates: int) -> list[Optimizer]:
        return [self.scheduled(self.SGD(self.parameters(), lr=0.01), updates)]


class Bank(LRBaseline):
    """Keeps a mean of its labels in a dict, where it is neither parameter nor buffer."""

    name = "bank"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.bank = {"mean": torch.zeros(()), "same": torch.ones(1).expand(5)}
        self.register_buffer("infinite", torch.tensor(float("inf")))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.bank["mean"].lerp_(batch.y.float().mean(), 0.5)
        return {name: term * (1 + self.bank["mean"] / 10) for name, term in super().loss(batch).items()}


class Writes(LRBaseline):
    name = "writes"

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        batch.up.mul_(0.5)
        return super().loss(batch)


@pytest.mark.parametrize(
    ("cls", "why"),
    [
        (OwnStep, "it has a step of its own"),
        (Counts, "each step changes seen"),
        (Draws, "each step changes Python's random numbers"),
        (Notes, "each step changes done"),
        (Hides, "each step changes hidden"),
        (OwnSGD, "each step changes t of an optimizer"),
        (Writes, "it writes into its images"),
    ],
)
def test_what_cannot_be_captured_is_trained_the_plain_way_with_one_warning(
    cls: type[Method], why: str, tmp_path, capturing, record, notes
):
    with registered(cls):
        plain = ends(tmp_path / "plain", [spec(cls.name)])
        capturing(record)
        assert ends(tmp_path / "captured", [spec(cls.name)]) == plain
    assert len(notes) == 1 and why in notes[0] and cls.name in notes[0]
    assert not record.recorded


def test_tensors_that_are_kept_anywhere_are_as_after_one_step(tmp_path, capturing, record, notes):
    with registered(Bank):
        plain = ends(tmp_path / "plain", [spec("bank")])
        capturing(record)
        assert ends(tmp_path / "captured", [spec("bank")]) == plain
    assert record.recorded and not notes


@pytest.mark.parametrize(
    ("record", "why"),
    [(Fails(), "operation not permitted when stream is capturing"), (Stale(), "ends elsewhere than the plain step")],
)
def test_a_capture_that_fails_or_does_not_do_the_same_costs_nothing_but_a_warning(
    record: Any, why: str, tmp_path, capturing, notes
):
    plain = ends(tmp_path / "plain", [spec("lr-baseline")])
    capturing(record)
    assert ends(tmp_path / "captured", [spec("lr-baseline")]) == plain
    assert len(notes) == 1 and why in notes[0]


@pytest.mark.slow
def test_one_that_cannot_be_captured_does_not_keep_its_group_from_it(tmp_path, capturing, record, notes):
    with registered(Counts):
        specs = [spec("counts"), spec("lr-baseline")]
        plain = ends(tmp_path / "plain", specs)
        capturing(record)
        assert ends(tmp_path / "captured", specs) == plain
    assert record.recorded == 1 and len(notes) == 1


@pytest.mark.slow
def test_when_one_leaves_the_others_are_captured_anew(tmp_path, capturing, record):
    with registered(Leaves):
        specs = [spec("leaves", epochs=4), spec("lr-baseline", epochs=4)]
        alone = ends(tmp_path / "plain", specs[1:])
        capturing(record)
        together(tmp_path / "captured", specs)
        assert files(tmp_path / "captured", specs[1]) == alone[0]
    assert record.recorded == 3


def test_a_batch_is_made_once_for_all_that_read_it_and_of_what_is_read():
    batches = list(epoch(tiny.pairs(16), tiny.training(batch_size=8), 4, False, generator(0, "a test")))
    shared, first, second = recorded(print, Again()), batches[0].batch(), batches[1].batch()
    student, teacher = tiny.method("lr-baseline"), tiny.method("hr-baseline")
    shared.gather([student])
    images = shared.take(batches[0])
    assert images.keys() == {"up", "y", "index"}
    place, version = images["up"].data_ptr(), images["up"]._version
    assert torch.equal(images["up"], first.up) and torch.equal(images["y"], first.y)
    assert shared.take(batches[0])["up"]._version == version  # a frozen network that was asked is not asked again
    images = shared.take(batches[1])
    assert images["up"].data_ptr() == place and torch.equal(images["up"], second.up)
    shared.gather([student, teacher])  # another member, which reads more
    for draw, batch in ((batches[1], second), (batches[0], first)):
        images = shared.take(draw)
        assert images.keys() == {"hr", "up", "y", "index"}
        for name, image in images.items():
            assert torch.equal(image, getattr(batch, name))


def test_a_batch_that_is_replayed_is_not_made_the_plain_way(monkeypatch):
    batches = list(epoch(tiny.pairs(80), tiny.training(batch_size=8), 4, False, generator(0, "a test")))
    run, shared = tiny.method(), recorded(print, Again())
    optimizers, step = run.optimizers(100), Captured(run, shared)
    for place, draw in enumerate(batches):
        if place == 6:
            assert step.in_use and step.checked
            monkeypatch.setattr(Draw, "batch", None)
        shared.gather([run])
        step(draw, optimizers)


def test_the_record_says_whether_steps_were_captured(tmp_path, capturing, record):
    run = spec("lr-baseline")
    plain, captured = tmp_path / "plain", tmp_path / "captured"
    assert not together(plain, [run])[run.id].env["captured"]
    capturing(record)
    assert together(captured, [run])[run.id].env["captured"]


def test_an_optimizer_that_counts_on_the_host_is_not_captured():
    run = tiny.method()
    optimizers = [Optimizer(torch.optim.RMSprop(run.parameters(), 1e-3), lambda _: 1.0)]
    for group in optimizers[0].optimizer.param_groups:
        group["count"] = 0  # as some optimizers outside of torch keep it
    optimizers[0].optimizer.register_step_post_hook(
        lambda one, *_: [group.update(count=group["count"] + 1) for group in one.param_groups] and None
    )
    notes: list[str] = []
    step = Captured(run, recorded(notes.append, Again()))
    for batch in epoch(tiny.pairs(40), tiny.training(batch_size=8), 4, False, generator(0, "a test")):
        step(batch, optimizers)
    assert step.refused and "count of an optimizer" in notes[0]


def test_what_runs_share_goes_with_them():
    """Nothing of a group waits for a search of the garbage: on a GPU that would be images, graphs and memory."""
    gc.collect()
    gc.disable()
    try:
        shared = CaptureGroup(CPU, print)
        gone = weakref.ref(shared)
        del shared
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.slow
def test_the_check_compares_captured_steps_with_plain_ones(tmp_path, capturing, record):
    trial = try_out(LRBaseline, tmp_path)
    capturing(record)
    captured.check_captured(trial, CPU)
    assert record.replayed > captured.STEPS / 2


@pytest.mark.slow
def test_the_check_finds_captured_steps_that_differ(tmp_path, capturing, monkeypatch):
    trial = try_out(LRBaseline, tmp_path)
    capturing(Again())
    monkeypatch.setattr(capture, "_rates_on_device", lambda *_: nullcontext())  # the rate is captured as a number
    monkeypatch.setattr(capture, "BOUND", float("inf"))
    monkeypatch.setattr(Again, "step", _with_its_first_rate(Again.step))
    with pytest.raises(AssertionError, match="from the plain steps"):
        captured.check_captured(trial, CPU)


def _with_its_first_rate(record: Any) -> Any:
    """As a graph does with what was a number when it was captured."""

    def call(self: Again, step: Callable[[], Terms]) -> Any:
        groups = [group for one in inside(step)["optimizers"] for group in one.optimizer.param_groups]
        rates = [group["lr"] for group in groups]

        replay, terms = record(self, step)

        def again() -> None:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
            replay()

        return again, terms

    return call


class Graphs(Again):
    """Recording, it is as in a graph: an answer that was remembered then is computed by its own replay only."""

    def __init__(self, spoilt: float) -> None:
        super().__init__()
        self.spoilt, self.capturing = spoilt, False
        self.order: list[list[float]] = []  # of the students that were captured, and whether they asked the teacher
        self.asked = 0

    def step(self, step: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        method = inside(step)["self"].method
        self.asked, self.capturing = 0, True
        replay, terms = super().step(step)
        self.capturing = False
        if "teacher" not in method.needs:
            return replay, terms
        self.order.append([method.config.lam, self.asked])
        return (replay if method.config.lam != self.spoilt else lambda: None), terms


@pytest.mark.slow
@pytest.mark.parametrize("spoilt", [0.0, *LAMBDAS])
def test_none_reads_what_one_that_is_refused_computed_for_it(spoilt, tmp_path, capturing, monkeypatch, notes):
    """Only the first that is captured asks the teacher, within what is replayed. Where it is refused, so is that."""
    graphs = Graphs(spoilt)
    capturing(graphs)
    monkeypatch.setattr(remembering, "is_capturing", lambda device: graphs.capturing)
    usual = Backbone.features

    def features(self: Backbone, images: Tensor) -> Tensor:
        graphs.asked += not self.training
        return usual(self, images)

    monkeypatch.setattr(Backbone, "features", features)
    together(tmp_path, dfds())
    assert len(notes) == (spoilt in LAMBDAS)
    kept = [lam for lam in LAMBDAS if lam != spoilt]
    assert [lam for lam, _ in graphs.order[-len(kept) :]] == kept  # anew, all in one order
    assert [asked for _, asked in graphs.order[-len(kept) :]] == [1] + [0] * (len(kept) - 1)


def test_one_that_comes_later_has_all_captured_anew_in_order():
    batches = list(epoch(tiny.pairs(80), tiny.training(batch_size=8), 4, False, generator(0, "a test")))
    record = Again()
    shared = recorded(print, record)
    runs = [tiny.method() for _ in range(3)]
    steps = [Captured(run, shared) for run in runs]
    optimizers = [run.optimizers(100) for run in runs]
    captured = []
    for place, batch in enumerate(batches):
        members = [0, 2] if place < 5 else [0, 1, 2]
        shared.gather([runs[i] for i in members])
        before = record.recorded
        for i in members:
            steps[i](batch, optimizers[i])
        captured.append(record.recorded - before)
    assert captured == [0, 0, 0, 2, 0, 2, 0, 0, 3, 0]
    assert {step.generation for step in steps} == {shared.generation}


def test_what_is_replayed_is_compared_again_in_each_epoch(notes):
    batches = list(epoch(tiny.pairs(80), tiny.training(batch_size=8), 4, False, generator(0, "a test")))
    shared = recorded(notes.append, Again())
    run = tiny.method()
    optimizers, step = run.optimizers(100), Captured(run, shared)
    for place in range(6):
        shared.gather([run])
        step(batches[place], optimizers)
    assert step.in_use and not notes
    step.replay = lambda: None  # it no longer does what the plain step does
    step.checked = False  # as in a new epoch
    shared.gather([run])
    before = [weight.clone() for weight in run.parameters()]
    step(batches[6], optimizers)
    assert not step.in_use and "ends elsewhere" in notes[0]
    assert any(not torch.equal(one, other) for one, other in zip(before, run.parameters(), strict=True))

"""Runs trained as a group: each as alone, each batch and each teacher's answer made once, each fails alone."""

from __future__ import annotations

import copy
import gc
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from helpers import tiny
from helpers.groups import LAMBDAS, dfds, files, runner, spec, together
from lrbench_baselines.hr_baseline import HRBaseline
from lrbench_baselines.lr_baseline import LRBaseline
from torch import Tensor

from lrbench import device
from lrbench.data import batches
from lrbench.errors import UserError
from lrbench.execute.executors import Event, Place
from lrbench.execute.progress import Progress
from lrbench.method import backbones, registry
from lrbench.method.base import Batch, Method, Needs
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import WEIGHTS, Store
from lrbench.testing import registered
from lrbench.train.loop import group_of
from lrbench.train.neighbours import undisturbed
from lrbench.train.remembering import Answers, Remembering, touched


class Faulty(LRBaseline):
    """Works until its 7th batch."""

    name = "faulty"
    why: Exception | None = None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.seen = getattr(self, "seen", 0) + 1
        terms = super().loss(batch)
        if self.seen < 7:
            return terms
        if self.why:
            raise self.why
        return {name: term * float("nan") for name, term in terms.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the DFD runs, each trained alone."""
    folder = tmp_path_factory.mktemp("alone")
    for one in [*dfds(), spec("lr-baseline")]:
        runner(folder).run(one)
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the parts of a batch were made, and a network's maps: with and without a gradient, in training."""
    seen: Counter[str] = Counter()
    make, maps = batches.Draw.make, backbones.Backbone.maps

    def counted_make(self: batches.Draw, field: str) -> Tensor:
        seen[field] += 1
        return make(self, field)

    def counted_maps(self: backbones.Backbone, x: Tensor) -> list[Tensor]:
        seen["student" if self.training else "teacher" if torch.is_grad_enabled() else "test"] += 1
        return maps(self, x)

    monkeypatch.setattr(batches.Draw, "make", counted_make)
    monkeypatch.setattr(backbones.Backbone, "maps", counted_maps)
    return seen


def test_in_a_group_each_run_is_as_alone_and_what_they_share_is_made_once(
    alone: Path, tmp_path: Path, calls: Counter[str]
) -> None:
    teacher = dfds()[0].needs["teacher"]
    runner(tmp_path).run(teacher)
    calls.clear()
    runs = [*dfds(), spec("lr-baseline")]
    ends = together(tmp_path, runs)
    for run in runs:
        end = ends[run.id]
        assert isinstance(end, Record)
        assert files(tmp_path, run) == files(alone, run)
        assert end.metrics["side_by_side"] == len(runs)
    steps, once = 3 * (500 // 128), len(runs)  # each run is asked once what its test path depends on
    assert (calls["hr"], calls["up"], calls["y"], calls["lr"]) == (steps, steps, steps, 0)
    assert (calls["teacher"], calls["student"]) == (steps + once, 4 * steps)


def test_a_record_says_how_many_were_trained_side_by_side(alone: Path) -> None:
    assert [record.metrics["side_by_side"] for record in Store(alone).records()] == [1] * 5


def test_an_executor_trains_again_what_has_lost_its_weights(tmp_path: Path) -> None:
    run = spec("lr-baseline", epochs=1)
    runner(tmp_path).run(run)
    whole = files(tmp_path, run)
    (tmp_path / run.id / WEIGHTS).unlink()
    events: list[Event] = []
    Place(tmp_path, Path(), "cpu").train([run], events.append)
    assert [event.kind for event in events] == ["note", "started", "epoch", "done"]
    assert "without the weights that are needed" in events[0].text
    assert files(tmp_path, run) == whole


def test_an_executor_trains_nothing_but_what_was_planned(tmp_path: Path) -> None:
    """The file of a method was edited before its worker was started."""
    run, events = dfds()[0], list[Event]()
    runner(tmp_path).run(run.needs["teacher"])
    code = {"dfd": registry.source_hash(registry.method("dfd")), "hr-baseline": "of an edited file"}
    Place(tmp_path, Path(), "cpu", code=code).train([run], events.append)
    assert [event.kind for event in events] == ["failed"] and not (tmp_path / run.id).exists()
    assert "the source of 'hr-baseline' is not what it was" in events[0].text


@pytest.mark.parametrize("why", [None, RuntimeError("broken")])
def test_a_run_fails_alone(why: Exception | None, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Faulty, "why", why)
    with registered(Faulty):
        faulty, *others = spec("faulty"), *dfds()[:2]
        ends = together(tmp_path, [faulty, *others])
    end = ends[faulty.id]
    assert isinstance(end, RuntimeError) if why else isinstance(end, Record) and end.diverged
    for run in others:
        assert isinstance(ends[run.id], Record)
        assert files(tmp_path, run) == files(alone, run)
    assert (tmp_path / faulty.id).exists() == (why is None)
    assert [spec.id for spec, _ in Store(tmp_path).failures()] == ([faulty.id] if why else [])


class Untestable(LRBaseline):
    """Its logits are of another form as soon as there are several images."""

    name = "untestable"

    def forward(self, up: Tensor) -> Tensor:
        logits = super().forward(up)
        return logits if len(up) == 1 else logits[:, :-1]


def test_one_that_cannot_be_tested_at_the_end_of_an_epoch_fails_alone(alone: Path, tmp_path: Path) -> None:
    with registered(Untestable):
        faulty, other = spec("untestable"), dfds()[0]
        ends = together(tmp_path, [faulty, other])
    assert isinstance(ends[faulty.id], UserError)
    assert isinstance(ends[other.id], Record)
    assert files(tmp_path, other) == files(alone, other)


class Break(Exception):
    pass


class Breaking(Progress):
    """Ends the process, as it were, in the second epoch of a run."""

    def __init__(self) -> None:
        self.epochs = 0

    def epoch(self, row: Any, images_per_second: float) -> None:
        self.epochs += 1

    def step(self, images: int) -> None:
        if self.epochs == 1:
            raise Break


def test_runs_that_are_ahead_wait_for_those_behind(alone: Path, tmp_path: Path) -> None:
    """One goes on after its first epoch, one starts, one is finished."""
    first, second, third = dfds()
    runner(tmp_path).run(first.needs["teacher"])
    ends = together(tmp_path, [first], progress=lambda _: Breaking())
    assert isinstance(ends[first.id], Break)
    runner(tmp_path).run(third)
    started: dict[str, int] = {}

    class Told(Progress):
        def start(self, spec: RunSpec, title: str, done: int, images: int) -> None:
            started[spec.id] = done

    ends = together(tmp_path, [first, second, third], progress=lambda _: Told())
    assert started == {first.id: 1, second.id: 0}
    for run in (first, second, third):
        assert isinstance(ends[run.id], Record)
        assert files(tmp_path, run) == files(alone, run)


def test_as_many_at_once_as_there_is_memory_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [spec("lr-baseline", {"init": init}, epochs=1) for init in ("scratch",)]
    runs += [spec(settings={"lam": lam, "init": "scratch"}, epochs=1) for lam in LAMBDAS]
    runner(tmp_path).run(runs[1].needs["teacher"])
    weights = (tmp_path / runs[1].needs["teacher"].id / WEIGHTS).stat().st_size
    monkeypatch.setattr(device, "memory", lambda _: 4 * 2.5 * 5 * weights)  # a quarter: two, and a teacher of each
    ends = together(tmp_path, runs)
    sizes = [end.metrics["side_by_side"] for end in ends.values() if isinstance(end, Record)]
    assert sizes == [2, 2, 2, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"scale": 4},
        {"degradation": "area"},
        {"limit_train": 400},
        {"select": "held-out"},
        {"settings": {"init": "lr-baseline"}},
    ],
)
def test_runs_of_the_same_batches_are_a_group(change: dict[str, Any]) -> None:
    scratch = {"settings": {"init": "scratch"}}
    one = group_of(spec(**scratch))
    assert one == group_of(spec("lr-baseline")) == group_of(spec(**scratch, width=0.25, epochs=9))
    assert one != group_of(spec(**(scratch | change)))


def frozen() -> Any:
    return tiny.method("hr-baseline").requires_grad_(False).eval()


def remembering(network: Any) -> Any:
    return Remembering(network, Answers(copy.deepcopy(network)))


@pytest.fixture
def asked() -> tuple[Any, list[Tensor]]:
    """A frozen network that remembers its answers, and the images that it or who answers for it really looked at."""
    network, looked = frozen(), list[Tensor]()
    network.backbone.stages[0].register_forward_hook(lambda module, args, output: looked.append(args[0]))
    return remembering(network), looked


def test_a_question_is_answered_once(asked: tuple[Any, list[Tensor]]) -> None:
    need, looked = asked
    image = tiny.batch().hr
    with torch.no_grad():
        expected = need.backbone.head(need.backbone.features(image.clone()))
    for ask in (need, need.forward, need.backbone, need.backbone.features, need.backbone.maps):
        looked.clear()
        first, *others = (ask(image) for _ in range(3))
        assert len(looked) == 1
        assert all(torch.equal(a, b) for other in others for a, b in zip(other, first, strict=True))
    assert torch.equal(need.backbone.head(need.backbone.features(image)), expected)
    assert torch.equal(need(image), expected)


def test_all_else_is_the_networks_own() -> None:
    network = frozen()
    need: Any = remembering(network)
    assert isinstance(need, Method) and (need.name, need.context) == ("hr-baseline", network.context)
    assert need.backbone.stages is network.backbone.stages
    assert [*need.parameters()] == [*network.parameters()] and not need.training


def test_it_is_asked_again_where_anything_has_changed(asked: tuple[Any, list[Tensor]]) -> None:
    need, looked = asked
    image = tiny.batch().hr
    first = need.backbone.features(image).clone()
    need.backbone.features(tiny.batch(seed=1).hr)
    assert torch.equal(need.backbone.features(image), first)
    assert len(looked) == 3, "only the last question is kept"
    need.backbone.features(image).zero_()
    assert torch.equal(need.backbone.features(image), first), "an answer that was written into is no answer"
    image.mul_(0.5)
    assert not torch.equal(need.backbone.features(image), first)
    exact = need.backbone.features(image).clone()
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(need.backbone.features(image), exact)
    before = len(looked)
    wanted = image.clone().requires_grad_()
    for _ in range(2):
        need.backbone.features(wanted).sum().backward()
    assert len(looked) == before + 2, "each backward has a graph of its own"
    for _ in range(2):
        with torch.inference_mode():
            strange = need.backbone.features(image)
            assert torch.equal(need.backbone.features(image.clone()), exact)
        assert torch.equal(strange, exact) and torch.equal(need.backbone.features(image), exact)


def test_attributes_are_set_and_deleted_on_the_network() -> None:
    network = frozen()
    need: Any = remembering(network)
    need.temperature, need.backbone.kept = 2.0, [1]
    assert network.temperature == 2.0 and network.backbone.kept is need.backbone.kept
    del need.temperature, need.backbone.kept
    assert not hasattr(network, "temperature") and not hasattr(need, "temperature")
    assert not hasattr(network.backbone, "kept")
    other, image = frozen().backbone, tiny.batch().hr
    with torch.no_grad():
        other.classifier.weight.zero_(), other.classifier.bias.zero_()
    assert need(image).any() and need.backbone(image).any()
    need.backbone = other
    assert network.backbone is other and not need(image).any() and not need.backbone(image).any()
    del need.backbone
    assert not hasattr(need, "backbone") and not hasattr(network, "backbone")


def _norm(network: Any) -> Any:
    return next(part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d))


@pytest.mark.parametrize(
    "change",
    [
        lambda need: _norm(need).train(),
        lambda need: need.backbone.stages[-1].train(),
        lambda need: _norm(need).running_mean.add_(1),
        lambda need: next(need.parameters()).mul_(2),
        lambda need: need.requires_grad_(),
        lambda need: setattr(_norm(need), "eps", 0.5),
        lambda need: setattr(_norm(need), "weight", torch.nn.Parameter(_norm(need).weight * 2)),
        lambda need: need.backbone.stages.append(torch.nn.Tanh()),
    ],
    ids=["mode of a part", "mode of a stage", "buffer", "weight", "requires_grad", "attribute", "new weight", "module"],
)
@pytest.mark.parametrize("of", ["network", "backbone"])
def test_what_changes_an_answer_is_seen(of: str, change: Callable[[Any], Any]) -> None:
    """As by the same network that remembers nothing."""
    network, image = frozen(), tiny.batch().hr
    need: Any = remembering(network)
    asked, plain = (need, network) if of == "network" else (need.backbone, network.backbone)
    before = asked(image)
    with torch.no_grad():
        change(need)
    answer, expected = asked(image), copy.deepcopy(plain)(image)
    assert torch.equal(answer, expected) and answer.requires_grad == expected.requires_grad
    assert answer.requires_grad or not torch.equal(answer, before)


def test_a_part_in_training_mode_answers_each_time(asked: tuple[Any, list[Tensor]]) -> None:
    need, looked = asked
    image, norm = tiny.batch().hr, _norm(need)
    norm.train()
    for times in (1, 2):
        need(image)
        assert len(looked) == norm.num_batches_tracked == times


def test_runs_share_answers_and_nothing_else() -> None:
    network = frozen()
    answers, image = Answers(copy.deepcopy(network)), tiny.batch().hr
    one, other = (cast(Any, Remembering(copy.deepcopy(network), answers)) for _ in range(2))
    expected = network(image)
    assert one.backbone.features(image) is other.backbone.features(image) and one(image) is other(image)
    with torch.no_grad():
        for weight in one.parameters():
            weight.data.zero_()  # which has no mark
    assert torch.equal(other(image.clone()), expected)
    assert touched(one, whole=True) == "was given other weights" and touched(other, whole=True) is None


def test_other_weights_are_asked_for_themselves(asked: tuple[Any, list[Tensor]]) -> None:
    need, _ = asked
    image = tiny.batch().hr
    usual = need(image).clone()
    others = {name: torch.zeros_like(weight) for name, weight in need.named_parameters()}
    assert not torch.equal(torch.func.functional_call(need, others, (image,)), usual)
    assert torch.equal(need(image), usual)


def test_an_answer_of_chance_is_drawn_each_time() -> None:
    network = frozen()
    network.backbone.stages[0].register_forward_hook(lambda module, args, output: output + torch.randn_like(output))
    need, image = remembering(network), tiny.batch().hr
    assert not torch.equal(need(image), need(image))


def test_whoever_listens_hears_each_answer_and_has_a_list_of_his_own(asked: tuple[Any, list[Tensor]]) -> None:
    need, looked = asked
    image, heard = tiny.batch().hr, []
    need.backbone.maps(image).clear()
    assert len(need.backbone.maps(image)) == len(need.backbone.stages)
    assert len(looked) == 1
    need.backbone.stages[0].register_forward_hook(lambda module, args, output: heard.append(output))
    for times in (1, 2):
        need.backbone.maps(image)
        assert len(heard) == times


def test_what_cannot_be_watched_is_not_remembered() -> None:
    """A part that is a network itself stays one; an answer in a dict is asked for again."""

    class Odd(HRBaseline):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.features = torch.nn.Sequential(torch.nn.Flatten())

        def maps(self, x: Tensor) -> dict[str, Tensor]:
            return {"flat": self.features(2 * x)}

    network, image = frozen(), tiny.batch().hr
    odd = Odd(network.config, network.context, {})
    need: Any = remembering(odd)
    assert need.features is odd.features
    need.maps(image)["flat"].zero_()
    need.maps(image).clear()
    assert need.maps(image)["flat"].any()


def test_a_copy_of_a_frozen_network_is_one_of_its_own(asked: tuple[Any, list[Tensor]]) -> None:
    """Such as a student that begins as its teacher."""
    need, image = asked[0], tiny.batch().hr
    before = need.backbone.features(image).clone()
    student = copy.deepcopy(need).requires_grad_(True).train()
    assert (
        type(copy.copy(need)) is HRBaseline
        and type(student) is HRBaseline
        and type(copy.deepcopy(need.backbone)) is type(student.backbone)
    )
    student.backbone.features(image).sum().backward()
    assert all(weight.grad is not None for weight in student.backbone.stages.parameters())
    with torch.no_grad():
        for weight in student.parameters():
            weight.zero_()
        assert not student.eval().backbone.features(image).any()
    assert torch.equal(need.backbone.features(image), before)
    assert all(weight.grad is None for weight in need.parameters())


def test_a_network_that_its_own_answers_change_is_each_runs_own() -> None:
    network = frozen()
    network.register_buffer("asked", torch.zeros(()))
    network.register_forward_hook(lambda module, args, output: output + module.asked.add_(1))
    image = tiny.batch().hr
    alone, answers = copy.deepcopy(network), Answers(copy.deepcopy(network))
    one, other = (cast(Any, Remembering(copy.deepcopy(network), answers)) for _ in range(2))
    for _ in range(2):
        expected = alone(image)
        assert torch.equal(one(image), expected) and torch.equal(other(image), expected)
        assert touched(one, whole=True) is None, "the run has not changed it"


def test_a_frozen_network_that_nobody_has_is_gone_at_once() -> None:
    """With its images and answers: memory of a GPU is not looked through for garbage."""
    need: Any = remembering(frozen())
    need.backbone.features(tiny.batch().hr)
    here = weakref.ref(need.backbone.stages)
    gc.disable()
    try:
        del need
        assert here() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("way", [lambda x: x.zero_(), lambda x: x.data.zero_(), lambda x: x.numpy().fill(0)])
def test_a_writer_into_its_batch_disturbs_nobody(way: Callable[[Any], Any], alone: Path, tmp_path: Path) -> None:
    class Writer(LRBaseline):
        name = "writer"
        reads = ("hr", "up")

        @classmethod
        def needs_of(cls, config: Any) -> Any:
            return {"teacher": Needs("hr-baseline")}

        def loss(self, batch: Batch) -> dict[str, Tensor]:
            answer = self.needs["teacher"].backbone.features(batch.hr)
            for one in (answer, batch.hr, batch.up, batch.index, batch.y):
                way(one)
            return super().loss(batch)

    with registered(Writer):
        assert registry.method("writer") is Writer
        runs = [spec("writer"), *dfds()[:1]]
        ends = together(tmp_path, runs)
    assert all(isinstance(end, Record) for end in ends.values())
    assert files(tmp_path, runs[1]) == files(alone, runs[1])


def _teacher(method: Any) -> Any:
    return method.needs["teacher"]


@torch.no_grad()
def _decay(method: Any) -> None:
    for weight in _teacher(method).parameters():
        weight.data.mul_(0.5)


def _learn(method: Any) -> None:
    for weight in _teacher(method).parameters():
        weight.requires_grad_(True)


def _forget_class(method: Any) -> None:
    _teacher(method).backbone.classifier = torch.nn.Linear(_teacher(method).backbone.dimension, 10)


def _stay(method: Any, mode: Any) -> None:
    """Enter a mode, and never leave it."""
    vars(method)["mode"] = mode
    mode.__enter__()


TOUCHES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "mode": (lambda method: _teacher(method).train(), "its teacher was put into training mode"),
    "mode of its backbone": (lambda method: _teacher(method).backbone.train(), "was put into training mode"),
    "gradients": (_learn, "its teacher was given gradients"),
    "weights": (
        lambda method: _teacher(method).backbone.classifier.bias.fill_(1),
        "its teacher was given other weights",
    ),
    "weights by data": (_decay, "its teacher was given other weights"),
    "another layer": (_forget_class, "was given other layers"),
    "whether gradients are computed": (lambda _: torch.set_grad_enabled(False), "whether gradients are computed"),
    "dtype": (lambda _: torch.set_default_dtype(torch.float64), "the default dtype for the whole process"),
    "threads": (lambda _: torch.set_num_threads(torch.get_num_threads() + 1), "the number of threads"),
    "precision": (lambda _: torch.set_float32_matmul_precision("medium"), "the precision of matrix products"),
    "default device": (lambda _: torch.set_default_device("meta"), "the default device"),
    "precision, in new words": (
        lambda _: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        "the precision of matrix products",
    ),
    "precision of all": (lambda _: setattr(torch.backends, "fp32_precision", "tf32"), "the precision of"),
    "oneDNN": (lambda _: setattr(torch.backends.mkldnn, "enabled", False), "oneDNN's switch"),
    "denormals": (lambda _: torch.set_flush_denormal(True), "how the smallest numbers are computed"),
    "inference mode": (lambda method: _stay(method, torch.inference_mode()), "inference mode"),
    "hooks": (
        lambda _: torch.nn.modules.module.register_module_forward_hook(lambda module, args, output: None),
        "hooks of all modules",
    ),
    "cuDNN": (lambda _: setattr(torch.backends.cudnn, "deterministic", True), "the flags of cuDNN"),
}


class Toucher(LRBaseline):
    """Does one of TOUCHES."""

    what: str
    when: str

    @classmethod
    def needs_of(cls, config: Any) -> Any:
        return {"teacher": Needs("hr-baseline")}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.touch("__init__")

    def touch(self, now: str) -> None:
        if now == self.when:
            TOUCHES[self.what][0](self)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.touch("loss")
        return super().loss(batch)

    def forward(self, up: Tensor) -> Tensor:
        if not self.training:
            self.touch("forward")
        return super().forward(up)

    def train(self, mode: bool = True) -> Any:
        if mode:
            self.touch("train")
        return super().train(mode)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["__init__", "loss", "forward", "train"])
def test_those_that_touch_what_others_use_are_named_and_fail_alone(when: str, alone: Path, tmp_path: Path) -> None:
    undone = {"whether gradients are computed", "inference mode"}  # by the end of a test, which computes no gradients
    done = [what for what in TOUCHES if when != "forward" or what not in undone]
    with ExitStack() as known:
        for place, what in enumerate(done):
            values = {"name": f"toucher-{place}", "what": what, "when": when}
            known.enter_context(registered(type("Toucher", (Toucher,), values)))
        touchers = {what: spec(f"toucher-{place}") for place, what in enumerate(done)}
        others = dfds()
        ends = together(tmp_path, [others[0], *touchers.values(), *others[1:]])
    for what, run in touchers.items():
        end, said = ends[run.id], TOUCHES[what][1]
        assert isinstance(end, UserError) and f"{run.method}" in str(end) and said in str(end)
        assert not (tmp_path / run.id).exists()
    for run in others:
        assert isinstance(ends[run.id], Record)
        assert files(tmp_path, run) == files(alone, run)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_what_interrupts_a_method_is_not_called_its_fault(error: BaseException) -> None:
    with pytest.raises(type(error)), undisturbed("toy", {}), torch.no_grad():
        torch.set_default_dtype(torch.float64)
        raise error
    assert torch.get_default_dtype() is torch.float32


def test_a_precision_that_the_user_has_set_is_no_ones_fault() -> None:
    """In the new words of torch, in which it does not answer a question in the old ones."""
    before = torch.backends.mkldnn.matmul.fp32_precision
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        with undisturbed("toy", {}):
            pass
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before

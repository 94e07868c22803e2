"""What only a CUDA device can show; run with `pytest -m gpu`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.captured import deterministic as deterministic_kernels
from helpers.captured import distance
from helpers.groups import LAMBDAS, Leaves, spec
from lrbench_baselines.lr_baseline import LRBaseline
from torch import Tensor

from lrbench import api
from lrbench.data.batches import epoch
from lrbench.errors import RunError
from lrbench.execute import session
from lrbench.execute.progress import Progress
from lrbench.execute.runner import Runner
from lrbench.method.base import Batch
from lrbench.spec.recipes import recipe
from lrbench.spec.record import Record
from lrbench.spec.runspec import RunSpec
from lrbench.spec.seeds import generator
from lrbench.store.store import Store
from lrbench.testing import registered
from lrbench.train import build
from lrbench.train.capture import graph as capture
from lrbench.train.loop import one_epoch
from lrbench.train.training import Training

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_student_learns_on_the_device(tmp_path: Path, precision: str) -> None:
    request = session.Request(
        "dfd", "digits", tmp_path, scale=2, width=0.25, recipe="quick", device="cuda", precision=precision
    )
    (record,) = session.run(request, Progress())
    assert record.metrics["top1"] > 80  # chance is 10
    assert record.env["device"] == torch.cuda.get_device_name()
    assert record.metrics["peak_memory_mib"]


def test_images_are_restored_on_the_device(tmp_path: Path) -> None:
    settings = {"channels": 16, "blocks": 2}
    request = session.Request(
        "srgan", "digits", tmp_path, scale=2, width=0.25, recipe="quick", device="cuda", settings=settings
    )
    (record,) = session.run(request, Progress())
    assert record.metrics["top1"] > 80
    quality = api.rows([record], Store(tmp_path)).dropna(subset="psnr").iloc[0]
    assert quality["psnr"] > quality["bicubic_psnr"]


def test_batches_are_those_of_the_cpu() -> None:
    here = tiny.pairs()
    there = here.to(CUDA)
    quick = recipe("quick", "resnet18")
    for a, b in zip(
        epoch(here, quick, 4, False, generator(0, "batches", 0)),
        epoch(there, quick, 4, False, generator(0, "batches", 0)),
        strict=True,
    ):
        a, b = a.batch(), b.batch()
        assert b.hr.is_cuda
        for name in ("hr", "lr", "up", "y", "index"):
            # CUDA divides by 255 as it multiplies by the reciprocal: half of all values differ in their last bit
            torch.testing.assert_close(getattr(a, name), getattr(b, name).cpu(), rtol=0, atol=1e-7)


def train(folder: Path, specs: list[RunSpec], capture: bool, notes: list[str]) -> list[Record]:
    """Runs side by side on the device; the ones that they need are trained there first."""
    records: dict[str, Record] = {}

    class Telling(Progress):
        def note(self, message: str) -> None:
            notes.append(message)

    def ended(spec: RunSpec, end: Record | Exception) -> None:
        if isinstance(end, Exception):
            raise end
        records[spec.id] = end

    runner = Runner(Store(folder), Path(), CUDA, lambda _: Telling(), capture)
    for need in [need for run in specs for need in run.needs.values()]:
        runner.run(need)
    runner.run_group(specs, ended)
    return [records[spec.id] for spec in specs]


def apart(folder: Path, other: Path, record: Record) -> float:
    """How far a run ended from itself in another store, as a part of the norm of its weights."""
    return distance(Store(folder), Store(other), record.id)


@pytest.fixture
def deterministic() -> Iterator[None]:
    with deterministic_kernels():
        yield


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("backbone", ["resnet18", "vgg16", "alexnet"])
def test_a_captured_step_does_what_the_plain_one_does(tmp_path, deterministic, backbone, precision):
    run = spec(settings={"init": "scratch"}, epochs=17, backbone=backbone, precision=precision)  # 51 steps
    notes: list[str] = []
    for kind in ("plain", "captured"):
        (record,) = train(tmp_path / kind, [run], kind == "captured", notes)
        assert record.env["captured"] == (kind == "captured")
    assert not notes
    assert apart(tmp_path / "plain", tmp_path / "captured", record) <= (1e-3 if precision == "fp32" else 1e-2)


def test_captured_students_side_by_side_end_as_alone(tmp_path, deterministic):
    """The teacher is in the graph of the first one only; one that diverges leaves, and the rest are captured anew."""
    notes: list[str] = []
    with registered(Leaves):
        students = [spec(settings={"lam": lam, "init": "scratch"}, epochs=6) for lam in LAMBDAS]
        runs = [spec("leaves", epochs=6), *students]
        alone = [train(tmp_path / "alone", [run], True, notes)[0] for run in students]
        ended: dict[str, Record | Exception] = {}
        runner = Runner(Store(tmp_path / "together"), Path(), CUDA, lambda _: Progress())
        runner.run(students[0].needs["teacher"])
        runner.run_group(runs, lambda run, end: ended.update({run.id: end}))
    assert isinstance(ended[runs[0].id], RunError)
    for record in alone:
        assert apart(tmp_path / "alone", tmp_path / "together", record) <= 1e-3
    assert not notes


class Noisy(LRBaseline):
    """Draws random numbers on the device."""

    name = "noisy"

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.backbone(batch.up + 0.1 * torch.randn_like(batch.up))
        return {"recognition": self.cross_entropy(logits, batch.y)}


class Waits(Noisy):
    """Asks the device for a number in every step, as public code does; it draws before, so while it is captured."""

    name = "waits"

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        terms = super().loss(batch)
        return {name: term * (1.0 if term.item() == term.item() else 0.0) for name, term in terms.items()}


def test_a_step_that_waits_for_the_device_is_trained_the_plain_way(tmp_path, deterministic):
    with registered(Waits):
        notes: list[str] = []
        (plain,) = train(tmp_path / "plain", [spec("waits")], False, notes)
        assert not notes
        (record,) = train(tmp_path / "captured", [spec("waits")], True, notes)
        assert len(notes) == 1 and "waits: its step is not captured" in notes[0] and "changes" not in notes[0]
        assert not record.env["captured"] and record.metrics["top1"] == plain.metrics["top1"]
        assert torch.cuda.current_stream() == torch.cuda.default_stream()
        (after,) = train(tmp_path / "captured", [spec("lr-baseline")], True, notes)  # the device is as it was
        assert after.env["captured"] and len(notes) == 1


def test_a_captured_step_draws_the_same_random_numbers(tmp_path, deterministic):
    with registered(Noisy):
        run, notes = spec("noisy", epochs=17), list[str]()
        for kind in ("plain", "captured"):
            (record,) = train(tmp_path / kind, [run], kind == "captured", notes)
        assert record.env["captured"] and not notes
        assert apart(tmp_path / "plain", tmp_path / "captured", record) <= 1e-3


def test_nothing_waits_for_the_device_within_an_epoch() -> None:
    """But for its first batch, whose replay is compared with the plain step, and for what captures the step."""
    run = tiny.spec(epochs=3)
    member = Training(build.untrained(run, tiny.FACTS, CUDA), run, tiny.pairs(600).to(CUDA), None)
    one_epoch([member], capture=capture.capture_group(CUDA, True, print))
    assert member.captured.in_use
    batches = list(member.batches())
    member.begin_epoch()
    member.update(0, batches[0])
    try:
        torch.cuda.set_sync_debug_mode("error")
        for place in range(1, len(batches)):
            member.update(place, batches[place])
    finally:
        torch.cuda.set_sync_debug_mode("default")

"""What is written reads back exactly or not at all; and the small parts that a run's state is made of."""

import errno
import hashlib
import math
import os
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import scipy.stats
import torch
from helpers import tiny

from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.method.base import Method, Needs
from lrbench.report.stats import summarise
from lrbench.spec.seeds import derive, generator
from lrbench.store import checkpoint
from lrbench.store.files import new_folder, write_atomic
from lrbench.train.build import build, start_from
from lrbench.train.training import Average, Training


class Damaged(Exception):
    """What a checkpoint that was set aside was warned of."""


def pack(snapshot) -> bytes:
    """A checkpoint's file."""
    with TemporaryDirectory() as folder:
        checkpoint.write(Path(folder) / "checkpoint", snapshot)
        [file] = Path(folder).iterdir()
        return file.read_bytes()


def unpack(packed: bytes):
    """What is read of such a file."""
    warned = []
    with TemporaryDirectory() as folder:
        (Path(folder) / "checkpoint").write_bytes(packed)
        snapshot = checkpoint.read(Path(folder) / "checkpoint", warned.append)
        names = [path.name for path in Path(folder).iterdir()]
    if warned:
        assert snapshot is None and names == [".damaged-checkpoint-1"]
        raise Damaged(*warned)
    return snapshot


def same(a, b) -> bool:
    """Equal in value, type and, for tensors, in every bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


@pytest.mark.parametrize(
    "tree",
    [
        {"nested": {0: {"momentum": None}, 1: [1, 2.5, "three", True, None]}, "empty": {}, "none": []},
        {"floats": [0.1, 1 / 3, 1e-310, 1e300, -0.0, math.pi, math.inf, math.nan]},
        {"betas": (0.9, 0.999), "state": {0: {"step": torch.tensor(3.0)}}, "long": [[[1], "ü" * 1000], -(2**70)]},
        {"int": torch.arange(5), "bool": torch.tensor([True, False]), "u8": torch.zeros(2, 2, dtype=torch.uint8)},
        {"bf16": torch.tensor([1 / 3, -0.1, 1e30]).bfloat16(), "f64": torch.tensor([0.1], dtype=torch.float64)},
        {"scalar": torch.tensor(3), "empty": torch.zeros(0, 3), "nan": torch.tensor([math.nan, math.inf])},
        {"weight": torch.nn.Parameter(torch.ones(2))},
        [],
        None,
        "text with ü and \n",
        torch.ones(2),
    ],
    ids=lambda tree: str(tree)[:30],
)
def test_round_trip(tree):
    expected = {"weight": tree["weight"].detach()} if isinstance(tree, dict) and "weight" in tree else tree
    assert same(expected, unpack(pack(tree)))


def test_memory_order_and_sharing_do_not_matter():
    images = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    base = torch.arange(12.0).reshape(3, 4)
    tree = {"images": images, "transposed": base.T, "row": base[1], "again": base, "strided": base[:, ::2]}
    back = unpack(pack(tree))
    assert same(tree, back) and back["images"].stride() == images.stride()


def test_an_optimizers_state_survives():
    method, batch = tiny.method(), tiny.batch()
    optimizers = method.optimizers(3)
    method.step(batch, optimizers)
    state = optimizers[0].optimizer.state_dict()
    assert 0 in state["state"]
    back = unpack(pack({"optimizers": [state]}))["optimizers"][0]
    assert same(state, back)
    other = method.optimizers(3)[0].optimizer
    other.load_state_dict(back)
    assert same(other.state_dict(), state)


def test_packing_is_repeatable_and_leaves_the_tree_alone():
    tree = {"weight": torch.ones(2, 2), "epoch": 1}
    assert pack(tree) == pack(tree) and torch.equal(tree["weight"], torch.ones(2, 2))


def test_one_flipped_bit_is_noticed():
    packed = pack({"weight": torch.ones(4), "epoch": 3})
    draw = random.Random(0)
    for place in [0, 31, 32, 40, len(packed) - 1, *draw.sample(range(len(packed)), 40)]:
        damaged = bytearray(packed)
        damaged[place] ^= 1 << draw.randrange(8)
        with pytest.raises(Damaged):
            unpack(bytes(damaged))


def test_truncation_and_additions_are_noticed():
    packed = pack({"weight": torch.ones(4)})
    for length in (0, 1, 32, 33, 100, len(packed) - 1):
        with pytest.raises(Damaged):
            unpack(packed[:length])
    with pytest.raises(Damaged):
        unpack(packed + b"\0")


@pytest.mark.parametrize("decay", [0.9, 0.15])
def test_average_is_its_formula(decay):
    method = tiny.method()
    average = Average(method, decay)
    expected = {name: value.numpy().astype(np.float64) for name, value in method.state_dict().items()}
    for step in range(4):
        with torch.no_grad():
            for number, value in enumerate(method.state_dict().values()):
                value.add_((number + step) % 5 + 1)
        average.update(step)
        d = min(decay, (1 + step) / (10 + step))  # not yet the full decay: the start counts for little
        for name, value in method.state_dict().items():
            new = value.numpy().astype(np.float64)
            mixed = d * expected[name] + (1 - d) * new
            expected[name] = mixed if value.is_floating_point() else new
    counters = [name for name, value in average.weights.items() if not value.is_floating_point()]
    assert counters and set(average.weights) == set(method.state_dict())
    for name, value in average.weights.items():
        assert np.allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-6), name


def test_average_stands_in_for_as_long_as_it_is_asked_to():
    method = tiny.method()
    average = Average(method, 0.5)
    started = {name: value.clone() for name, value in average.weights.items()}
    with torch.no_grad():
        method.backbone.classifier.weight.add_(1)
    live = {name: value.clone() for name, value in method.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), average.swapped():
        assert same(dict(method.state_dict()), started) and not same(live, started)
        raise KeyboardInterrupt
    assert same(dict(method.state_dict()), live)
    average.update(0)
    assert torch.equal(method.backbone.classifier.weight, live["backbone.classifier.weight"])


def test_a_checkpoint_holds_the_average():
    run = tiny.spec("lr-baseline")
    run = run.model_copy(update={"recipe": run.recipe.model_copy(update={"ema": 0.5})})
    one, other = (Training(tiny.make(run), run, tiny.pairs(), None) for _ in range(2))
    with torch.no_grad():
        one.method.backbone.classifier.weight.add_(1)
    one.average.update(0)
    assert not same(other.average.weights, one.average.weights)
    assert other.restore(unpack(pack(one.snapshot())))
    assert same(other.average.weights, one.average.weights)


def test_derive_is_what_it_was():
    assert derive(0, "weights", "dfd") == 3945519005673523732
    assert derive(0, "weights", "dfd") == int(hashlib.sha256(b"0:weights:dfd").hexdigest()[:16], 16) // 2


def test_every_purpose_has_its_own_numbers():
    purposes = [(seed, *rest) for seed in range(3) for rest in ((), ("noise", 0), ("noise", 1), ("batches", 0))]
    seeds = {derive(*purpose) for purpose in purposes}
    assert len(seeds) == len(purposes) and all(0 <= seed < 2**63 for seed in seeds)
    first, again, other = (torch.rand(3, generator=generator(0, name)) for name in ("a", "a", "b"))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("values", [[79.86, 80.3, 79.1], [1.0, 2.0], [5.0, 5.0, 5.0, 9.0]], ids=str)
def test_summary_is_mean_and_sample_deviation(values):
    summary = summarise(values)
    assert summary.mean == pytest.approx(np.mean(values))
    assert summary.sd == pytest.approx(np.std(values, ddof=1)) == pytest.approx(scipy.stats.tstd(values))
    assert summary.n == len(values)


def test_one_value_has_no_deviation():
    summary = summarise([79.859])
    assert (summary.mean, summary.sd, summary.n) == (79.859, None, 1)
    assert str(summary) == "79.86 (1)" and str(summarise([1.0, 2.0])) == "1.50 ± 0.71 (2)"


def test_weights_come_from_the_specs_seed_alone():
    torch.manual_seed(123)
    state = torch.get_rng_state()
    one = tiny.method(seed=1)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(7)
    again, other = tiny.method(seed=1), tiny.method(seed=2)
    assert same(dict(one.state_dict()), dict(again.state_dict()))
    assert not same(dict(one.state_dict()), dict(other.state_dict()))
    teacher = tiny.method("hr-baseline", seed=1)
    assert same(dict(one.backbone.state_dict()), dict(teacher.backbone.state_dict()))


def test_the_backbone_gets_the_datas_statistics():
    net = tiny.method().backbone
    assert net.mean.flatten().tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert net.std.flatten().tolist() == pytest.approx([0.2, 0.25, 0.3])


@pytest.mark.parametrize("deep", [False, True])
def test_build_refuses_a_need_in_the_module_tree(monkeypatch, deep):
    class Greedy(Method):
        name = "greedy"

        def __init__(self, config, context, needs):
            super().__init__(config, context, needs)
            self.backbone = context.backbone()
            teacher = needs["teacher"]
            self.held = torch.nn.ModuleList([teacher.backbone]) if deep else teacher

        @classmethod
        def needs_of(cls, config):
            return {"teacher": Needs("hr-baseline")}

    monkeypatch.setitem(registry._drafts, "greedy", (Greedy, "a test"))
    with pytest.raises(UserError, match=r"greedy keeps a needed run .* self\.needs"):
        tiny.method("greedy")


def test_nothing_in_common_is_no_start():
    class Empty(Method):
        name = "empty"

    student = tiny.method()
    with pytest.raises(UserError, match="no weight has the same name"):
        start_from(student, Empty(None, student.context, {}))
    with pytest.raises(UserError, match="has shape"):
        start_from(student, tiny.method(width=0.5))


def test_build_makes_channels_last_weights():
    method = build(tiny.spec(), tiny.FACTS, {}, torch.device("cpu"))
    convolutions = [weight for weight in method.parameters() if weight.ndim == 4]
    assert convolutions and all(w.is_contiguous(memory_format=torch.channels_last) for w in convolutions)


@pytest.fixture
def full_disk(monkeypatch):
    def fsync(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


def test_write_atomic_replaces_the_whole_file(tmp_path):
    path = tmp_path / "file"
    for content in ("long text with ü", b"\0bytes", ""):
        write_atomic(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("there_before", [False, True])
def test_write_atomic_leaves_nothing_behind_on_a_full_disk(tmp_path, full_disk, there_before):
    path = tmp_path / "file"
    if there_before:
        path.write_text("old")
    with pytest.raises(OSError) as caught:
        write_atomic(path, "new")
    assert caught.value.errno == errno.ENOSPC
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"] * there_before


def test_new_folder_appears_whole(tmp_path):
    path = tmp_path / "run"
    with new_folder(path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("content")
        assert not path.exists() and folder.parent == tmp_path
    assert (path / "deep" / "file").read_text() == "content"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_new_folder_leaves_nothing_behind_on_a_full_disk(tmp_path, full_disk):
    with pytest.raises(OSError) as caught, new_folder(tmp_path / "run") as folder:
        (folder / "first").write_text("content")
        write_atomic(folder / "second", "content")
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, ValueError])
def test_new_folder_leaves_nothing_behind_when_interrupted(tmp_path, end):
    with pytest.raises(end), new_folder(tmp_path / "run") as folder:
        (folder / "file").write_text("content")
        raise end
    assert not list(tmp_path.iterdir())


def test_new_folder_keeps_what_is_there(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "file").write_text("old")
    with pytest.raises(FileExistsError), new_folder(path):
        raise AssertionError("the block must not begin")
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"] and (path / "file").read_text() == "old"

"""`lrbench bench`: what is compared is the same work, done in turn, and said in one schema. Nothing here is timed."""

from __future__ import annotations

import csv
import io
import json
import mmap
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import tiny
from torch.utils.data import default_collate

from lrbench import cli
from lrbench.bench import case as cases
from lrbench.bench import contenders, timing
from lrbench.bench.case import Case
from lrbench.data import pairs
from lrbench.errors import UserError
from lrbench.execute.provenance import peak_memory_mib
from lrbench.method import registry
from lrbench.method.base import Batch, Method
from lrbench.plan.plan import plan

SMALL = ["bench", "--width=0.125", "--images=16", "--batch=8", "--rounds=2", "--threads=1", "--workers=0"]
PARTS = ("", "_low", "_high")  # of a median and its quartiles
SMALL += ["--device=cpu", "--scale=4", "--precision=fp32"]


def case(method="dfd", batch_size=6, **changes) -> Case:
    """A tiny method that is to be timed on 20 images of noise; fp32."""
    spec = plan(method, {}, tiny.protocol(batch_size=batch_size, **changes))
    return Case(spec, tiny.info(), images=20, root=None, device="cpu")


def images(one: Case) -> pairs.Pairs:
    """The case's images."""
    found = tiny.pairs(20)
    return found if one.spec.scale else replace(found, lr=None, up=None)


def asked(**changes) -> list[Case]:
    """What `lrbench bench` would time, of tiny cases."""
    small = {"methods": ("dfd",), "widths": (0.125,), "batch": 8, "images": 16, "device": "cpu", "precision": "fp32"}
    return cases.cases(**(small | changes))


def gradients(method: Method) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in method.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("method", ["dfd", "lr-baseline", "hr-baseline"])
def test_the_reference_takes_the_same_step(method):
    one = case(method)
    ours, theirs = one.untrained().train(), contenders.Reference(one, images(one))
    theirs.method.train()
    batch = tiny.batch()
    if one.spec.scale is None:
        batch = Batch(hr=batch.hr, y=batch.y, index=batch.index)
    optimizers = ours.optimizers(one.updates)
    optimizers[0].set_rate(0)
    before = [weight.detach().clone() for weight in ours.parameters()]
    terms = ours.step(batch, optimizers)
    loss = theirs.step(batch)
    torch.testing.assert_close(loss, sum(terms.values()), rtol=1e-5, atol=1e-6)
    wanted, found = gradients(ours), gradients(theirs.method)
    assert wanted.keys() == found.keys() and any(gradient.abs().max() > 1e-4 for gradient in wanted.values())
    for name, gradient in wanted.items():
        # the layouts sum in another order
        assert (found[name] - gradient).norm() < 1e-3 * gradient.norm() + 1e-4
    for weight, same, was in zip(theirs.method.parameters(), ours.parameters(), before, strict=True):
        torch.testing.assert_close(weight, same, rtol=1e-4, atol=1e-4)
        assert not weight.requires_grad or not torch.equal(weight, was)


def test_the_reference_normalises_in_the_loader_what_the_backbone_does_elsewhere():
    one = case("lr-baseline")
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    recipe = one.spec.recipe.model_copy(update={"crop": 0.0, "flip": False})
    noise = images(one)
    hr, up, label, index = contenders.PairDataset(noise.hr.numpy(), noise.y.tolist(), 4, recipe, mean, std)[3]
    backbone = tiny.method().backbone
    expected = backbone.normalise(pairs.to_float(noise.hr[3:4]))[0]
    torch.testing.assert_close(hr, expected)
    assert (label, index) == (noise.y[3], 3) and up.shape == hr.shape
    assert not torch.equal(up, hr)  # enlarged from a quarter of the side


def test_the_reference_makes_lr_as_the_default_degradation_does():
    from lrbench.data.degradation import degrade

    one = case("lr-baseline")
    recipe = one.spec.recipe.model_copy(update={"crop": 0.0, "flip": False})
    hr = images(one).hr.numpy()
    data = contenders.PairDataset(hr, images(one).y.tolist(), 4, recipe, (0.0,) * 3, (1.0,) * 3)
    _, up = degrade(hr, 4)
    for n in range(4):
        assert torch.equal((data[n][1] * 255).round().byte(), torch.tensor(up[n]).permute(2, 0, 1))


def test_the_reference_crops_and_flips_a_pair_alike():
    one = case("lr-baseline")
    data = contenders.PairDataset(images(one).hr.numpy(), images(one).y.tolist(), 1, one.spec.recipe)
    seen = [data[0] for _ in range(20)]  # at scale 1, LR is HR
    for hr, low, *_ in seen:
        assert torch.equal(hr, low)
    assert len({hr.numpy().tobytes() for hr, *_ in seen}) > 10


def test_the_reference_without_lr_gives_none():
    one = case("hr-baseline")
    data = contenders.PairDataset(images(one).hr.numpy(), images(one).y.tolist(), None, one.spec.recipe)
    assert [len(values) for values in default_collate([data[0], data[1]])] == [2, 2, 2]


def test_the_reference_is_in_the_default_layout_and_without_autocast():
    one = case("dfd", precision="bf16")
    theirs = contenders.Reference(one, images(one))
    for method in (theirs.method, theirs.method.needs["teacher"]):
        kernels = [weight for weight in method.parameters() if weight.ndim == 4 and weight.shape[2] > 1]
        assert kernels and all(weight.is_contiguous() for weight in kernels)
    kernels = [weight for weight in one.untrained().parameters() if weight.ndim == 4 and weight.shape[2] > 1]
    assert not any(weight.is_contiguous() for weight in kernels)
    features = []
    theirs.method.backbone.stages[0].register_forward_hook(lambda module, given, made: features.append(made.dtype))
    theirs.step(tiny.batch())
    assert features == [torch.float32]


@pytest.mark.parametrize("cls", [contenders.Bare, contenders.Loop, contenders.Reference])
def test_a_slice_is_an_epoch_of_updates(cls):
    one = case()
    running, steps = cls(one, images(one)), []
    method = running.training.method if cls is contenders.Loop else running.method
    before = {name: weight.clone() for name, weight in method.named_parameters()}
    assert running.slice(lambda: steps.append(1)) > 0
    assert len(steps) == one.updates == 3
    assert all(not torch.equal(before[name], weight) for name, weight in method.named_parameters())


def test_the_bare_step_draws_no_new_batch(monkeypatch):
    one = case()
    running, seen = contenders.Bare(one, images(one)), []
    monkeypatch.setattr(running.method, "step", lambda batch, optimizers: seen.append(batch))
    running.slice()
    assert len(seen) == 3 and all(batch is seen[0] for batch in seen) and len(seen[0].y) == 6


def test_slices_are_taken_in_turn_after_a_warm_up():
    calls = []

    class Fake(contenders.Contender):
        def __init__(self, name, updates):
            self.name, self.case = name, SimpleNamespace(updates=updates)

        def slice(self, after=lambda: None):
            calls.append(self.name)
            return float(len(calls))

    seconds = timing.interleaved([Fake("a", 5), Fake("b", 2)], rounds=3)
    assert calls == ["a", "b", "b", "b", *["a", "b"] * 3]  # five steps or more to warm up
    assert seconds == {"a": [5.0, 7.0, 9.0], "b": [6.0, 8.0, 10.0]}


def result(**seconds) -> timing.Result:
    return timing.Result(case(), 100, seconds, {"bare": timing.Alone(0.5, 300)})


def test_ratios_are_taken_round_by_round():
    # the machine slows down threefold in the second round: the ratio does not see it
    found = result(bare=[1.0, 3.0, 1.0], lrbench=[1.25, 3.75, 1.25])
    flat = timing.row(found)
    assert [flat[f"lrbench_to_bare{part}"] for part in PARTS] == pytest.approx([0.8, 0.8, 0.8])
    assert [flat[f"bare_images_per_second{part}"] for part in PARTS] == pytest.approx([100, 200 / 3, 100])
    assert flat["lrbench_to_reference"] is None


def cells(one: timing.Result) -> list[str]:
    """What is shown of a result."""
    text = timing.markdown([one], timing.machine("cpu", 1))
    (line,) = [line for line in text.splitlines() if line.startswith("| dfd")]
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_what_did_not_run_is_a_dash_and_empty():
    line = cells(result(bare=[1.0], lrbench=[2.0], evaluation=[0.5]))
    assert line[1:3] == ["100 (100–100)", "50 (50–50)"] and line[3] == "-" and line[4] == "0.500 (0.500–0.500)"
    assert line[7:] == ["-", "0.50 · - · -", "300 · - · -"]
    line = cells(result(lrbench=[2.0, 2.0], evaluation=[0.5, 0.6], forward=[0.4, 0.4]))
    assert line[7] == "1.38 (1.31–1.44)"
    flat = timing.row(result(bare=[1.0], lrbench=[2.0], evaluation=[0.5]))
    assert flat["reference_images_per_second"] is None and flat["lrbench_to_reference"] is None


def test_where_no_method_is_named_the_entry_points_say(monkeypatch):
    names = [job.spec.method for job in asked(methods=(), backbones=("alexnet", "resnet18"))]
    assert names == ["lr-baseline"] * 2 + ["dfd"] * 2
    assert all(set(job.spec.needs) <= {"teacher"} for job in asked(methods=()))
    monkeypatch.setattr(cases, "GROUP", "no.such.group")
    with pytest.raises(UserError, match="--method"):
        asked(methods=())


def test_an_sr_net_has_no_reference():
    assert contenders.Reference in timing.contenders(case("dfd").spec)
    spec = plan("sr-espcn", {}, tiny.protocol())
    assert timing.contenders(spec) == [contenders.Bare, contenders.Loop, contenders.Evaluation, contenders.Forward]
    assert not contenders.covers(registry.method("sr-srgan"))  # two optimizers


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("dfx",)}, "did you mean 'dfd'"),
        ({"backbones": ("resnet81",)}, "did you mean 'resnet18'"),
        ({"scale": 3}, "the nearest that do: 2, 4"),
        ({"batch": 17}, "the largest valid batch is 16"),
        ({"threads": 100_000}, "the most threads are"),
        ({"settings": {"lan": 2}}, "did you mean 'lam'"),
        ({"dataset": "digits", "images": 5_000, "scale": 2}, "the nearest valid number is 1"),
    ],
)
def test_mistakes_name_the_nearest_valid_value(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        asked(**changes, data=tmp_path)


def test_settings_reach_the_methods_that_have_them():
    jobs = asked(methods=("lr-baseline", "dfd"), settings={"lam": 0.5, "init": "scratch"})
    assert [job.spec.config.get("lam") for job in jobs] == [None, 0.5]
    assert all("init" not in job.spec.needs for job in jobs)


def test_a_named_dataset_is_what_is_timed(tmp_path):
    (job,) = asked(dataset="digits", scale=2, images=64, data=tmp_path)
    made = job.pairs()
    assert len(made) == 64 and made.hr.shape == (64, 8, 8, 3) and job.spec.dataset == "digits"
    assert 0 < made.hr.float().mean() < 127  # digits are dark


def test_the_peak_is_forgotten_and_counted_again():
    cpu = torch.device("cpu")
    timing.forget_peak(cpu)
    before = peak_memory_mib(cpu)
    block = mmap.mmap(-1, 64 * 2**20)  # from the system: an array might get memory that is held already
    block.write(b"1" * len(block))
    grown = peak_memory_mib(cpu)
    assert grown >= before + 50
    block.close()
    if timing.CLEAR.exists():
        timing.forget_peak(cpu)
        assert peak_memory_mib(cpu) < grown - 50


def test_the_machine_is_named(tmp_path):
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel name\t: A fast one @ 3 GHz\n")
    assert timing.cpu_model(listing) == "A fast one @ 3 GHz"
    here = timing.machine("cpu", 3) | {"cores": 4, "cpu": "A fast one", "load_average": 0.5}
    assert timing.words(here).startswith("A fast one, 4 cores, 3 threads; torch 2.")
    assert timing.warning(here) is None
    assert "trust the ratios" in timing.warning(here | {"load_average": 3.0})


def printed(capsys, monkeypatch, *extra):
    monkeypatch.setattr(sys, "argv", ["lrbench", *SMALL, *extra])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    out = capsys.readouterr()
    assert exit.value.code == 0, out.err
    return out.out


def test_json_csv_and_table_say_the_same(capsys, monkeypatch):
    monkeypatch.setattr(timing, "alone", lambda contender, job: timing.Alone(0.25, 123))  # no process of its own here
    content = json.loads(printed(capsys, monkeypatch, "--method=dfd", "--json"))
    (found,) = content["cases"]
    assert set(found["seconds"]) == {"bare", "lrbench", "reference", "evaluation", "forward"}
    assert all(len(slices) == 2 for slices in found["seconds"].values())
    assert found["images"] == 16 and found["batch"] == 8 and found["reference_peak_memory_mib"] == 123
    assert content["machine"]["cores"] >= 1 and content["machine"]["threads"] == 1
    (line,) = csv.DictReader(io.StringIO(printed(capsys, monkeypatch, "--method=dfd", "--csv")))
    assert set(line) == set(found) - {"seconds"} | set(timing.MACHINE)
    table = printed(capsys, monkeypatch, "--method=dfd")
    assert "lrbench / reference" in table and "dfd, resnet18, width 0.125" in table


def test_a_process_of_its_own_tells_first_step_and_memory():
    (job,) = asked(threads=1, workers=0)
    found = timing.alone(contenders.Loop, job)
    assert found.first_step_seconds > 0 and found.peak_memory_mib > 50


def test_help_needs_no_torch():
    code = "import sys; from lrbench.cli import cli; cli(['bench', '--help'], standalone_mode=False); "
    code += "assert 'torch' not in sys.modules"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True).returncode == 0
    )

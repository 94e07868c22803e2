"""`lrbench bench`: what is compared is the same work, done in turn, and said in one schema. Nothing here is timed."""

from __future__ import annotations

import csv
import io
import json
import mmap
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import tiny

from lrbench import cli
from lrbench.bench import case as cases
from lrbench.bench import contenders, timing
from lrbench.bench.case import Case
from lrbench.errors import UserError
from lrbench.execute.provenance import peak_memory_mib
from lrbench.plan.plan import plan

SMALL = ["bench", "--width=0.125", "--images=16", "--batch=8", "--rounds=2", "--threads=1"]
PARTS = ("", "_low", "_high")  # of a median and its quartiles
SMALL += ["--device=cpu", "--scale=4", "--precision=fp32"]


def case(method="dfd", batch_size=6, **changes) -> Case:
    """A tiny method that is to be timed on 20 images of noise; fp32."""
    spec = plan(method, {}, tiny.protocol(batch_size=batch_size, **changes))
    return Case(spec, tiny.info(), images=20, root=None, device="cpu")


def asked(**changes) -> list[Case]:
    """What `lrbench bench` would time, of tiny cases."""
    small = {"methods": ("dfd",), "widths": (0.125,), "batch": 8, "images": 16, "device": "cpu", "precision": "fp32"}
    return cases.cases(**(small | changes))


@pytest.mark.parametrize("cls", [contenders.Bare, contenders.Loop])
def test_a_slice_is_an_epoch_of_updates(cls):
    one = case()
    running, steps = cls(one, tiny.pairs(20)), []
    method = running.training.method if cls is contenders.Loop else running.method
    before = {name: weight.clone() for name, weight in method.named_parameters()}
    assert running.slice(lambda: steps.append(1)) > 0
    assert len(steps) == one.updates == 3
    assert all(not torch.equal(before[name], weight) for name, weight in method.named_parameters())


def test_the_bare_step_draws_no_new_batch(monkeypatch):
    one = case()
    running, seen = contenders.Bare(one, tiny.pairs(20)), []
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


def result() -> timing.Result:
    """The machine slows down threefold in the second round: ratios do not see it."""
    seconds = {"bare": [1.0, 3.0, 1.0], "lrbench": [1.25, 3.75, 1.25], "evaluation": [0.5, 1.5, 0.5]}
    alone = {"bare": timing.Alone(0.5, 300), "lrbench": timing.Alone(0.75, 1400)}
    return timing.Result(case(), 100, seconds | {"forward": [0.4, 1.2, 0.4]}, alone)


def test_ratios_are_taken_round_by_round():
    flat = timing.row(result())
    assert [flat[f"lrbench_to_bare{part}"] for part in PARTS] == pytest.approx([0.8, 0.8, 0.8])
    assert [flat[f"bare_images_per_second{part}"] for part in PARTS] == pytest.approx([100, 200 / 3, 100])
    assert [flat[f"evaluation_seconds_to_forward{part}"] for part in PARTS] == pytest.approx([1.25, 1.25, 1.25])


def test_a_table_has_medians_with_quartiles_and_what_each_needed_alone():
    text = timing.markdown([result()], timing.machine("cpu", 1))
    head, _, line = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines()[4:7])
    assert dict(zip(head, line, strict=True)) == {
        "case": "dfd, resnet18, width 0.125",
        "bare": "100 (67–100)",
        "lrbench": "80 (53–80)",
        "evaluation": "200 (133–200)",
        "forward": "250 (167–250)",
        "lrbench / bare": "0.800 (0.800–0.800)",
        "evaluation seconds / forward": "1.250 (1.250–1.250)",
        "first step, s": "0.50 · 0.75",
        "peak memory, MiB": "300 · 1,400",
    }
    assert "- first step and peak memory: bare · lrbench, each in a process of its own" in text


def test_where_no_method_is_named_the_entry_points_say(monkeypatch):
    names = [job.spec.method for job in asked(methods=(), backbones=("alexnet", "resnet18"))]
    assert names == ["lr-baseline"] * 2 + ["dfd"] * 2
    assert all(set(job.spec.needs) <= {"teacher"} for job in asked(methods=()))
    monkeypatch.setattr(cases, "GROUP", "no.such.group")
    with pytest.raises(UserError, match="--method"):
        asked(methods=())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("dfx",)}, "did you mean 'dfd'"),
        ({"backbones": ("resnet81",)}, "did you mean 'resnet18'"),
        ({"scale": 3}, "the nearest that do: 2, 4"),
        ({"batch": 17}, "the nearest valid size is 16"),
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
    assert set(found["seconds"]) == {"bare", "lrbench", "evaluation", "forward"}
    assert all(len(slices) == 2 for slices in found["seconds"].values())
    assert found["images"] == 16 and found["batch"] == 8 and found["lrbench_peak_memory_mib"] == 123
    assert content["machine"]["cores"] >= 1 and content["machine"]["threads"] == 1
    (line,) = csv.DictReader(io.StringIO(printed(capsys, monkeypatch, "--method=dfd", "--csv")))
    assert set(line) == set(found) - {"seconds"} | set(content["machine"])
    table = printed(capsys, monkeypatch, "--method=dfd")
    assert "lrbench / bare" in table and "dfd, resnet18, width 0.125" in table


@pytest.mark.slow
def test_a_process_of_its_own_tells_first_step_and_memory():
    (job,) = asked(threads=1)
    found = timing.alone(contenders.Loop, job)
    assert found.first_step_seconds > 0 and found.peak_memory_mib > 50


def test_help_needs_no_torch():
    code = "import sys; from lrbench.cli import cli; cli(['bench', '--help'], standalone_mode=False); "
    code += "assert 'torch' not in sys.modules"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True).returncode == 0
    )

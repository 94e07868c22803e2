"""The command line, as a user meets it: what is printed where, exit statuses, and what is left on the disk."""

import csv
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny
from helpers.cli import COMMAND, caller, process
from helpers.extras import needs_basicsr

from lrbench import demo
from lrbench.cli import training
from lrbench.data import datasets
from lrbench.data.degradation import DEGRADATIONS
from lrbench.execute import session
from lrbench.method import registry
from lrbench.spec.recipes import recipe
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import WEIGHTS, Store

PROTOCOL = ["--dataset=digits", "--scale=2", "--width=0.125", "--recipe=quick", "--limit-train=300"]
PROTOCOL += ["--limit-test=100", "--device=cpu", "--precision=fp32"]
DFD = ["run", "--method", "dfd", *PROTOCOL, "--epochs", "2"]


class Trained:
    """A store in which DFD, and so its teacher, was trained by a process of its own."""

    def __init__(self, folder):
        self.env = {"LRBENCH_RESULTS": str(folder / "runs"), "LRBENCH_DATA": str(folder / "data")}
        self.results, self.data = folder / "runs", folder / "data"
        self.data.mkdir()
        done = process(*DFD, "--json", env=self.env)
        assert done.returncode == 0, done.stderr
        self.stdout, self.stderr = done.stdout, done.stderr

    def listing(self):
        """Every path that the user's mistakes must not touch, with the time of its last change."""
        return {str(path): path.stat().st_mtime_ns for top in (self.results, self.data) for path in top.rglob("*")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("cli"))


@pytest.fixture
def lrbench(trained, monkeypatch, capsys, tmp_path):
    """Calls the command in this process, in an empty folder: arguments -> exit status, stdout, stderr."""
    for name, value in trained.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capsys)


MINI = {"vgg16": 0.25, "alexnet": 1.0}


@pytest.fixture
def cifar(monkeypatch):
    """Facts of a CIFAR-10 whose images are nowhere."""
    real = datasets.info
    facts = replace(tiny.info(32), name="cifar10", counts={"train": 50_000, "test": 10_000})
    monkeypatch.setattr(datasets, "info", lambda name, root: facts if name == "cifar10" else real(name, root))


# --- run ------------------------------------------------------------------------------------------------


def test_run_prints_records_as_json_and_nothing_else(trained):
    [record] = json.loads(trained.stdout)
    assert re.fullmatch("[0-9a-f]{16}", record["id"]) and record["status"] == "done"
    assert record["spec"]["method"] == "dfd" and record["spec"]["dataset"] == "digits" and record["spec"]["scale"] == 2
    assert 0 <= record["metrics"]["top1"] <= 100 and record["metrics"]["images_per_second"] > 0
    assert {"python", "torch", "device"} <= set(record["env"])
    stored = {record.spec.method: record for record in Store(trained.results).records()}
    assert stored.keys() == {"hr-baseline", "dfd"}  # it starts from scratch
    assert stored["dfd"].model_dump(mode="json") == record


def test_progress_goes_to_stderr(trained):
    lines = trained.stderr.splitlines()
    for method in ("hr-baseline", "dfd"):
        [last] = [line for line in lines if line.startswith(method) and "epoch 2/2" in line]
        assert all(word in last for word in ("loss", "recognition", "train_top1", "images/s"))
    assert "distillation" in last and "Traceback" not in trained.stderr


def test_run_again_trains_nothing_and_prints_the_same(trained, lrbench):
    before = trained.listing()
    assert lrbench(*DFD, "--json") == (0, trained.stdout, "")
    assert trained.listing() == before


def test_run_prints_a_table_for_people(trained, lrbench):
    status, out, err = lrbench(*DFD)
    [record] = json.loads(trained.stdout)
    assert (status, err) == (0, "") and record["id"] in out and f"{record['metrics']['top1']:.2f}" in out
    assert "Protocol: digits, resnet18 x0.125, recipe quick, 2 epochs, batches of 128, 300 training and 100 test" in out


def test_the_table_of_runs_names_the_store_that_they_are_from(trained, lrbench, tmp_path):
    status, out, err = lrbench(*DFD, "--results", "mine", "--baselines", str(trained.results))
    assert (status, err) == (0, "") and not (tmp_path / "mine").exists()
    out = " ".join(out.split())
    assert "All runs here (HR-baseline" in out and f") came from {trained.results}, not from your own results." in out


@pytest.mark.parametrize("command", ["predictions", "predictions --out p.csv", "report", "table 1", "plot curves"])
def test_a_run_with_a_damaged_file_is_named_and_left_out(command, trained, lrbench, tmp_path):
    shutil.copytree(trained.results, tmp_path / "runs")
    [dfd] = [one for one in Store(trained.results).records() if one.spec.method == "dfd"]
    (tmp_path / "runs" / dfd.id / "predictions.npz").unlink()
    status, _, err = lrbench(*command.split(), "--results", "runs")
    assert status == 0 and f"{dfd.id} is set aside" in err, err
    assert dfd.id not in "".join(path.read_text() for path in tmp_path.glob("p.csv"))


def test_a_method_reuses_the_teacher_that_is_there(trained, lrbench):
    status, out, err = lrbench(*DFD, "--set", "lam=0.5", "--seed", "0", "--seed", "0", "--json")
    [record] = json.loads(out)
    teachers = {one.id for one in Store(trained.results).records() if one.spec.method == "hr-baseline"}
    assert status == 0 and {need["method"] for need in record["spec"]["needs"].values()} == {"hr-baseline"}
    assert len(teachers) == 1 and not [line for line in err.splitlines() if line.startswith("hr-baseline")]
    assert record["spec"]["config"]["lam"] == 0.5 and record["metrics"]["epochs_in_weights"] == 2


def options(lrbench, *args):
    """What a run with these options would be asked for, with its answer's stderr; nothing is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.Runner, "run", lambda runner, spec: spec)
        status, out, err = lrbench("run", "--method=lr-baseline", "--scale=2", "--device=cpu", "--json", *args)
    assert status == 0, err
    return [RunSpec.model_validate(spec) for spec in json.loads(out)], err


def test_a_recipe_of_ones_own_a_batch_and_a_rate(lrbench, tmp_path):
    (tmp_path / "mine.toml").write_text('base = "quick"\nmomentum = 0.8\nlr = {alexnet = 0.02}\n')
    words = ["--dataset=digits", "--recipe=mine.toml", "--backbone=alexnet"]
    [[spec], _] = options(lrbench, *words)
    assert spec.recipe == recipe("quick", "alexnet").model_copy(update={"momentum": 0.8, "lr": 0.02})
    [[spec], _] = options(lrbench, *words, "--batch-size=32", "--lr=0.3", "--epochs=2", "--dropout=0.5")
    assert (spec.recipe.momentum, spec.recipe.batch_size, spec.recipe.lr, spec.recipe.epochs) == (0.8, 32, 0.3, 2)
    assert spec.dropout == 0.5


def test_a_recipe_of_ones_own_trains_and_is_named(lrbench, tmp_path):
    (tmp_path / "mine.toml").write_text("epochs = 1\nmomentum = 0.8\n")
    words = ["run", "--method=lr-baseline", *PROTOCOL, "--recipe=mine.toml", "--batch-size=50", "--results=own"]
    status, out, _ = lrbench(*words)
    assert status == 0 and "recipe custom (paper, momentum 0.8), 1 epoch" in out
    [record] = Store(tmp_path / "own").records()
    assert (record.spec.recipe.batch_size, record.metrics["epochs"]) == (50, 1)


def test_a_preset_sets_what_is_not_given_beside_it(lrbench, cifar):
    specs, err = options(lrbench, "--dataset=cifar10", "--preset=mini", "--backbone=vgg16")
    assert [spec.seed for spec in specs] == [0, 1, 2] and "all of them" not in err
    assert {(one.width, one.limit_train, one.limit_test, one.recipe.schedule) for one in specs} == {
        (0.25, 10_000, None, "one-cycle")
    }
    [[spec], _] = options(
        lrbench, "--dataset=cifar10", "--preset=mini", "--backbone=alexnet", "--seed=0", "--recipe=paper", "--epochs=3"
    )
    assert (spec.width, spec.recipe.schedule, spec.recipe.epochs, spec.limit_train) == (1, "step", 3, 10_000)
    [[spec], _] = options(lrbench, "--dataset=cifar10", "--preset=paper", "--limit-train=500", "--width=0.5")
    assert (spec.width, spec.recipe, spec.limit_train) == (0.5, recipe("paper", "resnet18"), 500)


def test_a_preset_takes_all_images_of_a_smaller_data_set_and_says_so(lrbench):
    specs, err = options(lrbench, "--dataset=digits", "--preset=mini")
    assert {spec.limit_train for spec in specs} == {None}
    assert err == "digits has 1,297 train images: all of them are used\n"
    assert lrbench(*DFD, "--preset=mini", "--limit-train=5000")[0] == 2


def test_a_preset_for_a_suite(lrbench, cifar, tmp_path):
    (tmp_path / "mine.toml").write_text(
        'title = "Mine"\n[[runs]]\nmethod = "lr-baseline"\ndataset = "cifar10"\nbackbone = ["vgg16", "alexnet"]\n'
        "epochs = 7\n"
    )
    listed, shown = [], training._preview

    def preview(ordered):
        listed.append(list(ordered.graph.specs.values()))
        return shown(ordered)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_preview", preview)
        for words in ([], ["--preset=mini"], ["--preset=mini", "--seeds=1", "--epochs=3", "--width=0.5"]):
            status, _, err = lrbench("reproduce", "mine.toml", "--dry-run", *words)
            assert status == 0, err
    plain, mini, given = [
        {(one.backbone, one.width, one.seed, one.recipe.epochs, one.limit_train) for one in specs} for specs in listed
    ]
    assert plain == {("vgg16", 1, 0, 7, None), ("alexnet", 1, 0, 7, None)}
    assert mini == {(net, width, seed, 20, 10_000) for net, width in MINI.items() for seed in (0, 1, 2)}
    assert given == {(net, 0.5, 0, 3, 10_000) for net in MINI}


def test_help_says_what_a_preset_sets(lrbench):
    for command in ("run", "reproduce"):
        said = " ".join(lrbench(command, "--help")[1].split())
        assert "mini: recipe quick, 10,000 train images, all test images, width 0.25 for resnet18" in said
        assert "1 for all others, seeds 0 to 2" in said


# --- table and plot -------------------------------------------------------------------------------------


def test_tables_of_other_data_than_the_papers_are_empty_and_say_where_it_stands(trained, lrbench):
    for name in ("1", "2"):
        status, out, err = lrbench("table", name)
        assert (status, err) == (0, "") and out.startswith(f"## Table {name}")
        assert "digits 4x4" not in out and "what else was run stands in `lrbench table leaderboard`" in out
    both = lrbench("table")[1]
    assert both.count("## Table 1") == both.count("## Table 2") == 1


READERS = {
    "md": lambda text: text.startswith("## Table 2"),
    "csv": lambda text: [line for line in csv.DictReader(io.StringIO(text)) if line["published"] == "93.38"],
    "json": lambda text: [line for line in json.loads(text) if line["published"] == 93.38],
    "latex": lambda text: text.count(r"\begin{table}") == text.count(r"\end{table}") == 1,
}


@pytest.mark.parametrize("style", READERS)
def test_tables_in_all_formats_and_into_a_file(style, lrbench, tmp_path):
    status, out, err = lrbench("table", "2", "--format", style)
    assert (status, err) == (0, "") and READERS[style](out)
    place = tmp_path / "deep" / f"table.{style}"
    assert lrbench("table", "2", "--format", style, "--out", place) == (0, "", "")
    assert place.read_text() == out and os.listdir(place.parent) == [place.name]


def test_tables_of_an_empty_store_are_the_papers(lrbench, tmp_path):
    status, out, err = lrbench("table", "2", "--results", tmp_path / "none")
    assert (status, err) == (0, "") and "93.38" in out and "no run yet" in out
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name, start", [("x.png", b"\x89PNG\r\n"), ("deep/x.pdf", b"%PDF-")])
def test_plot_curves(name, start, lrbench, tmp_path):
    assert lrbench("plot", "curves", "--out", tmp_path / name) == (0, f"{tmp_path / name}\n", "")
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("args", [(), ("--dataset", "digits"), ("--scale", "2"), ("--set", "init=scratch")])
def test_plot_fig2(args, trained, lrbench, tmp_path):
    assert lrbench(*DFD, "--set", "lam=0.5")[0] == 0  # beside the default: two values make a line
    assert lrbench("plot", "fig2", "--out", "x.svg", *args) == (0, "x.svg\n", "")
    assert (tmp_path / "x.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("style", READERS)
@pytest.mark.parametrize("name, there", [("tuned", "tuned"), ("claims", "undecided")])
def test_tables_of_choices_and_of_claims(name, there, style, lrbench):
    status, out, err = lrbench("table", name, "--format", style)
    assert (status, err) == (0, "")
    assert there in out.lower() or (name, out) == ("tuned", {"csv": "table\n", "json": "[]\n"}.get(style))


# --- listings and help ----------------------------------------------------------------------------------


def cells(text):
    """The lines of a Markdown table as lists of texts."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("|")
    ]


def test_methods_are_a_table_of_name_kind_what_it_does_and_paper(lrbench):
    status, out, err = lrbench("methods")
    assert (status, err) == (0, "") and "BROKEN" not in out
    head, _, *lines = cells(out)
    assert head == ["name", "kind", "what it does", "paper"]
    by_name = {line[0]: line[1:] for line in lines}
    assert set(by_name) == set(registry.methods())
    kinds = {"lr-baseline": "baseline", "hr-direct": "baseline", "dfd": "distillation", "sr4ir": "method"}
    kinds |= {"vdsr": "SR, then classifier", "sr-vdsr": "SR net"}
    assert {name: by_name[name][0] for name in kinds} == kinds
    assert by_name["dfd"][2] == "Zhu et al., ICASSP 2019" and by_name["lr-baseline"][2] == ""
    assert all(10 < len(line[1]) < 120 and line[1].endswith((".", ")")) for line in by_name.values())


def test_the_settings_of_one_method(lrbench):
    status, out, err = lrbench("methods", "dfd")
    assert (status, err) == (0, "") and out.startswith("dfd (distillation; lrbench ")
    assert "Source: Zhu et al., ICASSP 2019." in out
    settings = {line[0]: line[1:] for line in cells(out)}
    assert settings["lam"] == ["2.0", "lambda of Eq. 4; best near 2 in Fig. 2"] and settings["init"][0] == "scratch"
    assert "About them: The paper leaves `init` and `reduction` open;" in out
    assert "It has no settings." in lrbench("methods", "hr-baseline")[1]
    assert lrbench("methods", "dfx") == (2, "", "lrbench: no method 'dfx'; did you mean 'dfd'?\n")


def test_a_draft_is_listed_and_run(lrbench, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_drafts", {})
    (tmp_path / "draft.py").write_text(
        "from lrbench.method import registry\n\n\n"
        "class Mine(registry.method('lr-baseline')):\n    '''My own idea.'''\n    name = 'mine'\n    label = 'Mine'\n"
    )
    assert ["mine", "baseline", "My own idea.", ""] in cells(lrbench("methods", "--plugin", "draft.py:Mine")[1])
    run = ["run", "--method", "mine", "--plugin", "draft.py:Mine", *PROTOCOL, "--epochs", "1", "--results", "own"]
    [record] = json.loads(lrbench(*run, "--json")[1])
    assert record["spec"]["version"].startswith("draft-")
    compared = lrbench("compare", "mine", record["id"], "--plugin", "draft.py:Mine", "--results", "own")
    assert "name the same experiment, Mine" in compared[2]  # by its label


def test_data_sets_are_listed_with_what_to_do(lrbench):
    status, out, err = lrbench("datasets")
    lines = {line.partition(":")[0]: line for line in out.splitlines()}
    assert (status, err) == (0, "") and {"cifar10", "cifar100", "svhn", "digits"} <= set(lines)
    assert "lrbench data fetch svhn" in lines["svhn"] and "lrbench data import svhn" in lines["svhn"]
    assert "1,297 train, 500 test images of 8x8, 10 classes" in lines["digits"]


def test_an_imported_data_set_is_listed(lrbench, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    labels = np.arange(20) % 2
    arrays = {"train_images": images, "train_labels": labels, "test_images": images[:4], "test_labels": labels[:4]}
    np.savez(tmp_path / "mine.npz", **arrays)
    line = "mine: 20 train, 4 test images of 8x8, 2 classes, imported from mine.npz\n"
    assert lrbench("data", "import", "mine", tmp_path / "mine.npz", "--data", tmp_path / "data") == (0, line, "")
    assert line in lrbench("datasets", "--data", tmp_path / "data")[1]


def test_backbones_are_listed(lrbench):
    status, out, err = lrbench("backbones")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["alexnet", "alexnet-bn", "vgg16", "resnet18", "timm:NAME"]


def test_new_writes_a_package(lrbench, tmp_path):
    status, out, err = lrbench("new", "my-method")
    assert (status, out, err) == (0, "lrbench-my-method\n", "")
    assert (tmp_path / "lrbench-my-method" / "pyproject.toml").is_file()


@pytest.mark.parametrize("args", [(), ("data",), ("--help",), ("run", "--help")], ids=" ".join)
def test_help_is_an_answer_and_no_mistake(args, lrbench):
    status, out, err = lrbench(*args)
    assert (status, err) == (0, "") and out.startswith("Usage: lrbench") and "--help" in out


def test_help_names_every_degradation(lrbench):
    _, out, _ = lrbench("run", "--help")
    assert all(name in out.replace("-\n" + " " * 32, "-") for name in DEGRADATIONS)


def test_help_loads_nothing_heavy():
    code = """
import sys
from lrbench.cli import main
heavy = {"torch", "torchvision", "timm", "numpy", "pydantic", "sklearn", "scipy", "matplotlib", "rich"}
for args in [["--help"], ["run", "--help"], ["--version"]]:
    sys.argv = ["lrbench", *args]
    try:
        main()
    except SystemExit as end:
        assert not end.code
print("loaded:", *sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("loaded:\n") and done.stderr == ""
    commands = {"backbones", "data", "datasets", "demo", "methods", "new", "plot", "run", "table"}
    assert commands <= set(re.findall(r"^  (\w+)  ", done.stdout, re.MULTILINE))


# --- the user's mistakes --------------------------------------------------------------------------------

MISTAKES = {
    "plot": "say which figure: curves, gains, fig2, fig3",
    "run --method dfdd": "did you mean 'dfd'?",
    "run --method basicsr --set arch=EDRS": "did you mean 'EDSR'?",
    "run --dataset digitz": "did you mean 'digits'?",
    "run --dataset cifar10": "lrbench data import cifar10 PATH.npz",
    "run --scale 3": "scale 3 does not divide 8-pixel images; the nearest that do: 2, 4",
    "run --scale 0": "nearest that do: 1",
    "run --scale two": "'two' is not a valid integer",
    "run --backbone resnet19": "did you mean 'resnet18'?",
    "run --backbone timm:resnet19": "did you mean 'resnet18'?",
    "run --recipe quik": "did you mean 'quick'?",
    "run --degradation pil-bicubik": "did you mean 'pil-bicubic'?",
    "run --select best": "did you mean 'best-epoch'?",
    "reproduce smoke --select heldout": "did you mean 'held-out'?",
    "run --preset mimi": "no preset 'mimi'; did you mean 'mini'?",
    "reproduce smoke --preset mimi": "no preset 'mimi'; did you mean 'mini'?",
    "run --recipe none.toml": "there is no file 'none.toml'",
    "reproduce smoke --recipe none.toml": "there is no file 'none.toml'",
    "run --batch-size 0": "the nearest valid size is 2",
    "run --batch-size 9999": "the nearest valid size is 300",
    "run --seed -1": "-1 is not in the range x>=0",
    "run --lr 0": "learning rate 0 is not a positive number",
    "run --threads 100000": "the most threads are",
    "reproduce smoke --threads 100000": "the most threads are",
    "demo --threads 0": "the fewest threads are 1",
    "run --threads two": "--threads two is no number of threads; say one, or auto",
    "run --dropout 1": "0 <= dropout < 1",
    "run --set lamb=2": "dfd has no setting 'lamb'; did you mean 'lam'?",
    "run --set lam=abc": "lam='abc': Input should be a valid number",
    "run --set lam=-1": "lam=-1: Input should be greater than or equal to 0",
    "run --set lam=nan": "lam='nan': Input should be a finite number",
    "run --set lam": "--set wants NAME=VALUE, such as lam=2; got 'lam'",
    "run --set init=techer": "'scratch', 'lr-baseline' or 'teacher'",
    "run --limit-train 0": "the nearest valid limit is 10",
    "run --limit-train 5000": "the nearest valid limit is 1297",
    "run --limit-test 100000": "the nearest valid limit is 500",
    "run --epochs 0": "the fewest are 1",
    "run --width 0": "0.125",
    "run --width nan": "0.125",
    "run --width 1e9": "width 1000000000.0 is not above 0 and at most 16",
    "run --set lam=1 --set lam=2": "--set gives lam twice",
    "table 1 --out table.cvs": "did you mean '.csv'?",
    "run --plugin nothing.py:X": "there is no file 'nothing.py'",
    "run --plugin nothing": "FILE.py:Class",
    "run --device cuda": "use --device cpu or auto",
    "run --device gpu": "'auto', 'cpu', 'cuda'",
    "run --precision fp16": "'auto', 'fp32', 'bf16'",
    "run --widht 1": "--width",
    "run surplus": "surplus",
    "rum": "no command 'rum'; did you mean 'run'?",
    "data imprt x y": "did you mean 'import'?",
    "plot curve": "did you mean 'curves'?",
    "plot curves --out x.jpg": ".png, .pdf, .svg; got 'x.jpg'",
    "plot curves --results nowhere": "there is no run in nowhere; start with 'lrbench run'",
    "plot fig2 --out x.jpg": ".png, .pdf, .svg; got 'x.jpg'",
    "plot fig2 --dataset digitz": "did you mean 'digits'?",
    "plot fig2 --set inti=scratch": "did you mean 'init'?",
    "plot fig2 --set lam=2": "lam is what this figure sweeps",
    "table 3": "choose from 1, 2",
    "table tunned": "did you mean 'tuned'?",
    "table 1 --format latx": "did you mean 'latex'?",
    "data import mine nowhere.npz": "nowhere.npz does not exist",
    "data import mine wrong.npz": "train_images in wrong.npz are 8x6, not square",
    "data import mine multi.npz": "multi.npz has no train_labels",
    "data import cifar10 part.npz": "such as 'cifar10-partial'",
    "data import Mine part.npz": "lower-case letters",
    "data import digits part.npz": "'my-digits'",
    "data fetch cifar11": "did you mean 'cifar10'?",
    "new MyMethod": "the nearest name is 'my-method'",
    "new dfd": "such as 'dfd-2'",
}


@pytest.fixture
def wrong_files(tmp_path):
    """What the user tries to import in MISTAKES."""
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(tmp_path / "part.npz", **arrays)
    np.savez(tmp_path / "wrong.npz", **(arrays | {"train_images": images[:, :, :6]}))
    np.savez(tmp_path / "multi.npz", train_images=images, test_images=images, test_labels=labels)


@pytest.mark.parametrize(
    "mistake", [pytest.param(line, marks=needs_basicsr) if "basicsr" in line else line for line in MISTAKES]
)
def test_a_mistake_is_one_line_with_the_nearest_valid_value(mistake, trained, lrbench, wrong_files, tmp_path):
    if mistake == "run --device cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    command, *args = mistake.split()
    before, files = trained.listing(), set(tmp_path.rglob("*"))
    status, out, err = lrbench(*(DFD if command == "run" else [command]), *args)
    assert status == 2 and out == ""
    assert err.startswith("lrbench: ") and err.count("\n") == 1 and MISTAKES[mistake] in err, err
    assert trained.listing() == before and set(tmp_path.rglob("*")) == files


def test_a_mistake_as_a_process(tmp_path):
    done = process(*DFD, "--set", "lamb=2", "--results", str(tmp_path / "runs"), "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "lrbench: dfd has no setting 'lamb'; did you mean 'lam'?\n"
    assert not list(tmp_path.iterdir())


# --- the machine's faults -------------------------------------------------------------------------------


@pytest.fixture
def read_only(tmp_path):
    """Where a results folder cannot be written."""
    if os.geteuid() == 0:
        return Path("/proc/lrbench-results")  # root may write everywhere else
    (tmp_path / "runs").mkdir(mode=0o555)
    return tmp_path / "runs"


def test_a_read_only_results_folder(read_only, lrbench):
    status, out, err = lrbench(*DFD, "--results", read_only)
    assert (status, out) == (1, "")
    assert err.startswith(f"lrbench: cannot write or read {read_only}") and err.count("\n") == 1
    assert not read_only.exists() or not list(read_only.iterdir())


@pytest.mark.parametrize(
    "command", ["reproduce broken.toml", "run --method=lr-baseline --dataset=digits --recipe=broken.toml", "table"]
)
def test_a_file_that_the_disk_does_not_give_is_named(command, lrbench, tmp_path):
    run = tmp_path / "runs" / ("0" * 16)
    run.mkdir(parents=True)
    for path in (tmp_path / "broken.toml", run / "record.json"):
        path.symlink_to("/proc/self/mem")  # whose first byte cannot be read: EIO, as of a broken disk
    broken = "broken.toml" if "toml" in command else run / "record.json"
    status, out, err = lrbench(*command.split(), f"--results={tmp_path / 'runs'}")
    assert (status, out, err) == (1, "", f"lrbench: cannot write or read {broken}: Input/output error\n")


@pytest.mark.slow
def test_a_memory_in_which_torch_does_not_load_is_one_line(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (1_000 << 20, 1_000 << 20))

    done = process(*DFD, env={"OPENBLAS_NUM_THREADS": "1"}, cwd=tmp_path, preexec_fn=limit)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert done.stderr.startswith("lrbench: out of memory; a training with a smaller --width")


def test_a_results_folder_that_is_a_file(lrbench, tmp_path):
    (tmp_path / "file").write_text("")
    status, out, err = lrbench(*DFD, "--results", tmp_path / "file" / "runs")
    assert (status, out) == (2, "") and str(tmp_path / "file") in err and err.count("\n") == 1


def files(results):
    """The content of every file below a folder; a lock is empty, and stays."""
    return {path: path.read_bytes() for path in results.rglob("*") if path.is_file() and ".locks" not in path.parts}


@pytest.mark.slow
def test_a_full_disk(trained):
    """No file of this process may grow far past the size of the others: the weights do not fit."""
    before = files(trained.results)
    largest = max(path.stat().st_size for path in trained.results.glob("*/*") if path.name != WEIGHTS)

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * largest, 4 * largest))

    done = process(*DFD, "--seed", "1", "--json", env=trained.env, preexec_fn=full)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("lrbench:")] == done.stderr.splitlines()[-1:]
    assert files(trained.results) == before


@pytest.mark.slow
def test_interrupted_and_started_again(tmp_path, lrbench):
    results = tmp_path / "runs"
    call = ["run", "--method", "lr-baseline", *PROTOCOL, "--epochs", "100", "--results", str(results), "--json"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [*COMMAND, *call],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a test run in the background of a shell ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    lines = []
    for line in running.stderr:
        lines.append(line)
        if "epoch 2/100" in line:
            running.send_signal(signal.SIGINT)
    assert running.stdout.read() == "" and running.wait(timeout=60) == 130
    assert lines[-1].startswith("lrbench: interrupted; run the same command again") and "Traceback" not in "".join(
        lines
    )
    assert [path.name for path in results.glob(".work/*/*")] == ["checkpoint"] and not Store(results).records()
    status, out, err = lrbench(*call)
    assert status == 0 and re.search("100 epochs of 256 images, going on after [0-9]+$", err, re.MULTILINE)
    assert "epoch 1/100" not in err and "epoch 100/100" in err
    assert json.loads(out)[0]["metrics"]["epochs"] == 100 and not list(results.glob(".work/*"))


# --- demo -----------------------------------------------------------------------------------------------


def test_demo(lrbench, tmp_path, monkeypatch):
    """All of it but its length: one seed, one epoch, fewer images."""

    def short(request, progress=None):
        assert request.seeds == (0, 1, 2) and request.recipe == "quick"
        return session.run(replace(request, seeds=(0,), epochs=1, width=0.125, limit_train=300), progress)

    monkeypatch.setattr(demo, "run", short)
    status, out, _ = lrbench("demo", "--device", "cpu")
    assert status == 0 and {path.name for path in (tmp_path / "lrbench-demo").iterdir()} == {"runs", "pairs.png"}
    rows = {line.split("|")[1].strip() for line in out.splitlines() if line.startswith("|")}
    assert {"HR-baseline †", "LR-baseline", "DFD: last features", "FitNets: maps in the middle"} <= rows
    assert "1 epoch," in out and "digits" in out and "- Seed 0." in out
    assert out.endswith("pairs.png\n")
    assert (tmp_path / "lrbench-demo" / "pairs.png").read_bytes().startswith(b"\x89PNG")

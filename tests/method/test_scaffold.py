"""`lrbench new`: what it refuses, what it writes, and that what it writes installs, trains and passes its own test."""

import json
import os
import re
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from lrbench.errors import UserError
from lrbench.method import registry, scaffold
from lrbench.method.base import Batch, Context, Needs
from lrbench.spec import recipes

INSTALLED = list(registry.installed(registry.METHODS))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("MyMethod", "my-method"),
        ("my_method", "my-method"),
        ("My Method!", "my-method"),
        ("DFD2Net", "dfd2-net"),
        ("3d-net", "d-net"),
        ("-a--b-", "a-b"),
        ("a\n", "a"),
        ("../up", "up"),
        ("é", "my-method"),
        ("", "my-method"),
    ],
)
def test_a_bad_name_is_refused_with_the_nearest_valid_one(tmp_path, name, nearest):
    with pytest.raises(UserError, match=f"the nearest name is '{nearest}'$"):
        scaffold.create(name, tmp_path)
    assert scaffold.VALID.fullmatch(nearest)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", INSTALLED)
def test_an_installed_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=f"'{name}' is taken by .* such as '{name}-2'"):
        scaffold.create(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_name_whose_module_would_replace_an_installed_one_is_refused(tmp_path):
    package = registry.installed(registry.METHODS)[INSTALLED[0]][0].value.partition(".")[0]
    with pytest.raises(UserError, match=f"taken by the module {package}"):
        scaffold.create(package.removeprefix("lrbench_"), tmp_path)


def test_what_is_already_there_is_left_alone(tmp_path):
    scaffold.create("twice", tmp_path)
    mine = tmp_path / "lrbench-twice" / "lrbench_twice.py"
    mine.write_text("mine")
    with pytest.raises(UserError, match="already there"):
        scaffold.create("twice", tmp_path)
    assert mine.read_text() == "mine"


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(scaffold, "TEMPLATES", (*scaffold.TEMPLATES, "no-such-template"))
    with pytest.raises(OSError):
        scaffold.create("broken", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_impossible_folder_is_the_callers_oserror(tmp_path):
    with pytest.raises(OSError):
        scaffold.create("lost", tmp_path / "missing")


@pytest.mark.parametrize("name", ["my-method", "x", "none", "config", "method", "a-1"])
def test_what_it_writes(tmp_path, name):
    folder = scaffold.create(name, tmp_path)
    module = scaffold.module_of(name)
    assert folder == tmp_path / f"lrbench-{name}"
    assert {file.name for file in folder.iterdir()} == {
        "pyproject.toml", "README.md", f"{module}.py", f"test_{module}.py",
    }  # fmt: skip
    for file in folder.iterdir():
        text = file.read_text()
        assert "$" not in text and text.endswith("\n") and max(map(len, text.splitlines())) <= 120
    for file in folder.glob("*.py"):
        compile(file.read_text(), file.name, "exec")
    [class_name] = re.findall(r"class (\w+)\(Method\)", (folder / f"{module}.py").read_text())
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"][registry.METHODS] == {name: f"{module}:{class_name}"}
    assert "lrbench" in project["project"]["dependencies"]
    assert project["tool"]["setuptools"]["py-modules"] == [module]


@pytest.fixture
def draft(tmp_path, monkeypatch):
    """The generated method, loaded as `--plugin` loads it."""
    monkeypatch.setattr(registry, "_drafts", {})
    folder = scaffold.create("drafted", tmp_path)
    registry.add_drafts([f"{folder / 'lrbench_drafted.py'}:DraftedStudent"])
    cls = registry.method("drafted")
    yield cls
    del sys.modules[cls.__module__]


def test_the_generated_loss_is_the_equation_in_its_docstring(draft):
    classes, images = 3, 5
    context = Context(
        classes=classes,
        side=2,
        scale=2,
        train_images=images,
        recipe=recipes.recipe("paper", "resnet18"),
        backbone=lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, classes)),
        autocast=nullcontext,
    )
    torch.manual_seed(0)
    teacher = context.backbone().requires_grad_(False)
    config = draft.Config(temperature=3, weight=0.7)
    assert draft.needs_of(config) == {"teacher": Needs("hr-baseline")}
    method = draft(config, context, {"teacher": teacher})
    hr, up, y = torch.rand(images, 3, 2, 2), torch.rand(images, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
    terms = method.loss(Batch(hr=hr, lr=up[..., :1, :1], up=up, y=y, index=torch.arange(images)))

    z_s, z_t = method(up).detach().double().numpy(), teacher(hr).double().numpy()
    p_s, p_t = log_softmax(z_s / 3, axis=1), log_softmax(z_t / 3, axis=1)
    divergence = (np.exp(p_t) * (p_t - p_s)).sum(axis=1).mean()
    assert terms["distillation"].item() == pytest.approx(0.7 * 9 * divergence, rel=1e-5)
    recognition = -log_softmax(z_s, axis=1)[np.arange(images), y].mean()
    assert terms["recognition"].item() == pytest.approx(recognition, rel=1e-5)
    sum(terms.values()).backward()
    assert all(weight.grad is not None for weight in method.parameters())
    assert len(list(method.parameters())) == 2  # the student's alone


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A generated package, and the environment of a process that has it installed."""
    root = tmp_path_factory.mktemp("scaffold")
    folder = scaffold.create("my-method", root)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    install = [sys.executable, "-m", "pip", "install", *options, "--target", root / "site", folder]
    subprocess.run(install, check=True, timeout=120)
    environment = {
        "PYTHONPATH": str(root / "site"),
        "LRBENCH_RESULTS": str(root / "runs"),
        "LRBENCH_DATA": str(root / "data"),
        "OMP_NUM_THREADS": "1",  # these networks are small: on a busy machine threads would wait for one another
    }
    return folder, os.environ | environment


def output(command, environment, folder) -> str:
    done = subprocess.run(
        [sys.executable, *command], env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_installed_package_runs(package):
    folder, environment = package
    options = "--method my-method --dataset digits --scale 2 --width 0.125 --epochs 1 --limit-train 128 --limit-test 50"
    command = ["-c", "from lrbench.cli import main; main()", "run", *options.split(), "--device", "cpu", "--json"]
    (record,) = json.loads(output(command, environment, folder))
    assert record["spec"]["method"] == "my-method"
    assert record["spec"]["config"] == {"temperature": 4.0, "weight": 1.0}
    assert record["spec"]["needs"]["teacher"]["method"] == "hr-baseline"
    assert record["status"] == "done" and 0 <= record["metrics"]["top1"] <= 100
    assert record["method_source"]
    curve = Path(environment["LRBENCH_RESULTS"], record["id"], "curve.csv").read_text()
    assert "recognition" in curve and "distillation" in curve


@pytest.mark.slow
def test_the_installed_package_passes_its_own_test(package):
    folder, environment = package
    assert "1 passed" in output(["-m", "pytest", "-q", "-p", "no:cacheprovider"], environment, folder)

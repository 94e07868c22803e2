"""Super-resolve, then classify, as a user meets it: one command, four runs, and a kill in each of them."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from helpers.cli import COMMAND, caller, process
from helpers.files import finished

from lrbench.store.store import Store

pytestmark = pytest.mark.slow

STAGES = ("hr-baseline", "sr-srresnet", "sr-srgan", "srgan")
SRGAN = ["run", "--method", "srgan", "--dataset", "digits", "--scale", "2", "--width", "0.125", "--recipe", "quick"]
SRGAN += ["--epochs", "2", "--limit-train", "300", "--set", "channels=8", "--set", "blocks=1"]
SRGAN += ["--device", "cpu", "--precision", "fp32"]  # so that runs are repeatable bit for bit on every machine


def begun(stderr):
    """The methods whose runs were begun or gone on with, in order."""
    return re.findall(r"^(\S+) .*: 2 epochs of (?:256|288) images", stderr, re.MULTILINE)


class Trained:
    """What the command left in an empty store, and what it printed."""

    def __init__(self, folder):
        self.results = folder / "runs"
        self.call = [*SRGAN, "--results", str(self.results)]
        done = process(*self.call)
        assert done.returncode == 0, done.stderr
        self.stdout, self.stderr = done.stdout, done.stderr
        self.records = {record.spec.method: record for record in Store(self.results).records()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("sr"))


@pytest.fixture
def lrbench(trained, monkeypatch, capsys, tmp_path):
    """Calls the command in this process, in an empty folder: arguments -> exit status, stdout, stderr."""
    monkeypatch.setenv("LRBENCH_RESULTS", str(trained.results))
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capsys)


def cells(text):
    """The lines of the first Markdown table in a text, each a list of cells; the rule left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return split[:1] + split[2:]


def test_the_sr_nets_and_their_vgg_are_trained_first(trained):
    assert begun(trained.stderr) == list(STAGES) and set(trained.records) == set(STAGES)
    assert "Traceback" not in trained.stderr and "going on after" not in trained.stderr


def test_each_run_is_shown_by_its_own_measure(trained):
    head, *lines = cells(trained.stdout)
    places = [head.index("top-1 %"), head.index("PSNR dB")]
    shown = {line[head.index("id")]: [line[place] for place in places] for line in lines}
    expected = {}
    for record in trained.records.values():
        top1, psnr = record.metrics.get("top1"), record.metrics.get("psnr")
        expected[record.id] = ["-" if value is None else f"{value:.2f}" for value in (top1, psnr)]
        if record.diverged:  # the VGG, of two epochs on 256 images
            expected[record.id][0] = f"diverged in epoch {record.metrics['diverged_epoch']}"
    assert shown == expected
    assert [trained.records[method].id for method in STAGES] == list(shown)
    assert sorted(map(shown.get, shown)) == sorted(expected.values()) and "-" in shown[trained.records["srgan"].id]


def test_a_second_call_trains_nothing_and_prints_the_same(trained):
    before = finished(trained.results)
    again = process(*trained.call)
    assert (again.returncode, again.stdout, again.stderr) == (0, trained.stdout, "")
    assert finished(trained.results) == before


def test_table_sr_has_both_nets_beside_bicubic(trained, lrbench):
    status, out, err = lrbench("table", "sr")
    assert (status, err) == (0, "") and "digits 4x4 to 8x8, pil-bicubic, 500 test images" in out
    head, *lines = cells(out)
    psnr = {line[0]: line[head.index("PSNR RGB (dB)")] for line in lines}
    metrics = {method: trained.records[method].metrics for method in ("sr-srresnet", "sr-srgan")}
    assert psnr == {
        "bicubic": f"{metrics['sr-srgan']['bicubic_psnr']:.2f}",
        "SRGAN (SR net) blocks=1 channels=8": f"{metrics['sr-srgan']['psnr']:.2f} (1)",
        "SRResNet (SR net) blocks=1 channels=8": f"{metrics['sr-srresnet']['psnr']:.2f} (1)",
    }


def test_table_2_has_the_classifier_and_no_sr_net(trained, lrbench):
    status, out, err = lrbench("table", "2")
    assert (status, err) == (0, "") and "(SR net)" not in out
    [line] = [line for line in cells(out) if line[0].startswith("SRGAN + ResNet-18")]
    assert line[1:] == ["-", "79.05"] and "digits 4x4" not in out  # digits are no column of the paper's
    facts = trained.records["srgan"]
    status, out, err = lrbench("compare", facts.id, "srgan")
    assert status == 2 and "name the same experiment, SRGAN" in err


def test_plot_fig3(lrbench, tmp_path):
    status, out, err = lrbench("plot", "fig3", "--out", tmp_path / "deep" / "fig3.png")
    assert (status, out) == (0, f"{tmp_path}/deep/fig3.png\n")
    assert re.findall(r"lrbench: (\S+) has no column: it was not run$", err, re.MULTILINE) == ["sr-espcn", "sr-vdsr"]
    assert (tmp_path / "deep" / "fig3.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_plot_curves(lrbench):
    status, out, err = lrbench("plot", "curves", "--out", "curves.svg")
    assert (status, out) == (0, "curves.svg\n") and "curves: not drawn: " in err and "Restoration (2)" in err


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["table", "srr"], "no table 'srr'; did you mean 'sr'?"),
        ([*SRGAN, "--set", "sr_scale=3"], "sr_scale=3 does not divide --scale 2; the nearest sr_scale is 2"),
        ([*SRGAN, "--set", "sr_pairs=al"], "'limit' or 'all'"),
        ([*SRGAN, "--set", "sr_scal=2"], "did you mean 'sr_scale'?"),
        (["plot", "fig3", "--sr-scale", "4"], "--sr-scale 4: there is no such run to draw"),
        (["plot", "fig3", "--out", "fig3.jpg"], ".png, .pdf, .svg; got 'fig3.jpg'"),
        (["plot", "fig33"], "did you mean 'fig3'?"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_with_the_nearest_valid_value(args, hint, trained, lrbench, tmp_path):
    before = finished(trained.results)
    status, out, err = lrbench(*args)
    assert (status, out) == (2, "") and err.startswith("lrbench: ") and err.count("\n") == 1 and hint in err, err
    assert finished(trained.results) == before and not list(tmp_path.iterdir())


def test_a_store_without_an_sr_net_has_an_empty_table(lrbench, tmp_path):
    status, out, err = lrbench("table", "sr", "--results", tmp_path / "none")
    assert (status, err) == (0, "") and "No SR net has been run yet" in out and not (tmp_path / "none").exists()


def test_killed_in_each_of_its_runs_the_command_ends_the_same(trained, tmp_path):
    """SIGKILL as soon as the first epoch of a run is on the disk; what is started next goes on from there."""
    results, heard = tmp_path / "runs", []
    for method in STAGES:
        heard.append(killed_at_a_checkpoint(results, trained.records[method].id))
    last = process(*SRGAN, "--results", str(results))
    assert (last.returncode, last.stdout.count("\n")) == (0, trained.stdout.count("\n")), last.stderr
    heard.append(last.stderr)
    going_on = r"^(\S+) .*: 2 epochs of (?:256|288) images, going on after [12]$"
    gone_on = re.findall(going_on, "".join(heard), re.MULTILINE)
    assert gone_on and [begun(stderr)[0] for stderr in heard] == [STAGES[0], *STAGES]
    expected, got = finished(trained.results), finished(results)
    assert len(expected) == 3 * len(STAGES)
    assert [name for name in expected | got if got.get(name) != expected.get(name)] == []


def killed_at_a_checkpoint(results, run_id):
    """Start the command, kill it when the run has written a checkpoint, and return its stderr."""
    place = results / ".work" / run_id / "checkpoint"

    def written():
        try:
            return place.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    before, deadline = written(), time.monotonic() + 120
    running = subprocess.Popen(
        [*COMMAND, *SRGAN, "--results", str(results)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while written() in (None, before) and not (results / run_id).exists():
        assert running.poll() is None and time.monotonic() < deadline, running.stderr.read()
        time.sleep(0.0005)
    running.kill()
    stderr = running.communicate()[1]
    if (results / run_id).exists():  # this process was put to sleep for too long and has missed it
        for folder in (results / run_id, place.parent):
            shutil.rmtree(folder, ignore_errors=True)
        return killed_at_a_checkpoint(results, run_id)
    assert running.returncode == -signal.SIGKILL
    return stderr

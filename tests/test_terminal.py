"""Streams of a process: terminals that lack characters, readers that go away, and what plugins print."""

import os
import pty
import subprocess

import pytest
from helpers import stored
from helpers.cli import COMMAND

from lrbench.store.store import Store

OTHERS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
HERE = {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}
PROTOCOL = "--dataset digits --scale 2 --width 0.125 --recipe quick --limit-train 300 --limit-test 100 --epochs 1"
DFD = f"run --method dfd {PROTOCOL} --device cpu --precision fp32 --results runs"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs that nobody trained."""
    return stored.folder(tmp_path_factory.mktemp("terminal"))[0].root


def call(args, env, folder, **options):
    """The command as a process of its own: its status, and the bytes of its stdout and stderr."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    done = subprocess.run([*COMMAND, *args], env=os.environ | HERE | env, cwd=folder, timeout=300, **pipes)
    return done.returncode, done.stdout, done.stderr


def on_terminal(args, env, folder):
    """The command on a terminal: its status, and the bytes that it showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *args], env=os.environ | HERE | env, cwd=folder, stdout=theirs, stderr=theirs
    ) as run:
        os.close(theirs)
        shown = bytearray()
        try:
            while block := os.read(ours, 1 << 16):
                shown += block
        except OSError:  # the end, on Linux
            pass
    os.close(ours)
    return run.returncode, bytes(shown)


@pytest.mark.parametrize("name", ["ascii"])
def test_a_training_on_a_terminal_that_is_not_utf_8(name, tmp_path):
    env = OTHERS[name]
    status, shown = on_terminal(DFD.split(), env, tmp_path)
    assert status == 0 and b"HR-baseline +" in shown and b"Error" not in shown
    shown.decode("latin-1" if name == "latin-1" else "ascii")
    status, out, err = call(DFD.split(), OTHERS["C"], tmp_path)
    assert status == 0 and b"HR-baseline +" in out and err == b""


@pytest.mark.parametrize(("command", "name"), [("table leaderboard", "ascii"), ("methods", "latin-1")])
def test_what_a_terminal_lacks_is_said_in_ascii(command, name, runs, tmp_path):
    env = OTHERS[name] | {"LRBENCH_RESULTS": str(runs)}
    status, out, err = call(command.split(), env, tmp_path)
    plain = call(command.split(), {"PYTHONIOENCODING": "utf-8", "LRBENCH_RESULTS": str(runs)}, tmp_path)[1].decode()
    assert status == 0 and b"Traceback" not in err
    text = out.decode("latin-1" if name == "latin-1" else "ascii")
    words = {"λ": "lambda", "†": "+", "–": "-", "−": "-", "‡": "++"} | (
        {} if name == "latin-1" else {"±": "+/-", "§": "#"}
    )
    for character, instead in words.items():
        plain = plain.replace(character, instead)
    assert text.split() == plain.split()
    assert on_terminal(command.split(), env, tmp_path)[0] == 0


@pytest.mark.parametrize("style", ["csv", "json"])
def test_what_machines_read_is_the_same_whatever_the_terminal_lacks(style, tmp_path):
    (tmp_path / "runs").mkdir()
    stored.put(Store(tmp_path / "runs"), "lr-baseline", dataset="λ-set")
    args = ["table", "leaderboard", "--format", style, "--results", "runs", "--baselines", "none"]
    status, plain, _ = call(args, {"PYTHONIOENCODING": "utf-8"}, tmp_path)
    shown = {"csv": "λ-set".encode(), "latex": b"$\\lambda$-set", "json": b"\\u03bb-set"}
    assert status == 0 and shown[style] in plain
    for env in (OTHERS["ascii"], OTHERS["C"]):
        assert call(args, env, tmp_path)[:2] == (0, plain)


def test_predictions_are_the_same_in_every_encoding(runs, tmp_path):
    args = ["predictions", "--results", str(runs)]
    found = [call(args, {"PYTHONIOENCODING": name}, tmp_path)[:2] for name in ("utf-8", "utf-16")]
    assert found[0] == found[1] and found[0][1].startswith(b"run,index,")


@pytest.mark.parametrize("env", [OTHERS["C"]])
def test_arguments_that_are_no_text(env, runs, tmp_path):
    name = b"q\xff\xc3\xa9"
    for args in ([b"table", name], [b"run", b"--method", name, b"--dataset", b"digits"]):
        status, out, err = call(args, env, tmp_path)
        assert (status, out, err.count(b"\n")) == (2, b"", 1) and b"no " in err and b"'q?" in err
    (tmp_path / os.fsdecode(name)).symlink_to(runs)
    for args in ([b"table", b"leaderboard", b"--out", b"t" + name + b".md"], [b"report"]):
        status, _, err = call([*args, b"--baselines", name], env, tmp_path)
        assert status == 0 and b"Traceback" not in err
    assert "†" in (tmp_path / os.fsdecode(b"t" + name + b".md")).read_text(encoding="utf-8"), "files are UTF-8"


def test_a_recipe_is_utf_8_whatever_the_locale(tmp_path):
    (tmp_path / "mine.toml").write_text('base = "quick"  # λ\nepochs = 1\n', encoding="utf-8")
    status, _, err = call([*DFD.split(), "--recipe", "mine.toml"], OTHERS["C"], tmp_path)
    assert status == 0, err


@pytest.mark.parametrize("lines", [0, 1])
@pytest.mark.parametrize(
    "command",
    [
        "predictions",
        "predictions --out -",
        "table --format json",
        "methods",
        "--help",
    ],
)
def test_a_reader_that_goes_away(command, lines, runs, tmp_path):
    """It reads so many lines, or is gone before the first: also where Python would find out when it ends."""
    read, write = os.pipe()
    env = os.environ | HERE | {"LRBENCH_RESULTS": str(runs)}
    pipes = {"stdout": write, "stderr": subprocess.PIPE}
    with os.fdopen(read, "rb") as reader, subprocess.Popen([*COMMAND, *command.split()], env=env, **pipes) as running:
        os.close(write)
        for _ in range(lines):
            assert reader.readline()
        reader.close()
        _, err = running.communicate(timeout=120)
    assert running.returncode == 0 and b"rror" not in err and b"ignored" not in err, err


def test_a_training_that_nobody_reads_ends_with_a_status_of_its_own(tmp_path):
    read, write = os.pipe()
    args = f"run --method lr-baseline --dataset digits --scale 2 --width 0.125 --epochs 3 --results {tmp_path}".split()
    with subprocess.Popen([*COMMAND, *args], env=os.environ | HERE, stdout=write, stderr=write) as running:
        os.close(write)
        os.close(read)
        assert running.wait(timeout=120) == 141
    assert not list(tmp_path.glob("*/record.json"))


def test_a_reader_of_out_that_goes_away(runs, tmp_path):
    read, write = os.pipe()
    os.close(read)
    args = ["predictions", "--out", f"/dev/fd/{write}", "--results", str(runs)]
    status, _, err = call(args, {}, tmp_path, pass_fds=[write])
    assert status == 0 and b"rror" not in err


@pytest.mark.parametrize("command", ["predictions", "plot curves --out -", "--help"])
def test_a_full_disk_under_stdout_is_one_line(command, runs, tmp_path):
    with open("/dev/full", "wb") as full:
        status, _, err = call(command.split(), {"LRBENCH_RESULTS": str(runs)}, tmp_path, stdout=full)
    said = [line for line in err.splitlines() if line.startswith(b"lrbench: cannot write")]
    assert status == 1 and len(said) == 1 and b"Traceback" not in err and b"ignored" not in err


def test_a_stdout_that_is_closed(runs, tmp_path):
    for command in ("predictions", "--help"):
        env = {"LRBENCH_RESULTS": str(runs)}
        status, _, err = call(command.split(), env, tmp_path, preexec_fn=lambda: os.close(1))
        assert status == 0 and b"Traceback" not in err

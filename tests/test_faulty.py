"""Other people's plugins, all faulty or loud: none takes a command down that does not use it, or spoils its results."""

import csv
import io
import json

import pytest
from helpers import stored
from helpers.cli import process

LOUD = """
import ctypes, os, sys
print("python's stdout")
os.write(1, b"descriptor 1\\n")
ctypes.CDLL(None).printf(b"C's stdout\\n")
import atexit
atexit.register(print, "at the end")
"""
PLUGIN = (
    LOUD
    + '''
from enum import Enum
from pathlib import Path
from typing import Any
from pydantic import BaseModel, Field
from lrbench.method.base import Config, Method

class Colour(Enum):
    red = "crimson"

class Part(BaseModel):
    size: int = 3

class Rich(Method):
    """Of settings that are no numbers."""
    name = "rich"
    class Config(Config):
        colour: Colour = Colour.red
        place: Path = Path("a/b")
        part: Part = Part()
        every: set[Colour] = {Colour.red}
        must: int = Field(description="to be\\ngiven")
        text: str = "two\\nlines"

def fails():
    raise RuntimeError("no default\\nin two lines")

class Factory(Method):
    name = "factory"
    class Config(Config):
        lam: float = Field(default_factory=fails)

class NoConfig(Method):
    name = "no-config"
    Config = 5

class Label(Method):
    name, label, __doc__ = "label", 7, 8
    Config = None

class Reads(Method):
    name = "reads"
    reads = None

class Unserialisable(Method):
    name = "thing"
    class Config(Config):
        model_config = {"arbitrary_types_allowed": True}
        thing: Any = object()

class NoText(Method):
    name = 3

class Silent(type(Method)):
    @property
    def __doc__(cls):
        raise RuntimeError("no doc")

class NoDoc(Method, metaclass=Silent):
    name = "no-doc"

NOTHING = 5
'''
)
BASE = "class Odd(BaseException): pass\nraise Odd('two\\nlines')"
POINTS = {
    "lrbench.methods": {
        name: f"faulty_plugin:{cls}"
        for name, cls in (
            *(("rich", "Rich"), ("factory", "Factory"), ("no-config", "NoConfig"), ("label", "Label")),
            *(("reads", "Reads"), ("thing", "Unserialisable"), ("no-text", "NoText"), ("no-class", "NOTHING")),
            *(("not-there", "Nothing"), ("odd", "Odd"), ("no-doc", "NoDoc")),
        )
    }
    | {"base": "faulty_base:Odd", "exit": "faulty_exit:X", "no-module": "faulty_nothing:X"},
} | {
    f"lrbench.{group}": {
        f"{group}-a": "faulty_plugin:NOTHING",
        f"{group}-b": "faulty_exit:X",
        f"{group}-c": "faulty_base:X",
    }
    for group in ("tables", "figures", "claims", "suites", "bench", "demo")
}
PROTOCOL = "--dataset digits --scale 2 --width 0.125 --recipe quick --limit-train 300 --limit-test 100 --epochs 1"
HERE = "--device cpu --precision fp32"
NOISE = ("python's stdout", "descriptor 1", "C's stdout", "at the end")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lrbench(tmp_path_factory):
    """Calls the command where the faulty plugins are installed and a store is filled: arguments -> what it did."""
    top = tmp_path_factory.mktemp("faulty")
    store, _ = stored.folder(top)
    info = top / "installed" / "faulty-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    lines = [
        [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())] for group, points in POINTS.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(line for group in lines for line in group))
    for name, source in (("plugin", PLUGIN), ("base", BASE), ("exit", "raise SystemExit(3)")):
        (top / "installed" / f"faulty_{name}.py").write_text(source)
    env = {"PYTHONPATH": str(top / "installed"), "LRBENCH_RESULTS": str(store.root), "MPLBACKEND": "agg"}

    def call(command):
        return process(*command.split(), env=env, cwd=top)

    return call


def test_methods_lists_what_works_and_what_is_broken(lrbench):
    done = lrbench("methods")
    assert done.returncode == 0 and "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert not [line for line in lines if line in NOISE]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    kinds = {name: kind for name, kind, *_ in rows}
    assert kinds["dfd"] == "distillation" and kinds["rich"] == "method"
    assert {name for name, kind in kinds.items() if kind == "BROKEN"} >= POINTS["lrbench.methods"].keys() - {"rich"}
    told = lrbench("methods rich").stdout
    found = {tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in told.splitlines()}
    assert found >= {
        ("colour", "crimson", ""),
        ("place", "a/b", ""),
        ("part", '{"size": 3}', ""),
        ("every", '["crimson"]', ""),
        ("must", "required", "to be given"),
        ("text", '"two\\nlines"', ""),
    }


@pytest.mark.parametrize(
    "command",
    [
        "table",
        "table claims",
        "compare dfd lr-baseline",
        "predictions --out p.csv",
        "plot curves",
        "report",
        "reproduce smoke --dry-run",
        f"run --method lr-baseline {PROTOCOL} {HERE} --results mine",
    ],
)
def test_no_other_command_is_taken_down(command, lrbench):
    done = lrbench(command)
    assert done.returncode == 0, done.stderr
    assert done.stdout and "Traceback" not in done.stderr
    assert not [line for line in done.stdout.splitlines() if line in NOISE]


@pytest.mark.parametrize("name", ["tables-a", "tables-b"])
def test_what_is_asked_for_and_faulty_is_one_line(name, lrbench):
    done = lrbench(f"table {name}")
    assert done.returncode == 2 and done.stdout == "" and f"lrbench: table '{name}'" in done.stderr


def test_results_alone_are_on_stdout(lrbench, tmp_path):
    loud = tmp_path / "loud.py"
    loud.write_text(
        LOUD
        + """
from lrbench_baselines.lr_baseline import LRBaseline
class Loud(LRBaseline):
    name = "loud"
    print("in a class")
    def loss(self, batch):
        print("python's stdout", flush=True)
        os.write(1, b"descriptor 1\\n")
        ctypes.CDLL(None).printf(b"C's stdout\\n")
        return super().loss(batch)
"""
    )
    done = lrbench(f"run --method loud {PROTOCOL} {HERE} --results mine --json --plugin {loud}:Loud")
    assert done.returncode == 0 and json.loads(done.stdout)[0]["spec"]["method"] == "loud"
    assert all(noise in done.stderr for noise in NOISE)
    done = lrbench(f"predictions loud --results mine --out - --plugin {loud}:Loud")
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows[0] == ["run", "index", "label", "predicted"] and len(rows) == 101
    done = lrbench(f"table leaderboard --results mine --format json --plugin {loud}:Loud")
    assert json.loads(done.stdout)


EXITS = """
import sys
from lrbench_baselines.lr_baseline import LRBaseline
class Odd(BaseException): pass
def ends(*args, **words):
    RAISE
class Exits(LRBaseline):
    name = "exits"
    PLACE = ends
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "how", "said"),
    [
        ("forward", "sys.exit()", "SystemExit: "),
        ("loss", "raise Odd('nothing')", "Odd: nothing"),
    ],
)
def test_a_plugin_that_ends_the_process_fails_its_run_alone(place, how, said, tmp_path):
    """Named, with status 1; in a suite the other runs go on."""
    draft, suite, words = tmp_path / "exits.py", tmp_path / "suite.toml", PROTOCOL.split()
    draft.write_text(EXITS.replace("PLACE", place).replace("RAISE", how))
    grid = 'dataset = "digits"\nscale = 2\nwidth = 0.125\nrecipe = "quick"\nepochs = 1\nlimit_train = 300'
    suite.write_text(f'title = "Both"\n[[runs]]\nmethod = ["exits", "lr-baseline"]\n{grid}\nlimit_test = 100\n')
    plugin = ["--device=cpu", "--threads=1", "--results", tmp_path / "runs", "--plugin", f"{draft}:Exits"]
    done = process("run", "--method=exits", *words, *plugin, cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == "" and f"exits raised {said}" in done.stderr
    assert "Traceback" not in done.stderr
    done = process("reproduce", suite, *plugin, cwd=tmp_path)
    assert done.returncode == 1 and f"exits raised {said}" in done.stdout + done.stderr
    assert [one["spec"]["method"] for one in map(read, (tmp_path / "runs").glob("*/record.json"))] == ["lr-baseline"]


def read(path):
    return json.loads(path.read_text())

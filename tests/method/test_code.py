"""The version of a class of a notebook: every edit of what it uses is another one, and no other edit is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from lrbench.errors import UserError
from lrbench.execute import session
from lrbench.execute.progress import Progress
from lrbench.execute.session import Request
from lrbench.method import registry
from lrbench.method.code import fingerprint
from lrbench.spec.record import Record

CELL = """
import enum, functools, logging, re, threading, types
from dataclasses import dataclass, field
from typing import Annotated, Literal
import numpy as np
import torch
from pydantic import AfterValidator, Field, field_validator
from lrbench.method import registry

LR = registry.method("lr-baseline")
PART, KNOWN = 0.5, {"recognition", "distance", "else"}
SCALES, STEPS, FIXED = {"top": [1.0]}, [1, {"deep": 2}], types.MappingProxyType({"fixed": 1})
WEIGHTS, GRID, HALF = torch.arange(5000.0), np.zeros(5000), torch.ones(2, dtype=torch.bfloat16)
WORD, LOG, LOCK = re.compile("a+"), logging.getLogger("cell"), threading.Lock()
INNER, UNUSED, shown = 1, 1, 2
NET = torch.nn.Linear(2, 2).requires_grad_(False)
NET.load_state_dict({"weight": torch.full((2, 2), 3.0), "bias": torch.zeros(2)})

class Kind(enum.Enum):
    ONE = "one"

class Box:
    def __init__(self):
        self.inside, self.lock = 7, threading.Lock()
        self.itself = self

    def get(self):
        return self.inside + 8

@dataclass(frozen=True)
class Bound:
    low: float = 0.25
    high: list = field(default_factory=lambda: [0.75])

BOX, BOUND, SPACE = Box(), Bound(), types.SimpleNamespace(room=9)

def power(x, to):
    return x ** to

CUBE = functools.partial(power, to=3)

def even(n):
    return n == 0 or odd(n - 1)

def odd(n):
    return n != 0 and even(n - 1)

BOTH = {even, odd}

def times(factor):
    def decorate(function):
        @functools.wraps(function)
        def wrapped(*args):
            return function(*args) * factor
        return wrapped
    return decorate

@functools.lru_cache
def costly():
    return 10

@torch.compile
@torch.no_grad()
@times(11)
def scaled(term, offset=12, *, base=13):
    return term * PART

def positive(value):
    assert value > -1
    return value

class Settings(LR.Config):
    beta: float = 2.0
    gamma: Annotated[float, AfterValidator(positive)] = Field(1.0, ge=-3)
    kind: Literal["a", "b"] = "a"

    @field_validator("beta")
    @classmethod
    def check(cls, value):
        return value

class Base(LR):
    _hidden = (1, 2)

    @property
    def rate(self):
        return 14

    @rate.setter
    def rate(self, value):
        self.kept = 15

    @staticmethod
    def still():
        return 16

    @functools.cached_property
    def once(self):
        return 17

class Mine(Base):
    name = "mine"
    Config = Settings
    power = CUBE

    class Part:
        size = 18

    def loss(self, batch):
        assert KNOWN and "a" in {"a", "b", "zz"}
        def nested():
            return [INNER for _ in STEPS], lambda: FIXED
        BOX.get(), BOUND.low, Kind.ONE, SPACE.room, costly(), BOTH, WORD, LOG, LOCK, NET
        self.shown = WEIGHTS, GRID, HALF
        return {name: scaled(term) for name, term in super().loss(batch).items()}

    @torch.no_grad()
    def forward(self, up):
        try:
            return super().forward(up) * SCALES["top"][0]
        except ValueError:
            raise
"""
EDITS = [
    ("PART, KNOWN = 0.5", "PART, KNOWN = 0.6"),
    ("term * PART", "term + PART"),
    ("beta: float = 2.0", "beta: float = 3.0"),
    ("return value\n\nclass Base", "return value + 1\n\nclass Base"),
    ('"zz"', '"zy"'),
    ('"else"', '"other"'),
    ('name = "mine"', 'name = "mine"\n    view = "hr"'),
    ("super().loss(batch)", "super().step(batch)"),
    ("super().forward(up) *", "super().forward(up) +"),
    ('"top": [1.0]', '"top": [2.0]'),
    ('"deep": 2', '"deep": 3'),
    ('"fixed": 1', '"fixed": 2'),
    ("arange(5000.0)", "arange(5000.0).index_fill(0, torch.tensor(2500), 0)"),
    ("np.zeros(5000)", "np.eye(1, 5000, 2500)[0]"),
    ("torch.ones(2,", "torch.ones(3,"),
    ("bfloat16", "float16"),
    ('"a+"', '"b+"'),
    ('getLogger("cell")', 'getLogger("other")'),
    ("INNER, UNUSED, shown = 1", "INNER, UNUSED, shown = 2"),
    ('3.0), "bias', '4.0), "bias'),
    ('ONE = "one"', 'ONE = "two"'),
    ("self.inside, self.lock = 7", "self.inside, self.lock = 8"),
    ("self.inside + 8", "self.inside + 9"),
    ("low: float = 0.25", "low: float = 0.5"),
    ("[0.75]", "[0.8]"),
    ("room=9", "room=8"),
    ("x ** to", "x * to"),
    ("to=3", "to=4"),
    ("even(n - 1)", "even(n - 2)"),
    ("(*args) * factor", "(*args) + factor"),
    ("return 10", "return 11"),
    ("@times(11)", "@times(12)"),
    ("@torch.no_grad()\n@times", "@torch.enable_grad()\n@times"),
    ("offset=12", "offset=13"),
    ("base=13", "base=14"),
    ("value > -1", "value > -2"),
    ("ge=-3", "ge=-4"),
    ('Literal["a", "b"]', 'Literal["a", "c"]'),
    ("_hidden = (1, 2)", "_hidden = (1, 3)"),
    ("return 14", "return 15"),
    ("self.kept = 15", "self.kept = 16"),
    ("return 16", "return 17"),
    ("return 17", "return 18"),
    ("power = CUBE", "power = functools.partial(CUBE, 2)"),
    ("size = 18", "size = 19"),
    ("except ValueError", "except TypeError"),
    ('registry.method("lr-baseline")', 'registry.method("hr-baseline")'),
]
SAME = [
    ("import enum", "# a comment\n\nimport enum"),
    ("term * PART", "term*PART"),
    ("UNUSED, shown = 1, 1, 2", "UNUSED, shown = 1, 3, 2"),
    ("UNUSED, shown = 1, 1, 2", "UNUSED, shown = 1, 1, 3"),  # of the same name as an attribute
    ("def power", "def unused():\n    return 1\n\ndef power"),
    ('{"recognition", "distance", "else"}', '{"else", "distance", "recognition"}'),
]


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], type]:
    """Runs a cell of a notebook, which has no source, and gives the class `Mine` of it."""
    monkeypatch.setattr(registry, "_drafts", {})

    def run(source: str) -> type:
        notebook = ModuleType("their_notebook")
        monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
        exec(compile(source, "cell", "exec", dont_inherit=True), vars(notebook))
        return notebook.Mine

    return run


def test_a_class_of_a_cell_is_trained_and_an_edited_one_is_another_run(cell: Callable[[str], type], tmp_path: Path):
    def train(source: str) -> Record:
        request = Request(
            "mine", "digits", tmp_path / "runs", scale=2, width=0.125, recipe="quick", epochs=1, limit_train=64,
            limit_test=32, device="cpu", precision="fp32", plugins=(cell(source),),
        )  # fmt: skip
        return session.run(request, Progress())[0]

    first, again, edited = (train(one) for one in (SHORT, SHORT, SHORT.replace("0.5", "0.25")))
    assert first.spec.version.startswith("draft-") and first.id == again.id
    assert first.metrics == again.metrics, "it was trained twice"
    assert edited.id != first.id


SHORT = """
from lrbench.method import registry

PART = 0.5

class Mine(registry.method("lr-baseline")):
    name = "mine"

    def loss(self, batch):
        return {name: term * PART for name, term in super().loss(batch).items()}
"""


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_every_edit_of_what_a_class_uses_is_another_version(cell: Callable[[str], type], old: str, new: str) -> None:
    assert CELL.count(old) >= 1
    assert fingerprint(cell(CELL)) != fingerprint(cell(CELL.replace(old, new)))


@pytest.mark.parametrize(("old", "new"), SAME)
def test_any_other_edit_is_the_same_version(cell: Callable[[str], type], old: str, new: str) -> None:
    assert old in CELL
    assert fingerprint(cell(CELL)) == fingerprint(cell(CELL.replace(old, new)))


@pytest.mark.slow
def test_an_equal_notebook_has_an_equal_version_in_another_process(cell: Callable[[str], type], tmp_path: Path) -> None:
    mine = cell(CELL)
    registry.add_drafts([mine])
    version = mine.version
    registry.add_drafts([mine])
    assert mine.version == version, "which is no part of itself"
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys, types\nfrom lrbench.method import registry\nnotebook = types.ModuleType('their_notebook')\n"
        f"sys.modules['their_notebook'] = notebook\nexec({CELL!r}, vars(notebook))\n"
        "registry.add_drafts([notebook.Mine])\nprint(notebook.Mine.version)\n"
    )
    for _ in range(2):  # sets have another order in each
        elsewhere = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
        assert elsewhere.stdout.strip() == version


def test_another_version_of_an_installed_base_is_another_version(
    cell: Callable[[str], type], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(cell(SHORT))
    monkeypatch.setattr(registry.method("lr-baseline"), "version", "99")
    assert fingerprint(cell(SHORT)) != before


HELPER = """
import their_deeper

def part(term):
    return term * their_deeper.PART + ABOVE

ABOVE, UNUSED = 1, 1
"""


LATE = "def part(term):\n    import their_helper\n    return their_helper.part(term)"


@pytest.mark.parametrize("way", ["from their_helper import part", "import their_helper\npart = their_helper.part"])
def test_what_a_cell_uses_of_a_module_beside_it_is_part_of_its_version(
    way: str, cell: Callable[[str], type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def version(helper: str = HELPER, deeper: str = "PART = 0.5\nUNUSED = 1\n") -> str:
        for name, text in (("their_helper", helper), ("their_deeper", deeper)):
            monkeypatch.delitem(sys.modules, name, raising=False)
            (tmp_path / f"{name}.py").write_text(text)
        for cached in tmp_path.glob("__pycache__/*"):
            cached.unlink()
        return fingerprint(cell(f"{way}\n{SHORT.replace('term * PART', 'part(term)')}"))

    first = version()
    assert first == version(HELPER.replace("ABOVE, UNUSED = 1, 1", "ABOVE, UNUSED = 1, 2"), "PART = 0.5\nUNUSED = 2\n")
    assert first != version(HELPER.replace("ABOVE, UNUSED = 1, 1", "ABOVE, UNUSED = 2, 1"))
    assert first != version(HELPER.replace("term *", "term +"))
    assert first != version(deeper="PART = 0.6\nUNUSED = 1\n")


def test_what_a_function_of_a_cell_imports_as_it_runs_is_part_of_its_version(
    cell: Callable[[str], type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_helper", raising=False)
    versions = []
    for part in ("term", "2 * term", "term"):
        (tmp_path / "their_helper.py").write_text(f"def part(term):\n    return {part}\n")
        versions.append(fingerprint(cell(f"{LATE}\n{SHORT.replace('term * PART', 'part(term)')}")))
    assert versions[0] == versions[2] != versions[1]


def test_a_cell_cannot_take_the_name_of_an_installed_method_and_may_be_corrected(cell: Callable[[str], type]) -> None:
    installed = registry.method("lr-baseline")
    version, known = installed.version, list(registry.methods())
    registry.add_drafts([installed])
    for name in ("'lr-baseline'", "None"):
        with pytest.raises(UserError):
            registry.add_drafts([cell(SHORT.replace('"mine"', name))])
        assert registry.method("lr-baseline") is installed and installed.version == version
        assert list(registry.methods()) == known
    mine = cell(SHORT)
    registry.add_drafts([mine])
    assert registry.method("mine") is mine and [*registry.methods()] == [*known, "mine"]

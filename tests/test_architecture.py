"""The architecture: which package may import which, what lies at the top, how long a file may be."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import lrbench

ROOT = Path(lrbench.__file__).parent
# each imports those before it
PACKAGES = ["spec", "store", "method", "data", "plan", "train", "execute", "report", "bench"]
COMMON = {"errors", "device"}  # what all may import
FACES = {"restorer", "published", "claims"}  # other names of modules, for plugins: the packages have no use for them
TOP_FILES, LINES = 10, 350
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}


def imports(path: Path) -> Iterator[str]:
    """What a file imports of lrbench, in functions and for type checkers too: dotted names below `lrbench`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] == "lrbench")


def part(name: str) -> str:
    """The package or the module at the top that a dotted name belongs to; nothing for lrbench itself."""
    below = name.split(".")[1:2]
    return below[0] if (below and (ROOT / below[0]).is_dir()) or (below and (ROOT / f"{below[0]}.py").is_file()) else ""


def wrong(file: str, path: Path) -> set[str]:
    """What a file may not import: of a package what is above it, of a common module all but common modules."""
    own = file.partition("/")[0].removesuffix(".py")
    if own in PACKAGES:
        allowed = {*PACKAGES[: PACKAGES.index(own) + 1], *COMMON}
    elif own in COMMON:
        allowed = COMMON - {own} if own != "errors" else set()
    else:
        return set()
    return {name for name in imports(path) if part(name) not in allowed}


@pytest.mark.parametrize("file", FILES)
def test_imports_point_downwards(file: str) -> None:
    """So there is no circle between packages."""
    assert wrong(file, FILES[file]) == set()


def test_an_import_that_points_upwards_is_found(tmp_path: Path) -> None:
    for place, line in (
        ("data/new.py", "from lrbench.train import loop"),
        ("data/new.py", "def late():\n    import lrbench.report.frame"),
        ("store/new.py", "if TYPE_CHECKING:\n    from lrbench.method.base import Method"),
        ("plan/new.py", "from lrbench import claims"),
        ("report/new.py", "from lrbench.cli import main"),
        ("report/new.py", "import lrbench"),
        ("device.py", "from lrbench.spec.runspec import RunSpec"),
        ("errors.py", "from lrbench import device"),
    ):
        path = tmp_path / "new.py"
        path.write_text(line)
        assert len(wrong(place, path)) == 1, line
    path.write_text("from lrbench import device\nfrom lrbench.errors import UserError\nfrom lrbench.spec import seeds")
    assert wrong("data/new.py", path) == set()


def test_the_faces_for_plugins_are_other_names_of_modules() -> None:
    for face in FACES & {path.stem for path in ROOT.glob("*.py")}:
        statements = ast.parse((ROOT / f"{face}.py").read_text()).body
        assert all(isinstance(one, (ast.Expr, ast.ImportFrom, ast.Assign)) for one in statements), face
        users = [file for file, path in FILES.items() if f"lrbench.{face}" in {*map(_module, imports(path))}]
        assert not users, f"{face} is imported by {users}"


def _module(name: str) -> str:
    return ".".join(name.split(".")[:2])


def test_the_listing_is_nine_packages_and_a_few_files() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {*PACKAGES, "cli"}
    files = {path.name for path in ROOT.glob("*.py")}
    assert len(files) <= TOP_FILES, sorted(files)


def test_no_file_is_long() -> None:
    lengths = {file: len(path.read_text().splitlines()) for file, path in FILES.items()}
    assert not {file for file, length in lengths.items() if length > LINES}


def test_every_package_is_in_the_wheel() -> None:
    """A folder that pyproject.toml does not name works from the checkout, and is missing where it is installed."""
    named = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT.parent) for path in ROOT.rglob("__init__.py")}
    assert {".".join(folder.parts) for folder in folders} == {name for name in named if name.split(".")[0] == "lrbench"}

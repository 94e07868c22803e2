"""What tests share is in tests/helpers: no test module imports another."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def imported(path: Path) -> Iterator[str]:
    """The last word of every module that a file imports, and of what it imports from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (name.rpartition(".")[2] for name in names)


def test_no_test_module_imports_another():
    files = set(TESTS.rglob("*.py"))
    modules = {path.stem for path in files if path.stem.startswith("test_")} | {"conftest"}
    assert len(modules) > 40
    assert [(str(path), name) for path in files for name in imported(path) if name in modules] == []

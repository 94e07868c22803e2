"""A new plugin package: a working method with its test, for a researcher to edit."""

from __future__ import annotations

import importlib.util
import re
from importlib.resources import files
from itertools import count
from pathlib import Path
from string import Template

from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.store.files import new_folder

VALID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TEMPLATES = ("pyproject.toml", "README.md", "method.py", "test_method.py")  # of the package's files


def create(name: str, folder: Path) -> Path:
    """Write the package lrbench-NAME into `folder`, whole or not at all; returns the package's folder.

    Raises UserError for a name that is not valid or already taken and for a package that is already
    there, and OSError where nothing can be written.
    """
    if not VALID.fullmatch(name):
        dashed = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
        nearest = re.sub(r"[^a-z0-9]+", "-", dashed).strip("-").lstrip("0123456789-") or "my-method"
        raise UserError(
            f"'{name}' cannot name a method: lower-case letters and digits, a letter first, with single dashes "
            f"between them; the nearest name is '{nearest}'"
        )
    if taken := _taken_by(name):
        free = next(other for i in count(2) if not _taken_by(other := f"{name}-{i}"))
        raise UserError(f"the name '{name}' is taken by {taken}; choose another, such as '{free}'")
    path, module = folder / f"lrbench-{name}", module_of(name)
    if path.exists():
        raise UserError(f"{path} is already there; choose another name or another folder")
    class_name = "".join(word.capitalize() for word in name.split("-")) + "Student"  # apart from Python's names
    words = {"name": name, "module": module, "class_name": class_name}
    with new_folder(path) as new:
        for name in TEMPLATES:
            text = (files("lrbench.method") / "templates" / f"{name}.txt").read_text(encoding="utf-8")
            file = new / name.replace("method.py", f"{module}.py")
            file.write_text(Template(text).substitute(words), encoding="utf-8")
    return path


def module_of(name: str) -> str:
    """The module that holds a new method: my-method -> lrbench_my_method."""
    return "lrbench_" + name.replace("-", "_")


def _taken_by(name: str) -> str | None:
    """What already has the name: an installed method, or a module that the new one would replace."""
    if points := registry.installed(registry.METHODS).get(name):
        return registry.origin(points[0])
    module = module_of(name)
    return f"the module {module}" if importlib.util.find_spec(module) else None

"""The source of a plugin: its file, and every file that this imports, directly or not, that no package installed.

Not its bytecode or what the disk holds later: what was read when it was loaded is what it consists of.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from lrbench.errors import UserError, named

OURS = ("lrbench", "lrbench_baselines", "lrbench_methods")  # the packages of lrbench itself
INSTALLED = {"site-packages", "dist-packages"}  # folders
# A module's name -> its file and what this holds; of a package without a file its folder, and None.
Files = Mapping[str, tuple[str, bytes | None]]


def reached(content: bytes, package: str = "", own: Collection[str] = (), beside: Path | None = None) -> Files:
    """The modules that a source imports, in functions too, and those that they import: by name, with their files.

    Left out are Python's own, those of installed packages and of lrbench, but not of the packages in `own`. package:
    that the source is in. beside: a folder whose modules come before all others.
    """
    importlib.invalidate_caches()
    found: dict[str, tuple[str, bytes | None]] = {}
    left = [(package, content)]
    while left:
        for name in _imported(*left.pop()):
            if name in found or not (spec := _find(name, own, beside)):
                continue
            if not spec.origin:  # a folder without __init__.py
                found[name] = next(iter(spec.submodule_search_locations or [""])), None
                continue
            with named(spec.origin):
                found[name] = spec.origin, (read := Path(spec.origin).read_bytes())
            left.append((name if spec.submodule_search_locations else name.rpartition(".")[0], read))
    return dict(sorted(found.items()))


def digest(content: bytes, files: Files) -> str:
    """A hash of a source and of all that it reaches; of one that reaches nothing its sha256."""
    parts = (f"\0{name}\0{len(read or b'')}\0".encode() + (read or b"") for name, (_, read) in files.items())
    return hashlib.sha256(content + b"".join(parts)).hexdigest()


def _imported(package: str, content: bytes) -> Iterator[str]:
    """The names that a source imports: of modules, of their packages, and of what may be a module or only a value."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # which is said where it is executed
        return
    for one in ast.walk(tree):
        names = [alias.name for alias in one.names] if isinstance(one, ast.Import | ast.ImportFrom) else []
        if isinstance(one, ast.Call) and ast.unparse(one.func).rpartition(".")[2] in ("import_module", "__import__"):
            names = [str(word.value) for word in one.args[:1] if isinstance(word, ast.Constant)]
        if isinstance(one, ast.ImportFrom):
            parents = package.split(".") if one.level else []
            base = [*parents[: len(parents) - one.level + 1], *filter(None, [one.module])]
            names = [".".join([*base, name]) for name in names]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _find(name: str, own: Collection[str], beside: Path | None) -> ModuleSpec | None:
    """Where a module is found, without importing it; None for one that is left out, or is no module."""
    top, *rest = name.split(".")
    if top in sys.stdlib_module_names or (top in OURS and top not in own):
        return None
    spec = _find_top(top, beside)
    for end in range(len(rest)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join([top, *rest[: end + 1]]), spec.submodule_search_locations)
    if spec is None or (spec.origin and not (spec.origin.endswith(".py") and Path(spec.origin).is_file())):
        return None  # it is compiled, built in, or in an archive
    place = Path(spec.origin or next(iter(spec.submodule_search_locations or [""])))
    return spec if top in own or not INSTALLED & {*place.parts} else None


def is_local(module: ModuleType | None) -> bool:
    """Whether a module is of a file of the user's: not Python's own, an installed package's or lrbench's."""
    top, place = getattr(module, "__name__", "").partition(".")[0], getattr(module, "__file__", None) or ""
    known = top in sys.stdlib_module_names or top in OURS or INSTALLED & {*Path(place).parts}
    return place.endswith(".py") and not known


def _find_top(name: str, beside: Path | None) -> ModuleSpec | None:
    here = PathFinder.find_spec(name, [str(beside)]) if beside else None
    if here and here.origin:
        return here
    try:
        return importlib.util.find_spec(name) or here
    except (ImportError, AttributeError, ValueError):  # of one that is loaded, and says not from where
        return here


class _Loaded(MetaPathFinder, Loader):
    """Imports what was read of the files that drafts reach, whatever has become of them on the disk since."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes | None]] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.files:
            return None
        place, content = self.files[name]
        if content is None:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [place]
            return spec
        is_package = Path(place).name == "__init__.py"
        spec = ModuleSpec(name, self, origin=place, is_package=is_package)
        if is_package:
            spec.submodule_search_locations = [str(Path(place).parent)]
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        place, content = self.files[module.__name__]
        exec(compile(content or b"", place, "exec", dont_inherit=True), vars(module))


_loaded = _Loaded()


def serve(files: Files, in_use: Files, by: str) -> None:
    """Have these modules imported from what was read of them, anew where that has changed.

    in_use: of other plugins. by: the file of who imports them; what lies beside it is imported anew where somebody has
    imported it from the disk. Raises UserError where another module has the name of one.
    """
    if _loaded not in sys.meta_path:
        sys.meta_path.insert(0, _loaded)
    if any(_loaded.files.get(name, one) != one for name, one in files.items() if name not in in_use):
        forget(files)
    beside = Path(by).resolve().parent
    for name, (place, content) in files.items():
        module, path = sys.modules.get(name), Path(place).resolve()
        # no file of one that is not loaded, or that is a folder
        known = in_use[name][0] if name in in_use else getattr(module, "__file__", None)
        if known and Path(known).resolve() != path:
            raise UserError(f"{by} imports {name} from {place}, but {known} is loaded by that name; rename one")
        if name not in _loaded.files and module and content is not None and path.is_relative_to(beside):
            del sys.modules[name]
    if any(_loaded.files.get(name, one) != one for name, one in files.items()):
        forget(files)
    _loaded.files.update(files)


def forget(files: Files) -> None:
    """Take such modules out of what is loaded, so that the next import executes them."""
    for name in [name for name in files if name in _loaded.files]:
        _, content = _loaded.files.pop(name)
        if content is None or getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None) is _loaded:
            sys.modules.pop(name, None)

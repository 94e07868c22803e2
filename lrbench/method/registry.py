"""Plugins: found through entry points, loaded when used, each in its own try."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from lrbench.errors import UserError, did_you_mean, one_line, unknown

if TYPE_CHECKING:
    from lrbench.method.base import Method
    from lrbench.spec.runspec import RunSpec

METHODS = "lrbench.methods"
_drafts: dict[str, tuple[type[Method], str]] = {}  # name -> class and where it came from


@cache
def installed(group: str) -> dict[str, list[EntryPoint]]:
    """Name -> the entry points of that name; more than one is a conflict."""
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group=group):
        if point not in found[point.name]:
            found[point.name].append(point)
    return dict(sorted(found.items()))


def load(group: str, kind: str, name: str) -> Any:
    """The object behind an entry point. Raises UserError for one that is unknown, claimed twice, or does not load."""
    if name not in installed(group):
        raise unknown(kind, name, installed(group))
    points = installed(group)[name]
    if len(points) > 1:
        raise UserError(f"two plugins are called '{name}': {' and '.join(map(origin, points))}; uninstall one")
    try:
        return points[0].load()
    except (Exception, SystemExit) as error:  # whatever a plugin's import may raise
        why = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"{kind} '{name}' of {origin(points[0])} does not load: {why}") from error


def method(name: str) -> type[Method]:
    """The class of a method, a draft's or an installed one's. Raises UserError as `load` does."""
    points = installed(METHODS)
    if name not in _drafts:
        if name not in points:
            raise unknown("method", name, [*points, *_drafts])
        return _checked(load(METHODS, "method", name), name)
    cls, where = _drafts[name]
    if name in points:
        both = f"{where} and {origin(points[name][0])}"
        raise UserError(f"two plugins are called '{name}': {both}; give the draft another name")
    return cls


def methods() -> dict[str, str]:
    """The name of every method -> what it comes from; `method` says of each whether it loads."""
    places = {name: " and ".join(map(origin, points)) for name, points in installed(METHODS).items()}
    return places | {name: where for name, (_, where) in _drafts.items()}


def add_drafts(drafts: Iterable[str | type[Method]]) -> None:
    """Make methods known to this process that are not installed: "FILE.py:Class" each, or a class.

    The `version` of one becomes a hash of its file, or of the code of its class and of what that uses of the same
    notebook or script: what was edited is another run, never a stale answer. Raises UserError.
    """
    for draft in drafts:
        if isinstance(draft, str):
            cls, where, content = _from_file(draft)
        elif _is_installed(_checked(draft)):
            continue
        else:
            cls, where = draft, f"{draft.__module__}.{draft.__qualname__}"
            content = "\n".join(_code(cls, vars(sys.modules[cls.__module__]), set())).encode()
        cls.version = "draft-" + hashlib.sha256(content).hexdigest()[:16]
        _drafts[cls.name] = cls, where


def _is_installed(cls: type[Method]) -> bool:
    try:
        return load(METHODS, "method", cls.name) is cls
    except UserError:
        return False


def _from_file(place: str) -> tuple[type[Method], str, bytes]:
    file, _, class_name = place.rpartition(":")
    path = Path(file)
    if not file:
        raise UserError(f"--plugin wants FILE.py:Class; '{place}' names no class")
    if not path.is_file():
        raise UserError(f"--plugin wants FILE.py:Class; there is no file '{file}'")
    module_name = f"lrbench_draft_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin wants FILE.py:Class; '{file}' is not a Python file")
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"{file} does not load: {type(error).__name__}: {one_line(error)}") from error
    if not hasattr(module, class_name):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise unknown(f"class in {file}", class_name, classes)
    cls = _checked(getattr(module, class_name))
    if cls.name in _drafts and Path(_drafts[cls.name][1]).resolve() != path.resolve():
        raise UserError(f"two drafts are called '{cls.name}': {_drafts[cls.name][1]} and {path}; rename one")
    return cls, str(path), path.read_bytes()


def _code(thing: Any, home: Mapping[str, Any], seen: set[int]) -> Iterator[str]:
    """What an object consists of, as text that is equal in every process of one Python.

    Not its source: of a cell that is run again, Python may find the old one. home: the names of the module whose
    classes and functions are looked into; of those of others their names are enough.
    """
    thing = getattr(thing, "__func__", thing)  # of a class or static method
    mine = getattr(thing, "__module__", None) == home["__name__"]
    parts: Iterable[Any] = []
    if isinstance(thing, CodeType):
        used = [home[name] for name in thing.co_names if name in home]
        parts = [thing.co_code.hex(), thing.co_names, thing.co_varnames, thing.co_consts, used]
    elif isinstance(thing, dict):
        parts = thing.items()
    elif isinstance(thing, (set, frozenset)):
        parts = sorted(map(repr, thing))  # their order differs from process to process
    elif isinstance(thing, (tuple, list)):
        parts = thing
    elif isinstance(thing, property):
        parts = [thing.fget, thing.fset]
    elif inspect.isfunction(thing) and mine:
        parts = [thing.__code__, thing.__defaults__, thing.__kwdefaults__, inspect.getclosurevars(thing).nonlocals]
    elif isinstance(thing, type) and mine:
        own = {name: value for name, value in vars(thing).items() if name[0] != "_" or inspect.isroutine(value)}
        parts = [thing.__bases__, own | {"version": ""}, vars(thing).get("__pydantic_fields__")]
    else:
        yield thing.__name__ if inspect.ismodule(thing) else re.sub(r" at 0x[0-9a-f]+", "", repr(thing))
    if mine:  # and so may use itself
        parts = [] if id(thing) in seen else parts
        seen.add(id(thing))
    for part in parts:
        yield from _code(part, home, seen)


@contextmanager
def registered(cls: type[Method]) -> Iterator[None]:
    """A class known by its name for as long as the block lasts; one that is installed is known anyway."""
    before = dict(_drafts)
    if not _is_installed(_checked(cls)):
        _drafts[cls.name] = cls, f"{cls.__module__}.{cls.__qualname__}"
    try:
        yield
    finally:
        _drafts.clear()
        _drafts.update(before)


def config_of(cls: type[Method], settings: Mapping[str, Any]) -> BaseModel:
    """The method's validated config. Raises UserError that names the nearest setting or what is wrong."""
    known = cls.Config.model_fields
    for setting in settings:
        if setting not in known:
            raise UserError(f"{cls.name} has no setting '{setting}'; {did_you_mean(setting, known)}")
    try:
        return cls.Config.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(map(str, first["loc"])) or "config"
        raise UserError(f"{cls.name}: {setting}={first['input']!r}: {first['msg']}") from error


def epochs_before(spec: RunSpec) -> int:
    """Epochs that have gone into the weights that a run starts from."""
    cls = method(spec.method)
    role = cls.starts_from(config_of(cls, spec.config))
    return 0 if role is None else epochs_in_weights(spec.needs[role])


def epochs_in_weights(spec: RunSpec) -> int:
    """Epochs that have gone into a run's weights by its end."""
    return (spec.recipe.epochs if trains(spec) else 0) + epochs_before(spec)


def trains(spec: RunSpec) -> bool:
    """Whether a run is trained, and not only tested."""
    cls = method(spec.method)
    return cls.trains(config_of(cls, spec.config))


def source_hash(cls: type[Method]) -> str | None:
    """sha256 of the files that a method, its bases and their helpers are written in; None if unknown."""
    things: list[Any]
    try:
        things = [*filter(_is_method, cls.__mro__), *_helpers(sys.modules[cls.__module__])]
        return hashlib.sha256(b"".join(Path(inspect.getfile(one)).read_bytes() for one in things)).hexdigest()
    except (OSError, TypeError, KeyError):
        return None


def _helpers(module: ModuleType) -> list[ModuleType]:
    """The modules of its package that a method's module uses, and that hold no method themselves."""
    things = vars(module).values()
    used = {thing.__name__ if inspect.ismodule(thing) else getattr(thing, "__module__", None) for thing in things}
    package = module.__name__.partition(".")[0]
    names = sorted(str(name) for name in used if str(name).partition(".")[0] == package and name != module.__name__)
    return [sys.modules[name] for name in names if not any(map(_is_method, vars(sys.modules[name]).values()))]


def _is_method(thing: Any) -> bool:
    from lrbench.method.base import Method

    return isinstance(thing, type) and issubclass(thing, Method) and thing is not Method


def origin(point: EntryPoint) -> str:
    """The distribution behind an entry point, in words."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _checked(cls: Any, expected: str | None = None) -> type[Method]:
    from lrbench.method.base import Method

    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise UserError(f"{cls!r} is not a subclass of lrbench.method.base.Method")
    name = getattr(cls, "name", None)
    if not isinstance(name, str):
        raise UserError(f"{cls.__module__}.{cls.__name__} has no name; give its class one, as text")
    if expected not in (None, name):
        raise UserError(f"{cls.__module__}.{cls.__name__}.name is {name!r}; its entry point says {expected!r}")
    return cls

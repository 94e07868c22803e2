"""Plugins: found through entry points, loaded when used, each in its own try."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import itertools
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Listing:
    """One method as `lrbench methods` shows it; `error` says why it cannot be used."""

    name: str
    origin: str
    cls: type[Method] | None
    error: str | None


@cache
def installed(group: str) -> dict[str, list[EntryPoint]]:
    """Name -> the entry points of that name; more than one is a conflict."""
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group=group):
        if point not in found[point.name]:
            found[point.name].append(point)
    return dict(sorted(found.items()))


def load(group: str, kind: str, name: str) -> Any:
    """The object behind an entry point.

    Raises UserError for an unknown name, for a name that two distributions claim, and for a plugin
    that fails to import.
    """
    points = installed(group)
    if name not in points:
        raise unknown(kind, name, points)
    if len(points[name]) > 1:
        raise UserError(f"two plugins are called '{name}': {' and '.join(map(origin, points[name]))}; uninstall one")
    try:
        return points[name][0].load()
    except (Exception, SystemExit) as error:  # whatever a plugin's import may raise
        raise UserError(
            f"{kind} '{name}' of {origin(points[name][0])} does not load: {type(error).__name__}: {one_line(error)}"
        ) from error


def method(name: str) -> type[Method]:
    """The class of a method, a draft's or an installed one's. Raises UserError as `load` does."""
    if name in _drafts and name in installed(METHODS):
        raise UserError(
            f"two plugins are called '{name}': {_drafts[name][1]} and {origin(installed(METHODS)[name][0])}; "
            "give the draft another name"
        )
    if name in _drafts:
        return _drafts[name][0]
    if name not in installed(METHODS):
        raise unknown("method", name, [*installed(METHODS), *_drafts])
    return _checked(load(METHODS, "method", name), name)


def place(name: str) -> EntryPoint | None:
    """Where an installed method's class is; None for a draft's, a name that two claim, and one that nobody has."""
    points = installed(METHODS).get(name, [])
    return points[0] if len(points) == 1 and name not in _drafts else None


def methods() -> list[Listing]:
    """Every method, the broken ones with their error."""
    places = [(name, " and ".join(map(origin, points))) for name, points in installed(METHODS).items()]
    listings = []
    for name, where in places + [(name, where) for name, (_, where) in _drafts.items()]:
        try:
            listings.append(Listing(name, where, method(name), None))
        except UserError as error:
            listings.append(Listing(name, where, None, str(error)))
    return listings


def add_drafts(places: Iterable[str]) -> None:
    """Load methods, see `add_draft`."""
    for place in places:
        add_draft(place)


def add_draft(place: str) -> None:
    """Load a method from "FILE.py:Class" for this process.

    Its `version` becomes the hash of the file: an edited draft is another run, never a stale answer.
    Raises UserError.
    """
    file, _, class_name = place.rpartition(":")
    path = Path(file)
    if not file:
        raise UserError(f"--plugin wants FILE.py:Class; '{place}' names no class")
    if not path.is_file():
        raise UserError(f"--plugin wants FILE.py:Class; there is no file '{file}'")
    where = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    module_name = f"lrbench_draft_{path.stem}_{where}"
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
    cls.version = "draft-" + hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if cls.name in _drafts and Path(_drafts[cls.name][1]).resolve() != path.resolve():
        raise UserError(f"two drafts are called '{cls.name}': {_drafts[cls.name][1]} and {path}; rename one")
    register(cls, str(path))


def register(cls: type[Method], origin: str) -> None:
    """Make a class that is not installed known to this process; `origin` says where it came from.

    Raises UserError for what is not a method.
    """
    _drafts[_checked(cls).name] = cls, origin


def register_class(cls: type[Method]) -> None:
    """Make a class known to this process that is defined in a cell of a notebook, or in a script.

    Its `version` becomes a hash of its code and of the functions, classes and values of the same notebook or script
    that it uses: an edited cell is another run, never a stale answer. An installed method stays as it is. Raises
    UserError for what is not a method.
    """
    if place(_checked(cls).name) and method(cls.name) is cls:
        return
    cls.version = "draft-" + hashlib.sha256("\n".join(_code(cls, cls.__module__, set())).encode()).hexdigest()[:16]
    register(cls, f"{cls.__module__}.{cls.__qualname__}")


def _code(thing: Any, home: str, seen: set[int]) -> Iterator[str]:
    """What an object of the module `home` consists of, as text that is equal in every process of one Python.

    Not its source: of a cell that is run again, Python may find the old one.
    """
    if isinstance(thing, (staticmethod, classmethod)):
        thing = thing.__func__
    if isinstance(thing, (tuple, list)):
        for one in thing:
            yield from _code(one, home, seen)
    elif isinstance(thing, (set, frozenset)):
        yield repr(sorted(map(repr, thing)))  # whose order differs from process to process
    elif isinstance(thing, CodeType):
        yield f"{thing.co_code.hex()} {thing.co_names} {thing.co_varnames}"
        yield from _code(thing.co_consts, home, seen)
    elif getattr(thing, "__module__", home) != home or id(thing) in seen or inspect.ismodule(thing):
        yield getattr(thing, "__qualname__", type(thing).__qualname__)  # of a package, whose code is not looked at
    elif inspect.isfunction(thing):
        seen.add(id(thing))
        yield from _code((thing.__code__, thing.__defaults__, list((thing.__kwdefaults__ or {}).items())), home, seen)
        used = [(name, thing.__globals__[name]) for name in _names(thing.__code__) if name in thing.__globals__]
        yield from _code([*used, *inspect.getclosurevars(thing).nonlocals.items()], home, seen)
    elif isinstance(thing, property):
        yield from _code((thing.fget, thing.fset), home, seen)
    elif isinstance(thing, type):
        seen.add(id(thing))
        own = [(n, v) for n, v in vars(thing).items() if n != "version" and (n[0] != "_" or inspect.isroutine(v))]
        yield from _code([*thing.__bases__, *own, vars(thing).get("__pydantic_fields__")], home, seen)
    else:
        yield re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def _names(code: CodeType) -> list[str]:
    """The names that code uses, and the functions and comprehensions within it."""
    inner = [_names(one) for one in code.co_consts if isinstance(one, CodeType)]
    return sorted({*code.co_names, *itertools.chain(*inner)})


@contextmanager
def registered(cls: type[Method]) -> Iterator[None]:
    """A class known by its name for as long as the block lasts; one that is installed is known anyway."""
    before = dict(_drafts)
    try:
        known = method(cls.name) is cls
    except UserError:
        known = False
    if not known:
        register(cls, f"{cls.__module__}.{cls.__qualname__}")
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
    """sha256 of the files that a method, its bases and their helpers are written in; None if unknown.

    To tell a change. A helper is a module of the same package that the method's file uses and that holds no
    method itself.
    """
    from lrbench.method.base import Method

    bases = [base for base in cls.__mro__ if issubclass(base, Method) and base is not Method]
    try:
        files = [Path(inspect.getfile(base)) for base in bases]
        files += [Path(inspect.getfile(helper)) for helper in _helpers(sys.modules[cls.__module__])]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    except (OSError, TypeError, KeyError):
        return None


def _helpers(module: ModuleType) -> list[ModuleType]:
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

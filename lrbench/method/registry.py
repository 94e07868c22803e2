"""Plugins: found through entry points, loaded when used, each in its own try."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from lrbench.errors import UserError, broken, did_you_mean, one_line, unknown
from lrbench.method.code import fingerprint
from lrbench.method.source import Files, forget, reached, serve

if TYPE_CHECKING:
    from lrbench.method.base import Method
    from lrbench.spec.runspec import RunSpec

METHODS = "lrbench.methods"
_drafts: dict[str, tuple[type[Method], str]] = {}  # name -> class and where it came from


@dataclass(frozen=True)
class Draft:
    """A method of a file, not installed, with all its source as it was read: another process runs this."""

    place: str  # FILE.py:Class
    content: bytes  # of FILE.py
    files: Files  # that it imports


_hashes: dict[type[Method], str | None] = {}  # see `source_hash`
_read: dict[str, Draft] = {}  # module -> the first draft that it was read for


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
    except BaseException as error:  # whatever a plugin's import may raise
        raise UserError(f"{kind} '{name}' of {origin(points[0])} does not load: {broken(error)}") from error


def method(name: str) -> type[Method]:
    """The class of a method, a draft's or an installed one's. Raises UserError as `load` does."""
    if name in _drafts:
        return _drafts[name][0]
    if name not in (points := installed(METHODS)):
        raise unknown("method", name, [*points, *_drafts])
    cls = _checked(load(METHODS, "method", name), name)
    source_hash(cls)  # now: what is loaded is what is hashed, whatever is written later
    return cls


def methods() -> dict[str, str]:
    """The name of every method -> what it comes from; `method` says of each whether it loads."""
    places = {name: " and ".join(map(origin, points)) for name, points in installed(METHODS).items()}
    return places | {name: where for name, (_, where) in _drafts.items()}


def add_drafts(drafts: Iterable[str | Draft | type[Method]]) -> None:
    """Make methods known to this process that are not installed: "FILE.py:Class" each, or as read, or a class.

    The `version` of one becomes a hash of its file and of the files that it imports, which may lie beside it, or of the
    code of its class and of what that uses of the same notebook or script: what was edited is another run, never a
    stale answer. A file is executed once, until it is edited. Raises UserError; nothing stays of one that is refused.
    """
    for draft in drafts:
        cls = _checked(draft) if isinstance(draft, type) else _from_file(draft)
        read = _read.get(cls.__module__)
        where = read.place.rpartition(":")[0] if read else _place(cls)
        if _is_installed(cls):
            continue
        if points := installed(METHODS).get(cls.name):
            both = f"{where} and {origin(points[0])}"
            raise UserError(f"two plugins are called '{cls.name}': {both}; give the draft another name")
        known = _drafts.get(cls.name, (cls, where))[1]
        if read and Path(known).resolve() != Path(where).resolve():
            raise UserError(f"two drafts are called '{cls.name}': {known} and {where}; rename one")
        cls.version = "draft-" + (_digest(read.content, read.files) if read else fingerprint(cls))[:16]
        source_hash(cls)
        _drafts[cls.name] = cls, where


def as_read(drafts: Iterable[str]) -> tuple[Draft, ...]:
    """Of drafts that have been added what was read of them then."""
    wanted = {(Path(file).resolve(), name) for file, _, name in (one.rpartition(":") for one in drafts)}
    found = []
    for file, name in sorted(wanted):
        for cls, where in _drafts.values():
            if Path(where).resolve() == file and getattr(sys.modules[cls.__module__], name) is cls:
                found.append(replace(_read[cls.__module__], place=f"{os.path.abspath(where)}:{name}"))
    return tuple(found)


def _digest(content: bytes, files: Files) -> str:
    return hashlib.sha256(content + b"".join(read or b"" for _, read in files.values())).hexdigest()


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_installed(cls: type[Method]) -> bool:
    return cls.name in installed(METHODS) and load(METHODS, "method", cls.name) is cls


def _from_file(draft: str | Draft) -> type[Method]:
    place = draft if isinstance(draft, str) else draft.place
    file, _, class_name = place.rpartition(":")
    path = Path(file)
    if isinstance(draft, str):
        if not file:
            raise UserError(f"--plugin wants FILE.py:Class; '{place}' names no class")
        if not path.is_file():
            raise UserError(f"--plugin wants FILE.py:Class; there is no file '{file}'")
        if path.suffix != ".py":
            raise UserError(f"--plugin wants FILE.py:Class; '{path}' is not a Python file")
        content = path.read_bytes()
        draft = Draft(place, content, reached(content, beside=path.parent.resolve()))
    digest = hashlib.sha256(f"{path.resolve()}\0{_digest(draft.content, draft.files)}".encode()).hexdigest()
    name = f"lrbench_draft_{path.stem}_{digest[:16]}"
    others = [_read[cls.__module__] for cls, where in _drafts.values() if cls.__module__ in _read and where != file]
    serve(draft.files, dict(chain.from_iterable(other.files.items() for other in others)), by=file)
    if name not in sys.modules:
        module = sys.modules[name] = ModuleType(name)
        module.__file__ = str(path)
        _read[name] = draft
        try:
            exec(compile(draft.content, path, "exec", dont_inherit=True), vars(module))
        except BaseException as error:
            del sys.modules[name], _read[name]
            forget(draft.files)
            raise UserError(f"{path} does not load: {broken(error)}") from error
    module = sys.modules[name]
    if not hasattr(module, class_name):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise unknown(f"class in {file}", class_name, classes)
    return _checked(getattr(module, class_name))


@contextmanager
def registered(cls: type[Method]) -> Iterator[None]:
    """A class known by its name for as long as the block lasts; one that is installed is known anyway."""
    before = dict(_drafts)
    if not _is_installed(_checked(cls)):
        _drafts[cls.name] = cls, _place(cls)
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
        given = f"={first['input']!r}" if first["type"] != "missing" else ""
        raise UserError(f"{cls.name}: {setting}{given}: {first['msg']}") from error


def as_json(cls: type[Method], config: BaseModel, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of the method as JSON values, by which a run is known: equal in every process.

    config: what `config_of` makes of `settings`. Raises UserError for a setting of a kind that has no such values.
    """
    for name, value in config.model_dump().items():
        if _has_set(value):
            raise UserError(f"{cls.name}: {name} is a set, whose order changes from process to process; use a tuple")
    try:
        content = config.model_dump(mode="json")
        again, anew = config_of(cls, content), config_of(cls, settings)
    except (UserError, ValueError, TypeError) as error:
        why = f"its settings cannot be kept as JSON: {one_line(error):.200}; use numbers, text and lists of them"
        raise UserError(f"{cls.name}: {why}") from error
    for name in cls.Config.model_fields:
        value = getattr(config, name)
        if getattr(anew, name) != value:
            raise UserError(f"{cls.name}: {name} has another default each time: {value!r:.80}; use one that stays")
        if getattr(again, name) != value:
            found = f"{value!r:.80} is {content.get(name)!r:.80} there"
            raise UserError(f"{cls.name}: {name} does not come back from JSON as it was: {found}; use text or a number")
    return content


def _has_set(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return isinstance(value, set | frozenset) or any(map(_has_set, inside))


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
    """sha256 of the files that a method and its bases are written in and of those that they import; None if unknown.

    As they were when it was first asked for: when the class is loaded.
    """
    if cls not in _hashes:
        _hashes[cls] = _source_hash(cls)
    return _hashes[cls]


def _source_hash(cls: type[Method]) -> str | None:
    bases = [one for one in cls.__mro__ if _is_method(one)]
    own = {one.__module__.partition(".")[0] for one in bases} - {"lrbench"}
    contents, files, seen = list[bytes](), dict[str, tuple[str, bytes | None]](), set[str]()
    try:
        for one in bases:
            module, place = sys.modules[one.__module__], inspect.getfile(one)
            read = _read.get(one.__module__)
            contents.append(read.content if read else Path(place).read_bytes())
            files |= read.files if read else reached(contents[-1], module.__package__ or "", own)
            seen.add(str(place))
    except (OSError, TypeError, KeyError):
        return None
    return _digest(b"".join(contents), {name: files[name] for name in sorted(files) if files[name][0] not in seen})


def _is_method(thing: Any) -> bool:
    from lrbench.method.base import Method

    return isinstance(thing, type) and issubclass(thing, Method) and thing is not Method


def origin(point: EntryPoint) -> str:
    """The distribution behind an entry point, in words."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _checked(cls: Any, expected: str | None = None) -> type[Method]:
    from lrbench.method.base import IMAGES, Config, Method

    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise UserError(f"{cls!r} is not a subclass of lrbench.method.base.Method")
    name = getattr(cls, "name", None)
    if not isinstance(name, str):
        raise UserError(f"{_place(cls)} has no name; give its class one, as text")
    if not isinstance(cls.reads, tuple | list) or not all(view in IMAGES for view in cls.reads):
        raise UserError(f"{name}: reads = {cls.reads!r}; it is a tuple of some of {IMAGES}, such as ('up',)")
    if cls.view not in IMAGES:
        raise UserError(f"{name}: view = {cls.view!r}; {did_you_mean(cls.view, IMAGES)}")
    if not isinstance(cls.version, str):
        raise UserError(f"{name}: version = {cls.version!r}; write it as text, such as '2'")
    if not (isinstance(cls.Config, type) and issubclass(cls.Config, Config)):
        raise UserError(f"{name}: Config = {cls.Config!r}; make it a class of lrbench.method.Config")
    if expected not in (None, name):
        raise UserError(f"{_place(cls)}.name is {name!r}; its entry point says {expected!r}")
    return cls

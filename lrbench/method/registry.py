"""Plugins: found through entry points, loaded when used, each in its own try."""

from __future__ import annotations

import inspect
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from lrbench.errors import UserError, broken, did_you_mean, one_line, unknown
from lrbench.method.code import fingerprint
from lrbench.method.drafts import Draft
from lrbench.method.source import digest, reached, serve

if TYPE_CHECKING:
    from lrbench.method.base import Method
    from lrbench.spec.runspec import RunSpec

METHODS = "lrbench.methods"
SCHEME = "imports-"  # in front of the hash of a source: another is of the files of the class and its bases alone
_drafts: dict[str, tuple[type[Method], str]] = {}  # name -> class and where it came from


_files: dict[str, Draft] = {}  # name of a draft of a file -> all its source
_hashes: dict[type[Method], str | None] = {}  # see `source_hash`


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
    for one in drafts:
        draft = Draft.read(one) if isinstance(one, str) else one if isinstance(one, Draft) else None
        if draft:
            others = {name: other for name, other in _known_files().items() if other.files and other != draft}
            serve(draft.files, dict(chain.from_iterable(other.files.items() for other in others.values())), draft.file)
        cls = _checked(draft.load() if draft else one)
        where = draft.file if draft else _place(cls)
        if _is_installed(cls):
            continue
        if points := installed(METHODS).get(cls.name):
            both = f"{where} and {origin(points[0])}"
            raise UserError(f"two plugins are called '{cls.name}': {both}; give the draft another name")
        known = _drafts.get(cls.name, (cls, where))[1]
        if draft and Path(known).resolve() != Path(where).resolve():
            raise UserError(f"two drafts are called '{cls.name}': {known} and {where}; rename one")
        _files.pop(cls.name, None)
        if draft:
            for name, other in others.items():  # whose modules have changed since it was loaded
                if any(draft.files.get(module, file) != file for module, file in other.files.items()):
                    del _drafts[name]
            _files[cls.name] = draft
        cls.version = "draft-" + (draft.digest if draft else fingerprint(cls))[:16]
        _hashes[cls] = _source_hash(cls, draft)
        _drafts[cls.name] = cls, where


def as_read() -> tuple[Draft, ...]:
    """The drafts of files that have been added, with what was read of them: another process adds these."""
    return tuple(replace(draft, file=os.path.abspath(draft.file)) for draft in _known_files().values())


def _known_files() -> dict[str, Draft]:
    return {name: _files[name] for name in _drafts if name in _files}


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_installed(cls: type[Method]) -> bool:
    return cls.name in installed(METHODS) and load(METHODS, "method", cls.name) is cls


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

    config: what `config_of` makes of `settings`. Raises UserError for a setting of a kind that has no such values. Not
    seen: a default that the class itself makes of a set or of the time.
    """
    try:
        content = config.model_dump(mode="json", exclude={*cls.Config.model_computed_fields})
        again, anew = config_of(cls, content), config_of(cls, settings)
    except (UserError, ValueError, TypeError) as error:
        why = f"its settings cannot be kept as JSON: {one_line(error):.200}; use numbers, text and lists of them"
        raise UserError(f"{cls.name}: {why}") from error
    for name in cls.Config.model_fields:
        value = getattr(config, name)
        if _has_set(value):
            raise UserError(f"{cls.name}: {name} is a set, whose order changes from process to process; use a tuple")
        if value != value:
            raise UserError(f"{cls.name}: {name} = {value!r} cannot be kept as JSON; use a number, or None")
        if getattr(anew, name) != value:
            raise UserError(f"{cls.name}: {name} has another default each time: {value!r:.80}; use one that stays")
        if getattr(again, name) != value:
            way = f"{value!r:.80} becomes {getattr(again, name)!r:.80}; use text or a number"
            raise UserError(f"{cls.name}: {name} does not come back from JSON as it was: {way}")
    return content


def _has_set(value: Any) -> bool:
    if isinstance(value, set | frozenset):
        return True
    if isinstance(value, list | tuple | Mapping):
        return any(map(_has_set, value.values() if isinstance(value, Mapping) else value))
    return hasattr(value, "__dict__") and not isinstance(value, type) and any(map(_has_set, vars(value).values()))


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


def _source_hash(cls: type[Method], draft: Draft | None = None) -> str | None:
    """draft: that the class is of, whose source has been read."""
    bases = [one for one in cls.__mro__ if _is_method(one)]
    own = {one.__module__.partition(".")[0] for one in bases} - {"lrbench"}
    contents, files = [draft.content] if draft else [], dict(draft.files) if draft else {}
    read, of_bases = {place for place, _ in files.values()}, set()
    try:
        for one in bases:
            place = inspect.getfile(one)
            if draft and (one.__module__ == draft.module or place in read):
                continue
            contents.append(Path(place).read_bytes())
            files |= reached(contents[-1], sys.modules[one.__module__].__package__ or "", own)
            of_bases.add(place)
    except (OSError, TypeError, KeyError):
        return None
    return SCHEME + digest(b"".join(contents), {k: files[k] for k in sorted(files) if files[k][0] not in of_bases})


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

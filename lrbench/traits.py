"""What reports say of a method: kept, because to load its class is to load torch, which takes longer than a table.

Kept in the user's cache, for one environment, as long as no source file has changed of the plugins and of whatever
else was loaded from outside of site-packages. Drafts are not kept, and where torch is loaded already the class is
asked.
"""

from __future__ import annotations

import hashlib
import json
import os
import site
import sys
import sysconfig
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from lrbench import registry
from lrbench.errors import UserError
from lrbench.files import write_atomic


@dataclass(frozen=True)
class Traits:
    """Of one method. `shown` are the settings that tables always show, `defaults` its config where nothing is set."""

    label: str = ""
    view: str = ""
    defaults: dict[str, Any] | None = None  # None where it needs settings
    shown: tuple[str, ...] = ()


UNKNOWN = Traits()


def of(method: str) -> Traits:
    """The traits of a method; UNKNOWN where it cannot be loaded."""
    point = registry.place(method)
    if not point or not _without_torch():
        return _ask(method)
    (kept, sources), place = _kept(), f"{point.name} = {point.value}"
    if place not in kept:
        kept[place] = _ask(method)
        if kept[place] != UNKNOWN:
            _keep(kept, sources)
    return kept[place]


def _ask(method: str) -> Traits:
    try:
        cls = registry.method(method)
    except UserError:
        return UNKNOWN
    try:
        defaults = cls.Config().model_dump(mode="json")
    except ValueError:
        defaults = None
    shown = (name for name, field in cls.Config.model_fields.items() if field.json_schema_extra == {"shown": True})
    return Traits(cls.label or method, cls.view, defaults, tuple(shown))


@cache
def _without_torch() -> bool:
    """Whether this process began without torch, as a report does."""
    return "torch" not in sys.modules


def _file() -> Path:
    environment = hashlib.sha256("\0".join([sys.prefix, sys.version, *sys.path]).encode()).hexdigest()[:16]
    return platformdirs.user_cache_path("lrbench") / f"methods-{environment}.json"


@cache
def _kept() -> tuple[dict[str, Traits], dict[str, list[int]]]:
    """Place of an entry point -> traits, filled as methods are asked for; the files of those that were kept."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(_file().read_bytes())
        if content["sources"] and all(_stamp(path) == stamp for path, stamp in content["sources"].items()):
            methods = content["methods"].items()
            traits = {place: Traits(**kept | {"shown": tuple(kept["shown"])}) for place, kept in methods}
            return traits, content["sources"]
    return {}, {}


def _keep(kept: dict[str, Traits], before: dict[str, list[int]]) -> None:
    """before: the files of what was kept already, whose modules need not be loaded here."""
    content = {"sources": _sources() | before, "methods": {place: asdict(traits) for place, traits in kept.items()}}
    with suppress(OSError):  # it is asked again next time
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_atomic(_file(), json.dumps(content, indent=1))


def _sources() -> dict[str, list[int]]:
    """The files that the traits came from: those of all plugins, and all that site-packages does not hold."""
    packages = {
        point.module.partition(".")[0] for points in registry.installed(registry.METHODS).values() for point in points
    }
    packages.add(__name__.partition(".")[0])
    dependencies = (*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("stdlib"))
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return {
        path: stamp
        for name, path in files.items()
        if path and (name.partition(".")[0] in packages or not path.startswith(dependencies))
        if (stamp := _stamp(path))
    }


def _stamp(path: str) -> list[int]:
    try:
        about = os.stat(path)
    except OSError:
        return []
    return [about.st_size, about.st_mtime_ns]

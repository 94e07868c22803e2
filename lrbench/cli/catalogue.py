"""The commands that list what there is, add data, and begin a plugin: methods, datasets, backbones, data, new."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from lrbench.cli.options import FOLDER, PATH, Group, command, data_option, plugin_option, warn
from lrbench.cli.streams import show
from lrbench.errors import UserError, broken, printable


@command()
@plugin_option
def methods(plugins: tuple[str, ...]) -> None:
    """List the methods, where they come from, and their settings."""
    from lrbench.method import registry

    owners: dict[Any, str] = {}
    found = {}
    for name, origin in registry.methods().items():
        try:
            cls = found[name] = registry.method(name)
            owners[cls.Config] = name
            _first_line(cls), list(_settings(cls.Config, {}))
        except Exception as error:  # whatever a plugin's code may raise
            found.pop(name, None)
            show(f"{name}  [{origin}]  BROKEN: {broken(error)}")
    for name, cls in found.items():
        show(f"{name}  [{registry.methods()[name]}]  {_first_line(cls)}")
        for line in _settings(cls.Config, owners):
            show(f"    {line}")


def _settings(config: Any, owners: dict[Any, str]) -> Iterator[str]:
    """A line per setting; those that are as another method has them, two or more, are named by that method only."""
    own = {name: repr(field) for name, field in config.model_fields.items()}
    parents = [parent for parent in config.__mro__[1:] if parent in owners and len(parent.model_fields) > 1]
    taken = [parent for parent in parents if all(own[name] == repr(one) for name, one in parent.model_fields.items())]
    shared = set(taken[0].model_fields) if taken else set()
    if taken:
        yield f"the settings of {owners[taken[0]]}" + (", and:" if len(shared) < len(own) else "")
    defaults = config.model_construct().model_dump(mode="json", warnings=False)  # of a required one nothing
    for name, field in config.model_fields.items():
        if name not in shared:
            default = defaults.get(name, "VALUE")
            text = default if isinstance(default, str) and default.isprintable() else json.dumps(default)
            needed = "(required) " if field.is_required() else ""
            about = printable(" ".join(f"{field.description or ''}".split()))
            yield f"--set {name}={text}  {needed}{about}".rstrip()


@command()
@data_option
def datasets(data: Path | None) -> None:
    """List the datasets, those that are here and those that can be fetched."""
    from lrbench.data.datasets import available, data_root

    for name, found in available(data_root(data)).items():
        show(f"{name}: {found}" if isinstance(found, UserError) else str(found))


@command()
def backbones() -> None:
    """List the backbones."""
    from lrbench.method.backbones import BACKBONES, TIMM

    for name, make in BACKBONES.items():
        show(f"{name}  {_first_line(make)}")
    show(f"{TIMM}NAME  Any timm model, not pretrained, at --width 1.")


@command()
@click.argument("name")
@click.option("--out", type=FOLDER, default=Path("."), help="Where to put it.")
def new(name: str, out: Path) -> None:
    """Write a plugin package with a method of your own, which installs and runs as it is."""
    from lrbench.method.scaffold import create
    from lrbench.store.files import without_empty

    with without_empty(out):
        out.mkdir(parents=True, exist_ok=True)
        show(str(create(name, out)))


@click.group(cls=Group)
def data() -> None:
    """Fetch or import datasets."""


@data.command("import")
@click.argument("name")
@click.argument("path", type=PATH)
@data_option
def import_(name: str, path: Path, data: Path | None) -> None:
    """Import NAME from PATH: an .npz with MedMNIST's keys, or a folder of class folders."""
    from lrbench.data.datasets import data_root
    from lrbench.data.importing import import_dataset

    show(str(import_dataset(name, path, data_root(data), warn)))


@data.command()
@click.argument("name")
@data_option
def fetch(name: str, data: Path | None) -> None:
    """Download NAME, check it and keep it."""
    from lrbench.data.datasets import data_root
    from lrbench.data.importing import fetch_dataset

    show(str(fetch_dataset(name, data_root(data), warn)))


def _first_line(thing: Any) -> str:
    return printable(inspect.cleandoc(thing.__doc__ or "").partition("\n")[0])


COMMANDS = (methods, datasets, backbones, data, new)

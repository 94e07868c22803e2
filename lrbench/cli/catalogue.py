"""The commands that list what there is, add data, and begin a plugin: methods, datasets, backbones, data, new."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from lrbench.cli.options import FOLDER, PATH, Group, command, data_option, draft_option, warn
from lrbench.cli.streams import show
from lrbench.errors import UserError, broken, printable


@command()
@click.argument("name", required=False)
@draft_option
def methods(name: str | None) -> None:
    """List the methods; with NAME, the settings of one."""
    import pandas as pd

    from lrbench.cli.streams import results
    from lrbench.method import registry
    from lrbench.report.formats import print_grid

    if name is not None:
        cls = registry.method(name)
        show(f"{cls.name} ({_kind(cls)}; {registry.methods()[name]}): {_first_line(cls)}")
        paper = vars(cls).get("paper")
        for text in (_rest(cls), f"Source: {paper}." if paper else ""):
            show(f"\n{text}" if text else "", nl=bool(text))
        lines = pd.DataFrame(list(_settings(cls.Config)), columns=["setting", "default", "what it is"])
        show("\nSettings, for --set NAME=VALUE:\n" if len(lines) else "\nIt has no settings.")
        print_grid(lines, results())
        if about := vars(cls.Config).get("__doc__"):
            show(f"\nAbout them: {' '.join(about.split())}")
        if lines["what it is"].str.contains(r"\bours\b").any():
            show("\nours: a choice of this repository's, which the paper leaves open or makes otherwise.")
        return
    rows = []
    for one, origin in registry.methods().items():
        try:
            cls = registry.method(one)
            list(_settings(cls.Config))
            rows.append((one, _kind(cls), _first_line(cls), vars(cls).get("paper", "")))
        except Exception as error:  # whatever a plugin's code may raise
            rows.append((one, "BROKEN", broken(error), origin))
    print_grid(pd.DataFrame(sorted(rows, key=_order), columns=["name", "kind", "what it does", "paper"]), results())
    show("\nThe settings of one: lrbench methods NAME")


KINDS = ("baseline", "distillation", "method", "SR, then classifier", "SR net")


def _order(row: tuple[str, str, str, str]) -> tuple[int, str]:
    name, kind, *_ = row
    return KINDS.index(kind) if kind in KINDS else len(KINDS), name


def _kind(cls: Any) -> str:
    """One of KINDS, by what a method's class needs and gives."""
    from lrbench.method.restorer import Restorer
    from lrbench.report.frame import TEACHER

    if issubclass(cls, Restorer):
        return "SR net"
    if any(field.is_required() for field in cls.Config.model_fields.values()):
        return "method"  # what it needs is not known
    config = cls.Config()
    needs = cls.needs_of(config)
    if cls.restored_by(config):
        return "SR, then classifier"
    if TEACHER in needs:
        return "distillation"
    return "baseline" if not needs or not cls.trains(config) else "method"


def _settings(config: Any) -> Iterator[tuple[str, str, str]]:
    """Name, default and description of each setting, with the values where it is a choice."""
    defaults = config.model_construct().model_dump(mode="json", warnings=False)  # of a required one nothing
    for name, field in config.model_fields.items():
        default = defaults.get(name, "required")
        text = default if isinstance(default, str) and default.isprintable() else json.dumps(default)
        choice = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        told = [f"{field.description or ''}", f"[{', '.join(map(str, choice))}]" if choice else ""]
        yield name, text, printable(" ".join(" ".join(told).split()))


@command()
@data_option
def datasets(data: Path | None) -> None:
    """List the datasets, and how to get those not here."""
    from lrbench.data.datasets import available, data_root

    for name, found in available(data_root(data)).items():
        show(f"{name}: {found}" if isinstance(found, UserError) else str(found))


@command()
def backbones() -> None:
    """List the networks that can be trained."""
    from lrbench.method.backbones import BACKBONES, TIMM

    for name, make in BACKBONES.items():
        show(f"{name}  {_first_line(make)}")
    show(f"{TIMM}NAME  Any timm model, not pretrained, at --width 1.")


@command()
@click.argument("name")
@click.option("--out", type=FOLDER, default=Path("."), help="Where to put it.")
def new(name: str, out: Path) -> None:
    """Write a package for a method of your own.

    It installs and runs as it is, with a test of its own.
    """
    from lrbench.method.scaffold import create
    from lrbench.store.files import without_empty

    with without_empty(out):
        out.mkdir(parents=True, exist_ok=True)
        show(str(create(name, out)))


@click.group(cls=Group)
def data() -> None:
    """Download or import datasets."""


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


def _rest(thing: Any) -> str:
    return printable(" ".join(inspect.cleandoc(thing.__doc__ or "").partition("\n")[2].split()))


def _first_line(thing: Any) -> str:
    return printable(inspect.cleandoc(thing.__doc__ or "").partition("\n")[0])


COMMANDS = (methods, datasets, backbones, data, new)

"""The commands that list what there is, add data, and begin a plugin: methods, datasets, backbones, data, new."""

from __future__ import annotations

from pathlib import Path

import click

from lrbench.cli.options import FOLDER, Group, data_option, plugin_option


@click.command()
@plugin_option
def methods(plugins: tuple[str, ...]) -> None:
    """List the methods, where they come from, and their settings."""
    from lrbench.report.listing import methods

    click.echo(methods(), nl=False)


@click.command()
@data_option
def datasets(data: Path | None) -> None:
    """List the data sets, those that are here and those that can be fetched."""
    from lrbench.data.datasets import data_root
    from lrbench.report.listing import datasets

    click.echo(datasets(data_root(data)), nl=False)


@click.command()
def backbones() -> None:
    """List the backbones."""
    from lrbench.report.listing import backbones

    click.echo(backbones(), nl=False)


@click.command()
@click.argument("name")
@click.option("--out", type=FOLDER, default=Path("."), help="Where to put it.")
def new(name: str, out: Path) -> None:
    """Write a plugin package with a method of your own, which installs and runs as it is."""
    from lrbench.method.scaffold import create

    click.echo(str(create(name, out)))


@click.group(cls=Group)
def data() -> None:
    """Fetch or import data sets."""


@data.command("import")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@data_option
def import_(name: str, path: Path, data: Path | None) -> None:
    """Import NAME from PATH: an .npz with MedMNIST's keys, or a folder of class folders."""
    from lrbench.data.datasets import data_root
    from lrbench.data.importing import import_dataset
    from lrbench.report.listing import dataset

    click.echo(dataset(import_dataset(name, path, data_root(data))))


@data.command()
@click.argument("name")
@data_option
def fetch(name: str, data: Path | None) -> None:
    """Download NAME, check it and keep it."""
    from lrbench.data.datasets import data_root
    from lrbench.data.fetching import fetch_dataset
    from lrbench.report.listing import dataset

    click.echo(dataset(fetch_dataset(name, data_root(data))))


COMMANDS = (methods, datasets, backbones, data, new)

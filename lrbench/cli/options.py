"""What several commands share: options, and how settings are read and messages written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lrbench.errors import UserError, did_you_mean

RESULTS = Path("results/runs")  # below the current folder, unless --results or $LRBENCH_RESULTS says otherwise


class Group(click.Group):
    """A group that names the nearest command for a mistyped one, and shows its help where none is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UserError(f"no command '{args[0]}'; {did_you_mean(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


results_option = click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="LRBENCH_RESULTS",
    default=RESULTS,
    help=f"Folder of the runs.  [default: $LRBENCH_RESULTS or {RESULTS}]",
)
baselines_option = click.option(
    "--baselines",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    help="Runs that are read beside your own and never written, such as those of the baselines; repeat for more; "
    "'none' for none.  [default: $LRBENCH_BASELINES or, in a checkout of lrbench, its results/records]",
)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="LRBENCH_DATA",
    default=None,
    help="Folder of the datasets.  [default: $LRBENCH_DATA or the user's cache]",
)
plugin_option = click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE.py:Class", help="A draft of a method, not installed."
)


def settings_of(pairs: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is JSON where it reads as JSON, else text."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UserError(f"--set wants NAME=VALUE, such as lam=2; got '{pair}'")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Those options of the command at hand that the user has given."""
    source, default = click.get_current_context().get_parameter_source, click.core.ParameterSource.DEFAULT
    return {name: value for name, value in options.items() if source(name) is not default}


def out_file(path: Path, content: str) -> None:
    """Write a file whole, and its folder where it is not there. Raises OSError."""
    from lrbench.store.files import write_atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)


def warn(message: str) -> None:
    """Tell the user, beside what is printed."""
    click.echo(f"lrbench: {message}", err=True)

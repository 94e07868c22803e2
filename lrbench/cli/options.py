"""What several commands share: options, and how settings are read and messages written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lrbench.cli.streams import for_results, show, without_reader
from lrbench.errors import UserError, did_you_mean, expanded

STREAM = "-"  # stdout, where a file is named


class _Path(click.Path):
    """click's, as a Path, with ~ as the home folder; '-' is stdout, and no folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        named, path = param.opts[0] if param else "this", expanded(value)
        if not self.file_okay:
            if value == STREAM:
                raise UserError(f"{named} wants a folder; '-' is stdout, and './-' a folder of that name")
            if path.exists() and not path.is_dir():
                raise UserError(f"{named} wants a folder; {path} is none")
            for link in (path, *path.parents):  # no folder can be made there
                if link.is_symlink() and not link.exists():
                    to = f"a link to {os.readlink(link)}, which is not there"
                    raise UserError(f"{named} wants a folder; {link} is {to}: make that folder or remove the link")
        is_stdout = value == STREAM and not self.dir_okay
        super().convert("/dev/stdout" if is_stdout else path, param, ctx)  # which checks it
        return Path("/dev/stdout") if is_stdout else path


PATH, FILE, FOLDER = _Path(), _Path(dir_okay=False, readable=False), _Path(file_okay=False)


class Command(click.Command):
    """A command on whose stdout there are only results."""

    def invoke(self, ctx: click.Context) -> Any:
        with for_results():
            return super().invoke(ctx)


class Group(click.Group):
    """A group that names the nearest command for a mistyped one, and shows its help where none is given."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added: that in which one needs them."""
        return list(self.commands)

    def make_context(self, *args: Any, **words: Any) -> click.Context:
        with without_reader():
            return super().make_context(*args, **words)

    def invoke(self, ctx: click.Context) -> Any:
        with without_reader():
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            show(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UserError(f"no command '{args[0]}'; {did_you_mean(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def command() -> Callable[[Any], Any]:
    """click's, of a Command."""
    return click.command(cls=Command)


def option(*names: str, default: Any = None, many: bool = False, **words: Any) -> Callable[[Any], Any]:
    """click's, whose default is shown where there is one. many: it may be given several times."""
    shown = {} if default is None else {"default": default, "show_default": True}
    return click.option(*names, multiple=many, **shown, **words)


def _add_drafts(ctx: click.Context, option: click.Parameter, plugins: tuple[str, ...]) -> tuple[str, ...]:
    if plugins:
        from lrbench.method import registry

        with for_results():
            registry.add_drafts(plugins)
    return plugins


RESULTS_HELP = "Folder of the runs.  [default: $LRBENCH_RESULTS or results/runs]"
DATA_HELP = "Folder of the datasets.  [default: $LRBENCH_DATA or the user's cache]"
results_option = option("--results", type=FOLDER, envvar="LRBENCH_RESULTS", help=RESULTS_HELP)
data_option = option("--data", type=FOLDER, envvar="LRBENCH_DATA", help=DATA_HELP)
baselines_option = option(
    "--baselines",
    type=FOLDER,
    many=True,
    callback=lambda ctx, option, folders: folders or None,
    help="Runs that are read beside your own and never written, such as those of the baselines; repeat for more; "
    "'none' for none.  [default: $LRBENCH_BASELINES or, in a checkout of lrbench, its results/records]",
)
plugin_words: dict[str, Any] = {"metavar": "FILE.py:Class", "help": "A draft of a method, not installed."}
plugin_option = option("--plugin", "plugins", many=True, callback=_add_drafts, **plugin_words)
setting_option = option("--set", "settings", many=True, metavar="NAME=VALUE", help="A setting of the method: lam=2.")
out_option = click.option("--out", type=FILE, help="Write to a file instead; - is stdout.")


def options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several decorators as one; the first is the outermost, and so first in the help."""

    def decorate(command: Any) -> Any:
        for one in reversed(decorators):
            command = one(command)
        return command

    return decorate


store_options = options(plugin_option, results_option, baselines_option, data_option)  # of a command that trains
# of a command that reads results, which need not know the plugins that its stores were made with
draft_option = option("--plugin", many=True, callback=_add_drafts, expose_value=False, **plugin_words)
read_options = options(draft_option, results_option, baselines_option)


def settings_of(pairs: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is JSON where it reads as JSON, else text."""
    from lrbench.method import naming

    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UserError(f"--set wants NAME=VALUE, such as lam=2; got '{pair}'")
        if name in settings:
            raise UserError(f"--set gives {name} twice; give one")
        settings[name] = naming.parsed(value)
    return settings


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Those options of the command at hand that the user has given."""
    source, default = click.get_current_context().get_parameter_source, click.core.ParameterSource.DEFAULT
    return {name: value for name, value in options.items() if source(name) is not default}


def warn(message: str) -> None:
    """Tell the user, beside what is printed."""
    click.echo(f"lrbench: {message}", file=sys.stderr)


def wrote(out: Path, message: str) -> None:
    """Say what was written; on stdout, unless that may be what was written to."""
    from lrbench.store.files import replaces

    if replaces(out):
        show(message)
    else:
        click.echo(message, file=sys.stderr)

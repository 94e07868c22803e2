"""The command line: thin. What a command needs is imported when it is called."""

from __future__ import annotations

import os
import sys

import click

from lrbench.cli import catalogue, results, streams, training
from lrbench.cli.options import Group, warn
from lrbench.errors import OUT_OF_MEMORY, TRAINING_OUT_OF_MEMORY, Error, UserError, chain, out_of_memory

GONE = 141  # the status of what ends since nobody reads it, as a shell has it: 128 + SIGPIPE


def main() -> None:
    """Entry point: every error is one line; status 2 for the user's mistakes, 1 for the machine's.

    A reader that goes away, such as `head`, is no error, but ends a training before its time.
    """
    os.environ.pop("MPLBACKEND", None)  # a notebook's: no figure is shown here, and it may not be installed
    status = 0
    try:
        with streams.opened():
            status = _status()
    except (streams.Gone, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # of which Python would complain there
        status = GONE if _trains() else 0
    except OSError as error:  # what was written last
        status = status or _cannot(error)
    sys.exit(status)


def _status() -> int:
    """The exit status of the command, whose errors have been said. Raises Gone and BrokenPipeError."""
    try:
        status = cli(prog_name="lrbench", standalone_mode=False)
    except Error as error:
        return _fail(str(error), 2 if isinstance(error, UserError) else 1)
    except click.UsageError as error:
        return _fail(f"{error.format_message()} See '{error.ctx.command_path if error.ctx else 'lrbench'} --help'.", 2)
    except click.exceptions.Exit as exit:
        return exit.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted; run the same command again to go on from the last finished epoch", 130)
    except OSError as error:
        return _cannot(error)
    except Exception as error:
        if not any(map(out_of_memory, chain(error))):
            raise
        return _fail(TRAINING_OUT_OF_MEMORY if _trains() else OUT_OF_MEMORY, 1)
    return status if isinstance(status, int) else 0


def _trains() -> bool:
    return sys.argv[1:2] in [[command.name] for command in training.COMMANDS]


def _fail(message: str, status: int) -> int:
    warn(message)
    return status


def _cannot(error: OSError) -> int:
    place = f" {error.filename}" if error.filename else ""
    return _fail(f"cannot write or read{place}: {error.strerror or error}", 1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="lrbench")
def cli() -> None:
    """A benchmark for recognising low-resolution images: distil, super-resolve, or your own method.

    Begin with: lrbench demo
    """


for command in (*training.COMMANDS, *results.COMMANDS, *catalogue.COMMANDS):
    cli.add_command(command)

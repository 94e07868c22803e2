"""The command line, called in this process or as one of its own."""

import os
import subprocess
import sys

import pytest

from lrbench import cli

COMMAND = [sys.executable, "-c", "from lrbench.cli import main; main()"]


def process(*args, **options):
    """The command as a process of its own, finished."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"} | options.pop("env", {})
    return subprocess.run([*COMMAND, *args], env=env, text=True, capture_output=True, timeout=300, **options)


def caller(monkeypatch, capsys):
    """What calls the command in this process: arguments -> exit status, stdout, stderr."""

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["lrbench", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return call

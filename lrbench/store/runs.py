"""The finished runs in one folder, read and checked. A store reads its own folder so, and others beside it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from lrbench.errors import RunError
from lrbench.store.files import set_aside
from lrbench.store.record_file import Content, OtherVersion, from_bytes, sha256

RECORD, CURVE, PREDICTIONS, WEIGHTS = "record.json", "curve.csv", "predictions.npz", "weights.safetensors"
ID = re.compile("[0-9a-f]{16}")
REPLACING = 0.1  # seconds that another process may take to put a run in the place of another


class Runs:
    """A folder of finished runs. `warn` is told of each that is damaged or of another version."""

    def __init__(self, root: Path, warn: Callable[[str], None], own: bool) -> None:
        """own: damaged runs are set aside. Otherwise nothing is ever written here, and they are only left out."""
        self.root, self.warn, self.own = root, warn, own

    def ids(self) -> list[str]:
        """The names of folders that are an id, sorted; whatever else lies there is the user's own."""
        try:
            with os.scandir(self.root) as entries:
                return sorted(entry.name for entry in entries if ID.fullmatch(entry.name) and entry.is_dir())
        except FileNotFoundError:
            return []

    def has(self, run_id: str, name: str = "") -> bool:
        """Whether the folder of a run is there, or a file in it."""
        return os.path.exists(f"{self.root}/{run_id}/{name}")

    def content(self, run_id: str, whole: bool = False) -> Content | None:
        """The record of a run whose folder is there; None where it is damaged, or of another version.

        whole: all files of the run are checked, not only its record; weights may be missing.
        """
        for last in (False, True):
            try:
                return self._checked(run_id, whole)
            except OtherVersion:
                self.leave_out(run_id)
                return None
            except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError) as error:
                if last:
                    self._damaged(run_id, str(error).partition("\n")[0])
                else:
                    time.sleep(REPLACING)
        return None

    def file(self, run_id: str, name: str, checksum: str | None) -> bytes:
        """A file of a run. Raises RunError where it is not as a record says that was read before."""
        try:
            data = self._read(run_id, name)
        except FileNotFoundError:
            data = None
        if data is None or checksum not in (None, sha256(data)):
            if self.has(run_id):
                self.content(run_id, whole=True)  # which sets it aside, unless it has become another whole run
            raise RunError(f"{name} of run {run_id} has changed since its record was read; run the command again")
        return data

    def leave_out(self, run_id: str) -> None:
        """Say that a run is of another version, and so is not read."""
        self.warn(f"{self.root / run_id} is of another version of lrbench and is left out")

    def _checked(self, run_id: str, whole: bool) -> Content:
        content = from_bytes(self._read(run_id, RECORD), run_id)
        for name, checksum in content["files"].items() if whole else ():
            if name == WEIGHTS and not self.has(run_id, name):
                continue  # they were left out of what is shared
            if sha256(self._read(run_id, name)) != checksum:
                raise ValueError(f"{name} is not what was written")
        return content

    def _read(self, run_id: str, name: str) -> bytes:
        with open(f"{self.root}/{run_id}/{name}", "rb") as file:  # of thousands of runs: making a Path takes longer
            return file.read()

    def _damaged(self, run_id: str, why: str) -> None:
        if self.own:
            set_aside(self.root / run_id, why, self.warn)
        else:
            self.warn(f"{self.root / run_id} is damaged and is left out: {why}")

"""Drafts: classes of files that are not installed, read with all that they import, and executed."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lrbench.errors import UserError, broken, expanded, named, unknown
from lrbench.method.source import Files, digest, forget, reached


@dataclass(frozen=True)
class Draft:
    """A class of a file, with the source of the file and of what it imports as it was read: this is what runs."""

    file: str
    name: str
    content: bytes
    files: Files

    @classmethod
    def read(cls, place: str) -> Draft:
        """The draft "FILE.py:Class"; nothing is executed. Raises UserError."""
        file, _, name = place.rpartition(":")
        path = expanded(file)
        if not file:
            raise UserError(f"--plugin wants FILE.py:Class; '{place}' names no class")
        if not path.is_file():
            raise UserError(f"--plugin wants FILE.py:Class; there is no file '{file}'")
        if path.suffix != ".py":
            raise UserError(f"--plugin wants FILE.py:Class; '{path}' is not a Python file")
        with named(path):
            content = path.read_bytes()
        return cls(str(path), name, content, reached(content, beside=path.parent.resolve()))

    @property
    def digest(self) -> str:
        """A hash of all its source."""
        return digest(self.content, self.files)

    @property
    def module(self) -> str:
        """The name of the module that is made of it, another one after each edit."""
        content = os.fsencode(Path(self.file).resolve()) + b"\0" + self.digest.encode()
        return f"lrbench_draft_{Path(self.file).stem}_{hashlib.sha256(content).hexdigest()[:16]}"

    def load(self) -> Any:
        """The class, or whatever has its name. The file is executed once. Raises UserError."""
        if self.module not in sys.modules:
            module = sys.modules[self.module] = ModuleType(self.module)
            module.__file__ = self.file
            try:
                exec(compile(self.content, self.file, "exec", dont_inherit=True), vars(module))
            except BaseException as error:
                del sys.modules[self.module]
                forget(self.files)
                raise UserError(f"{self.file} does not load: {broken(error)}") from error
        found = vars(sys.modules[self.module])
        if self.name not in found:
            classes = [name for name, value in found.items() if isinstance(value, type)]
            raise unknown(f"class in {self.file}", self.name, classes)
        return found[self.name]

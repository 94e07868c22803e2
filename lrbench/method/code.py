"""What a class consists of, as a fingerprint: of one that has no file of its own, such as one of a notebook's cell.

Not its source is read: of a cell that was run again Python may find the old one. From the class on, all that it uses of
the notebook is followed, by value: base classes, attributes, properties, a Config's fields; the code of functions, the
names that they read, their defaults, closures and decorators; containers, instances, arrays and tensors. So is what it
uses of modules that are not installed. Of what an installed one has under a name, this name is enough, and a class's
`version`. Of what a function imports as it runs, the file is read.
"""

from __future__ import annotations

import dis
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from lrbench.method.source import is_local, reached

PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)
NAMED = (type, FunctionType)
READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")  # the instructions that look a global name up


def fingerprint(cls: type) -> str:
    """64 hex digits that change with a class and with anything that it uses of its module: a notebook or a script.

    Equal in every process of one Python; comments, layout and what is not used do not count. Not seen: names that are
    made up as the code runs, such as `globals()["x"]`, the mode of a field's validator, and what a C extension hides.
    """
    return _Reader(cls.__module__).digest(cls).hex()


class _Reader:
    def __init__(self, module: str) -> None:
        self.module = module
        # By id; the object is kept, lest another gets its id. While it is being read, its name stands for it.
        self.digests: dict[int, tuple[Any, bytes]] = {}

    def digest(self, thing: Any) -> bytes:
        if type(thing) in PLAIN:
            return _hash(type(thing).__name__.encode(), thing if isinstance(thing, bytes) else repr(thing).encode())
        if id(thing) not in self.digests:
            named = thing if isinstance(thing, NAMED) else type(thing)
            name = f"{named.__module__}.{named.__qualname__}".encode()
            self.digests[id(thing)] = thing, _hash(name)
            self.digests[id(thing)] = thing, _hash(name, *map(self.digest, self._parts(thing)))
        return self.digests[id(thing)][1]

    def _parts(self, thing: Any) -> Iterable[Any]:
        """What an object consists of, beside its name, in an order that is equal in every process."""
        if (
            isinstance(thing, NAMED)
            and not self._is_followed(thing.__module__)
            and "<locals>" not in thing.__qualname__
        ):
            return (getattr(thing, "version", None),)  # an installed module has it under its name
        if isinstance(thing, type):
            routines = (FunctionType, staticmethod, classmethod)  # all that counts of Python's own names and pydantic's
            names = [key for key, one in vars(thing).items() if not key.startswith("__") or isinstance(one, routines)]
            own = [(name, vars(thing)[name]) for name in sorted(names) if name != "version"]  # which is made of this
            return type(thing), thing.__bases__, own, vars(thing).get("__pydantic_fields__")
        if isinstance(thing, FunctionType):
            closed = [cell.cell_contents for cell in thing.__closure__ or () if cell != CellType()]
            is_own = self._is_followed(thing.__globals__.get("__name__"))  # or a decorator's, which may mark it
            read = self._read(thing.__code__, thing.__globals__) if is_own else []
            marks = vars(thing) if is_own else vars(thing).get("__wrapped__")
            imports = "\n".join(f"import {name}" for name in sorted(_imported(thing.__code__)))
            imported = [content for _, content in reached(imports.encode()).values()] if imports else []
            return thing.__code__, thing.__defaults__, thing.__kwdefaults__, closed, read, imported, marks
        if isinstance(thing, CodeType):
            return thing.co_code, thing.co_consts, thing.co_names, thing.co_varnames, thing.co_freevars
        if isinstance(thing, (staticmethod, classmethod, property)):
            return [getattr(thing, name, None) for name in ("__func__", "fget", "fset", "fdel")]
        if isinstance(thing, ModuleType):
            return (thing.__name__,)
        if isinstance(thing, (set, frozenset)):
            return sorted(thing, key=_text)
        if type(thing) is dict:
            return thing.items()
        if type(thing) in (list, tuple):
            return thing
        return type(thing), *_as_pickled(thing)

    def _is_followed(self, module: str | None) -> bool:
        return module == self.module or is_local(sys.modules.get(str(module)))

    def _read(self, code: CodeType, names: dict[str, Any]) -> list[tuple[str, Any]]:
        """What a function's code reads of its module, and of local modules that it names there."""
        attributes = _names(code)

        def read(value: Any) -> Any:
            if not (isinstance(value, ModuleType) and is_local(value)):
                return value
            return [(name, read(vars(value)[name])) for name in sorted(attributes & vars(value).keys())]

        return [(name, read(names[name])) for name in sorted(_names_read(code) & names.keys())]


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"\0".join(parts)).digest()


def _names_read(code: CodeType) -> set[str]:
    """The global names that some code reads, and the code of functions and comprehensions within it."""
    own = {one.argval for one in dis.get_instructions(code) if one.opname in READS}
    return own.union(*(_names_read(one) for one in code.co_consts if isinstance(one, CodeType)))


def _imported(code: CodeType) -> set[str]:
    """The modules that some code imports, and functions within it."""
    own = {one.argval for one in dis.get_instructions(code) if one.opname == "IMPORT_NAME" and one.argval}
    return own.union(*(_imported(one) for one in code.co_consts if isinstance(one, CodeType)))


def _names(code: CodeType) -> set[str]:
    """All names in some code, of attributes too, and in functions within it."""
    return {*code.co_names}.union(*(_names(one) for one in code.co_consts if isinstance(one, CodeType)))


def _as_pickled(thing: Any) -> Iterable[Any]:
    """What pickle would write of an object, and of one that cannot be pickled its text and its attributes."""
    from torch import Tensor, uint8  # here, not above: finding plugins does not load torch

    try:
        if isinstance(thing, Tensor):
            content = thing.detach().cpu().flatten().contiguous().view(uint8)
            return str(thing.dtype), tuple(thing.shape), content.numpy().tobytes()
        reduced = thing.__reduce_ex__(4)
    except Exception:  # whatever a class may raise
        reduced = _text(thing)
    if isinstance(reduced, str):
        return reduced, getattr(thing, "__dict__", None)
    return [list(part) if isinstance(part, Iterator) else part for part in reduced]


def _text(thing: Any) -> str:
    """Its repr without addresses in memory, which differ from process to process."""
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(thing))

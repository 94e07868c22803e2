"""What a class consists of, as a fingerprint: of one that has no file of its own, such as one of a notebook's cell.

Not its source is read: of a cell that was run again Python may find the old one. From the class on, all that it uses of
the notebook is followed, by value: base classes, attributes, properties, a Config's fields; the code of functions, the
notebook's names that they read, their defaults, closures and decorators; containers, instances, arrays and tensors. Of
what another module has under a name, this name is enough, and a class's `version`.
"""

from __future__ import annotations

import copyreg
import dis
import hashlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import attrgetter
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)
NAMED = (type, FunctionType, BuiltinFunctionType)
READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")  # the instructions that look a global name up
PARTS = "code consts names varnames freevars exceptiontable flags argcount"  # of a code object, as co_...


def fingerprint(cls: type) -> str:
    """64 hex digits that change with a class and with anything that it uses of its module: a notebook or a script.

    Equal in every process of one Python; comments, layout and what is not used do not count. Not seen: names that are
    made up as the code runs, such as `globals()["x"]`, and what a C extension hides.
    """
    return _Reader(cls.__module__).digest(cls).hex()


class _Reader:
    def __init__(self, module: str) -> None:
        self.module, self.globals = module, vars(sys.modules[module])
        # By id; the object is kept, lest another gets its id. While it is being read, its name stands for it.
        self.digests: dict[int, tuple[Any, bytes]] = {}

    def digest(self, thing: Any) -> bytes:
        if type(thing) in PLAIN:
            return _hash(type(thing).__name__.encode(), thing if isinstance(thing, bytes) else repr(thing).encode())
        if id(thing) not in self.digests:
            name = _name(thing).encode()
            self.digests[id(thing)] = thing, _hash(name)
            self.digests[id(thing)] = thing, _hash(name, *map(self.digest, self._parts(thing)))
        return self.digests[id(thing)][1]

    def _parts(self, thing: Any) -> Iterable[Any]:
        """What an object consists of, beside its name, in an order that is equal in every process."""
        from torch import Tensor, uint8  # here, not above: finding plugins does not load torch

        if isinstance(thing, ModuleType):
            return ()
        if isinstance(thing, NAMED) and self._is_elsewhere(thing):
            return (getattr(thing, "version", None),)
        if isinstance(thing, type):
            return self._parts_of_class(thing)
        if isinstance(thing, FunctionType):
            inside = thing.__code__, thing.__defaults__, thing.__kwdefaults__, thing.__closure__
            if thing.__globals__ is not self.globals:  # made by a decorator of another module, whose marks these may be
                return *inside, vars(thing).get("__wrapped__")
            names = sorted(_names_read(thing.__code__) & self.globals.keys())
            return *inside, vars(thing), {name: self.globals[name] for name in names}
        if isinstance(thing, CodeType):
            return [getattr(thing, f"co_{part}") for part in PARTS.split()]
        if isinstance(thing, CellType):
            return () if thing == CellType() else (thing.cell_contents,)
        if isinstance(thing, (staticmethod, classmethod)):
            return (thing.__func__,)
        if isinstance(thing, property):
            return thing.fget, thing.fset, thing.fdel
        if isinstance(thing, (set, frozenset)):
            return sorted(self.digest(one) for one in sorted(thing, key=_text))
        if type(thing) in (dict, MappingProxyType):
            return [part for item in thing.items() for part in item]
        if type(thing) in (list, tuple):
            return thing
        if isinstance(thing, Tensor) and thing.device.type != "meta":
            content = thing.detach().cpu().resolve_conj().resolve_neg().flatten().contiguous().view(uint8)
            return str(thing.dtype), tuple(thing.shape), content.numpy().tobytes()
        return type(thing), *_as_pickled(thing)

    def _parts_of_class(self, cls: type) -> Iterable[Any]:
        """Of what Python and pydantic add to its own attributes only what makes a difference: routines and fields."""
        from lrbench.method.base import Method

        own = {
            name: value
            for name, value in sorted(vars(cls).items())
            if not name.startswith("__") or (inspect.isroutine(value) and name != "__signature__")
        }
        if issubclass(cls, Method):
            own.pop("version", None)  # which is made of this
        rules = vars(cls).get("__pydantic_decorators__")  # when its validators are called, which are routines
        kinds = [getattr(rules, kind.name) for kind in fields(rules)] if rules else []
        called = [rule.info for kind in kinds for rule in kind.values()]
        return type(cls), cls.__bases__, own, vars(cls).get("__pydantic_fields__"), called

    def _is_elsewhere(self, thing: Any) -> bool:
        """Whether another module has it under its name."""
        try:
            found = attrgetter(thing.__qualname__)(sys.modules[thing.__module__])
        except (AttributeError, KeyError):
            return False
        return found is thing and thing.__module__ != self.module


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"\0".join(parts)).digest()


def _name(thing: Any) -> str:
    """Its own or, where it has none, that of its class."""
    if isinstance(thing, ModuleType):
        return thing.__name__
    named = thing if isinstance(thing, NAMED) else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def _names_read(code: CodeType) -> set[str]:
    """The global names that some code reads, and the code of functions and comprehensions within it."""
    own = {one.argval for one in dis.get_instructions(code) if one.opname in READS}
    return own.union(*(_names_read(one) for one in code.co_consts if isinstance(one, CodeType)))


def _as_pickled(thing: Any) -> list[Any]:
    """What pickle would write of an object, and of one that cannot be pickled its text and its attributes."""
    try:
        reduced = copyreg.dispatch_table.get(type(thing), lambda one: one.__reduce_ex__(4))(thing)
    except Exception:  # whatever a class may raise
        reduced = _text(thing)
    if isinstance(reduced, str):
        return [reduced, getattr(thing, "__dict__", None)]
    return [list(part) if isinstance(part, Iterator) else part for part in reduced]


def _text(thing: Any) -> str:
    """Its repr without addresses in memory, which differ from process to process."""
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(thing))

"""JSON values that cannot be changed at any depth, and otherwise are the dicts and lists that they were."""

from __future__ import annotations

from typing import Any


def frozen(value: Any) -> Any:
    """The same value, its dicts and lists being copies that raise TypeError when they are changed."""
    if isinstance(value, dict):
        return _Dict({name: frozen(item) for name, item in value.items()})
    return _List(map(frozen, value)) if isinstance(value, list) else value


def _refuse(*_: Any, **__: Any) -> Any:
    raise TypeError("a spec does not change; make another with model_copy(update=...)")


class _Dict(dict):
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and unpickled whole: item by item it would refuse."""
        return type(self), (dict(self),)


class _List(list):
    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = clear = extend = insert = pop = remove = _refuse
    reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)

"""A store as it is at one moment: its records are read and checked once, however many tables they fill."""

from __future__ import annotations

from functools import cached_property

from lrbench.spec.record import Record
from lrbench.store.store import Store


class Snapshot(Store):
    """A store for a reader that asks for the records more than once while others may add to them."""

    @cached_property
    def _once(self) -> list[Record]:
        return super().records()

    def records(self) -> list[Record]:
        """Every run that was finished when they were first asked for."""
        return list(self._once)

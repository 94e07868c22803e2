"""The graph of runs behind some specs: which are there, which must be trained, in what order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store


@dataclass(frozen=True)
class Graph:
    """Runs by id, needs first."""

    specs: dict[str, RunSpec]
    missing: tuple[str, ...]  # to be trained, needs first

    def below(self, run: str) -> set[str]:
        """Ids of all that a run needs, and that those need: a method is loaded with all of them."""
        return {spec.id for spec in self.specs[run].walk()} - {run}

    def roles(self, run: str) -> Counter[str]:
        """What a run is to others of this graph, and to how many: "teacher", 8."""
        return Counter(role for spec in self.specs.values() for role, need in spec.needs.items() if need.id == run)


def graph(specs: Sequence[RunSpec], store: Store) -> Graph:
    """The runs of `specs` and all that they need. A needed run that has lost its weights is trained again."""
    every = {one.id: one for spec in specs for one in spec.walk()}
    missing = {spec.id for spec in specs if store.get(spec) is None}
    for run in reversed(every):  # those that need before those that are needed
        if run in missing:  # a method is loaded with all that it needs itself
            below = [one for one in every[run].walk() if one.id not in missing]
            missing |= {one.id for one in below if store.get(one, weights=True) is None}
    return Graph(every, tuple(run for run in every if run in missing))

"""The schedule of a graph of runs: needs first, a run that fails once more, the others in spite of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum

from lrbench.execute.executors import Event, Executor
from lrbench.plan.plan import Graph
from lrbench.train.loop import group_of

ATTEMPTS = 2  # a run that dies is tried once more
TICK = 0.5  # seconds between two looks at the executor


class State(StrEnum):
    """What has become of a run."""

    THERE = "there"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"  # needs a run that failed


class Schedule:
    """The state of every run of a graph, and the loop that changes it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.states = dict.fromkeys(graph.specs, State.THERE) | dict.fromkeys(graph.missing, State.WAITING)
        self.causes: dict[str, str] = {}  # of failed and blocked runs
        self.diverged: dict[str, str] = {}  # runs that are done, but of no use -> why
        self._tries: Counter[str] = Counter()
        self._waiting = list(graph.missing)
        self._begun: list[set[str]] = []  # of each group that is being trained, the runs that have not ended
        self._below = {run: graph.below(run) for run in graph.missing}
        self._group = {run: group_of(graph.specs[run]) for run in graph.missing}

    def run(self, executor: Executor, watch: Callable[[Event], None]) -> None:
        """Train what is missing. `watch` is called after every event."""

        def handle(event: Event) -> None:
            self._take(event)
            watch(event)

        while self._waiting or self._begun:
            for runs in self._next(executor.slots - len(self._begun)):
                self._waiting = [run for run in self._waiting if run not in runs]
                self._begun.append(set(runs))
                self.states.update(dict.fromkeys(runs, State.RUNNING))
                executor.start([self.graph.specs[run] for run in runs])
            executor.wait(handle, TICK)

    def count(self, *states: State) -> int:
        """How many runs are in one of some states."""
        return sum(state in states for state in self.states.values())

    def busy(self) -> int:
        """In how many slots something is running: a group shares one."""
        return sum(any(self.states[run] is State.RUNNING for run in runs) for runs in self._begun)

    def _next(self, slots: int) -> Iterator[list[str]]:
        """Groups of runs to begin now, for so many slots: large ones, as long as every slot has enough to do.

        A run that has failed is tried again alone.
        """
        there = {run for run, state in self.states.items() if state in (State.THERE, State.DONE)}
        ready = [run for run in self._waiting if self._below[run] <= there]
        while ready and slots:
            first = ready[0]
            like = [run for run in ready if not self._tries[run] and self._group[run] == self._group[first]]
            runs = like[: -(-len(ready) // slots)] if first in like else [first]
            yield runs
            ready, slots = [run for run in ready if run not in runs], slots - 1

    def _take(self, event: Event) -> None:
        run = event.run
        if not event.is_end:
            return
        self._begun = [left for runs in self._begun if (left := runs - {run})]  # new sets: the board looks meanwhile
        if event.kind == "done":
            self.states[run] = State.DONE
            if event.text:
                self.diverged[run] = event.text
            return
        self._tries[run] += 1
        if self._tries[run] < ATTEMPTS:
            self.states[run] = State.WAITING
            self._waiting.insert(0, run)
            return
        self.states[run], self.causes[run] = State.FAILED, event.text
        for other in [other for other in self._waiting if run in self._below[other]]:
            self._waiting.remove(other)
            self.states[other], self.causes[other] = State.BLOCKED, f"needs {run}, which failed"

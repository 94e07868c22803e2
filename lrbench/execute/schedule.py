"""The schedule of a graph of runs: needs first, a run that fails once more, the others in spite of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum

from lrbench.execute.executors import Event, Executor
from lrbench.plan.graph import Graph
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
        self._waiting = dict.fromkeys(graph.missing)
        self._begun: list[set[str]] = []  # of each group that is being trained, the runs that have not ended
        self._below = {run: graph.below(run) for run in graph.missing}
        self._group = {run: group_of(graph.specs[run]) for run in graph.missing}

    def run(self, executor: Executor, watch: Callable[[Event | None], None]) -> None:
        """Train what is missing. `watch` is called after every event, and with None now and then."""

        def handle(event: Event) -> None:
            self._take(event)
            watch(event)

        while self._waiting or self._begun:
            for runs in self._next(executor.slots - len(self._begun)):
                for run in runs:
                    del self._waiting[run]
                self._begun.append(set(runs))
                executor.start([self.graph.specs[run] for run in runs])
            executor.wait(handle, TICK)
            watch(None)

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
        ready = [run for run in self._waiting if self._ready(run)]
        while ready and slots:
            first = ready[0]
            like = [run for run in ready if not self._tries[run] and self._group[run] == self._group[first]]
            runs = like[: -(-len(ready) // slots)] if first in like else [first]
            yield runs
            ready, slots = [run for run in ready if run not in runs], slots - 1

    def _ready(self, run: str) -> bool:
        return all(self.states[need] in (State.THERE, State.DONE) for need in self._below[run])

    def _end(self, run: str) -> None:
        self._begun = [left for runs in self._begun if (left := runs - {run})]  # new sets: the board looks meanwhile

    def _take(self, event: Event) -> None:
        if event.kind == "started":
            self.states[event.run] = State.RUNNING
        elif event.kind == "done":
            self._end(event.run)
            self.states[event.run] = State.DONE
            if event.text:
                self.diverged[event.run] = event.text
        elif event.kind == "failed":
            self._end(event.run)
            self._tries[event.run] += 1
            if self._tries[event.run] < ATTEMPTS:
                self.states[event.run] = State.WAITING
                self._waiting = {event.run: None, **self._waiting}
            else:
                self.states[event.run] = State.FAILED
                self.causes[event.run] = event.text
                self._block(event.run)

    def _block(self, failed: str) -> None:
        for run in [run for run in self._waiting if failed in self._below[run]]:
            del self._waiting[run]
            self.states[run] = State.BLOCKED
            self.causes[run] = f"needs {failed}, which failed"

"""Carries a graph of runs out on an executor: needs first, a failed run once more, the rest in spite of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum

from lrbench.executors import Event, Executor
from lrbench.graph import Graph

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
        self.states = {run: State.WAITING if run in set(graph.missing) else State.THERE for run in graph.specs}
        self.causes: dict[str, str] = {}  # of failed and blocked runs
        self._tries: Counter[str] = Counter()
        self._waiting = dict.fromkeys(graph.missing)
        self._begun: set[str] = set()
        self._below = {run: graph.below(run) for run in graph.missing}

    def run(self, executor: Executor, watch: Callable[[Event | None], None]) -> None:
        """Train what is missing. `watch` is called after every event, and with None now and then."""

        def handle(event: Event) -> None:
            self._take(event)
            watch(event)

        while self._waiting or self._begun:
            for run in [run for run in self._waiting if self._ready(run)][: executor.slots - len(self._begun)]:
                del self._waiting[run]
                self._begun.add(run)
                executor.start(self.graph.specs[run])
            executor.wait(handle, TICK)
            watch(None)

    def count(self, *states: State) -> int:
        """How many runs are in one of some states."""
        return sum(state in states for state in self.states.values())

    def _ready(self, run: str) -> bool:
        return all(self.states[need] in (State.THERE, State.DONE) for need in self._below[run])

    def _take(self, event: Event) -> None:
        if event.kind == "started":
            self.states[event.run] = State.RUNNING
        elif event.kind == "done":
            self._begun.discard(event.run)
            self.states[event.run] = State.DONE
        elif event.kind == "failed":
            self._begun.discard(event.run)
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

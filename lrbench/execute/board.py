"""What is shown on stderr while a suite is run: one screen on a terminal, elsewhere a line for each event."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lrbench.execute.estimate import Estimate, words
from lrbench.execute.executors import Event
from lrbench.execute.schedule import Schedule, State
from lrbench.method.naming import title


class Board:
    """Watches a schedule. A context manager; call it with every event."""

    def __init__(self, schedule: Schedule, estimate: Estimate) -> None:
        self.schedule, self.estimate = schedule, estimate
        self.console = Console(stderr=True, highlight=False)
        self.latest: dict[str, Event] = {}  # of the runs that are running
        self.live = Live(self, console=self.console, refresh_per_second=2) if self.console.is_terminal else None

    def __enter__(self) -> Board:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, event: Event | None) -> None:
        if event is None:
            return
        if event.kind == "note":  # it may be on no run in particular
            self._say(event.text)
            return
        name = title(self.schedule.graph.specs[event.run])
        if event.kind in ("started", "epoch"):
            if event.images_per_second:
                self.estimate.learn(self.schedule.graph.specs[event.run], event.images_per_second)
            self.latest[event.run] = event
            if event.kind == "started" and not self.live:  # which shows it
                self._say(f"{name} started" + (f" after epoch {event.epoch}" if event.epoch else ""))
        else:
            self.latest.pop(event.run, None)
            if event.kind == "done":
                self._say(f"{name}: {f'diverged: {event.text}' if event.text else _score(event)}{self._progress()}")
            elif self.schedule.states[event.run] is State.FAILED:
                self._say(f"{name} FAILED: {event.text}{self._progress()}")
            else:
                self._say(f"{name} failed and is tried again: {event.text}")

    def _say(self, line: str) -> None:
        """On a terminal, above the screen."""
        self.console.print(line, markup=False, soft_wrap=True)

    def _progress(self) -> str:
        """Behind a line, where there is no screen to show it."""
        ended = len(self.schedule.graph.missing) - self._left()
        return "" if self.live else f" ({ended} of {len(self.schedule.graph.missing)}{self._and_time_left()})"

    def _and_time_left(self) -> str:
        return f"; {self.time_left()}" if self._left() else ""

    def _left(self) -> int:
        return self.schedule.count(State.WAITING, State.RUNNING)

    def time_left(self) -> str:
        """In words, from the speeds so far."""
        seconds, unknown = 0.0, False
        for run, state in self.schedule.states.items():
            if state in (State.WAITING, State.RUNNING):
                spec = self.schedule.graph.specs[run]
                latest = self.latest.get(run)
                needed = self.estimate.seconds(spec, spec.recipe.epochs - (latest.epoch if latest else 0))
                unknown |= needed is None
                seconds += needed or 0
        if unknown and seconds < 1:
            return "time left not known yet"
        return f"{'more than ' if unknown else 'about '}{words(seconds / max(1, self.schedule.busy()))} left"

    def __rich__(self) -> Group:
        counts = {state: self.schedule.count(state) for state in State}
        line = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        running = Table("running", "epoch", "accuracy", "images/s", box=None, pad_edge=False)
        for run, event in list(self.latest.items()):  # this is another thread, which rich draws in
            spec = self.schedule.graph.specs[run]
            speed = f"{event.images_per_second:.0f}" if event.images_per_second else ""
            running.add_row(Text(title(spec)), f"{event.epoch}/{spec.recipe.epochs}", _score(event), speed)
        shown = [running] if self.latest else []
        return Group(*shown, Text(f"{line}{self._and_time_left()}", style="bold"))


def _score(event: Event) -> str:
    """The best word on how good a run is that an event has."""
    names: dict[str, Any] = {
        "top1": "top-1 {:.2f} %",
        "psnr": "PSNR {:.2f} dB",
        "val_top1": "validation {:.1f} %",
        "val_psnr": "validation {:.2f} dB",
        "train_top1": "training {:.1f} %",
        "train_psnr": "training {:.2f} dB",
    }
    found = (text.format(event.row[name]) for name, text in names.items() if event.row.get(name) is not None)
    return next(found, "")

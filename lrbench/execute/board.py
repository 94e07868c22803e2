"""What is shown on stderr while a suite is run: one screen on a terminal, elsewhere a line for each event."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lrbench.execute.estimate import Estimate, words
from lrbench.execute.executors import Event
from lrbench.execute.schedule import Schedule, State
from lrbench.method.naming import title

SCORES = {
    "top1": "top-1 {:.2f} %",
    "psnr": "PSNR {:.2f} dB",
    "val_top1": "validation {:.1f} %",
    "val_psnr": "validation {:.2f} dB",
    "train_top1": "training {:.1f} %",
    "train_psnr": "training {:.2f} dB",
}


class Board:
    """Watches a schedule: is called with every event. `live` is its screen, to be entered, where there is one.

    In a notebook, where rich's would need ipywidgets, the same stands in the output of the cell.
    """

    def __init__(self, schedule: Schedule, estimate: Estimate) -> None:
        self.schedule, self.estimate = schedule, estimate
        self.console = Console(stderr=True, highlight=False)
        self.latest: dict[str, Event] = {}  # of the runs that are running
        self.live = Live(self, console=self.console, refresh_per_second=2) if self.console.is_terminal else None
        self.cell: Any = None  # of a notebook
        if self.console.is_jupyter:
            from IPython.display import display

            self.cell = display({"text/plain": ""}, raw=True, display_id=True)

    def __call__(self, event: Event) -> None:
        if line := self._line(event):
            self.console.print(line, markup=False, soft_wrap=True)  # on a terminal, above the screen
        if self.cell:
            text = Console(file=io.StringIO(), width=100, color_system=None, force_jupyter=False)
            text.print(self)
            self.cell.update({"text/plain": text.file.getvalue()}, raw=True)  # type: ignore[attr-defined]

    def _line(self, event: Event) -> str:
        """What is said of an event; empty where nothing is."""
        if event.kind == "note":  # it may be on no run in particular
            return event.text
        spec = self.schedule.graph.specs[event.run]
        if event.images_per_second:
            self.estimate.learn(spec, event.images_per_second)
        if not event.is_end:
            self.latest[event.run] = event
            shown = event.kind == "epoch" or self.live or self.cell
            return "" if shown else f"{title(spec)} started" + (f" after epoch {event.epoch}" if event.epoch else "")
        self.latest.pop(event.run, None)
        every, left = len(self.schedule.graph.missing), self.schedule.count(State.WAITING, State.RUNNING)
        progress = "" if self.live or self.cell else f" ({every - left} of {every}{self._and_time_left()})"
        if event.kind == "done":
            return f"{title(spec)}: {f'diverged: {event.text}' if event.text else _score(event)}{progress}"
        if self.schedule.states[event.run] is State.FAILED:
            return f"{title(spec)} FAILED: {event.text}{progress}"
        return f"{title(spec)} failed and is tried again: {event.text}"

    def _and_time_left(self) -> str:
        return f"; {self.time_left()}" if self.schedule.count(State.WAITING, State.RUNNING) else ""

    def time_left(self) -> str:
        """In words, from the speeds so far."""
        needed = []
        for run, state in self.schedule.states.items():
            if state in (State.WAITING, State.RUNNING):
                spec, latest = self.schedule.graph.specs[run], self.latest.get(run)
                needed.append(self.estimate.seconds(spec, spec.recipe.epochs - (latest.epoch if latest else 0)))
        seconds, unknown = sum(filter(None, needed)), None in needed
        if unknown and seconds < 1:
            return "time left not known yet"
        return f"{'more than ' if unknown else 'about '}{words(seconds / max(1, self.schedule.busy()))} left"

    def __rich__(self) -> Group:
        counts = {state: self.schedule.count(state) for state in State}
        line = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        running = Table("running", "epoch", "accuracy", "images/s", box=None, pad_edge=False)
        for run, state in list(self.schedule.states.items()):  # this is another thread, which rich draws in
            if state is State.RUNNING:
                spec, event = self.schedule.graph.specs[run], self.latest.get(run, Event(run, "started"))
                speed = f"{event.images_per_second:.0f}" if event.images_per_second else ""
                running.add_row(Text(title(spec)), f"{event.epoch}/{spec.recipe.epochs}", _score(event), speed)
        whole = Table.grid()  # a bar by itself ends no line
        whole.add_row(ProgressBar(total=1, completed=self.part_done(), width=min(60, self.console.width)))
        return Group(*[running] * bool(running.row_count), whole, Text(f"{line}{self._and_time_left()}", style="bold"))

    def part_done(self) -> float:
        """Of all epochs of the runs that were missing at first, 0 to 1; those of a run that has ended count as done."""
        done = every = 0
        for run in self.schedule.graph.missing:
            epochs = self.schedule.graph.specs[run].recipe.epochs
            ended = self.schedule.states[run] not in (State.WAITING, State.RUNNING)
            latest = self.latest.get(run)
            done += epochs if ended else latest.epoch if latest else 0
            every += epochs
        return done / max(1, every)


def _score(event: Event) -> str:
    """The best word on how good a run is that an event has."""
    found = (text.format(event.row[name]) for name, text in SCORES.items() if event.row.get(name) is not None)
    return next(found, "")

"""What is shown while a run is trained: on stderr, never on stdout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from lrbench.spec.runspec import RunSpec


class Progress:
    """Is told of all that happens, and shows nothing. The base class of what does."""

    def note(self, message: str) -> None:
        """Something the user should know."""

    def start(self, spec: RunSpec, title: str, done: int, images: int) -> None:
        """A run begins, or goes on after `done` epochs of `images` images."""

    def step(self, images: int) -> None:
        """A batch of `images` is trained."""

    def epoch(self, row: Mapping[str, float], images_per_second: float) -> None:
        """An epoch is finished; `row` is its row of the learning curve."""

    def stop(self, summary: str = "") -> None:
        """The run is over; summary: how it ended, where it is finished and in the store."""


class ConsoleProgress(Progress):
    """A bar on a terminal, one line per epoch where stderr is a file, in a notebook one line that changes."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.bar: RichProgress | None = None
        self.line: Any = None  # in a notebook, where rich's bar would need ipywidgets

    def note(self, message: str) -> None:
        self.console.print(message, markup=False, soft_wrap=True)

    def start(self, spec: RunSpec, title: str, done: int, images: int) -> None:
        self.title, self.epochs = title, spec.recipe.epochs
        self.note(f"{title}: {self.epochs} epochs of {images} images" + (f", going on after {done}" if done else ""))
        if self.console.is_terminal:
            counts = BarColumn(), MofNCompleteColumn(), "{task.fields[row]}", TimeRemainingColumn()
            self.bar = RichProgress("epoch {task.fields[epoch]}", *counts, console=self.console, transient=True)
            self.task = self.bar.add_task("", total=self.epochs * images, completed=done * images, epoch=done, row="")
            self.bar.start()
        elif self.console.is_jupyter:
            from IPython.display import display

            self.line = display({"text/plain": ""}, raw=True, display_id=True)

    def step(self, images: int) -> None:
        if self.bar:
            self.bar.advance(self.task, images)

    def epoch(self, row: Mapping[str, float], images_per_second: float) -> None:
        values = " ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        line = f"{values} {images_per_second:.0f} images/s"
        if self.bar:
            self.bar.update(self.task, epoch=int(row["epoch"]), row=line)
        elif self.line:
            self.line.update({"text/plain": f"epoch {row['epoch']:.0f}/{self.epochs} {line}"}, raw=True)
        else:
            self.note(f"{self.title} epoch {row['epoch']:.0f}/{self.epochs} {line}")

    def stop(self, summary: str = "") -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None
        if summary:
            self.note(summary)

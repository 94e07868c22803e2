"""A method's step captured in a CUDA graph and replayed: one launch instead of hundreds, and no Python.

A plugin author need not know. A step is trained the plain way a few times and looked at; then it is captured, and
its first replay, and that of the first batch of every epoch, is compared with the plain step from the same weights on
the same batch. Where it cannot be captured, or does not do what the plain step does, the run goes on the plain way,
with one warning that says why.

`torch.compile` is not tried: which is quicker would be decided by a clock, it rounds differently, and so a run would
no longer be a function of its spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from lrbench.data.batches import Draw, Lazy
from lrbench.errors import one_line
from lrbench.method.base import MISSING, Batch, Method, Optimizer
from lrbench.train.capture.host_state import changed, host_random, host_state
from lrbench.train.capture.run_state import RunState, near

WARM = 3  # plain steps before: cuDNN has chosen its kernels by then, and the optimizer has made its state
LONG = 200  # characters of an error's message
BOUND = 0.02  # how far a replay may end from the plain step, as a part of how far that has come
Terms = dict[str, Tensor]
Step = Callable[[Lazy, list[Optimizer]], Terms]  # as Method.step
Recorder = Callable[[Callable[[], Terms]], tuple[Callable[[], None], Terms]]
_warned: set[tuple[str, str]] = set()  # method and reason, in this process


class Captured:
    """The step of one run, called as `Method.step` is."""

    def __init__(self, method: Method, together: Together) -> None:
        self.method, self.together = method, together
        self.plain_steps = 0
        self.state: dict[str, Any] = {}  # of the host, after the last of these
        self.refused: str | None = None  # why it is not captured
        self.generation = -1  # of the company that it was captured in
        self.checked = False  # in this epoch
        self.replay: Callable[[], None] | None = None
        self.terms: Terms = {}
        self.rates: list[Tensor] = []

    def __call__(self, batch: Lazy, optimizers: list[Optimizer]) -> Terms:
        if self.refused:
            return self.method.step(batch, optimizers)
        if self.plain_steps < WARM:
            return self._warm(batch, optimizers)
        if self.together.stale:  # all are captured with the next batch, in order
            return self._plain(batch, optimizers)
        if not self.in_use or not self.checked:
            return self._check(batch, optimizers)
        self.together.take(batch)
        self._replay(optimizers)
        return self.terms

    @property
    def in_use(self) -> bool:
        """Whether its step is captured, together with those that it is trained with now."""
        return self.replay is not None and self.generation == self.together.generation

    def begin_epoch(self) -> None:
        """What is replayed is compared with the plain step again."""
        self.checked = False

    def _warm(self, batch: Lazy, optimizers: list[Optimizer]) -> Terms:
        """A plain step, which is looked at."""
        if type(self.method).step is not Method.step:
            self._refuse("it has a step of its own")
            return self.method.step(batch, optimizers)
        random = host_random()
        terms = self._plain(batch, optimizers)
        self.plain_steps += 1
        before, self.state = self.state, host_state(self.method, optimizers, self.together.device)
        name = changed(random, host_random()) or (changed(before, self.state) if self.plain_steps == WARM else None)
        if batch.is_written:
            self._refuse("it writes into its images")
        elif name:
            self._refuse(f"each step changes {name}")
        elif self.plain_steps == WARM:
            self.together.stale = True
        return terms

    def _plain(self, batch: Lazy, optimizers: list[Optimizer]) -> Terms:
        with self.together.aside():
            terms = {name: term.detach() for name, term in self.method.step(batch, optimizers).items()}
        self.together.read |= batch.made.keys()
        return terms

    def _check(self, batch: Lazy, optimizers: list[Optimizer]) -> Terms:
        """Train on the batch the plain way, take that back, and replay the step, captured now if it is not yet.

        It is replayed from then on if it has done the same; else the plain step counts.
        """
        device, method = self.together.device, self.method
        before = RunState(method, optimizers, device)
        terms = {name: term.clone() for name, term in self._plain(batch, optimizers).items()}
        after = RunState(method, optimizers, device)
        before.put_back()
        try:
            images = self.together.take(batch)
            if not self.in_use:
                self._capture(images, optimizers)
            before.put_back_random()
            self._replay(optimizers)
        except Exception as error:  # whatever a method may do that a graph cannot
            why = one_line(error)[:LONG]
        else:
            wanted = list(terms.values())
            zeros = [torch.zeros_like(term) for term in wanted]
            same = near(list(self.terms.values()), wanted, zeros, BOUND, device)
            same &= RunState(method, optimizers, device).is_near(after, before, BOUND)
            if self.terms.keys() == terms.keys() and same.item():  # the one thing in an epoch that waits for the device
                self.checked = True
                return self.terms
            why = "a replay of it ends elsewhere than the plain step"
        after.put_back()
        self._refuse(why)
        return terms

    def _capture(self, images: Batch, optimizers: list[Optimizer]) -> None:
        self.replay, self.terms = None, {}
        self.rates = [torch.tensor(float(group["lr"]), device=self.together.device) for group in _groups(optimizers)]

        def step() -> Terms:
            with _rates_on_device(optimizers, self.rates):
                return {name: term.detach() for name, term in self.method.step(images, optimizers).items()}

        self.replay, self.terms = self.together.record(step)
        self.generation = self.together.generation

    def _replay(self, optimizers: list[Optimizer]) -> None:
        assert self.replay is not None
        for rate, group in zip(self.rates, _groups(optimizers), strict=True):
            rate.fill_(group["lr"])
        self.replay()

    def _refuse(self, why: str) -> None:
        self.refused, self.replay, self.terms = why, None, {}
        self.together.stale = True  # others may read what it computed for them
        if (self.method.name, why) not in _warned:
            _warned.add((self.method.name, why))
            self.together.note(
                f"{self.method.name}: its step is not captured in a CUDA graph, as {why}; it is trained the plain way"
            )


class Together:
    """What the captured steps of runs that are trained side by side share: the place of their images, and memory.

    A frozen network that several of them ask is captured with the first only, and scratch memory of one may serve the
    next. So they are captured and replayed in one order, and all anew where one comes, goes or is refused.
    """

    def __init__(self, device: torch.device, note: Callable[[str], None], record: Recorder | None = None) -> None:
        """record: captures some work; gives what replays it, and the tensors that each replay overwrites."""
        self.device, self.note = device, note
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._record = record
        self.read: set[str] = set()  # of a batch
        self.stale = False  # all are captured anew with the next batch
        self.generation = 0
        self.members: list[Method] = []
        self.batch: Lazy | None = None
        self._forget()

    def _forget(self) -> None:
        self.pool: Any = None
        self.draw: Draw | None = None  # of the batch
        self.makers: list[Callable[[], None]] = []  # what replays the making of the images
        self.images: dict[str, Tensor] = {}

    def gather(self, members: Sequence[Method]) -> None:
        """Say who will be trained on the next batch, in order."""
        if self.stale or self.members != list(members):
            self.members, self.stale, self.batch = list(members), False, None
            self.generation += 1
            self._forget()

    def take(self, batch: Lazy) -> Batch:
        """The batch, made where captured steps read it, once for all of them; how is captured too."""
        self.draw = draw = self.draw or batch.draw.each(torch.clone)
        if self.batch is not batch:
            self.batch = batch
            draw.copy_(batch.draw)
            for make in self.makers:
                make()
        if names := sorted(self.read - self.images.keys()):
            make, images = self.record(lambda: {name: batch.maker.make(name, draw) for name in names})
            make()
            self.makers.append(make)
            self.images |= images
        return Batch(**(dict.fromkeys(("hr", "y", "index"), MISSING) | self.images))

    def record(self, work: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        """Capture some work; returns what replays it, and the tensors that each replay overwrites."""
        return (self._record or self._graph)(work)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """On the stream of the capture: what autograd remembers of a plain step must not lie on another."""
        if self.stream is None:
            yield
            return
        main = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(main)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            main.wait_stream(self.stream)

    def _graph(self, work: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        main, graph = torch.cuda.current_stream(self.device), torch.cuda.CUDAGraph()
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        torch._C._cuda_clearCublasWorkspaces()  # else the graph uses one that may be freed before it
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                made = work()
        except Exception as error:
            torch.cuda.set_stream(main)  # where the capture could not be ended, torch does not
            self._end_capture()
            self.batch = None
            self._forget()
            raise error.__context__ or error from None
        finally:
            torch._C._cuda_clearCublasWorkspaces()
        return graph.replay, made

    def _end_capture(self) -> None:
        """Clean up after a capture that could not be ended, as torch 2.11 does not (2.14 does).

        Its memory would still go to the graph's pool, and random numbers would wait for a capture to end.
        """
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self.pool)
        with suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph(), stream=self.stream):
            torch.zeros(1, device=self.device)  # one that can be ended


def together(device: torch.device, capture: bool, note: Callable[[str], None]) -> Together | None:
    """None where steps are not captured: on the CPU, or where the user does not want it. `note` tells the user."""
    return Together(device, note) if capture and device.type == "cuda" else None


def _groups(optimizers: Sequence[Optimizer]) -> list[dict[str, Any]]:
    return [group for one in optimizers for group in one.optimizer.param_groups]


@contextmanager
def _rates_on_device(optimizers: Sequence[Optimizer], rates: Sequence[Tensor]) -> Iterator[None]:
    """The learning rates as tensors, which a replay reads anew; as numbers they would be captured with the step."""
    groups = _groups(optimizers)
    names = ("lr", "capturable")
    kept: list[Mapping[str, Any]] = [{name: group[name] for name in names if name in group} for group in groups]
    for group, rate, before in zip(groups, rates, kept, strict=True):
        group.update({"lr": rate, "capturable": True} if "capturable" in before else {"lr": rate})
    try:
        yield
    finally:
        for group, before in zip(groups, kept, strict=True):
            group.update(before)

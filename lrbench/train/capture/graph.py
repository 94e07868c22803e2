"""A method's step captured in a CUDA graph and replayed: one launch instead of hundreds, and no Python.

A step is taken the plain way a few times and looked at, then captured. Its first replay, and that of the first batch of
every epoch, is compared with the plain step from the same weights. Where it cannot be captured or does something else,
the run goes on the plain way, with one warning that says why. `torch.compile` is not used: it rounds differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from lrbench.data.batches import Draw
from lrbench.errors import one_line
from lrbench.method.base import IMAGES, MISSING, Batch, Method, Optimizer
from lrbench.spec.seeds import set_random_state
from lrbench.train.capture.state import RunState, changed, host_random, host_state, near

WARM = 3  # plain steps before: cuDNN has chosen its kernels by then, and the optimizer has made its state
BOUND = 0.02  # how far a replay may end from the plain step, as a part of how far that has come
Terms = dict[str, Tensor]
_warned: set[tuple[str, str]] = set()  # method and reason, in this process


class Captured:
    """The step of one run: as `Method.step`, but of a batch whose images need not be made yet."""

    def __init__(self, method: Method, group: CaptureGroup) -> None:
        self.method, self.group = method, group
        self.plain_steps = 0
        self.state: dict[str, Any] = {}  # of the host, after the last of these
        self.refused: str | None = None  # why it is not captured
        self.generation = -1  # of the group, when it was captured
        self.checked = False  # in this epoch, by a replay and the plain step of one batch
        self.replay: Callable[[], None] | None = None
        self.terms: Terms = {}
        self.rates: list[Tensor] = []

    def __call__(self, draw: Draw, optimizers: list[Optimizer]) -> Terms:
        if self.refused:
            return self.method.step(draw.batch(self.method.reads), optimizers)
        if self.plain_steps < WARM:
            return self._warm(draw, optimizers)
        if self.group.stale:  # all are captured with the next batch, in order
            return self._plain(draw, optimizers)
        if not self.replays:
            return self._check(draw, optimizers)
        self.group.take(draw)
        self._replay(optimizers)
        return self.terms

    @property
    def replays(self) -> bool:
        """Whether the next batch will be trained on by the graph alone, without the method's code."""
        return self.in_use and self.checked and not self.group.stale

    @property
    def in_use(self) -> bool:
        """Whether its step is captured, with those of its group as it is now."""
        return self.replay is not None and self.generation == self.group.generation

    def _warm(self, draw: Draw, optimizers: list[Optimizer]) -> Terms:
        if type(self.method).step is not Method.step:
            self._refuse("it has a step of its own")
            return self(draw, optimizers)
        random = host_random()
        terms = self._plain(draw, optimizers)
        self.plain_steps += 1
        before, self.state = self.state, host_state(self.method, optimizers, self.group.device)
        name = changed(random, host_random()) or (changed(before, self.state) if self.plain_steps == WARM else None)
        if draw.is_written:
            self._refuse("it writes into its images")
        elif name:
            self._refuse(f"each step changes {name}")
        elif self.plain_steps == WARM:
            self.group.stale = True
        return terms

    def _plain(self, draw: Draw, optimizers: list[Optimizer]) -> Terms:
        with self.group.on_its_stream():
            terms = self.method.step(draw.batch(self.method.reads), optimizers)
            return {name: term.detach() for name, term in terms.items()}

    def _check(self, draw: Draw, optimizers: list[Optimizer]) -> Terms:
        """Train on the batch the plain way, take that back and replay the step; the plain one counts if they differ."""
        state = RunState(self.method, optimizers, self.group.device)
        before = state.read()
        terms = {name: term.clone() for name, term in self._plain(draw, optimizers).items()}
        after = state.read()
        state.put_back(*before)
        try:
            images = self.group.take(draw)
            if not self.in_use:
                self._capture(images, optimizers)
            set_random_state(before[1], self.group.device)
            self._replay(optimizers)
        except Exception as error:  # whatever a method may do that a graph cannot
            why = one_line(error)[:200]
        else:
            zeros = [torch.zeros_like(term) for term in terms.values()]
            kinds = zip(*(values for values, _ in (state.read(), after, before)), strict=True)
            compared = [([*self.terms.values()], [*terms.values()], zeros), *kinds]
            same = torch.stack([near(a, b, start, BOUND, self.group.device) for a, b, start in compared]).all()
            if self.terms.keys() == terms.keys() and same.item():  # the one thing in an epoch that waits for the device
                self.checked = True
                return self.terms
            why = "a replay of it ends elsewhere than the plain step"
        state.put_back(*after)
        self._refuse(why)
        return terms

    def _capture(self, images: Mapping[str, Tensor], optimizers: list[Optimizer]) -> None:
        self.replay, self.terms = None, {}
        reads = ("y", "index", *self.method.reads)
        self.rates = [torch.tensor(float(one["lr"]), device=self.group.device) for one in _param_groups(optimizers)]
        batch = Batch(**{"hr": MISSING} | {name: image for name, image in images.items() if name in reads})

        def step() -> Terms:
            with _rates_on_device(optimizers, self.rates):
                return {name: term.detach() for name, term in self.method.step(batch, optimizers).items()}

        self.replay, self.terms = self.group.record(step)
        self.generation = self.group.generation

    def _replay(self, optimizers: list[Optimizer]) -> None:
        assert self.replay is not None
        for rate, one in zip(self.rates, _param_groups(optimizers), strict=True):
            rate.fill_(one["lr"])
        self.replay()

    def _refuse(self, why: str) -> None:
        self.refused, self.replay, self.terms = why, None, {}
        self.group.stale = True  # others may read what it computed for them
        if (self.method.name, why) not in _warned:
            _warned.add((self.method.name, why))
            said = f"its step is not captured in a CUDA graph, as {why}; it is trained the plain way"
            self.group.note(f"{self.method.name}: {said}")


class CaptureGroup:
    """What the captured steps of a group share: the place of their images, and memory.

    A frozen network that several of them ask is captured with the first only, and memory of one may serve the next:
    so they are captured and replayed in one order, and all anew where one comes, goes or is refused.
    """

    def __init__(self, device: torch.device, note: Callable[[str], None]) -> None:
        self.device, self.note = device, note
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.stale = False  # all are captured anew with the next batch
        self.generation = 0  # how often that has been so
        self.members: list[Method] = []
        self._forget()

    def _forget(self) -> None:
        self.pool: Any = None
        self.place: Draw | None = None  # whose tensors the making of the images reads
        self.make: Callable[[], None] | None = None  # replays that
        self.images: dict[str, Tensor] = {}
        self.taken: Draw | None = None  # the batch that lies there

    def gather(self, members: Sequence[Method]) -> None:
        """Say who will be trained on the next batch, in order."""
        if self.stale or self.members != list(members):
            self.members, self.stale = list(members), False
            self.generation += 1
            self._forget()

    def take(self, draw: Draw) -> dict[str, Tensor]:
        """Make a batch where captured steps read it, once for all of them; how is captured too."""
        if self.make is None or self.place is None:
            self.place = place = draw.each(torch.clone)
            fields = place.fields([name for name in IMAGES if any(name in one.reads for one in self.members)])
            self.make, self.images = self.record(lambda: {name: place.make(name) for name in fields})
        if self.taken is not draw:
            self.taken = draw
            self.place.copy_(draw)
            self.make()
        return self.images

    @contextmanager
    def on_its_stream(self) -> Iterator[None]:
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

    def record(self, work: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        """Capture some work; returns what replays it, and the tensors that each replay overwrites."""
        main, graph = torch.cuda.current_stream(self.device), torch.cuda.CUDAGraph()
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        torch._C._cuda_clearCublasWorkspaces()  # else the graph uses one that may be freed before it
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                made = work()
        except Exception as error:
            torch.cuda.set_stream(main)  # where the capture could not be ended, torch does not
            with suppress(RuntimeError):  # nor does torch 2.11 let memory and random numbers wait for it no longer
                torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self.pool)
            with suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph(), stream=self.stream):
                torch.zeros(1, device=self.device)  # one that can be ended
            self._forget()
            raise error.__context__ or error from None
        finally:
            torch._C._cuda_clearCublasWorkspaces()
        return graph.replay, made


def capture_group(device: torch.device, capture: bool, note: Callable[[str], None]) -> CaptureGroup | None:
    """None where steps are not captured: on the CPU, or where the user does not want it. `note` tells the user."""
    return CaptureGroup(device, note) if capture and device.type == "cuda" else None


def _param_groups(optimizers: Sequence[Optimizer]) -> list[dict[str, Any]]:
    return [one for optimizer in optimizers for one in optimizer.optimizer.param_groups]


@contextmanager
def _rates_on_device(optimizers: Sequence[Optimizer], rates: Sequence[Tensor]) -> Iterator[None]:
    """The learning rates as tensors, which a replay reads anew; as numbers they would be captured with the step."""
    groups = _param_groups(optimizers)
    before = [dict(one) for one in groups]
    for one, rate in zip(groups, rates, strict=True):
        one.update({"lr": rate} | ({"capturable": True} if "capturable" in one else {}))
    try:
        yield
    finally:
        for one, kept in zip(groups, before, strict=True):
            one.update(kept)

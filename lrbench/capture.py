"""A method's step captured in a CUDA graph and replayed: one launch instead of hundreds, and no Python.

A plugin author need not know. A step is trained the plain way a few times and looked at; then it is captured, and
its first replay is compared with the plain step from the same weights on the same batch. Where it cannot be
captured, or does not do what the plain step does, the run goes on the plain way, with one warning that says why.

`torch.compile` is not tried: which is quicker would be decided by a clock, it rounds differently, and so a run would
no longer be a function of its spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lrbench.errors import one_line
from lrbench.host_state import changed, host_state
from lrbench.method import MISSING, Batch, Method, Optimizer
from lrbench.pairs import Lazy

WARM = 3  # plain steps before: cuDNN has chosen its kernels by then, and the optimizer has made its state
LONG = 200  # characters of an error's message
BOUND = 0.02  # how far the first replay may end from the plain step, as a part of how far that moved the weights
Terms = dict[str, Tensor]
Step = Callable[[Lazy, list[Optimizer]], Terms]  # as Method.step
Record = Callable[[Callable[[], Terms]], tuple[Callable[[], None], Terms]]


class Captured:
    """The step of one run, called as `Method.step` is."""

    def __init__(self, method: Method, together: Together) -> None:
        self.method, self.together = method, together
        self.plainly = 0  # steps
        self.refused: str | None = None  # why it is not captured
        self.company = -1  # the one that it was captured in
        self.replay: Callable[[], None] = lambda: None
        self.terms: Terms = {}
        self.rates: list[Tensor] = []

    def __call__(self, batch: Lazy, optimizers: list[Optimizer]) -> Terms:
        if self.refused:
            return self.method.step(batch, optimizers)
        if self.plainly < WARM:
            return self._warm(batch, optimizers)
        if self.company != self.together.company:
            return self._begin(batch, optimizers)
        self.together.take(batch)
        for rate, group in zip(self.rates, _groups(optimizers), strict=True):
            rate.fill_(group["lr"])
        self.replay()
        return self.terms

    @property
    def in_use(self) -> bool:
        """Whether steps are replayed by now."""
        return self.company >= 0 and not self.refused

    def _warm(self, batch: Lazy, optimizers: list[Optimizer]) -> Terms:
        """A plain step, which is looked at."""
        if type(self.method).step is not Method.step:
            self._refuse("it has a step of its own")
            return self.method.step(batch, optimizers)
        device = batch.y.device
        before = host_state(self.method, optimizers, device)
        terms = self._plain(batch, optimizers)
        self.together.views |= batch.made.keys()
        self.plainly += 1
        name = changed(before, host_state(self.method, optimizers, device))
        if batch.is_written:
            self._refuse("it writes into its images")
        elif name and self.plainly == WARM:  # before, an optimizer may make its state
            self._refuse(f"each step changes {name}")
        return terms

    def _plain(self, batch: Batch, optimizers: list[Optimizer]) -> Terms:
        with self.together.aside():
            return {name: term.detach() for name, term in self.method.step(batch, optimizers).items()}

    def _begin(self, batch: Lazy, optimizers: list[Optimizer]) -> Terms:
        """Train on the batch the plain way; capture the step; replay it, and keep it if it has done the same."""
        images, device = self.together.take(batch), batch.y.device
        state, random = _state(self.method, optimizers), _Random(device)
        before = [_copies(tensors) for tensors in state]
        terms = {name: term.clone() for name, term in self._plain(images, optimizers).items()}
        after, random_after = [_copies(tensors) for tensors in state], _Random(device)
        for values, tensors in zip(before, state, strict=True):
            _put(values, tensors)
        random.put()
        self.rates = [torch.tensor(float(group["lr"]), device=device) for group in _groups(optimizers)]

        def step() -> Terms:
            with _rates_on_device(optimizers, self.rates):
                return {name: term.detach() for name, term in self.method.step(images, optimizers).items()}

        try:
            self.replay, self.terms = self.together.record(step)
        except Exception as error:  # whatever a method may do that a graph cannot
            why = one_line(error)[:LONG]
        else:
            random.put()
            self.replay()
            ends = [*zip(state, after, before, strict=True), ([*self.terms.values()], [*terms.values()], None)]
            if self.terms.keys() == terms.keys() and all(_alike(*three) for three in ends):
                self.company = self.together.company
                return self.terms
            why = "a replay of it ends elsewhere than the plain step"
        for values, tensors in zip(after, state, strict=True):
            _put(values, tensors)
        random_after.put()
        self._refuse(why)
        return terms

    def _refuse(self, why: str) -> None:
        self.refused, self.terms = why, {}
        self.together.note(
            f"{self.method.name}: its step is not captured in a CUDA graph, as {why}; it is trained the plain way"
        )


class Together:
    """What the captured steps of runs that are trained side by side share: the place of their images, and memory.

    A frozen network that several of them ask is captured with the first only. So they are replayed in the order in
    which they were captured, and are captured anew when one of them is gone.
    """

    def __init__(self, device: torch.device, note: Callable[[str], None], record: Record | None = None) -> None:
        """record: captures a step; gives what replays it, and the terms that each replay overwrites."""
        self.device, self.note = device, note
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.record = record or self._graph
        self.views = {"y", "index"}  # of a batch, what is read
        self.company = 0  # its number
        self.members: list[Method] = []
        self.pool: Any = None
        self.batch: Lazy | None = None
        self.images: dict[str, Tensor] = {}

    def gather(self, members: Sequence[Method]) -> None:
        """Say who will be trained on the next batch, in order."""
        if self.members != list(members):
            self.members, self.pool = list(members), None
            self.company += 1

    def take(self, batch: Lazy) -> Batch:
        """The batch, copied to where captured steps read it, once for all of them."""
        if self.batch is not batch:
            for name in sorted(self.views):
                value = getattr(batch, name)
                if name not in self.images:
                    self.images[name] = torch.empty_like(value)
                self.images[name].copy_(value)
            self.batch = batch
        return Batch(**({"hr": MISSING} | self.images))

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

    def _graph(self, step: Callable[[], Terms]) -> tuple[Callable[[], None], Terms]:
        graph = torch.cuda.CUDAGraph()
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            terms = step()
        return graph.replay, terms


def together(device: torch.device, capture: bool, note: Callable[[str], None]) -> Together | None:
    """None where steps are not captured: on the CPU, or where the user does not want it. `note` tells the user."""
    return Together(device, note) if capture and device.type == "cuda" else None


class _Random:
    """The device's random numbers as they were when it was made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.host = torch.get_rng_state()
        self.state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def put(self) -> None:
        torch.set_rng_state(self.host)
        if self.state is not None:
            torch.cuda.set_rng_state(self.state, self.device)


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


def _state(method: Method, optimizers: Sequence[Optimizer]) -> list[list[Tensor]]:
    """All that a step may change, by kind."""
    attributes = [value for part in method.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    kept = [value for one in optimizers for state in one.optimizer.state.values() for value in state.values()]
    moments = [value for value in kept if isinstance(value, Tensor)]
    return [[*method.parameters()], [*method.buffers(), *attributes], moments]


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def _put(values: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    for value, tensor in zip(values, tensors, strict=True):
        tensor.copy_(value)


@torch.no_grad()
def _alike(found: Sequence[Tensor], wanted: Sequence[Tensor], before: Sequence[Tensor] | None) -> bool:
    """Whether values are as wanted, up to BOUND of how far they have come; what is counted must be equal."""
    missed = moved = 0.0
    for one, other, start in zip(found, wanted, before or [torch.zeros_like(one) for one in wanted], strict=True):
        if not other.is_floating_point():
            if not torch.equal(one, other):
                return False
            continue
        missed += float((one - other).double().square().sum())
        moved += float((other - start).double().square().sum())
    return missed <= BOUND**2 * moved

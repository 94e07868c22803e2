"""The training loop, the only one: of a group of runs, each batch made once for all of them; mostly of one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from lrbench.method import registry
from lrbench.method.registry import config_of, epochs_before
from lrbench.method.restorer import magnification
from lrbench.spec.runspec import RunSpec
from lrbench.train.capture.graph import Captured, CaptureGroup
from lrbench.train.training import Training


def one_epoch(
    members: Sequence[Training],
    step: Callable[[Training, int], None] = lambda *_: None,
    failed: Callable[[Training, Exception], None] | None = None,
    capture: CaptureGroup | None = None,
) -> None:
    """Train the next epoch of a group (see `group_of`), whose runs have equally many epochs behind them.

    On the CPU each ends bit-identical to one that is trained alone. `step` is told of a member and the images of
    each of its batches; `failed` of a member that raised: unless it raises too, the others go on without that one.
    Their time is shared out equally. capture: captures their steps, on a GPU.
    """
    started, going, device = time.perf_counter(), list(members), members[0].train.y.device

    @contextmanager
    def failing_alone(member: Training) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a method may raise
            if failed is None:
                raise
            going.remove(member)
            failed(member, error)

    for member in members:
        if capture and not member.captured:
            member.captured = Captured(member.method, capture)
        with failing_alone(member):
            member.begin_epoch()
    for place, draw in enumerate(members[0].batches()):
        if not going:
            break
        if capture:
            capture.gather([member.method for member in going])
        for member in list(going):
            with failing_alone(member):
                member.update(place, draw)
                step(member, len(draw))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = (time.perf_counter() - started) / len(members)
    for member in list(going):
        with failing_alone(member):
            member.end_epoch(seconds)


def group_of(spec: RunSpec) -> tuple[object, ...]:
    """What runs must have in common to be trained as one group: images, their order and their augmentation."""
    cls = registry.method(spec.method)
    restorer = cls.restored_by(config_of(cls, spec.config))
    data = (spec.dataset, tuple(spec.fingerprint.items()), spec.select)
    limits = (spec.limit_train, spec.limit_test, spec.rare_classes)
    images = (spec.degradation, spec.scale, magnification(spec), spec.needs[restorer].id if restorer else None)
    augmented = (cls.view == "lr", spec.recipe.batch_size, spec.recipe.crop, spec.recipe.flip)
    return *data, *limits, *images, *augmented, spec.seed, epochs_before(spec)

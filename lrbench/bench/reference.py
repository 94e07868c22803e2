"""The reference loop of `lrbench bench`: distillation as public code has it, written anew to compare with.

It follows the loops of RepDistiller, mdistiller and the like, made for LR/HR pairs: a map-style dataset whose
`__getitem__` does everything to one image with Pillow and torchvision's transforms (LR made by bicubic down and
up, the same random crop and flip for both, ToTensor, Normalize), a DataLoader with workers, fp32 in the default
memory layout, a frozen teacher in eval mode, torch.optim.SGD as it comes, and `.item()` of the loss and of the
accuracy in every step. The loss is the method's own, so both loops compute the same. Where public code differs
we took what is quicker: workers live on from epoch to epoch, memory is pinned for a GPU, and convolutions on one may
use TF32, which is PyTorch's default. The network's own normalisation, here by 0 and 1, is the one thing done twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.utils.metrics import AverageMeter, accuracy
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional as TF

from lrbench.bench.case import Case
from lrbench.bench.contenders import Clock, Contender
from lrbench.data.pairs import Pairs
from lrbench.method.backbones import Backbone
from lrbench.method.base import MISSING, Batch, Method
from lrbench.method.restorer import Restorer
from lrbench.spec.recipes import Recipe

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's, as public code has them


def covers(cls: type[Method]) -> bool:
    """Whether the reference loop can train a method: a classifier of whole images with the usual step."""
    return cls.view != "lr" and cls.step is Method.step and not issubclass(cls, Restorer)


@dataclass
class PairDataset(Dataset[tuple[Any, ...]]):
    """One pair at a time: hr and up, float32 (3, S, S), normalised; the label; the index. No up where scale is None."""

    images: np.ndarray  # HR, uint8 (n, S, S, 3)
    labels: list[int]
    scale: int | None
    recipe: Recipe
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        self.to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(self.mean, self.std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        hr = Image.fromarray(self.images[index])
        views = [hr] if self.scale is None else [hr, self._low(hr)]
        side = hr.width
        pad = round(self.recipe.crop * side)
        if pad:
            padded = [TF.pad(view, [pad]) for view in views]
            top, left, height, width = transforms.RandomCrop.get_params(padded[0], (side, side))
            views = [TF.crop(view, top, left, height, width) for view in padded]
        if self.recipe.flip and random.random() < 0.5:
            views = [TF.hflip(view) for view in views]
        return *(self.to_tensor(view) for view in views), self.labels[index], index

    def _low(self, hr: Image.Image) -> Image.Image:
        side = hr.width
        small = side // (self.scale or 1)
        bicubic = Image.Resampling.BICUBIC
        return hr.resize((small, small), bicubic).resize((side, side), bicubic)


class Reference(Contender):
    """The usual loop of public code, described above."""

    name = "reference"

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        recipe = case.spec.recipe
        cuda = self.device.type == "cuda"
        self.method = as_public(case)
        self.optimizer = torch.optim.SGD(
            [weight for weight in self.method.parameters() if weight.requires_grad],
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.loader: DataLoader[Any] = DataLoader(
            PairDataset(pairs.hr.numpy(), pairs.y.tolist(), case.spec.scale, recipe),
            batch_size=case.batch,
            shuffle=True,
            drop_last=True,
            num_workers=case.workers,
            pin_memory=cuda,
            persistent_workers=case.workers > 0,
        )

    def slice(self, after: Callable[[], None] = lambda: None) -> float:
        device = self.device
        losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
        self.method.train()
        with (
            Clock(device) as clock,
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True),
            _last_logits(self.method) as seen,
        ):
            for views in self.loader:
                hr, *up, y, index = (values.to(device, non_blocking=True) for values in views)
                loss = self.step(Batch(hr=hr, up=up[0] if up else MISSING, y=y, index=index))
                right, among = accuracy(seen[-1], y, topk=(1, 5))
                losses.update(loss.item(), len(y))
                top1.update(right.item(), len(y))
                top5.update(among.item(), len(y))
                after()
        return clock.seconds

    def step(self, batch: Batch) -> Tensor:
        """One update, in fp32; returns the loss, a scalar."""
        loss = torch.stack(list(self.method.loss(batch).values())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def close(self) -> None:
        del self.loader  # and with it its workers


def as_public(case: Case) -> Method:
    """The case's method, and what it needs, in PyTorch's default memory layout."""
    method = case.untrained()
    for network in _all(method):
        network.to(memory_format=torch.contiguous_format)
    return method


def _all(method: Method) -> list[Method]:
    return [method, *(one for need in method.needs.values() for one in _all(need))]


@contextmanager
def _last_logits(method: Method) -> Iterator[list[Tensor]]:
    """Keep the logits of the method's first backbone, for `loss` does not return them: a list of one."""
    seen: list[Tensor] = []
    network = next(module for module in method.modules() if isinstance(module, Backbone))

    def keep(_: nn.Module, __: Any, logits: Tensor) -> None:
        seen[:] = [logits.detach()]

    hook = network.classifier.register_forward_hook(keep)
    try:
        yield seen
    finally:
        hook.remove()

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
from collections.abc import Iterator
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
from lrbench.bench.contenders import Contender
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
        views, side = [hr], hr.width
        if self.scale is not None:
            small, bicubic = side // self.scale, Image.Resampling.BICUBIC
            views.append(hr.resize((small, small), bicubic).resize((side, side), bicubic))
        pad = round(self.recipe.crop * side)
        if pad:
            padded = [TF.pad(view, [pad]) for view in views]
            top, left, height, width = transforms.RandomCrop.get_params(padded[0], (side, side))
            views = [TF.crop(view, top, left, height, width) for view in padded]
        if self.recipe.flip and random.random() < 0.5:
            views = [TF.hflip(view) for view in views]
        return *(self.to_tensor(view) for view in views), self.labels[index], index


class Reference(Contender):
    """The usual loop of public code, described above."""

    name = "reference"

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        recipe = case.spec.recipe
        self.method = _as_public(case.untrained())
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
            pin_memory=self.device.type == "cuda",
            persistent_workers=case.workers > 0,
        )
        network = next(module for module in self.method.modules() if isinstance(module, Backbone))
        network.classifier.register_forward_hook(self._keep)  # for `loss` does not return the logits

    def _keep(self, module: nn.Module, given: Any, logits: Tensor) -> None:
        self.logits = logits.detach()

    def steps(self) -> Iterator[None]:
        losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
        self.method.train()
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            for views in self.loader:
                hr, *up, y, index = (values.to(self.device, non_blocking=True) for values in views)
                loss = self.step(Batch(hr=hr, up=up[0] if up else MISSING, y=y, index=index))
                right, among = accuracy(self.logits, y, topk=(1, 5))
                losses.update(loss.item(), len(y))
                top1.update(right.item(), len(y))
                top5.update(among.item(), len(y))
                yield

    def step(self, batch: Batch) -> Tensor:
        """One update, in fp32; returns the loss, a scalar."""
        loss = torch.stack(list(self.method.loss(batch).values())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


def _as_public(method: Method) -> Method:
    """The method, and what it needs, in PyTorch's default memory layout."""
    for need in method.needs.values():
        _as_public(need)
    return method.to(memory_format=torch.contiguous_format)

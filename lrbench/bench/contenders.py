"""Ways of doing a case's work that are timed against each other: the bare step, lrbench's loops, public code's."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from timm.utils.metrics import AverageMeter, accuracy
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional as TF

from lrbench import device
from lrbench.bench.case import Case
from lrbench.data.batches import epoch
from lrbench.data.pairs import Pairs, to_float
from lrbench.method.backbones import Backbone
from lrbench.method.base import MISSING, Batch, Method
from lrbench.method.restorer import Restorer
from lrbench.spec.recipes import Recipe
from lrbench.spec.seeds import generator
from lrbench.train.capture import graph as capture
from lrbench.train.loop import one_epoch
from lrbench.train.tasks import EVAL_BATCH, task_of
from lrbench.train.training import Training

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's, as public code has them


class Contender:
    """One way of doing a case's work. Building it is what a run does between its data and its first step."""

    name: ClassVar[str]
    trains: ClassVar[bool] = True

    def __init__(self, case: Case, pairs: Pairs) -> None:
        """pairs: the case's images, on the CPU."""
        self.case, self.device, self.method = case, device.pick(case.device), case.untrained()

    def steps(self) -> Iterator[None]:
        """Work through the case's images once, in whole batches, and yield after every step."""
        raise NotImplementedError

    def slice(self, after: Callable[[], None] = lambda: None) -> float:
        """The seconds that `steps` takes; `after` is called after every step.

        The device has finished all its work before the clock starts and before it stops.
        """
        synchronise(self.device)
        started = time.perf_counter()
        for _ in self.steps():
            after()
        synchronise(self.device)
        return time.perf_counter() - started


class Bare(Contender):
    """The limit: model, optimizer and frozen teacher on one batch, made beforehand, over and over."""

    name = "bare"

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        self.optimizers = self.method.train().optimizers(case.updates)
        view, batch = type(self.method).view, pairs.first(case.batch).to(self.device)
        draw = generator(case.spec.seed, "bench")
        self.draw = next(epoch(batch, case.spec.recipe, batch.scale, view == "lr", draw))
        self.batch = self.draw.batch(self.method.reads)
        self.graphs = capture_group(case, self.device)
        self.captured = capture.Captured(self.method, self.graphs) if self.graphs else None

    def steps(self) -> Iterator[None]:
        for _ in range(self.case.updates):
            if self.graphs and self.captured:
                self.graphs.gather([self.method])
                self.captured(self.draw, self.optimizers)
            else:
                self.method.step(self.batch, self.optimizers)
            yield


class Loop(Contender):
    """lrbench's own loop, one epoch per slice, timed as a record's images_per_second is.

    So the measurement of the learning curve after each epoch, on 1,000 training images, is not in it.
    """

    name = "lrbench"

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        self.training = Training(self.method, case.spec, pairs.to(self.device), None, 0)
        self.graphs = capture_group(case, self.device)

    def slice(self, after: Callable[[], None] = lambda: None) -> float:
        synchronise(self.device)
        before = self.training.history.seconds
        one_epoch([self.training], lambda *_: after(), capture=self.graphs)
        return self.training.history.seconds - before


class Evaluation(Contender):
    """lrbench's test loop over the case's images."""

    name = "evaluation"
    trains = False

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        self.images = pairs.first(case.updates * case.batch).to(self.device)

    def steps(self) -> Iterator[None]:
        task_of(type(self.method)).measure(self.method, self.images)
        yield


class Forward(Contender):
    """The limit of a test: the bare forward passes over the case's images, made beforehand."""

    name = "forward"
    trains = False

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        images = pairs.first(case.updates * case.batch).to(self.device).view(type(self.method).view)
        self.batches = [to_float(batch) for batch in images.split(EVAL_BATCH)]

    @torch.no_grad()
    def steps(self) -> Iterator[None]:
        self.method.eval()
        for batch in self.batches:
            with self.method.context.autocast():
                self.method(batch)
        yield


def capture_group(case: Case, on: torch.device) -> capture.CaptureGroup | None:
    """What captures the case's steps, where they are captured."""
    return capture.capture_group(on, case.capture, lambda message: print(message, file=sys.stderr))


def synchronise(on: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if on.type == "cuda":
        torch.cuda.synchronize(on)


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
    """Distillation as public code has it, written anew to compare with, after RepDistiller, mdistiller and the like.

    A map-style dataset does everything to one image with Pillow and torchvision's transforms (LR by bicubic down and
    up, one crop and flip for both); a DataLoader with workers, fp32 in the default memory layout, a frozen teacher,
    torch.optim.SGD as it comes, and `.item()` of the loss and of the accuracy in every step. The loss is the method's
    own, so both loops compute the same. Where public code differs we took what is quicker: workers live on from epoch
    to epoch, memory is pinned for a GPU, and its convolutions may use TF32, PyTorch's default. The network's own
    normalisation, here by 0 and 1, is the one thing done twice.
    """

    name = "reference"

    def __init__(self, case: Case, pairs: Pairs) -> None:
        super().__init__(case, pairs)
        recipe = case.spec.recipe
        for one in (self.method, *self.method.needs.values()):
            one.to(memory_format=torch.contiguous_format)  # PyTorch's default
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

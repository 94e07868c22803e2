"""lrbench's loop against the usual loop of public code: a DataLoader, Pillow image by image, fp32.

python results/bench/reference.py [--method NAME] [--backbone NAME] [--width X] [--workers N] [--rounds N] ...

Both train on the same images, timed in turn as `lrbench bench` times its loops. The table goes to stderr, the machine
and every slice to stdout, as JSON. --help has the options: those of `lrbench bench`, and --workers.
"""

from __future__ import annotations

import argparse
import random
import sys
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

from lrbench import device
from lrbench.bench import case as bench
from lrbench.bench import timing
from lrbench.bench.contenders import Contender, Loop
from lrbench.data.pairs import Pairs
from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.method.backbones import Backbone
from lrbench.method.base import MISSING, Batch, Method
from lrbench.method.restorer import Restorer
from lrbench.spec.recipes import Recipe

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's, as public code has them
WORKERS = 8  # at most, unless the user says otherwise; public code has 4 to 16
OPTIONS: dict[str, dict[str, Any]] = {
    "--method": {"dest": "methods", "action": "append", "help": "repeat for more"},
    "--backbone": {"dest": "backbones", "action": "append", "help": "repeat for more"},
    "--width": {"dest": "widths", "action": "append", "type": float, "help": "repeat for more"},
    "--dataset": {"help": "time it on these images, not on noise"},
    "--scale": {"type": int, "help": "HR side / LR side"},
    "--batch": {"type": int, "help": "images a step"},
    "--images": {"type": int, "help": "a slice"},
    "--device": {"choices": ("auto", "cpu", "cuda")},
    "--threads": {"type": int, "help": "of the CPU"},
    "--precision": {"choices": ("auto", "fp32", "bf16"), "help": "of lrbench's loop"},
}  # of `lrbench.bench.case.cases`, which has their defaults


@dataclass(frozen=True)
class Case(bench.Case):
    """A case, and the processes in which the reference loop's DataLoader makes its images; 0: in this one."""

    workers: int = 0


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


def covers(cls: type[Method]) -> bool:
    """Whether the reference loop can train a method: a classifier of whole images with the usual step."""
    return cls.view != "lr" and cls.step is Method.step and not issubclass(cls, Restorer)


def cases(workers: int, **options: Any) -> list[Case]:
    """What the user asked to be timed; other options are those of lrbench.bench.case.cases. Raises UserError."""
    found = bench.cases(**options)
    for name in {one.spec.method for one in found}:
        if not covers(registry.method(name)):
            raise UserError(f"there is no reference loop for {name}: it is no classifier with the usual step")
    return [Case(**vars(one), workers=workers) for one in found]


def say(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr)


def main() -> None:
    """Time what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, words in OPTIONS.items():
        parser.add_argument(name, default=argparse.SUPPRESS, **words)
    parser.add_argument("--workers", type=int, default=min(WORKERS, device.cores()), help="of the reference's loader")
    parser.add_argument("--rounds", type=int, default=5, help="slices of each, in turn")
    options = vars(parser.parse_args())
    rounds, workers = options.pop("rounds"), options["workers"]
    try:
        wanted = cases(**options)
    except UserError as error:
        parser.error(str(error))
    machine = timing.machine(wanted[0].device, wanted[0].threads)
    results = [timing.time(one, rounds, say, (Loop, Reference)) for one in wanted]
    note = f"the reference: fp32, {workers} workers, whose memory is left out"
    title = "lrbench's loop against the usual loop of public code: images/s"
    say(timing.markdown(results, machine, title, [note]))
    print(timing.as_json(results, machine | {"workers": workers}), end="")


if __name__ == "__main__":
    main()

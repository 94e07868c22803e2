"""VDSR: accurate image super-resolution using very deep convolutional networks (Kim et al., CVPR 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from lrbench import restorer
from lrbench.method import Batch, Context, Method, Optimizer
from lrbench.restorer import Restorer


class Config(restorer.Config):
    """The paper's network and optimizer; it works on luma, ours on RGB."""

    depth: int = Field(20, ge=2, description="layers, Kim et al. 2016, section 3.1")
    channels: int = Field(64, ge=1, description="Kim et al. 2016, section 3.1")
    lr: float = Field(0.1, gt=0, description="Kim et al. 2016, section 5.2, the first rate; it falls as the recipe's")
    momentum: float = Field(0.9, ge=0, lt=1, description="Kim et al. 2016, section 5.2")
    weight_decay: float = Field(1e-4, ge=0, description="Kim et al. 2016, section 5.2")
    clip: float = Field(1e-4, gt=0, description="theta of section 3.2, which gives no value: ours, by validation PSNR")


class VDSR(Restorer):
    """The SR net VDSR: 20 layers predict what the enlarged LR image lacks of the HR image (section 3.1)."""

    name = "sr-vdsr"
    label = "VDSR (SR net)"
    paper = "Kim et al., CVPR 2016"
    view = "up"
    reads = ("hr", "up")
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        widths = [3, *[config.channels] * (config.depth - 1), 3]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        for layer in self.convolutions:  # section 5.2: He et al. 2015
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, up: Tensor) -> Tensor:
        residual = up
        for layer in self.convolutions[:-1]:
            residual = layer(residual).relu()
        return up + self.convolutions[-1](residual).float()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """1/2 ||r - f(x)||^2, section 3.2: summed over an image, mean over the batch."""
        error = batch.hr - self(batch.up)
        return {"residual": error.square().sum(dim=(1, 2, 3)).mean() / 2}

    def optimizers(self, updates: int) -> list[Optimizer]:
        config = self.config
        sgd = torch.optim.SGD(self.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay)
        return [self.scheduled(sgd, updates)]

    def step(self, batch: Batch, optimizers: list[Optimizer]) -> dict[str, Tensor]:
        """Adjustable gradient clipping, section 3.2: to [-theta / gamma, theta / gamma] at learning rate gamma."""
        [sgd] = optimizers
        with self.context.autocast():
            terms = self.loss(batch)
        sgd.minimize(terms["residual"], clip=self.config.clip / sgd.optimizer.param_groups[0]["lr"])
        return terms

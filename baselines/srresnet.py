"""SRResNet: the generator of SRGAN, trained for the square error (Ledig et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench import restorer
from lrbench.method import Batch, Context, Method
from lrbench.restorer import Restorer


class Config(restorer.Config):
    """The paper's network."""

    channels: int = Field(64, ge=1, description="Ledig et al. 2017, Fig. 4")
    blocks: int = Field(16, ge=1, description="Ledig et al. 2017, section 3.2")
    lr: float = Field(3e-3, gt=0, description="ours, of Adam, by validation PSNR: the paper's 1e-4 is for 10^6 updates")


class Generator(nn.Module):
    """LR (n, 3, h, w) in [0, 1] -> (n, 3, r h, r w) in [-1, 1], Fig. 4: 16 residual blocks with normalisation.

    As in the paper each enlargement is by 2; a factor that is no power of 2 is split into its primes.
    """

    def __init__(self, channels: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(*(_block(channels) for _ in range(blocks)))
        self.trunk = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels))
        self.enlarge = nn.Sequential(*(_enlarge(channels, factor) for factor in _primes(scale)))
        self.tail = nn.Conv2d(channels, 3, 9, padding=4)

    def forward(self, lr: Tensor) -> Tensor:
        first = self.head(lr)
        x = first
        for block in self.blocks:
            x = x + block(x)
        return self.tail(self.enlarge(first + self.trunk(x))).float()


def _block(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.PReLU(),
        nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels),
    )  # fmt: skip


def _enlarge(channels: int, factor: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, channels * factor**2, 3, padding=1), nn.PixelShuffle(factor), nn.PReLU())


def _primes(number: int) -> list[int]:
    factors, prime = [], 2
    while number > 1:
        while number % prime == 0:
            factors.append(prime)
            number //= prime
        prime += 1
    return factors


class SRResNet(Restorer):
    """The SR net SRResNet: SRGAN's first stage, trained for the mean square error."""

    name = "sr-srresnet"
    label = "SRResNet (SR net)"
    paper = "Ledig et al., CVPR 2017"
    reads = ("hr", "lr")
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.generator = Generator(config.channels, config.blocks, config.sr_scale)

    def forward(self, lr: Tensor) -> Tensor:
        return (self.generator(lr) + 1) / 2

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Eq. 4, on HR images in [-1, 1] (section 3.2)."""
        return {"mse": F.mse_loss(self.generator(batch.lr), 2 * batch.hr - 1)}

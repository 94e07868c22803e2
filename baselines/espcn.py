"""ESPCN: real-time super-resolution with an efficient sub-pixel convolutional network (Shi et al., CVPR 2016)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench import restorer
from lrbench.method import Batch, Context, Method
from lrbench.restorer import Restorer


class Config(restorer.Config):
    """The paper's network; it works on luma, ours on RGB."""

    channels: int = Field(64, ge=2, description="n1; n2 is half of it: Shi et al. 2016, section 3.2")
    lr: float = Field(2e-3, gt=0, description="ours, of Adam: the paper's 0.01 is plain gradient descent's")


class ESPCN(Restorer):
    """The SR net ESPCN: three layers on the LR image, the last of which gives all pixels of each r x r block."""

    name = "sr-espcn"
    label = "ESPCN (SR net)"
    paper = "Shi et al., CVPR 2016"
    reads = ("hr", "lr")
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        r, n1, n2 = config.sr_scale, config.channels, config.channels // 2
        self.layers = nn.Sequential(  # section 3.2: (f1, n1) = (5, 64), (f2, n2) = (3, 32), f3 = 3; tanh
            nn.Conv2d(3, n1, 5, padding=2), nn.Tanh(),
            nn.Conv2d(n1, n2, 3, padding=1), nn.Tanh(),
            nn.Conv2d(n2, 3 * r**2, 3, padding=1), nn.PixelShuffle(r),
        )  # fmt: skip

    def forward(self, lr: Tensor) -> Tensor:
        """Values about mid-grey go in and come out, as tanh is about zero: ours."""
        return self.layers(lr - 0.5).float() + 0.5

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Eq. 5: the mean square error over all pixels."""
        return {"mse": F.mse_loss(self(batch.lr), batch.hr)}

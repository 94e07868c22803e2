"""The zoo: any restoration network that BasicSR registers, as an SR net under the same protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lrbench_baselines import basicsr_adapter
from pydantic import Field, JsonValue
from torch import Tensor
from torch.nn import functional as F

from lrbench import restorer
from lrbench.method import Batch, Context, Method
from lrbench.restorer import Restorer


class Config(restorer.Config):
    """Which network, and its own arguments; scale, channels of the image and its size are filled in."""

    arch: str = Field(
        "EDSR",
        description="EDSR, RCAN, RRDBNet, SRVGGNetCompact, MSRResNet, SwinIR, ...",
        json_schema_extra={"shown": True},
    )
    args: dict[str, JsonValue] = Field(default_factory=dict, description='such as {"num_block": 8}; else BasicSR\'s')
    objective: Literal["l1", "mse"] = Field("l1", description="Lim et al. 2017 (EDSR), section 4.2")
    lr: float = Field(5e-4, gt=0, description="ours, of Adam: EDSR's 1e-4 is for 300,000 updates")


class Zoo(Restorer):
    """An SR net of BasicSR's, by name (pip install 'lrbench[sr]'; Python 3.11 or 3.12)."""

    name = "sr-basicsr"
    label = "BasicSR (SR net)"
    reads = ("hr", "lr")
    Config = Config

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        side = context.side // config.sr_scale
        self.network = basicsr_adapter.network(config.arch, config.sr_scale, side, config.args)

    @classmethod
    def check(cls, config: Any, scale: int) -> None:
        super().check(config, scale)
        basicsr_adapter.checked(config.arch, config.args)

    def forward(self, lr: Tensor) -> Tensor:
        return self.network(lr).float()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        error = F.l1_loss if self.config.objective == "l1" else F.mse_loss
        return {self.config.objective: error(self(batch.lr), batch.hr)}

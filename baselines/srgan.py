"""SRGAN: photo-realistic super-resolution using a generative adversarial network (Ledig et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from lrbench_baselines import srresnet
from lrbench_baselines.imagenet import vgg19_features
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lrbench.method import Batch, Context, Method, Needs, Optimizer

IMAGENET_SIDE = 96  # pixels: the paper's HR crops, on which its VGG looks


class Config(srresnet.Config):
    """The paper's weights; `lr`, `channels` and `blocks` are those of the first stage."""

    gan_epochs: int | None = Field(None, ge=1, description="ours: of the second stage, instead of sr_epochs")
    gan_batch: int = Field(16, ge=2, description="images per step of the second stage, Ledig et al. 2017, section 3.2")
    gan_lr: float = Field(1e-4, gt=0, description="Ledig et al. 2017, section 3.2; a tenth of it in the second half")
    adversarial: float = Field(1e-3, ge=0, description="weight of the adversarial loss, Ledig et al. 2017, Eq. 3")
    vgg: Literal["hr-baseline", "imagenet"] = Field(
        "hr-baseline", description="features of the content loss: a VGG-16 trained on the same images (ours), or "
        "ImageNet's VGG-19, fetched by torchvision (the paper's VGG5,4)"
    )  # fmt: skip
    vgg_stage: int = Field(3, ge=1, le=5, description="ours: after that max-pool of the VGG-16; 4x4 maps at 32 pixels")


class Discriminator(nn.Module):
    """Images (n, 3, side, side) in [-1, 1] -> logits (n, 1) of being real.

    Fig. 4: pairs of convolutions to 64, 128, 256 and 512 channels, the second of stride 2, then two dense
    layers. The paper's four halvings bring 96 pixels to 6; here there are as many as leave 4: three for
    32 pixels (64 to 256 channels), two for 16.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1), nn.LeakyReLU(0.2)]
        channels = 64
        for stage in range(halvings(side)):
            if stage:
                layers += _convolution(channels, 2 * channels, stride=1)
                channels *= 2
            layers += _convolution(channels, channels, stride=2)
            side = -(-side // 2)
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(channels * side**2, 1024), nn.LeakyReLU(0.2), nn.Linear(1024, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.dense(self.layers(image).flatten(1)).float()


def halvings(side: int) -> int:
    """How often an image is halved: 1 to 4 times, down to 4 pixels where it is small."""
    return max(1, min(4, (side // 4).bit_length() - 1))


def _convolution(before: int, after: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, padding=1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]


class SRGAN(srresnet.SRResNet):
    """The SR net SRGAN: SRResNet trained on with a content and an adversarial loss (section 2.2)."""

    name = "sr-srgan"
    label = "SRGAN (SR net)"
    paper = "Ledig et al., CVPR 2017"
    reads = ("hr", "lr")
    falls = "content"  # the two networks work against each other
    selects = False  # PSNR does not measure what it is for
    training_only = ("discriminator", "content_scale")
    Config = Config
    content_scale: Tensor

    def __init__(self, config: Config, context: Context, needs: Mapping[str, Method]) -> None:
        super().__init__(config, context, needs)
        self.discriminator = Discriminator(context.side)
        self.register_buffer("content_scale", torch.zeros(()))

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        first = config.model_dump(include=set(srresnet.Config.model_fields))
        own_vgg = {"vgg": Needs("hr-baseline", overrides={"backbone": "vgg16"})}
        return (own_vgg if config.vgg == "hr-baseline" else {}) | {"init": Needs("sr-srresnet", first)}

    @classmethod
    def own_protocol(cls, config: Any) -> Mapping[str, Any]:
        own = {**super().own_protocol(config), "batch_size": config.gan_batch}
        return own if config.gan_epochs is None else own | {"epochs": config.gan_epochs}

    @classmethod
    def starts_from(cls, config: Any) -> str | None:
        return "init"

    def content_features(self, image: Tensor) -> Tensor:
        """Images (n, 3, side, side) in [-1, 1] -> maps of the frozen VGG, which sees them at its own size."""
        image = (image + 1) / 2
        if self.config.vgg == "imagenet":
            return vgg19_features(image.device)(F.interpolate(image, size=IMAGENET_SIDE, mode="bicubic"))
        vgg = self.needs["vgg"]
        if image.shape[2] != vgg.context.side:
            image = F.interpolate(image, size=vgg.context.side, mode="bicubic")
        return vgg.backbone.maps(image)[self.config.vgg_stage - 1].float()

    def content_loss(self, fake: Tensor, real: Tensor) -> Tensor:
        """Eq. 5, the features rescaled "to obtain VGG losses of a scale that is comparable to the MSE loss".

        For its VGG the paper divides by 12.75; for any VGG we take the ratio of the two losses on the
        first batch, and keep it.
        """
        with torch.no_grad():
            wanted = self.content_features(real)
        loss = F.mse_loss(self.content_features(fake), wanted)
        if self.training:
            with torch.no_grad():  # chosen on the device, so that nothing waits for it
                first = F.mse_loss(fake, real) / loss.clamp(min=1e-12)
                self.content_scale.copy_(torch.where(self.content_scale > 0, self.content_scale, first))
        return self.content_scale * loss

    def optimizers(self, updates: int) -> list[Optimizer]:
        if self.config.vgg == "imagenet":
            vgg19_features(next(self.parameters()).device)  # fetched before the first step, or refused

        def factor(done: int) -> float:
            return 1.0 if 2 * done < updates else 0.1

        return [
            Optimizer(torch.optim.Adam(network.parameters(), lr=self.config.gan_lr, fused=True), factor)
            for network in (self.generator, self.discriminator)
        ]

    def step(self, batch: Batch, optimizers: list[Optimizer]) -> dict[str, Tensor]:
        """One update of the discriminator (Eq. 2), then one of the generator (Eq. 3, 5 and 6)."""
        generator, discriminator = optimizers
        real = 2 * batch.hr - 1
        with self.context.autocast():
            fake = self.generator(batch.lr)
            on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())
        discrimination = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        discriminator.minimize(discrimination)
        with self.context.autocast():
            content = self.content_loss(fake, real)
            adversarial = self.config.adversarial * F.softplus(-self.discriminator(fake)).mean()  # -log D(G(lr))
        generator.minimize(content + adversarial)
        return {"content": content, "adversarial": adversarial, "discrimination": discrimination}

"""Super-resolve, then classify (Zhu et al. 2019, section 3.5): a recogniser of the images of a frozen SR net."""

from __future__ import annotations

from typing import Any, ClassVar

from lrbench_baselines import espcn, srgan, srresnet, student, vdsr, zoo
from lrbench_baselines.lr_baseline import LRBaseline

from lrbench.method import Needs
from lrbench.restorer import check_sr_scale


class SuperResolved(LRBaseline):
    """The base: the LR-baseline, on restored images. Its settings beside `init` are those of the SR net."""

    restorer: ClassVar[str]

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        settings = config.model_dump(exclude=set(student.Config.model_fields))
        return super().needs_of(config) | {"restorer": Needs(cls.restorer, settings)}

    @classmethod
    def check(cls, config: Any, scale: int) -> None:
        check_sr_scale(cls.name, config.sr_scale, scale)

    @classmethod
    def restored_by(cls, config: Any) -> str | None:
        return "restorer"


class VDSR(SuperResolved):
    """VDSR's images, then a classifier."""

    name = "vdsr"
    label = "VDSR"
    restorer = "sr-vdsr"

    class Config(student.Config, vdsr.Config):
        """Those of VDSR."""


class ESPCN(SuperResolved):
    """ESPCN's images, then a classifier."""

    name = "espcn"
    label = "ESPCN"
    restorer = "sr-espcn"

    class Config(student.Config, espcn.Config):
        """Those of ESPCN."""


class SRResNet(SuperResolved):
    """SRResNet's images, then a classifier."""

    name = "srresnet"
    label = "SRResNet"
    restorer = "sr-srresnet"

    class Config(student.Config, srresnet.Config):
        """Those of SRResNet."""


class SRGAN(SuperResolved):
    """SRGAN's images, then a classifier."""

    name = "srgan"
    label = "SRGAN"
    restorer = "sr-srgan"

    class Config(student.Config, srgan.Config):
        """Those of SRGAN."""


class BasicSR(SuperResolved):
    """The images of any network that BasicSR registers, then a classifier."""

    name = "basicsr"
    label = "BasicSR"
    restorer = "sr-basicsr"

    class Config(student.Config, zoo.Config):
        """Those of the zoo."""

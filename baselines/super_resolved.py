"""Super-resolve, then classify (Zhu et al. 2019, section 3.5): a recogniser of the images of a frozen SR net."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from lrbench_baselines import espcn, srgan, srresnet, student, vdsr, zoo
from lrbench_baselines.lr_baseline import LRBaseline
from pydantic import Field

from lrbench.method import Needs
from lrbench.restorer import check_sr_scale


class Config(student.Config):
    """Beside those of the SR net."""

    init: Literal[student.Init, "hr-direct"] = Field(  # type: ignore[assignment]
        "scratch",
        description="ours: random weights, those of the LR-baseline, those of the HR-baseline; or hr-direct: those of "
        "the HR-baseline as they are, and nothing is trained",
    )


class SuperResolved(LRBaseline):
    """The base: the LR-baseline, on restored images. Its settings beside those of `Config` are those of the SR net."""

    restorer: ClassVar[str]

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        settings = config.model_dump(exclude=set(Config.model_fields))
        start = super().needs_of(config) if cls.trains(config) else {"init": Needs("hr-baseline")}
        return start | {"restorer": Needs(cls.restorer, settings)}

    @classmethod
    def trains(cls, config: Any) -> bool:
        return config.init != "hr-direct"

    @classmethod
    def check(cls, config: Any, scale: int) -> None:
        check_sr_scale(cls.name, config.sr_scale, scale)

    @classmethod
    def restored_by(cls, config: Any) -> str | None:
        return "restorer"


class VDSR(SuperResolved):
    """Super-resolves by VDSR (`sr-vdsr`), then trains a classifier on its images."""

    name = "vdsr"
    label = "VDSR"
    paper = "Kim et al., CVPR 2016"
    restorer = "sr-vdsr"

    class Config(Config, vdsr.Config):
        """Those of VDSR."""


class ESPCN(SuperResolved):
    """Super-resolves by ESPCN (`sr-espcn`), then trains a classifier on its images."""

    name = "espcn"
    label = "ESPCN"
    paper = "Shi et al., CVPR 2016"
    restorer = "sr-espcn"

    class Config(Config, espcn.Config):
        """Those of ESPCN."""


class SRResNet(SuperResolved):
    """Super-resolves by SRResNet (`sr-srresnet`), then trains a classifier on its images."""

    name = "srresnet"
    label = "SRResNet"
    paper = "Ledig et al., CVPR 2017"
    restorer = "sr-srresnet"

    class Config(Config, srresnet.Config):
        """Those of SRResNet."""


class SRGAN(SuperResolved):
    """Super-resolves by SRGAN (`sr-srgan`), then trains a classifier on its images."""

    name = "srgan"
    label = "SRGAN"
    paper = "Ledig et al., CVPR 2017"
    restorer = "sr-srgan"

    class Config(Config, srgan.Config):
        """Those of SRGAN."""


class BasicSR(SuperResolved):
    """Super-resolves by any network of BasicSR's, then trains a classifier on its images."""

    name = "basicsr"
    label = "BasicSR"
    restorer = "sr-basicsr"

    class Config(Config, zoo.Config):
        """Those of the zoo."""

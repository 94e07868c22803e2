"""HR-direct: the HR-baseline tested on LR images as it is, which shows what low resolution costs."""

from __future__ import annotations

from typing import Any

from lrbench_baselines.student import Student

from lrbench import method
from lrbench.method import Needs


class HRDirect(Student):
    """The HR-baseline tested on enlarged LR images, as it is: nothing is trained."""

    name = "hr-direct"
    label = "HR network on LR"
    Config = method.Config

    @classmethod
    def needs_of(cls, config: Any) -> dict[str, Needs]:
        return {"init": Needs("hr-baseline")}

    @classmethod
    def starts_from(cls, config: Any) -> str | None:
        return "init"

    @classmethod
    def trains(cls, config: Any) -> bool:
        return False

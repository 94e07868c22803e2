"""What a run is: the spec that it is planned by, the recipe that it is trained by, the record that it leaves."""

from lrbench.spec.runspec import PROTOCOL, RESTORATION_PROTOCOL, RunSpec

__all__ = ["PROTOCOL", "RESTORATION_PROTOCOL", "RunSpec"]

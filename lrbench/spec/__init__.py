"""What a run is: its spec and the id it hashes to, the recipe it is trained by, the record it leaves."""

from lrbench.spec.runspec import PROTOCOL, RESTORATION_PROTOCOL, RunSpec

__all__ = ["PROTOCOL", "RESTORATION_PROTOCOL", "RunSpec"]

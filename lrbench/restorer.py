"""For plugins: the contract of super-resolution networks, see lrbench.method.restorer."""

from lrbench.method.restorer import Config, Restorer, check_sr_scale

__all__ = ["Config", "Restorer", "check_sr_scale"]

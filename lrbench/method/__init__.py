"""The method contract: what a plugin author reads is in lrbench.method.base.

Importing a name from here loads torch; finding plugins (lrbench.method.registry) does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrbench.method.base import MISSING, Batch, Config, Context, Method, Needs, Optimizer, View

__all__ = ["MISSING", "Batch", "Config", "Context", "Method", "Needs", "Optimizer", "View"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'lrbench.method' has no attribute '{name}'")
    from lrbench.method import base

    return getattr(base, name)

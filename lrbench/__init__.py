"""lrbench: a benchmark harness for low-resolution image recognition. In Python: `import lrbench as lr`, see lr.run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrbench.api import compare, leaderboard, load, plot, reproduce, results, run, table
    from lrbench.errors import Error
    from lrbench.method import Batch, Config, Context, Method, Needs

__version__ = "0.1.0"
__all__ = ["Batch", "Config", "Context", "Error", "Method", "Needs"]
__all__ += ["compare", "leaderboard", "load", "plot", "reproduce", "results", "run", "table"]
_PLACES = {"Error": "errors"} | dict.fromkeys(("Method", "Config", "Batch", "Context", "Needs"), "method")


def __getattr__(name: str) -> Any:
    """Loaded when it is first asked for: torch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'lrbench' has no attribute '{name}'")
    return getattr(import_module(f"lrbench.{_PLACES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

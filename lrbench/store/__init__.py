"""What is kept on disk: finished runs, checkpoints of unfinished runs, arrays that take long to make."""

from lrbench.store.store import Store

__all__ = ["Store"]

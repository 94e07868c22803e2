"""A process that is killed in the middle of what it does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any


def killed_at(step: int, calls: list[tuple[Any, str]], work: Callable[[], object]) -> bool:
    """Do `work` in a child that dies in place of its call number `step`, from 1, of any of `calls`, (owner, name).

    Returns whether it died; where it calls them fewer times, it ends well.
    """
    child = os.fork()
    if not child:
        left = step

        def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return called

        for owner, name in calls:
            setattr(owner, name, deadly(getattr(owner, name)))
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])

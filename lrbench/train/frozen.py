"""The frozen networks of runs that are trained side by side: each loaded once, and asked once a batch."""

from __future__ import annotations

import torch

from lrbench.method.base import Method
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store
from lrbench.train import build
from lrbench.train.remembering import remember_answers


class Frozen:
    """Finished runs, loaded and frozen for the use of others. shared: whether several runs will ask them."""

    def __init__(self, store: Store, device: torch.device, shared: bool) -> None:
        self.store, self.device, self.shared = store, device, shared
        self._loaded: dict[str, Method] = {}

    def get(self, spec: RunSpec) -> Method:
        """The network of a finished run, the same one each time. It must be in the store with its weights."""
        if spec.id not in self._loaded:
            need = build.load_frozen(spec, self.store, self.device)
            if self.shared:
                remember_answers(need)
            self._loaded[spec.id] = need
        return self._loaded[spec.id]

"""The images that a frozen SR net restores for a classifier: made once and kept in the store's folder."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch

from lrbench.data.degradation import DEGRADATIONS
from lrbench.data.pairs import Pairs
from lrbench.data.prepare import Prepared
from lrbench.method.base import Method
from lrbench.spec.record import Record
from lrbench.store.arrays import Arrays, arrays
from lrbench.store.store import WEIGHTS, Store
from lrbench.train.tasks import restore


def see_through(data: Prepared, restorer: Method, record: Record, store: Store) -> Prepared:
    """The same data, `up` being made from the restored image instead of the LR image.

    The restored image, uint8, is resized to the network's input by the degradation protocol's way up,
    where it is smaller. record: of the run of `restorer`.
    """

    def through(pairs: Pairs) -> Pairs:
        lr, side, degradation = pairs.view("lr").cpu(), pairs.hr.shape[1], DEGRADATIONS[str(record.spec.degradation)]
        content = (record.id, record.files[WEIGHTS], str(tuple(lr.shape)), lr.numpy().tobytes())
        key = hashlib.sha256(b"\0".join(x if isinstance(x, bytes) else x.encode() for x in content)).hexdigest()[:16]

        def make() -> Arrays:
            small = torch.from_numpy(degradation.up(lr.numpy(), restorer.context.side))
            source = replace(pairs, up=small.to(pairs.hr.device)) if restorer.view == "up" else pairs
            return {"images": restore(restorer, source).cpu().numpy()}

        folder = store.root / ".images" / key
        made = arrays(folder, make, lambda: store.warn(f"another process is making images {key}; waiting for it"))
        kept = torch.from_numpy(made["images"])
        up = kept if kept.shape[1] == side else torch.from_numpy(degradation.up(kept.numpy(), side))
        return replace(pairs, up=up.to(pairs.hr.device))

    val = None if data.val is None else through(data.val)
    return replace(data, train=through(data.train), val=val, test=through(data.test))

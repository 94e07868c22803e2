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
    degradation = DEGRADATIONS[str(record.spec.degradation)]

    def through(pairs: Pairs) -> Pairs:
        lr, side = pairs.view("lr").cpu().numpy(), pairs.hr.shape[1]
        content = "\0".join([record.id, record.files[WEIGHTS], str(lr.shape), ""]).encode() + lr.tobytes()
        key = hashlib.sha256(content).hexdigest()[:16]

        def make() -> Arrays:
            small = torch.from_numpy(degradation.up(lr, restorer.context.side))
            source = replace(pairs, up=small.to(pairs.hr.device)) if restorer.view == "up" else pairs
            return {"images": restore(restorer, source).cpu().numpy()}

        folder, busy = store.root / ".images" / key, f"another process is making images {key}; waiting for it"
        kept = arrays(folder, make, lambda way_out: store.warn(busy + way_out))["images"]
        up = kept if kept.shape[1] == side else degradation.up(kept, side)
        return replace(pairs, up=torch.from_numpy(up).to(pairs.hr.device))

    val = None if data.val is None else through(data.val)
    return replace(data, train=through(data.train), val=val, test=through(data.test))

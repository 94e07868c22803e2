"""A small store for tests of reports: a teacher, students and an SR net, of two seeds, that nobody trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.torch import save as save_tensors

from helpers.records import net, record
from lrbench.spec.record import Record
from lrbench.store.store import Store

IMAGES = 20
HOSTILE = "<script>alert(1)</script>"  # what a class, a device or a setting may be called
TOP1 = {"hr-baseline": 90.0, "lr-baseline": 70.0, "dfd": 75.0}
CURVE = "epoch,loss,recognition,train_top1\n1,3,2.5,20\n2,2,nan,40\n3,1,0.5,60\n"
SR_CURVE = "epoch,loss,mse,train_psnr\n1,3,3,20\n2,2,2,21\n"


def finished(one: Record, **env: str) -> Record:
    """A record with all that a finished run's has."""
    metrics = {"train_seconds": 90.0, "parameters": 1_234_567, "macs": 35_000_000, "peak_memory_mib": 512}
    env = {"device": f"cpu {HOSTILE}", "torch": "2.15.0", "finished": "2026-01-02T03:04:05+00:00"} | env
    classes = (HOSTILE, "bee", "cow")
    facts = one.data.model_copy(update={"classes": classes, "test_images": IMAGES})
    return one.model_copy(update={"metrics": one.metrics | metrics, "env": env, "data": facts, "method_source": "5a"})


def put(store: Store, method: str, seed: int = 0, **changes: object) -> Record:
    """A finished classifier, whose predictions are its seed's."""
    draw = np.random.default_rng(seed)
    predictions = {name: draw.integers(0, 3, IMAGES) for name in ("predicted", "label")}
    one = finished(record(method, TOP1[method] + seed, seed, **changes))
    return store.save(one, CURVE, predictions, save_tensors({}))


def fill(store: Store) -> dict[str, list[Record]]:
    """Method -> its runs, seeds 0 and 1; of the SR net one."""
    store.root.mkdir(parents=True, exist_ok=True)
    found = {method: [put(store, method, seed) for seed in (0, 1)] for method in TOP1}
    draw = np.random.default_rng(7)
    measured = {name: draw.random(IMAGES).astype(np.float32) for name in ("psnr", "ssim")}
    restored = draw.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    espcn = finished(net("sr-espcn", 25.0))
    found["sr-espcn"] = [store.save(espcn, SR_CURVE, measured | {"restored": restored}, save_tensors({}))]
    return found


def folder(path: Path) -> tuple[Store, dict[str, list[Record]]]:
    """A filled store below a folder."""
    store = Store(path / "runs")
    return store, fill(store)

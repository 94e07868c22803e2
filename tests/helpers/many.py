"""A store of many records that nobody trained, to see what reports cost.

PYTHONPATH=tests python -m helpers.many FOLDER [RUNS]
"""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lrbench.data.dataset import KNOWN, DatasetInfo
from lrbench.method import naming
from lrbench.plan.plan import Protocol, plan
from lrbench.spec.record import DataFacts, Record
from lrbench.spec.runspec import RunSpec
from lrbench.store.record_file import sha256, to_bytes
from lrbench.store.store import CURVE, PREDICTIONS, RECORD, WEIGHTS

TEST_IMAGES = 10_000
FINGERPRINT = {"train": "1" * 64, "test": "2" * 64}
VARIANTS = (
    ("hr-baseline", {}),
    ("lr-baseline", {}),
    ("lr-baseline", {"init": "teacher"}),
    *(("dfd", {"lam": lam, "init": init}) for lam in (0.1, 0.5, 1.0, 2.0, 5.0) for init in ("scratch", "lr-baseline")),
    *((method, {"sr_scale": scale}) for method in ("vdsr", "espcn", "srgan") for scale in (2, 4)),
    ("sr-vdsr", {}),
)


def specs(runs: int) -> Iterator[RunSpec]:
    """So many runs of several methods, settings, backbones, data sets, scales, widths and seeds."""
    infos = [
        DatasetInfo(
            name, known.classes, 32, {"train": 50_000, "test": TEST_IMAGES}, {"train": "1" * 64, "test": "2" * 64}, ""
        )
        for name, known in KNOWN.items()
        if name in ("cifar10", "svhn")
    ]
    seen: set[str] = set()
    for seed, width in itertools.product(range(10**6), (1.0, 0.25)):
        for backbone, info, scale in itertools.product(("resnet18", "vgg16", "alexnet"), infos, (4, 2)):
            for method, settings in VARIANTS:
                settings = {**settings, "sr_scale": 2} if settings.get("sr_scale", 2) > scale else settings
                spec = plan(
                    method, settings, Protocol(info, "bf16", scale=scale, backbone=backbone, width=width, seed=seed)
                )
                if spec.id not in seen:
                    seen.add(spec.id)
                    yield spec
                if len(seen) == runs:
                    return


def write(root: Path, runs: int) -> list[Record]:
    """Write so many runs, without weights and without waiting for the disk."""
    root.mkdir(parents=True, exist_ok=True)
    return [_write(root, spec, np.random.default_rng(number)) for number, spec in enumerate(specs(runs))]


def _write(root: Path, spec: RunSpec, draw: np.random.Generator) -> Record:
    label = np.random.default_rng(0).integers(10, size=TEST_IMAGES)  # the same images for all
    metrics: dict[str, float | int | None] = {"epochs": 100, "epochs_in_weights": 100, "images_per_second": 1000.0}
    if spec.method.startswith("sr-"):
        psnr = draw.normal(25, 2, TEST_IMAGES).astype(np.float32)
        outputs = dict.fromkeys(("psnr", "ssim", "psnr_y", "ssim_y"), psnr)
        metrics |= {name: float(psnr.mean()) for name in outputs}
        metrics |= {f"bicubic_{name}": float(psnr.mean()) for name in outputs}
    else:
        predicted = np.where(draw.random(TEST_IMAGES) < draw.uniform(0.75, 0.85), label, (label + 1) % 10)
        outputs = {"predicted": predicted, "label": label}
        metrics |= {"top1": 100 * float((predicted == label).mean()), "train_top1": 90.0, "predicted_classes": 10}
    archive = io.BytesIO()
    np.savez_compressed(archive, allow_pickle=False, **outputs)
    curve = "epoch,loss,train_top1\n" + "".join(f"{epoch},{2.5 / epoch},{80.0}\n" for epoch in range(1, 101))
    content = {CURVE: curve.encode(), PREDICTIONS: archive.getvalue()}
    record = Record(
        id=spec.id,
        spec=spec,
        metrics=metrics,
        about=naming.about(spec.method),
        data=DataFacts(classes=("a",) * 10, side=32, train_images=50_000, val_images=0, test_images=TEST_IMAGES),
        env={"python": "3.11.7", "device": "a test", "finished": f"2026-11-24T00:00:{spec.seed % 60:02}+00:00"},
        method_source="0" * 64,
        files={**{name: sha256(data) for name, data in content.items()}, WEIGHTS: "0" * 64},
    )
    folder = root / spec.id
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    (folder / RECORD).write_bytes(to_bytes(record))
    return record


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)

"""What only a CUDA device can show; run with `pytest -m gpu`."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from lrbench import pairs, session
from lrbench.progress import Progress
from lrbench.recipes import recipe
from lrbench.seeds import generator

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_student_learns_on_the_device(tmp_path: Path, precision: str) -> None:
    request = session.Request(
        "dfd", "digits", tmp_path, scale=2, width=0.25, recipe="quick", device="cuda", precision=precision
    )
    (record,) = session.run(request, Progress())
    assert record.top1 > 80  # chance is 10
    assert record.env["device"] == torch.cuda.get_device_name()
    assert record.metrics["peak_memory_mib"]


def test_images_are_restored_on_the_device(tmp_path: Path) -> None:
    settings = {"channels": 16, "blocks": 2}
    request = session.Request(
        "srgan", "digits", tmp_path, scale=2, width=0.25, recipe="quick", device="cuda", settings=settings
    )
    (record,) = session.run(request, Progress())
    assert record.top1 > 80
    quality = next(one.metrics for one in session.with_needs([record], tmp_path, print) if one.restores)
    assert quality["psnr"] > quality["bicubic_psnr"]


def test_batches_are_those_of_the_cpu() -> None:
    here = tiny.pairs()
    there = here.to(torch.device("cuda"))
    quick = recipe("quick", "resnet18")
    for a, b in zip(
        pairs.epoch(here, quick, 4, False, generator(0, "batches", 0)),
        pairs.epoch(there, quick, 4, False, generator(0, "batches", 0)),
        strict=True,
    ):
        assert b.hr.is_cuda
        for name in ("hr", "lr", "up", "y", "index"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name).cpu(), rtol=0, atol=0)

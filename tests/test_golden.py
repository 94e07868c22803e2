"""Scores are as they were: an edit of lrbench that moves them raises PROTOCOL, and writes golden.json anew.

    python tests/test_golden.py

Three short runs on the digits are trained and compared with what golden.json says of them: by what they predict, image
by image, or by the PSNR of each; and by their losses. Four updates each, with large effects: other processors round
differently, and after more of them that would be seen.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lrbench import device
from lrbench.execute import session
from lrbench.execute.progress import Progress
from lrbench.execute.session import Request
from lrbench.report import lines
from lrbench.spec.runspec import PROTOCOL, RESTORATION_PROTOCOL
from lrbench.store.store import Store

FILE = Path(__file__).with_name("golden.json")
TOML = FILE.with_suffix(".toml")
TORCH = torch.__version__.partition("+")[0]
RUNS: dict[str, dict[str, Any]] = {"dfd": {}, "lr-baseline": {"recipe": str(TOML), "dropout": 0.2}, "sr-espcn": {}}
SMALL = {"scale": 2, "width": 0.125, "recipe": "quick", "lr": 0.01, "batch_size": 100, "epochs": 2}
FIXED = {"limit_train": 200, "limit_test": 200, "device": "cpu", "precision": "fp32", "threads": 1}


def measured(folder: Path) -> dict[str, Any]:
    """What the runs give now."""
    before, found, store = device.threads_in_use(), {}, Store(folder / "runs")
    for method, options in RUNS.items():
        given = {**SMALL, **FIXED, **options}
        [record] = session.run(Request(method, "digits", store.root, **given), Progress())
        shown = store.predictions(record.id)
        values = shown["predicted"] if "predicted" in shown else shown["psnr"].round(3)
        found[method] = {"images": values.tolist(), "loss": lines.read(store.curve(record.id))["loss"]}
    device.use_threads(before)
    return found


@pytest.mark.slow
def test_scores_are_as_they_were_under_this_protocol(tmp_path: Path) -> None:
    golden = json.loads(FILE.read_text())
    now = {"protocol": PROTOCOL, "restoration_protocol": RESTORATION_PROTOCOL}
    said = "write tests/golden.json anew: python tests/test_golden.py"
    assert {name: golden[name] for name in now} == now, f"the protocol was raised: {said}"
    if golden["torch"] != TORCH:
        pytest.skip(f"golden.json is of torch {golden['torch']}; this is {TORCH}")
    for method, found in measured(tmp_path).items():
        wanted = golden["runs"][method]
        moved = f"the scores of {method} have moved: take the edit back, or raise PROTOCOL and {said}"
        assert found["loss"] == pytest.approx(wanted["loss"], rel=2e-4), moved
        assert np.isclose(found["images"], wanted["images"], atol=0.01).mean() >= 0.99, moved


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        runs = measured(Path(temporary))
    content = {"torch": TORCH, "protocol": PROTOCOL, "restoration_protocol": RESTORATION_PROTOCOL, "runs": runs}
    FILE.write_text(json.dumps(content) + "\n")

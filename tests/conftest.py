"""What several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Before torch is imported, here and in child processes: runs this small are slower on several threads, and
# much slower on a busy machine.
os.environ["OMP_NUM_THREADS"] = "1"
# A test reads the stores that it names, not the records that ship with the checkout.
os.environ["LRBENCH_BASELINES"] = "none"


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cifar10.npz and svhn-partial.npz, unpacked from $LRBENCH_TEST_DATA or ../shared/data."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    packed = Path(os.environ.get("LRBENCH_TEST_DATA") or beside)
    if not (packed / "unpack").is_file():
        pytest.skip(f"no real images: {packed} has no unpack; set LRBENCH_TEST_DATA to the folder that has it")
    out = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, packed / "unpack", out], check=True)
    return out

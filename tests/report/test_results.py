"""The committed tables follow from the committed records."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from helpers.cli import COMMAND

pytestmark = pytest.mark.slow

RESULTS = Path(__file__).parents[2] / "results"
TABLES = {"1": "table1", "2": "table2", "sr": "sr", "tuned": "tuned", "claims": "claims", "leaderboard": "leaderboard"}
OURS = ["--dataset", "svhn=svhn-resplit"]  # our own split in SVHN's columns


@pytest.mark.parametrize("table", TABLES)
def test_a_committed_table_is_what_its_command_makes(table: str, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    options = [
        *(OURS if table in ("1", "claims") else []),
        "--results",
        RESULTS / "records",
        "--format",
        "csv",
        "--out",
        out,
    ]
    subprocess.run([*COMMAND, "table", table, *options], check=True)
    assert out.read_text() == (RESULTS / f"{TABLES[table]}.csv").read_text()

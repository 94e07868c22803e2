"""Methods: one file each. LEADERBOARD is the suite that runs them all, WEIGHTS the one that chooses their weights."""

from pathlib import Path

LEADERBOARD, WEIGHTS = (Path(__file__).with_name(f"{name}.toml") for name in ("leaderboard", "weights"))

"""Methods: one file each. LEADERBOARD is the suite that runs them all, beside the baselines."""

from pathlib import Path

LEADERBOARD = Path(__file__).with_name("leaderboard.toml")

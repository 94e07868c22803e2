"""The suites that ship: TOML files beside this one."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
TABLE_1, TABLE_2, FIG_2, FIG_3 = (HERE / f"{name}.toml" for name in ("table1", "table2", "fig2", "fig3"))
PAPER, SMOKE = HERE / "paper.toml", HERE / "smoke.toml"

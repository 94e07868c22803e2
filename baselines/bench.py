"""What `lrbench bench` times where no method is named: a plain run, and one with a teacher.

Both from scratch: where the weights start is of no matter to the speed.
"""

from __future__ import annotations

METHODS = {"lr-baseline": {"init": "scratch"}, "dfd": {"init": "scratch"}}

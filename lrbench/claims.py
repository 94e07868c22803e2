"""For plugins: what a paper claims, see lrbench.report.claims."""

from lrbench.report.claims import Above, BestNear, Claim, NoGain
from lrbench.report.evidence import Pair
from lrbench.report.rows import Wanted

__all__ = ["Above", "BestNear", "Claim", "NoGain", "Pair", "Wanted"]

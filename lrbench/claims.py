"""For plugins: what a paper claims, see lrbench.report.claims."""

from lrbench.report.claims import Above, BestNear, Claim, NoGain, Pair
from lrbench.report.ways import Wanted

__all__ = ["Above", "BestNear", "Claim", "NoGain", "Pair", "Wanted"]

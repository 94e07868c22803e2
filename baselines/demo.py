"""What `lrbench demo` runs: the baselines, DFD and FitNets on scikit-learn's digits, which nobody has published."""

from __future__ import annotations

from lrbench.published import PublishedRow, PublishedTable

TABLE = PublishedTable(
    title="lrbench demo: scikit-learn's digits",
    source="",
    protocol="",
    columns=(("digits", 2, 8),),
    rows=(
        PublishedRow("HR-baseline", "hr-baseline", "resnet18", (None,)),
        PublishedRow("LR-baseline", "lr-baseline", "resnet18", (None,)),
        PublishedRow("DFD: last features", "dfd", "resnet18", (None,)),
        PublishedRow("FitNets: maps in the middle", "fitnets", "resnet18", (None,)),
    ),
    reference="lr-baseline",
)

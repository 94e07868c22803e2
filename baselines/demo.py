"""What `lrbench demo` runs: the baselines and DFD on scikit-learn's digits, which nobody has published."""

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
        PublishedRow("DFD", "dfd", "resnet18", (None,)),
    ),
)

"""Data sets that come with a dependency: made in memory, never imported or fetched."""

from __future__ import annotations

import numpy as np

from lrbench.data.dataset import Dataset, Split, build
from lrbench.data.splits import subset


def digits() -> Dataset:
    """scikit-learn's digits: 1,797 grey 8x8 images, 0..16 scaled to 0..255, 500 of them for testing."""
    from sklearn.datasets import load_digits  # a second to import

    raw = load_digits()
    grey = np.rint(raw.images * (255 / 16)).astype(np.uint8)
    everything = Split(np.repeat(grey[..., None], 3, axis=3), raw.target.astype(np.int64))
    classes = tuple("0123456789")
    pool = build("digits", classes, {"train": everything}, "").splits["train"]
    # The set comes without a split of its own. The canonical order is as good as a shuffle.
    test = subset(pool.labels, 500)
    train = np.setdiff1d(np.arange(len(pool.labels)), test)
    splits = {part: Split(pool.images[rows], pool.labels[rows]) for part, rows in (("train", train), ("test", test))}
    return build("digits", classes, splits, "scikit-learn")


BUILT_IN = {"digits": digits}  # made in memory, never imported

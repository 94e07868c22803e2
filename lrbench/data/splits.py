"""Subsets and validation splits: the same on every machine, because the images have a canonical order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from lrbench.errors import UserError


def subset(labels: np.ndarray, n: int, keep_rare: bool = True) -> np.ndarray:
    """Sorted indices of `n` images, each class in its proportion (largest remainder), and with one image at least.

    `labels` (N,) are in canonical order; of each class the first are taken. keep_rare: without it a class whose share
    is less than an image has none. Raises UserError unless C <= n <= N, for labels of C classes.
    """
    total = len(labels)
    classes, counts = np.unique(labels, return_counts=True)
    least = len(classes) if keep_rare else 1
    if not least <= n <= total:
        nearest = min(max(n, least), total)
        raise UserError(f"limit {n} must lie between {least}, one a class, and {total}; the nearest is {nearest}")
    shares, common = _apportion(counts, n, counts), np.ones(len(classes), bool)
    while keep_rare and not shares.all():  # a class too rare for a share gets one image, and the others share the rest
        common &= shares > 0
        shares[~common] = 1
        shares[common] = _apportion(counts[common], n - int((~common).sum()), counts[common])
    firsts = [np.flatnonzero(labels == c)[:k] for c, k in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(firsts))


def some_are_rare(per_class: Sequence[int], n: int) -> bool:
    """Whether the share of `n` images is less than one for a class that has images. per_class: those of each class."""
    counts = np.array([count for count in per_class if count])
    return n < counts.sum() and not _apportion(counts, n, counts).all()


def hold_out(labels: np.ndarray, groups: np.ndarray | None, fraction: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (train, val): `fraction` of the images in val, each class in its proportion.

    `labels` (N,) are in canonical order. Every class keeps a training image. Where `groups` (N,) are given, no group is
    on both sides, and proportions hold as nearly as that allows. Raises UserError where nothing can be held out.
    """
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    room = counts - 1
    if not room.sum():
        raise UserError(f"{len(labels)} images of {len(classes)} classes are too few to hold any out")
    n = min(max(1, round(fraction * len(labels))), int(room.sum()))
    shares = _apportion(counts, n, room)
    if groups is None:  # the last of each class: a subset takes the first, so a small one shares none with this
        parts = [np.flatnonzero(codes == c)[-k:] for c, k in enumerate(shares) if k]
        val = np.sort(np.concatenate(parts))
    else:
        val = np.flatnonzero(np.isin(groups, _choose_groups(codes, groups, counts, shares)))
    return np.setdiff1d(np.arange(len(labels)), val), val


def _apportion(counts: np.ndarray, n: int, room: np.ndarray) -> np.ndarray:
    """Split `n` in proportion to `counts`, at most `room` each, by largest remainder; exact, in integers."""
    exact, total = n * counts.astype(np.int64), int(counts.sum())
    shares = np.minimum(exact // total, room)
    by_remainder = np.argsort(-(exact % total), kind="stable")
    while missing := n - int(shares.sum()):
        shares[[c for c in by_remainder if shares[c] < room[c]][:missing]] += 1
    return shares


def _choose_groups(codes: np.ndarray, groups: np.ndarray, counts: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Groups that together have about `target` images of each class, but no class's last training image.

    In the order of a hash of their numbers, each is taken that brings the counts nearer, in squared distance.
    """
    numbers, rows = np.unique(groups, return_inverse=True)
    table = np.zeros((len(numbers), len(counts)), np.int64)
    np.add.at(table, (rows, codes), 1)
    hashes = [hashlib.sha256(number.tobytes()).digest() for number in numbers.astype("<i8")]
    order = sorted(range(len(numbers)), key=hashes.__getitem__)
    held, chosen = np.zeros_like(counts), list[int]()
    for i in order:
        more = held + table[i]
        nearer = ((more - target) ** 2).sum() < ((held - target) ** 2).sum()
        if nearer and (more < counts).all():
            held = more
            chosen.append(i)
    if not chosen:  # every group is larger than the whole of what was asked for: the smallest that may go
        allowed = [i for i in order if (table[i] < counts).all()]
        if not allowed:
            raise UserError("no group of images can be held out: each has a class's last training image")
        chosen = [min(allowed, key=lambda i: int(table[i].sum()))]
    return numbers[chosen]

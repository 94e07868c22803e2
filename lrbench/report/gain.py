"""The gain of one way of training over its control: who the control is, and how sure the gain is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from lrbench import cells, stats
from lrbench.rows import controlled
from lrbench.sheet import WAYS_MARK

SEEDS = 3  # fewer hardly have a spread, and get no mark
NUMBERS = ["gain", "gain_low", "gain_high", "gain_mark", "gain_n", "t_low", "t_high", "t_p"]
NUMBERS += ["images_low", "images_high", "images_p", "mcnemar_p"]
Right = Callable[[str], np.ndarray]  # id of a run -> which test images it got right


def control_of(
    way: pd.Series, measured: pd.DataFrame, candidates: pd.DataFrame, methods: Sequence[str]
) -> tuple[str | None, pd.DataFrame]:
    """The runs of a reference that are trained like a way of training: settings that both have, network, epochs.

    candidates: the finished runs of the references, the newest last. Where there are several precisions, those of the
    way's own are taken; of several versions, the newest.
    """
    epochs = measured["epochs_in_weights"].max()
    for method in methods:
        config = json.dumps(controlled(cells.default_config(method), json.loads(way["config"])), sort_keys=True)
        found = candidates[
            (candidates["method"] == method)
            & (candidates["config"] == config)
            & (candidates["backbone"] == way["backbone"])
            & (candidates["width"] == way["width"])
            & (candidates["epochs_in_weights"] == epochs)
            & candidates["seed"].isin(measured["seed"])
        ]
        if way["method"] != method and len(found):
            same = found[found["precision"] == way["precision"]]
            newest = (same if len(same) else found).iloc[-1]["experiment"]
            return method, found[found["experiment"] == newest]
    return None, candidates[:0]


def gain(done: pd.DataFrame, control: pd.DataFrame, right: Right) -> dict[str, Any]:
    """One way of training minus its control, over the seeds that both have; None where they have none."""
    scores = ["seed", "id", "top1"]
    pairs = done[scores].merge(control[scores], on="seed", suffixes=("", "_of_control"))
    numbers: dict[str, Any] = dict.fromkeys(NUMBERS)
    if len(pairs):
        gains = list(pairs["top1"] - pairs["top1_of_control"])
        both = [(right(one), right(other)) for one, other in zip(pairs["id"], pairs["id_of_control"], strict=True)]
        numbers |= _tested(gains, both)
    return numbers | {"gain_seeds": joined(pairs["seed"]), "control_runs": joined(pairs["id_of_control"])}


def _tested(gains: list[float], right: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """A gain's tests. t_: Student's, over seeds; images_: the bootstrap over seeds and images; mcnemar_: of each seed.

    images_p takes the mean gain to be normal, with the spread that the bootstrap's interval has.
    """
    unit, gain = 100 / len(right[0][0]), float(np.mean(gains))
    low, high = (100 * end for end in stats.bootstrap(np.stack([one.astype(int) - other for one, other in right])))
    by_t = stats.t_interval(gains, unit=unit)
    wider = max([(low, high)] + ([by_t] if by_t else []), key=lambda ends: ends[1] - ends[0])
    error = (high - low) / (2 * special.ndtri(0.975))
    excludes = wider[0] > 0 or wider[1] < 0
    return {
        **{"gain": round(gain, 4), "gain_low": round(wider[0], 4), "gain_high": round(wider[1], 4)},
        "gain_mark": WAYS_MARK if excludes and len(gains) >= SEEDS else "",
        "gain_n": len(gains),
        **dict(zip(("t_low", "t_high"), (round(end, 4) for end in by_t or ()), strict=False)),
        "t_p": float(f"{stats.t_test(gains, unit):.6g}") if by_t else None,
        **{"images_low": round(low, 4), "images_high": round(high, 4)},
        "images_p": float(f"{2 * special.ndtr(-abs(gain) / error):.6g}") if error else float(gain == 0),
        "mcnemar_p": " ".join(f"{stats.mcnemar(one, other):.3g}" for one, other in right),
    }


def joined(values: Any) -> str:
    """Ids or seeds in one cell."""
    return " ".join(map(str, values))

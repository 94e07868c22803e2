"""The gain of one way of training over its control: who the control is, and how sure the gain is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from lrbench.report import cells
from lrbench.report.compare import Comparison, between
from lrbench.report.frame import DONE
from lrbench.report.marks import significant
from lrbench.report.rows import controlled

MARK = "§"  # of a gain whose interval leaves out 0
NUMBERS = ["gain", "gain_low", "gain_high", "gain_mark", "gain_n", "gain_diverged", "gain_seeds", "mcnemar_p"]
NUMBERS += ["t_low", "t_high", "t_p", "t_own_p", "images_low", "images_high", "images_p"]
Right = Callable[[str], np.ndarray]  # id of a run -> which test images it got right


def control_of(
    way: pd.Series, measured: pd.DataFrame, candidates: pd.DataFrame, methods: Sequence[str]
) -> tuple[str | None, pd.DataFrame]:
    """The runs of a reference that are trained like a way of training: settings that both have, network, epochs.

    Where the reference cannot be trained so, its default settings, at equal epochs.

    candidates: the runs of the references, the newest last. Where there are several precisions, those of the
    way's own are taken; of several versions, the newest. Those of the control that diverged are among what is returned.
    """
    done = candidates[candidates["status"] == DONE]
    epochs = measured["epochs_in_weights"].max()
    for method in methods:
        plain = cells.default_config(method)
        config = json.dumps(controlled(plain, json.loads(way["config"])), sort_keys=True)
        if config not in set(done["config"]):
            config = json.dumps(plain, sort_keys=True)
        found = done[
            (done["method"] == method)
            & (done["config"] == config)
            & (done["backbone"] == way["backbone"])
            & (done["width"] == way["width"])
            & (done["epochs_in_weights"] == epochs)
            & done["seed"].isin(measured["seed"])
        ]
        if way["method"] != method and len(found):
            same = found[found["precision"] == way["precision"]]
            newest = (same if len(same) else found).iloc[-1]["experiment"]
            return method, candidates[candidates["experiment"] == newest]
    return None, candidates[:0]


def comparison(runs: pd.DataFrame, control: pd.DataFrame, right: Right) -> Comparison | None:
    """One way of training minus its control, over the seeds that both have; None where none of them is finished.

    A seed of which one or both diverged is left out, and counted.
    """
    both = runs.merge(control, on="seed", suffixes=("", "_of_control"))
    finished = (both["status"] == DONE) & (both["status_of_control"] == DONE)
    pairs, diverged = both[finished], both.loc[~finished, "seed"].tolist()
    if not len(pairs):
        return None
    hits = [(right(one), right(other)) for one, other in zip(pairs["id"], pairs["id_of_control"], strict=True)]
    return between(pairs["seed"].tolist(), (pairs["top1"] - pairs["top1_of_control"]).tolist(), hits, diverged)


def numbers(one: Comparison | None) -> dict[str, Any]:
    """A gain and its tests, in points; None of each where there is no gain.

    gain_low, gain_high: see Comparison.interval. t_: Student's over seeds, its spread pooled over the table's gains;
    t_own_p: of these seeds alone. images_: the bootstrap over seeds and images, whose p takes the mean gain to be
    normal with the spread that the interval has. mcnemar_p: of each seed.
    """
    if one is None:
        return dict.fromkeys(NUMBERS)
    (low, high), by_t, (images_low, images_high) = one.interval, one.over_seeds or (None, None), one.resampled
    error = (images_high - images_low) / (2 * special.ndtri(0.975))
    ends: dict[str, float | None] = {"gain_low": low, "gain_high": high, "t_low": by_t[0], "t_high": by_t[1]}
    ends |= {"images_low": images_low, "images_high": images_high}
    p: dict[str, float | None] = {
        "images_p": float(2 * special.ndtr(-abs(one.gain) / error)) if error else float(one.gain == 0)
    }
    p |= {"t_p": None if one.of_networks else one.p, "t_own_p": one.own_p}
    return {
        "gain": round(one.gain, 6),
        **{name: None if end is None else round(end, 6) for name, end in ends.items()},
        **{name: significant(value) for name, value in p.items()},
        "gain_mark": MARK if one.of_ways and (low > 0 or high < 0) else "",
        "gain_n": len(one.seeds),
        "gain_diverged": len(one.diverged),
        "mcnemar_p": " ".join(f"{value:.3g}" for value in one.mcnemar),
        "gain_seeds": joined(one.seeds),
    }


def joined(values: Any) -> str:
    """Ids or seeds in one cell."""
    return " ".join(map(str, values))

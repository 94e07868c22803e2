"""Learning-rate schedules: functions of how far the training is, so that a resumed run needs no state for them."""

from __future__ import annotations

import math

STEP_AT = (0.5, 0.75)  # progress, from 0 to 1, at which the rate is divided by ten
ONE_CYCLE_UP, ONE_CYCLE_START = 0.3, 1 / 25  # as torch's OneCycleLR has them
COSINE_WARMUP = 0.025


def step(progress: float) -> float:
    """Divided by ten at half and at three quarters of the training."""
    return 0.1 ** sum(progress >= at for at in STEP_AT)


def one_cycle(progress: float) -> float:
    """Cosine from 1/25 up to 1 over the first 30 %, then cosine down to 0."""
    if progress < ONE_CYCLE_UP:
        return 1 - (1 - ONE_CYCLE_START) * _half_cosine(progress / ONE_CYCLE_UP)
    return _half_cosine((progress - ONE_CYCLE_UP) / (1 - ONE_CYCLE_UP))


def cosine(progress: float) -> float:
    """Linear warm-up over the first 2.5 %, then half a cosine down to 0."""
    if progress < COSINE_WARMUP:
        return progress / COSINE_WARMUP
    return _half_cosine((progress - COSINE_WARMUP) / (1 - COSINE_WARMUP))


def _half_cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


SCHEDULES = {"step": step, "one-cycle": one_cycle, "cosine": cosine}


def factor(schedule: str, done: int, total: int) -> float:
    """What the peak learning rate is multiplied by at update number `done` (from 0) of `total`."""
    return SCHEDULES[schedule]((done + 0.5) / total)

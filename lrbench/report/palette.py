"""Looks of lines that are told apart in grey and by colour-blind readers: colour, dashes and marker all differ."""

from __future__ import annotations

from dataclasses import dataclass

# Okabe & Ito 2008, "Color Universal Design", without the yellow, which is not seen on white
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (7, 2, 1.5, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
RIGHT, WRONG = ("#009E73", "✓"), ("#D55E00", "✗")  # of a prediction: colour and mark


@dataclass(frozen=True)
class Look:
    """How one line is drawn, as matplotlib takes it."""

    colour: str
    dashes: str | tuple[int, tuple[float, ...]]
    marker: str


def looks(n: int) -> list[Look]:
    """For `n` lines; the first 252 are all different, neighbours in colour, dashes and marker."""
    return [
        Look(
            COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)]
        )  # 7, 4 and 9 share no factor
        for i in range(n)
    ]

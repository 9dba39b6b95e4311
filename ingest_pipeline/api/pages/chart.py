"""What was spent per day, as the shapes of a bar chart. Pure; lengths are units of its view box."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 14, 26
_NOTHING = 1e-9
"""Dollars below which nothing was spent."""

_GAP = 0.25
"""Of a day's width, left free between bars."""


@dataclass(frozen=True, slots=True)
class Bar:
    day: date
    spent: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the scale, with what it says."""

    y: float
    dollars: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    total: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    bottom: int = HEIGHT - BOTTOM
    right: int = WIDTH - RIGHT


def draw(spend: Mapping[date, float]) -> Chart:
    """A bar per day, in their order, on a scale of round numbers."""
    top = _round_up(max(spend.values(), default=0.0))
    plot, step = HEIGHT - TOP - BOTTOM, (WIDTH - LEFT - RIGHT) / max(1, len(spend))
    bars = []
    for n, (one, dollars) in enumerate(spend.items()):
        height = plot * dollars / top
        x, width = LEFT + (n + _GAP / 2) * step, (1 - _GAP) * step
        bars.append(Bar(one, dollars, round(x, 2), round(TOP + plot - height, 2), round(width, 2), round(height, 2)))
    marks = (Tick(round(TOP + plot * (1 - part), 2), top * part, money(top * part)) for part in (0.0, 0.5, 1.0))
    return Chart(tuple(bars), tuple(marks), sum(spend.values()))


def _round_up(value: float) -> float:
    """To a number with a round half."""
    if value < _NOTHING:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-9))


def money(dollars: float) -> str:
    """With as many digits as a small sum needs."""
    if dollars and dollars < 0.01:
        return f"${dollars:.5f}".rstrip("0")
    return f"${dollars:,.2f}"

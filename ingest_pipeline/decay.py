"""How much of a memory's importance, or a trait's confidence, is left when it is read. Pure; what is stored never
changes by itself.

importance shown = importance stored (as of the day it was said last) × decay
"""

import math
from collections.abc import Mapping
from datetime import datetime

from ingest_pipeline.extraction.base import MemoryType

HALF_LIFE_DAYS: Mapping[str, float] = {
    # A role, a family, a fleet: true for years, and said again when it changes.
    MemoryType.FACT: 730.0,
    # How somebody wants to be dealt with outlasts a project, not a job.
    MemoryType.PREFERENCE: 365.0,
    # Worth a word for a season; the trait that it changed stays.
    MemoryType.EVENT: 90.0,
    # A project or a complaint under way: settled, or said again, within a month or two.
    MemoryType.CONTEXT: 45.0,
}

_DAY_S = 86_400.0


def faded(confidence: float, age_days: float, half_life_days: float | None) -> float:
    """What is left of a trait's confidence ``age_days`` after it was said, set or confirmed last: half per
    ``halfLifeDays`` of the trait schema. A trait without a half-life does not fade."""
    return confidence if half_life_days is None else confidence * math.pow(0.5, age_days / half_life_days)


def days_since(moment: datetime, at: datetime) -> float:
    """0 for what is still to come."""
    return max((at - moment).total_seconds() / _DAY_S, 0.0)


def decay(kind: str, said_at: datetime | None, event_at: datetime | None, at: datetime) -> float:
    """From 1 (said now, or an event still to come) towards 0, to four places. What has no date has no age."""
    moments = [moment for moment in (said_at, event_at) if moment]
    if not moments:
        return 1.0
    age_days = days_since(max(moments), at)
    return round(math.pow(0.5, age_days / HALF_LIFE_DAYS.get(kind, HALF_LIFE_DAYS[MemoryType.FACT])), 4)

"""How long documents are kept, by source: INGEST_RETENTION_DAYS_*."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ingest_pipeline.documents import Item, Record, Skipped, Source

PAST_RETENTION = "past_retention"
"""Why a unit is skipped that is older than its source's limit."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Days by source. A source without a number is kept for good."""

    days: Mapping[Source, int] = field(default_factory=dict)

    def cutoffs(self, now: datetime) -> dict[Source, datetime]:
        """What happened before goes, for the sources that have a limit."""
        return {source: now - timedelta(days=days) for source, days in sorted(self.days.items())}


def within(item: Item, cutoff: datetime | None) -> Item:
    """The item, or Skipped in its place when it happened before ``cutoff``. One without a date counts as of today."""
    if cutoff is None or not isinstance(item, Record) or item.occurred_at is None or item.occurred_at >= cutoff:
        return item
    return Skipped(item.file, PAST_RETENTION, item.units)

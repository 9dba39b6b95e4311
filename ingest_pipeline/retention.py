"""How long documents are kept, by source: INGEST_RETENTION_DAYS_*."""

from datetime import datetime, timedelta

from ingest_pipeline.documents import Item, Record, Skipped, Source

PAST_RETENTION = "past_retention"
"""Why a unit is skipped that is older than its source's limit."""


KeepDays = tuple[tuple[str, int], ...]
"""(source, days); a source that is not named is kept for good."""


def cutoff_of(keep_days: KeepDays, source: Source, now: datetime) -> datetime | None:
    """What happened before goes; None when everything stays."""
    days = dict(keep_days).get(source.value)
    return None if days is None else now - timedelta(days=days)


def within(item: Item, cutoff: datetime | None) -> Item:
    """The item, or Skipped in its place when it happened before ``cutoff``. One without a date counts as of today."""
    if cutoff is None or not isinstance(item, Record) or item.occurred_at is None or item.occurred_at >= cutoff:
        return item
    return Skipped(item.file, PAST_RETENTION, item.units)

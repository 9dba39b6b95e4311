"""What partitions hold in all, which of them are done, and what failed in a run."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, case, func, select

from ingest_pipeline.documents import Source
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow, ObservationRow, Profile
from ingest_pipeline.store.upsert import LISTED, select_listed


@dataclass(frozen=True, slots=True)
class Holdings:
    """Current documents of some profiles in one source, and the observations in force that they gave."""

    documents: int = 0
    pending: int = 0
    failed: int = 0
    observations: int = 0

    def __add__(self, other: "Holdings") -> "Holdings":
        return Holdings(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


def count_holdings(engine: Engine, profiles: Iterable[str], source: Source) -> dict[str, Holdings]:
    """What each of the profiles has of one source; profiles without documents are left out."""
    profiles = list(profiles)
    with reading(engine) as connection:
        states = list(select_listed(connection, _states(source), profiles))
        observations = {row.profile_id: row.n for row in select_listed(connection, _observed(source), profiles)}
    return {
        row.profile_id: Holdings(row.documents, row.pending, row.failed, observations.get(row.profile_id, 0))
        for row in states
    }


@cache
def _states(source: Source) -> Select[Any]:
    return (
        select(
            DocumentRow.profile_id,
            func.count().label("documents"),
            func.sum(case((DocumentRow.state == "pending", 1), else_=0)).label("pending"),
            func.sum(case((DocumentRow.state == "failed", 1), else_=0)).label("failed"),
        )
        .where(*_current(source))
        .group_by(DocumentRow.profile_id)
    )


@cache
def _observed(source: Source) -> Select[Any]:
    return (
        select(DocumentRow.profile_id, func.count().label("n"))
        .join(ObservationRow, ObservationRow.document_id == DocumentRow.id)
        .where(*_current(source), ObservationRow.superseded.is_(False))
        .group_by(DocumentRow.profile_id)
    )


def _current(source: Source) -> list[ColumnElement[bool]]:
    return [
        DocumentRow.superseded_at.is_(None),
        DocumentRow.source == source.value,
        DocumentRow.profile_id.in_(LISTED),
    ]


def load_failed_in_run(engine: Engine, run_id: str) -> dict[Source, set[str]]:
    """The profiles whose documents failed in a run and were not extracted since, by source."""
    query = (
        select(DocumentRow.source, DocumentRow.profile_id)
        .join(ExtractionRow, ExtractionRow.document_id == DocumentRow.id)
        .where(
            ExtractionRow.run_id == run_id,
            ExtractionRow.fingerprint == DocumentRow.fingerprint,
            DocumentRow.state == "failed",
            DocumentRow.superseded_at.is_(None),
            DocumentRow.profile_id.is_not(None),
        )
        .distinct()
    )
    failed: dict[Source, set[str]] = {}
    with reading(engine) as connection:
        for source, profile in connection.execute(query):
            failed.setdefault(Source(source), set()).add(profile)
    return failed


def load_finished(engine: Engine) -> list[tuple[str, Source, bool]]:
    """(partition key, source, whether all its documents are extracted) of every profile and source with documents."""
    query = (
        select(
            Profile.partition_key, DocumentRow.source, func.sum(case((DocumentRow.state != "done", 1), else_=0)) == 0
        )
        .join(Profile, Profile.id == DocumentRow.profile_id)
        .where(DocumentRow.superseded_at.is_(None), Profile.merged_into.is_(None))
        .group_by(Profile.partition_key, DocumentRow.source)
    )
    with reading(engine) as connection:
        return [(key, Source(source), bool(finished)) for key, source, finished in connection.execute(query)]


def load_folded(engine: Engine) -> list[tuple[str, str]]:
    """(id, partition key) of the living profiles whose tables are up to date."""
    query = select(Profile.id, Profile.partition_key).where(
        Profile.merged_into.is_(None), Profile.changes == Profile.folded
    )
    with reading(engine) as connection:
        return [(profile, key) for profile, key in connection.execute(query)]

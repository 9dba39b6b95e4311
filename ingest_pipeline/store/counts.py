"""What partitions hold in all, and what failed in a run: the figures that stand beside what a run did."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine, case, func, select

from ingest_pipeline.documents import Source
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow, ObservationRow
from ingest_pipeline.store.upsert import select_in


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
    current = (DocumentRow.superseded_at.is_(None), DocumentRow.source == source.value)
    by_state = (
        select(
            DocumentRow.profile_id,
            func.count().label("documents"),
            func.sum(case((DocumentRow.state == "pending", 1), else_=0)).label("pending"),
            func.sum(case((DocumentRow.state == "failed", 1), else_=0)).label("failed"),
        )
        .where(*current)
        .group_by(DocumentRow.profile_id)
    )
    observed = (
        select(DocumentRow.profile_id, func.count().label("n"))
        .join(ObservationRow, ObservationRow.document_id == DocumentRow.id)
        .where(*current, ObservationRow.superseded.is_(False))
        .group_by(DocumentRow.profile_id)
    )
    with reading(engine) as connection:
        states = list(select_in(connection, by_state, DocumentRow.profile_id, profiles))
        observations = {r.profile_id: r.n for r in select_in(connection, observed, DocumentRow.profile_id, profiles)}
    return {
        row.profile_id: Holdings(row.documents, row.pending, row.failed, observations.get(row.profile_id, 0))
        for row in states
    }


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

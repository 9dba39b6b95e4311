"""The state of everything in one view: what is in the store, what is pending, what failed, what was spent."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, case, func, select

from ingest_pipeline.llm.tables import LlmCallRow
from ingest_pipeline.store.audits import count_failed
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.files import file_id
from ingest_pipeline.store.profiles import count_unfolded
from ingest_pipeline.store.summaries import count_due, count_summaries
from ingest_pipeline.store.tables import (
    DocumentRow,
    Evidence,
    FileRow,
    IdentifierRow,
    Memory,
    Profile,
    Rejection,
    TraitRow,
)


@dataclass(frozen=True, slots=True)
class SourceOverview:
    """One source: its files with what was rejected and skipped in them, and its current documents by state.

    ``unassigned`` documents are nobody's: list mail, senders whose address several people claim.
    """

    source: str
    files: int
    documents: int
    unassigned: int
    pending: int
    failed: int
    rejected: int
    skipped: dict[str, int]
    units: dict[str, int]


@dataclass(frozen=True, slots=True)
class RejectedUnit:
    file: str
    position: str
    reason: str


@dataclass(frozen=True, slots=True)
class Overview:
    """``llm_calls`` (those sent) and ``spent_usd`` are over all time; the price of ``unpriced_calls`` is not known.

    ``summaries`` by who wrote them: ``template``, ``llm``, ``manual``; those ``due`` wait for a model, those that
    ``failed``, by reason, are the template's for now.
    """

    profiles: int
    unfolded: int
    traits: int
    memories: int
    evidence: int
    ambiguous_identifiers: int
    sources: tuple[SourceOverview, ...]
    failed: dict[str, int]
    rejected: tuple[RejectedUnit, ...]
    llm_calls: int
    unpriced_calls: int
    spent_usd: float
    summaries: dict[str, int]
    summaries_due: int
    summaries_failed: dict[str, int]


def load_overview(engine: Engine, rejected_limit: int = 20) -> Overview:
    """``rejected`` lists the latest ``rejected_limit`` of the rejected units."""
    written, failed_summaries = count_summaries(engine)
    with reading(engine) as connection:

        def count(query: Any) -> int:
            return int(connection.execute(query).scalar() or 0)

        unpriced = case((LlmCallRow.cost_usd.is_(None) & LlmCallRow.finished_at.is_not(None), 1), else_=0)
        sums = (func.count(), func.coalesce(func.sum(unpriced), 0), func.coalesce(func.sum(LlmCallRow.cost_usd), 0.0))
        calls = connection.execute(select(*sums).where(LlmCallRow.outcome != "unsent"))
        llm_calls, unpriced_calls, spent = calls.one()
        return Overview(
            profiles=count(select(func.count()).where(Profile.merged_into.is_(None))),
            unfolded=count_unfolded(engine),
            traits=count(select(func.count()).select_from(TraitRow)),
            memories=count(select(func.count()).select_from(Memory)),
            evidence=count(select(func.count()).select_from(Evidence)),
            ambiguous_identifiers=count(select(func.count()).where(IdentifierRow.ambiguous)),
            sources=_load_sources(connection),
            failed=count_failed(engine),
            rejected=_load_rejected(connection, rejected_limit),
            llm_calls=llm_calls,
            unpriced_calls=unpriced_calls,
            spent_usd=round(spent, 6),
            summaries=written,
            summaries_due=count_due(engine),
            summaries_failed=failed_summaries,
        )


def count_open(engine: Engine) -> int:
    """Documents that are pending or failed, by the index of those."""
    d = DocumentRow
    still = select(func.count()).where(d.state != "done", d.superseded_at.is_(None), d.profile_id.is_not(None))
    with reading(engine) as connection:
        return int(connection.execute(still).scalar_one())


def _load_sources(connection: Any) -> tuple[SourceOverview, ...]:
    assigned = DocumentRow.profile_id.is_not(None)
    states = (
        select(
            DocumentRow.source,
            func.count().label("documents"),
            func.sum(case((assigned, 0), else_=1)).label("unassigned"),
            func.sum(case((assigned & (DocumentRow.state == "pending"), 1), else_=0)).label("pending"),
            func.sum(case((assigned & (DocumentRow.state == "failed"), 1), else_=0)).label("failed"),
        )
        .where(DocumentRow.superseded_at.is_(None))
        .group_by(DocumentRow.source)
    )
    documents = {row.source: row for row in connection.execute(states)}
    tallies: dict[str, dict[str, Any]] = {}
    for source, counts in connection.execute(select(FileRow.source, FileRow.counts)):
        tally = tallies.setdefault(source, {"files": 0, "rejected": 0, "skipped": {}, "units": {}})
        tally["files"] += 1
        tally["rejected"] += counts.get("rejected", 0)
        for name in ("skipped", "units"):
            for key, n in counts.get(name, {}).items():
                tally[name][key] = tally[name].get(key, 0) + n
    return tuple(
        SourceOverview(
            source=source,
            files=tallies.get(source, {}).get("files", 0),
            documents=documents[source].documents if source in documents else 0,
            unassigned=documents[source].unassigned if source in documents else 0,
            pending=documents[source].pending if source in documents else 0,
            failed=documents[source].failed if source in documents else 0,
            rejected=tallies.get(source, {}).get("rejected", 0),
            skipped=tallies.get(source, {}).get("skipped", {}),
            units=tallies.get(source, {}).get("units", {}),
        )
        for source in sorted({*documents, *tallies})
    )


def load_rejected_in(engine: Engine, files: Iterable[str], runs: Collection[str]) -> list[RejectedUnit]:
    """What was rejected in these files (names) by one of the runs."""
    query = (
        select(FileRow.name, Rejection.position, Rejection.reason)
        .join(FileRow, FileRow.id == Rejection.file_id)
        .where(FileRow.id.in_([file_id(name) for name in files]), Rejection.run_id.in_(runs))
        .order_by(FileRow.name, Rejection.position)
    )
    with reading(engine) as connection:
        return [RejectedUnit(*row) for row in connection.execute(query)]


def _load_rejected(connection: Any, limit: int) -> tuple[RejectedUnit, ...]:
    query = (
        select(FileRow.name, Rejection.position, Rejection.reason)
        .join(FileRow, FileRow.id == Rejection.file_id)
        .order_by(Rejection.created_at.desc(), FileRow.name, Rejection.position)
        .limit(limit)
    )
    return tuple(RejectedUnit(*row) for row in connection.execute(query))

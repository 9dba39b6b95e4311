"""Extracting through a provider's batch API: half the price, an answer within a day.

    submit:   pending documents ─▶ questions ─▶ batches at the provider
    refresh:  how far they are
    collect:  batches that ended ─▶ answers, costs ─▶ extractions, as if they had been asked directly

A document in a batch is extracted by nobody else until its outcome is stored. Every step can be killed and done again:
what was handed in is found again at the provider, an answer is stored and paid once, outcomes are stored per document.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Engine, select

from ingest_pipeline.documents import Document, Source
from ingest_pipeline.extracting import SLICE, KeyOutcome
from ingest_pipeline.extraction.base import Extraction, Status
from ingest_pipeline.extraction.batch import BatchExtractor
from ingest_pipeline.llm.batch_api import BatchAnswer, BatchStatus
from ingest_pipeline.llm.batch_rows import Batch, BatchItem, load_batches
from ingest_pipeline.llm.errors import (
    BatchUnsupported,
    BudgetExhausted,
    LlmStopped,
    ModelNotFound,
    ProviderUnavailable,
)
from ingest_pipeline.llm.tables import LlmBatchItemRow, LlmCallRow
from ingest_pipeline.llm.usage import Usage
from ingest_pipeline.store.documents import load_documents
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.extractions import PartitionKey, Selection, load_pending, save_extractions
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow, Profile
from ingest_pipeline.store.upsert import batches, select_in

MAX_REQUESTS, MAX_BYTES = 5_000, 50_000_000
"""Of one batch. Providers take 50,000 requests and 200 MB; a smaller one is settled in one short transaction."""
READ_AT_ONCE = 200
"""Requests whose documents are in memory together."""
KEPT_BY_PROVIDER = timedelta(hours=48)
"""A batch that the provider does not know is waited for so long: the key or the address may be wrong for a while."""
ASK_DIRECTLY = ("too_long", "refused", "bad_request", "unsupported")
"""Documents that failed so are split or asked otherwise by direct calls; another batch would fail in the same way."""


@dataclass(slots=True)
class Submission:
    """What was handed in. ``left``: pending documents that were not, by reason. ``outcomes``: answers were stored."""

    batches: list[str] = field(default_factory=list)
    requests: int = 0
    documents: int = 0
    left: Counter[str] = field(default_factory=Counter)
    outcomes: list[KeyOutcome] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Polled:
    """A batch under way. ``status`` None: not known now, ``note`` says why."""

    batch: Batch
    status: BatchStatus | None = None
    note: str | None = None


def submit(engine: Engine, extractor: BatchExtractor, selection: Selection, run_id: str | None = None) -> Submission:
    """Hand in all that is to be asked about the selected documents.

    Raises ConfigurationError when the provider takes no batches, or when the budget has no room for a single request.
    """
    extractor.check()
    _recover(extractor)
    made, waiting = Submission(), list[BatchItem]()
    for key, documents in _pieces(engine, selection, made):
        plan = extractor.plan(documents)
        if plan.outcomes:
            save_extractions(engine, plan.outcomes, extractor.fingerprint, extractor.model, run_id)
            made.outcomes.append(_tally(key, plan.outcomes))
        waiting += plan.questions
        if len(waiting) >= MAX_REQUESTS or sum(len(item.line) for item in waiting) >= MAX_BYTES:
            _hand_in(extractor, waiting, made)
            waiting = []
    _hand_in(extractor, waiting, made)
    return made


def _pieces(engine: Engine, selection: Selection, made: Submission) -> Iterator[tuple[PartitionKey, list[Document]]]:
    failed = select(ExtractionRow.document_id).where(
        ExtractionRow.fingerprint == selection.fingerprint,
        ExtractionRow.status == Status.FAILED.value,
        ExtractionRow.reason.in_(ASK_DIRECTLY),
    )
    for page in load_pending(engine, selection):
        for key, ids in page:
            for part in batches(ids, SLICE):
                with reading(engine) as connection:
                    direct = {row.document_id for row in select_in(connection, failed, ExtractionRow.document_id, part)}
                    documents = load_documents(connection, [each for each in part if each not in direct])
                if direct:
                    made.left["ask directly, by `ingest retry`"] += len(direct)
                if documents:
                    yield key, documents


def _hand_in(extractor: BatchExtractor, items: list[BatchItem], made: Submission) -> None:
    if not items:
        return
    client, model = extractor.client, extractor.primary
    wanted = {document for item in items for document in item.asked}
    try:
        prepared = client.batches.prepare(model.name, extractor.fingerprint, items)
    except BudgetExhausted:
        if not made.batches:
            raise
        prepared = None
    if prepared is None:
        made.left["no room in the budget, or asked by another run"] += len(wanted)
        return
    batch_id, chosen = prepared
    taken = {document for item in chosen for document in item.asked}
    if wanted - taken:
        made.left["no room in the budget, or asked by another run"] += len(wanted - taken)
    try:
        file_id = client.api.upload(model, f"{batch_id}.jsonl", b"".join(item.line for item in chosen))
    except LlmStopped as error:
        client.batches.abandon(batch_id, error.code)
        raise
    client.batches.advance(batch_id, "prepared", state="uploaded", file_id=file_id)
    _create(extractor, batch_id, file_id)
    made.batches.append(batch_id)
    made.requests += len(chosen)
    made.documents += len(taken)


def _create(extractor: BatchExtractor, batch_id: str, file_id: str) -> None:
    ledger = extractor.client.batches
    try:
        provider_id = extractor.client.api.create(extractor.primary, file_id, batch_id)
    except ProviderUnavailable:
        # It may have it or not: found out by the next run.
        raise
    except LlmStopped as error:
        ledger.abandon(batch_id, error.code)
        raise
    ledger.advance(batch_id, "uploaded", state="submitted", provider_id=provider_id, submitted_at=ledger.now())


def _recover(extractor: BatchExtractor) -> None:
    """Bring to an end what died while it was handing in."""
    client = extractor.client
    for batch in client.batches.load("prepared", "uploaded"):
        if batch.model != extractor.primary.name or not client.batches.take(batch):
            continue
        if batch.file_id is None:
            client.batches.abandon(batch.id, "interrupted")
            continue
        try:
            found = client.api.find(extractor.primary, batch.file_id, batch.id)
        except BatchUnsupported:
            # Whether it runs cannot be told: charged at the most, so that the budget holds in any case.
            client.batches.abandon(batch.id, "interrupted", lost=True)
            continue
        if found is None:
            _create(extractor, batch.id, batch.file_id)
        else:
            now = client.batches.now()
            client.batches.advance(batch.id, "uploaded", state="submitted", provider_id=found, submitted_at=now)


def refresh(extractor: BatchExtractor) -> list[Polled]:
    """How far the batches under way are. Changes nothing but what is shown of them."""
    extractor.check()
    return [_refreshed(extractor, batch) for batch in extractor.client.batches.load(*OPEN)]


OPEN = ("prepared", "uploaded", "submitted", "collected")


def _refreshed(extractor: BatchExtractor, batch: Batch) -> Polled:
    if batch.model != extractor.primary.name:
        return Polled(batch, note=f"set INGEST_MODEL={batch.model} to collect it")
    if batch.state != "submitted" or batch.provider_id is None:
        return Polled(batch)
    try:
        status = extractor.client.api.retrieve(extractor.primary, batch.provider_id)
    except ModelNotFound:
        if batch.submitted_at and extractor.client.batches.now() - batch.submitted_at > KEPT_BY_PROVIDER:
            return Polled(batch, BatchStatus(batch.provider_id, "lost", "not_found"))
        return Polled(batch, note="the provider does not know it; check INGEST_LLM_API_KEY and INGEST_API_BASE")
    extractor.client.batches.advance(batch.id, "submitted", provider_state=status.state[:20])
    return Polled(batch, status)


def is_due(polled: Polled) -> bool:
    """Whether there is something to collect or to bring to an end."""
    ended = polled.status is not None and (polled.status.ended or polled.status.state == "lost")
    return ended or (polled.note is None and polled.batch.state != "submitted")


def collect(engine: Engine, extractor: BatchExtractor, run_id: str | None = None) -> Iterator[KeyOutcome]:
    """Settle the batches that ended and extract their documents. Several may do so at once."""
    extractor.check()
    _recover(extractor)
    ledger, model = extractor.client.batches, extractor.primary
    prices = extractor.client.prices(model)
    for polled in refresh(extractor):
        if polled.status is not None and is_due(polled):
            answers = _answers(extractor, polled.status)
            ledger.collect(polled.batch, polled.status, answers, prices)
    for batch in ledger.load("collected"):
        if batch.model == model.name and ledger.take(batch):
            yield from _read(engine, extractor, batch, run_id)


def _answers(extractor: BatchExtractor, status: BatchStatus) -> dict[str, BatchAnswer]:
    answers: dict[str, BatchAnswer] = {}
    for file in status.files:
        for answer in extractor.client.api.answers(extractor.primary, file):
            if answer.key not in answers or answer.reply is not None:
                answers[answer.key] = answer
    return answers


def _read(engine: Engine, extractor: BatchExtractor, batch: Batch, run_id: str | None) -> Iterator[KeyOutcome]:
    """The outcomes of a batch's documents, stored and then yielded."""
    ledger = extractor.client.batches
    if batch.fingerprint != extractor.fingerprint:
        # Asked with another prompt or trait schema: paid and kept, but no answer to what would be asked now.
        ledger.finish(batch.id, "other_settings")
        return
    extractor.client.paid.update(_paid(engine, batch.id))
    waiting = ledger.documents(batch.id)
    for items in _groups(ledger.items(batch.id), waiting):
        with reading(engine) as connection:
            wanted = sorted({document for item in items for document, _, _ in item.passages})
            documents = {document.id: document for document in load_documents(connection, wanted)}
        outcomes = [each for each in extractor.read(items, documents) if each.document_id in waiting]
        save_extractions(engine, outcomes, extractor.fingerprint, extractor.model, run_id)
        waiting -= {outcome.document_id for outcome in outcomes}
        yield from _by_partition(engine, outcomes)
    ledger.finish(batch.id)


def _groups(items: Sequence[BatchItem], waiting: set[str]) -> Iterator[list[BatchItem]]:
    """Items whose documents are read together; those of one document follow each other."""
    group: list[BatchItem] = []
    documents: set[str] = set()
    for item in items:
        mine = {document for document, _, _ in item.passages}
        if not mine & waiting:
            continue
        if len(group) >= READ_AT_ONCE and not mine & documents:
            yield group
            group, documents = [], set()
        group.append(item)
        documents |= mine
    if group:
        yield group


def _paid(engine: Engine, batch_id: str) -> dict[str, tuple[str, Usage]]:
    """What each answer of a batch took, and its call's id, by request key."""
    query = select(LlmCallRow.__table__).join(LlmBatchItemRow, LlmBatchItemRow.call_id == LlmCallRow.id)
    query = query.where(LlmBatchItemRow.batch_id == batch_id)
    with reading(engine) as connection:
        return {
            row.request_key: (
                row.id,
                Usage(
                    calls=1,
                    input_tokens=row.input_tokens,
                    cached_tokens=row.cached_tokens,
                    output_tokens=row.output_tokens,
                    cost_usd=row.cost_usd or 0.0,
                ),
            )
            for row in connection.execute(query)
        }


def _by_partition(engine: Engine, outcomes: Sequence[Extraction]) -> Iterator[KeyOutcome]:
    """Outcomes by the partition that their documents are in now."""
    query = select(DocumentRow.id, DocumentRow.profile_id, DocumentRow.source, Profile.partition_key)
    query = query.join(Profile, Profile.id == DocumentRow.profile_id)
    with reading(engine) as connection:
        rows = select_in(connection, query, DocumentRow.id, [outcome.document_id for outcome in outcomes])
        keys = {row.id: PartitionKey(row.profile_id, Source(row.source), row.partition_key) for row in rows}
    by_key: dict[PartitionKey, list[Extraction]] = {}
    for outcome in outcomes:
        if outcome.document_id in keys:
            by_key.setdefault(keys[outcome.document_id], []).append(outcome)
    yield from (_tally(key, by_key[key]) for key in sorted(by_key))


def _tally(key: PartitionKey, outcomes: Sequence[Extraction]) -> KeyOutcome:
    tally = KeyOutcome(key)
    for outcome in outcomes:
        tally.add(outcome)
    return tally


def open_batches(engine: Engine) -> list[Batch]:
    """Batches whose documents still wait, oldest first."""
    return load_batches(engine, *OPEN)

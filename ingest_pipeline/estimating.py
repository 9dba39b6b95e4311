"""What the pending work will take, before anything is spent on it; and how fast it goes just now."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain

from sqlalchemy import Engine, func, select

from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import TraitSchema, load_traits
from ingest_pipeline.llm.tables import LlmCallRow
from ingest_pipeline.settings import Settings
from ingest_pipeline.store.documents import load_documents
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.extractions import PartitionKey, Reextract, Selection, count_pending, load_pending
from ingest_pipeline.store.tables import ExtractionRow

SAMPLE = 5_000
"""Documents that are looked at; with more pending ones the rest is taken to be like them."""
_PAGE = 50
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class PendingEstimate:
    """``cost_usd`` None: the price is unknown. ``seconds`` None: no provider's limits apply.

    ``sampled``: how many of the documents were looked at; fewer than ``documents``: the figures are scaled up.
    ``stale``: further documents, whose extraction is another model's, prompt's or trait schema's.
    """

    model: str
    documents: int
    calls: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0
    seconds: float | None = None
    sampled: int = 0
    stale: int = 0


@dataclass(frozen=True, slots=True)
class LastMinute:
    """``calls`` sent and ``documents`` whose extraction was stored in the last 60 seconds."""

    calls: int
    documents: int


def estimate_pending(
    engine: Engine, settings: Settings, selection: Selection | None = None, sample: int = SAMPLE
) -> PendingEstimate:
    """Reads documents, calls nothing. Profiles come in the order of their ids, which are random: a fair sample.

    ``selection`` None: all that the next run would extract. Raises TraitSchemaError.
    """
    if settings.model == "offline":
        fingerprint = OfflineExtractor(load_traits(settings.traits), settings.timezone).fingerprint
        chosen = selection or Selection(fingerprint)
        documents, _ = count_pending(engine, chosen)
        return PendingEstimate("offline", documents, sampled=documents, stale=_count_stale(engine, chosen))
    return _estimate_llm(engine, settings, load_traits(settings.traits), selection, sample)


def _estimate_llm(
    engine: Engine, settings: Settings, schema: TraitSchema, selection: Selection | None, sample: int
) -> PendingEstimate:
    from ingest_pipeline.extraction.llm import Estimate, open_llm_extractor

    extractor = open_llm_extractor(settings, schema, engine)
    try:
        chosen = selection or Selection(extractor.fingerprint)
        chosen = replace(chosen, max_attempts=settings.max_attempts)
        documents, _ = count_pending(engine, chosen)
        sampled, total = 0, Estimate()
        for page in load_pending(engine, chosen, _PAGE):
            parts = _sampled(page, sample - sampled)
            sampled += sum(map(len, parts))
            with reading(engine) as connection:
                loaded = {each.id: each for each in load_documents(connection, chain.from_iterable(parts))}
            total += extractor.estimate([[loaded[i] for i in ids if i in loaded] for ids in parts])
            if sampled >= sample:
                break
    finally:
        extractor.close()
    scale = documents / sampled if sampled else 0.0
    return PendingEstimate(
        settings.model,
        documents,
        round(total.calls * scale),
        round(total.cached * scale),
        round(total.input_tokens * scale),
        round(total.output_tokens * scale),
        None if total.cost_usd is None else total.cost_usd * scale,
        total.seconds * scale,
        sampled,
        _count_stale(engine, chosen),
    )


def _count_stale(engine: Engine, chosen: Selection) -> int:
    """What ``stale`` would add to a selection of what is missing."""
    if chosen.reextract is not Reextract.MISSING:
        return 0
    both, _ = count_pending(engine, replace(chosen, reextract=Reextract.STALE))
    return both - count_pending(engine, chosen)[0]


def _sampled(page: Iterable[tuple[PartitionKey, list[str]]], left: int) -> list[list[str]]:
    """The documents of each partition of a page, ``left`` at the most."""
    parts = []
    for _, ids in page:
        if left > 0:
            parts.append(ids[:left])
            left -= len(ids)
    return parts


def load_last_minute(engine: Engine) -> LastMinute:
    since = datetime.now(UTC) - _MINUTE
    calls = select(func.count()).select_from(LlmCallRow).where(LlmCallRow.created_at > since)
    documents = select(func.count()).select_from(ExtractionRow).where(ExtractionRow.extracted_at > since)
    with reading(engine) as connection:
        return LastMinute(connection.execute(calls).scalar_one(), connection.execute(documents).scalar_one())

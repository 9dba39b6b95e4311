"""The extractor that asks a language model.

documents ─packs─▶ prompts ─LlmClient─▶ answers ─▶ candidates ─ground─▶ one Extraction per document
                      ▲                    └── unusable: the pack is split until the bad document stands alone
                      └────────────────────────┘
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy import Engine

from ingest_pipeline.documents import Document
from ingest_pipeline.extraction import packing, prompt
from ingest_pipeline.extraction.base import Candidate, Extraction, Kind, Observation, Status, Usage
from ingest_pipeline.extraction.grounding import ground
from ingest_pipeline.extraction.prompt import PROMPT_VERSION, Passage
from ingest_pipeline.extraction.schema import (
    SCHEMA_VERSION,
    Answer,
    DocumentItems,
    MemoryItem,
    TraitItem,
    answer_format,
    read_answer,
)
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.llm.client import LlmClient
from ingest_pipeline.llm.errors import CallFailed
from ingest_pipeline.llm.exchange import CallUsage, LlmRequest, Message
from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.limits import open_limits
from ingest_pipeline.llm.prices import Prices, estimate_tokens
from ingest_pipeline.llm.settings import LlmSettings, ModelSettings
from ingest_pipeline.settings import ModelLimits, Settings

GUESSED_LATENCY_S = 3.0
"""For estimates only."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What extracting some documents would take, were nothing of it in the cache. ``cost_usd`` None: unknown price."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    seconds: float


@dataclass
class _Work:
    """One document's state while its passages are asked about."""

    document: Document
    open_passages: int = 0
    candidates: list[tuple[int, list[Candidate]]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)


@dataclass
class _Result:
    """What a pack brought: per passage its candidates or the reason why there are none."""

    candidates: list[tuple[Passage, list[Candidate]]] = field(default_factory=list)
    failures: list[tuple[Passage, str]] = field(default_factory=list)
    dropped: list[tuple[Passage, Counter[str]]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def add(self, other: "_Result") -> None:
        self.candidates += other.candidates
        self.failures += other.failures
        self.dropped += other.dropped
        self.usage += other.usage


class LlmExtractor:
    """``Extractor`` over an LlmClient. Used from several threads at once; ``close`` it at the end.

    pack_tokens: how much text goes into one prompt. threads: how many packs of all callers are asked about at once.
    aliases: profile id -> further names of the person.
    """

    def __init__(
        self,
        schema: TraitSchema,
        client: LlmClient,
        *,
        pack_tokens: int = 3_000,
        timezone: str = "UTC",
        threads: int = 16,
        aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.schema, self.client, self.timezone = schema, client, timezone
        self._pack_tokens = pack_tokens
        self._aliases = aliases or {}
        self._format = answer_format(schema)
        self._system = prompt.system_message(schema)
        # Threads start when there is work for them.
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="llm")

    @property
    def model(self) -> str:
        return self.client.settings.primary.name

    @cached_property
    def fingerprint(self) -> str:
        """Model, prompt, output shape, traits and the options that decide an outcome.

        Not the packing: each document is marked, cited and verified by itself, and what a setting for saving money
        changes must not make everything be paid for again. Not rate limits and fallback models either.
        """
        model = self.client.settings.primary
        options = (model.temperature, self.timezone, packing.CHUNK_TOKENS, packing.OVERLAP_TOKENS)
        digest = hashlib.sha256(repr((options, self.schema.fingerprint)).encode()).hexdigest()[:32]
        return f"{model.name}:p{PROMPT_VERSION}.s{SCHEMA_VERSION}:{digest}"

    def check(self) -> None:
        """Find out now, not at the first document, whether the model and its prices are known.

        Raises ConfigurationError. Takes seconds: it imports litellm.
        """
        self.client.check()

    def close(self) -> None:
        """End waits and give up what is under way. Idempotent."""
        self.client.stop_waiting()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.client.close()

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        """One outcome per document of one profile and source; documents of one pack follow each other.

        A pack's usage is on its first document. Raises an LlmStopped when no call makes sense any more; what was
        yielded until then stands, and answers that had arrived are in the cache.
        """
        asked = [document for document in documents if _can_prove_something(document)]
        done = {document.id for document in asked}
        yield from (Extraction(each.id, Status.EMPTY) for each in documents if each.id not in done)
        yield from self.extract_packs(list(packing.packs(asked, self._pack_tokens)))

    def extract_packs(self, packs: list[list[Passage]]) -> Iterator[Extraction]:
        """As ``extract``, for documents that are packed already: every passage of each is in one of the packs."""
        work = {passage.document.id: _Work(passage.document) for pack in packs for passage in pack}
        for pack in packs:
            for passage in pack:
                work[passage.document.id].open_passages += 1
        for pack, result in self._ask_all(packs):
            _collect(work, result, pack[0].document.id)
            for document_id in dict.fromkeys(passage.document.id for passage in pack):
                item = work[document_id]
                item.open_passages -= sum(passage.document.id == document_id for passage in pack)
                if not item.open_passages:
                    yield self._outcome(item)

    def estimate(self, documents: Iterable[Document]) -> Estimate:
        """What extracting these documents of one profile and source would take. Calls nothing."""
        calls = input_tokens = output_tokens = 0
        asked = [document for document in documents if _can_prove_something(document)]
        for pack in packing.packs(asked, self._pack_tokens):
            request = self._request(pack)
            calls += 1
            input_tokens += sum(estimate_tokens(message.content) for message in request.messages)
            output_tokens += request.expected_output_tokens
        model = self.client.settings.primary
        prices = self.client.prices(model) if calls else None
        cost = prices.cost(input_tokens, 0, output_tokens) if prices else (None if calls else 0.0)
        return Estimate(
            calls, input_tokens, output_tokens, cost, _seconds(model.rates, calls, input_tokens + output_tokens)
        )

    def _ask_all(self, packs: list[list[Passage]]) -> Iterator[tuple[list[Passage], _Result]]:
        if len(packs) == 1:
            yield packs[0], self._ask(packs[0])
            return
        futures: dict[Future[_Result], list[Passage]] = {self._pool.submit(self._ask, pack): pack for pack in packs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()

    def _ask(self, pack: list[Passage]) -> _Result:
        """Ask about the pack; where that fails, about parts of it."""
        try:
            answer = self.client.complete(self._request(pack))
        except CallFailed as error:
            result = _Result(usage=_usage(error.usage))
            for part in _parts(pack, error):
                result.add(self._ask(part))
            if not result.candidates and not result.failures:
                result.failures = [(passage, error.reason) for passage in pack]
            return result
        return self._answered(pack, answer.value, _usage(answer.usage))

    def _answered(self, pack: list[Passage], answer: Answer, usage: Usage) -> _Result:
        result = _Result(usage=usage)
        overlooked: list[Passage] = []
        for number, passage in enumerate(pack, 1):
            reference = f"D{number}"
            if reference in answer.missing:
                overlooked.append(passage)
                continue
            dropped = answer.dropped.get(reference, Counter())
            candidates = list(self._candidates(passage, answer.documents[reference], dropped))
            result.candidates.append((passage, candidates))
            result.dropped.append((passage, dropped))
        if overlooked:
            result.add(self._ask(overlooked))
        return result

    def _request(self, pack: list[Passage]) -> LlmRequest[Answer]:
        document = pack[0].document
        references = [f"D{number}" for number in range(1, len(pack) + 1)]
        user = prompt.user_message(pack, self._aliases.get(document.profile_id or "", ()))
        messages: tuple[Message, ...] = (self._system, user)
        return LlmRequest(
            messages,
            parse=lambda text: read_answer(text, references),
            reask=prompt.reask,
            format=self._format,
            profile_id=document.profile_id,
            document_ids=tuple(dict.fromkeys(passage.document.id for passage in pack)),
            expected_output_tokens=50 + 60 * len(pack) + estimate_tokens(user.content) // 4,
        )

    def _candidates(self, passage: Passage, items: DocumentItems, dropped: Counter[str]) -> Iterator[Candidate]:
        for trait in items.traits:
            if trait.about != "subject":
                dropped["other_subject"] += 1
            elif self.schema.get(trait.key) is None:
                dropped["unknown_trait"] += 1
            else:
                values = trait.value if isinstance(trait.value, list) else [trait.value]
                yield from (_candidate(passage, Kind.TRAIT, trait.key, value, trait) for value in values)
        for memory in items.memories:
            if memory.about != "subject":
                dropped["other_subject"] += 1
            else:
                yield _candidate(passage, Kind.MEMORY, memory.type, memory.content, memory, memory.importance)

    def _outcome(self, work: _Work) -> Extraction:
        document = work.document
        if work.reason is not None:
            return Extraction(document.id, Status.FAILED, (), {}, work.reason, work.usage)
        observations: list[Observation] = []
        dropped = Counter(work.dropped)
        # In the order of the text, so that of two overlapping passages the first one's items are kept.
        for _, candidates in sorted(work.candidates, key=lambda each: each[0]):
            grounded = ground(document, candidates, self.schema, self.timezone)
            dropped.update(grounded.dropped)
            fresh = [each for each in grounded.observations if not _said_before(each, observations)]
            dropped["duplicate"] += len(grounded.observations) - len(fresh)
            observations += fresh
        status = Status.OK if observations else Status.EMPTY
        return Extraction(document.id, status, tuple(observations), dict(+dropped), None, work.usage)


def _can_prove_something(document: Document) -> bool:
    """Whether anyone's words in it are evidence: without any, no item could be kept."""
    return any(document.text[segment.start : segment.end].strip() for segment in document.evidence_segments())


def _parts(pack: list[Passage], error: CallFailed) -> list[list[Passage]]:
    """What to ask instead; nothing when the failure would be the same."""
    if not error.smaller_may_work:
        return []
    if len(pack) > 1:
        middle = len(pack) // 2
        return [pack[:middle], pack[middle:]]
    if error.reason not in ("truncated", "too_long"):
        return []
    return [[part] for part in packing.split(pack[0])]


def _collect(work: dict[str, _Work], result: _Result, first: str) -> None:
    for passage, candidates in result.candidates:
        work[passage.document.id].candidates.append((passage.span.start, candidates))
    for passage, dropped in result.dropped:
        work[passage.document.id].dropped.update(dropped)
    for passage, reason in result.failures:
        work[passage.document.id].reason = reason
    work[first].usage += result.usage


def _candidate(
    passage: Passage, kind: Kind, key: str, value: Any, item: TraitItem | MemoryItem, importance: float | None = None
) -> Candidate:
    start = passage.document.text.find(item.quote, passage.span.start, passage.span.end) if item.quote else -1
    return Candidate(
        kind=kind,
        key=key,
        value=value,
        quote=item.quote,
        confidence=item.confidence,
        importance=importance,
        stated=item.date_phrase or None,
        retracted=item.retracted,
        start=start if start >= 0 else passage.span.start,
    )


def _said_before(new: Observation, kept: list[Observation]) -> bool:
    """Whether an earlier, overlapping passage gave the same claim: the same words, or a memory of them."""
    return any(
        each.kind == new.kind
        and each.key == new.key
        and each.retracted == new.retracted
        and each.start < new.end
        and new.start < each.end
        and (each.kind is Kind.MEMORY or each.value == new.value)
        for each in kept
    )


def _usage(usage: CallUsage) -> Usage:
    return Usage(**usage.as_dict())


def _seconds(rates: Rates, calls: int, tokens: int) -> float:
    by_requests = calls / rates.requests_per_second if rates.requests_per_second else 0.0
    by_tokens = tokens / rates.tokens_per_second if rates.tokens_per_second else 0.0
    by_latency = calls * GUESSED_LATENCY_S / (rates.concurrency or 16)
    return max(by_requests, by_tokens, by_latency)


def open_llm_extractor(
    settings: Settings, schema: TraitSchema, engine: Engine, prices: Mapping[str, Prices] | None = None
) -> LlmExtractor:
    """The extractor of INGEST_MODEL and INGEST_FALLBACK_MODELS. ``prices`` by model go before those of the settings."""
    client = LlmClient(llm_settings(settings, prices), engine, open_limits(settings.limits_url))
    return LlmExtractor(
        schema,
        client,
        pack_tokens=settings.pack_tokens,
        timezone=settings.timezone,
        threads=settings.max_concurrency,
    )


def llm_settings(settings: Settings, prices: Mapping[str, Prices] | None = None) -> LlmSettings:
    """The client's settings. Each model has the limits for itself: its own, else those for all."""
    names = (settings.model, *settings.fallback_models)
    models = tuple(_model(name, settings, (prices or {}).get(name)) for name in dict.fromkeys(names))
    return LlmSettings(models, settings.budget_usd)


def _model(name: str, settings: Settings, prices: Prices | None) -> ModelSettings:
    limits = settings.model_limits.get(name, ModelLimits())
    rates = Rates(
        limits.rpm or settings.rpm,
        limits.tpm or settings.tpm,
        limits.max_concurrency or settings.max_concurrency,
    )
    given = settings.prices.get(name)
    if prices is None and given is not None:
        prices = Prices(given.input, given.output, given.cached_input)
    return ModelSettings(name, rates, settings.api_base, settings.llm_api_key, prices=prices)

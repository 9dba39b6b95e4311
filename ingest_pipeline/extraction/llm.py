"""The extractor that asks a language model.

documents ─packs─▶ prompts ─LlmClient─▶ answers ─▶ candidates ─ground─▶ one Extraction per document
                      ▲                    └── unusable: the pack is split until the bad document stands alone
                      └────────────────────────┘
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from sqlalchemy import Engine

from ingest_pipeline.documents import Document
from ingest_pipeline.extraction import packing, prompt
from ingest_pipeline.extraction.base import Extraction, Status
from ingest_pipeline.extraction.definitions import overlaid
from ingest_pipeline.extraction.models import llm_settings
from ingest_pipeline.extraction.prompt import PROMPT_VERSION, Passage
from ingest_pipeline.extraction.redaction import Redaction, Redactor
from ingest_pipeline.extraction.results import PackResult, begin_work, collect, read_pack
from ingest_pipeline.extraction.schema import SCHEMA_VERSION, Answer, answer_format, read_answer
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.llm.client import LlmClient
from ingest_pipeline.llm.errors import CallFailed
from ingest_pipeline.llm.exchange import AnswerFormat, LlmRequest, Message, request_key
from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.limits import open_limits
from ingest_pipeline.llm.prices import Prices, estimate_tokens
from ingest_pipeline.settings import Settings

GUESSED_LATENCY_S = 3.0
"""For estimates only."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What extracting some documents would take. ``cached``: further calls whose answers are there already.

    ``cost_usd`` None: unknown price.
    """

    calls: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Estimate") -> "Estimate":
        cost = None if self.cost_usd is None or other.cost_usd is None else self.cost_usd + other.cost_usd
        return Estimate(
            self.calls + other.calls,
            self.cached + other.cached,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            cost,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True)
class ExtractionOptions:
    """What decides how documents are asked about.

    pack_tokens: how much text goes into one prompt. timezone: the IANA zone in which stated days begin.
    aliases: profile id -> further names of the person.
    """

    pack_tokens: int = 3_000
    timezone: str = "UTC"
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    redactor: Redactor = field(default_factory=Redactor)


@dataclass(frozen=True)
class _Asking:
    """What depends on the traits that are asked for."""

    schema: TraitSchema
    format: AnswerFormat
    system: Message


class LlmExtractor:
    """``Extractor`` over an LlmClient. Used from several threads at once; ``close`` it at the end.

    threads: how many packs of all callers are asked about at once.
    """

    def __init__(
        self, schema: TraitSchema, client: LlmClient, options: ExtractionOptions | None = None, *, threads: int = 16
    ) -> None:
        self.schema, self.client, self.options = schema, client, options or ExtractionOptions()
        self._asked = lru_cache(maxsize=64)(self._asking)
        # Threads start when there is work for them.
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="llm")

    def _asking(self, definitions: str | None) -> "_Asking":
        schema = overlaid(self.schema, definitions)
        return _Asking(schema, answer_format(schema), prompt.system_message(schema, self.options.redactor.kinds))

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
        chunks = (packing.CHUNK_TOKENS, packing.OVERLAP_TOKENS)
        options = (model.temperature, self.options.timezone, *chunks, self.options.redactor.fingerprint)
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
        yield from self.extract_packs(list(packing.packs(asked, self.options.pack_tokens)))

    def extract_packs(self, packs: list[list[Passage]]) -> Iterator[Extraction]:
        """As ``extract``, for documents that are packed already: every passage of each is in one of the packs."""
        work = begin_work(packs)
        for pack, result in self.ask_all(packs):
            for complete in collect(work, pack, result):
                schema = self._asked(complete.document.definitions).schema
                yield complete.outcome(schema, self.options.timezone)

    def estimate(self, partitions: Iterable[Sequence[Document]]) -> Estimate:
        """What extracting these documents, those of one profile and source together, would take. Calls nothing.

        Requests whose answers are in the cache cost nothing; that some of those may make a further question necessary
        is left out.
        """
        requests = [self._request(pack)[0] for documents in partitions for pack in self._packs(documents)]
        models = self.client.settings.models
        keys = [[request_key(model, each.messages, each.format) for model in models] for each in requests]
        answered = self.client.answered(key for several in keys for key in several)
        to_ask = [each for each, several in zip(requests, keys, strict=True) if answered.isdisjoint(several)]
        asked = sum(estimate_tokens(message.content) for each in to_ask for message in each.messages)
        expected = sum(each.expected_output_tokens for each in to_ask)
        prices = self.client.prices(models[0]) if to_ask else None
        cost = prices.cost(asked, 0, expected) if prices else (None if to_ask else 0.0)
        seconds = _seconds(models[0].rates, len(to_ask), asked + expected)
        return Estimate(len(to_ask), len(requests) - len(to_ask), asked, expected, cost, seconds)

    def ask_all(self, packs: list[list[Passage]]) -> Iterator[tuple[list[Passage], PackResult]]:
        """The packs with what they brought, as they come."""
        if len(packs) == 1:
            yield packs[0], self.ask(packs[0])
            return
        futures: dict[Future[PackResult], list[Passage]] = {self._pool.submit(self.ask, pack): pack for pack in packs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()

    def ask(self, pack: list[Passage]) -> PackResult:
        """Ask about the pack; where that fails, about parts of it."""
        request, redaction = self._request(pack)
        try:
            answer = self.client.complete(request)
        except CallFailed as error:
            result = PackResult(usage=error.usage)
            for part in _parts(pack, error):
                result.add(self.ask(part))
            if not result.candidates and not result.failures:
                result.failures = [(passage, error.reason) for passage in pack]
            return result
        result = read_pack(pack, answer.value, self._asked_of(pack).schema, redaction, answer.usage)
        if result.overlooked:
            result.add(self.ask(result.overlooked))
        return result

    def request(self, pack: list[Passage]) -> LlmRequest[Answer]:
        """What is asked about a pack."""
        return self._request(pack)[0]

    def _request(self, pack: list[Passage]) -> tuple[LlmRequest[Answer], Redaction]:
        document = pack[0].document
        references = [f"D{number}" for number in range(1, len(pack) + 1)]
        redaction = self.options.redactor.begin(passage.document for passage in pack)
        user = prompt.user_message(pack, self.options.aliases.get(document.profile_id or "", ()), redaction)
        asking = self._asked_of(pack)
        messages: tuple[Message, ...] = (asking.system, user)
        request = LlmRequest(
            messages,
            parse=lambda text: read_answer(text, references),
            reask=prompt.reask,
            format=asking.format,
            profile_id=document.profile_id,
            document_ids=tuple(dict.fromkeys(passage.document.id for passage in pack)),
            expected_output_tokens=50 + 60 * len(pack) + estimate_tokens(user.content) // 4,
        )
        return request, redaction

    def _asked_of(self, pack: list[Passage]) -> "_Asking":
        """Documents of one pack have the same definitions."""
        return self._asked(pack[0].document.definitions)

    def _packs(self, documents: Sequence[Document]) -> Iterator[list[Passage]]:
        asked = [document for document in documents if _can_prove_something(document)]
        return packing.packs(asked, self.options.pack_tokens)


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


def _seconds(rates: Rates, calls: int, tokens: int) -> float:
    by_requests = calls / rates.requests_per_second if rates.requests_per_second else 0.0
    by_tokens = tokens / rates.tokens_per_second if rates.tokens_per_second else 0.0
    by_latency = calls * GUESSED_LATENCY_S / (rates.concurrency or 16)
    return max(by_requests, by_tokens, by_latency)


def extraction_options(settings: Settings) -> ExtractionOptions:
    """As the settings have them."""
    redactor = Redactor(settings.redact, settings.phone_region.upper())
    return ExtractionOptions(settings.pack_tokens, settings.timezone, redactor=redactor)


def open_llm_extractor(
    settings: Settings, schema: TraitSchema, engine: Engine, prices: Mapping[str, Prices] | None = None
) -> LlmExtractor:
    """The extractor of INGEST_MODEL and INGEST_FALLBACK_MODELS. ``prices`` by model go before those of the settings."""
    client = LlmClient(llm_settings(settings, prices), engine, open_limits(settings.limits_url))
    return LlmExtractor(schema, client, extraction_options(settings), threads=settings.max_concurrency)

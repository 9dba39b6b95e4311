"""A client that answers from what is stored and asks nobody: it finds out what there is to ask."""

from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Engine

from ingest_pipeline.errors import IngestError
from ingest_pipeline.llm.batch import BatchLedger
from ingest_pipeline.llm.batch_api import BatchApi, LitellmBatches
from ingest_pipeline.llm.batch_rows import PRICE_SHARE
from ingest_pipeline.llm.cache import CachedReply
from ingest_pipeline.llm.client import LlmClient
from ingest_pipeline.llm.errors import CallFailed
from ingest_pipeline.llm.exchange import LlmAnswer, LlmRequest, Message, request_key
from ingest_pipeline.llm.limits import LimitsDb
from ingest_pipeline.llm.settings import LlmSettings
from ingest_pipeline.llm.usage import Usage

T = TypeVar("T")


class Unanswered(IngestError):
    """No stored answer. ``follow_up``: it is a further question, because an answer did not fit the schema."""

    def __init__(
        self, key: str, request: LlmRequest[Any], messages: tuple[Message, ...], usage: Usage, follow_up: bool
    ) -> None:
        super().__init__("no answer is stored")
        self.key, self.request, self.messages, self.usage, self.follow_up = key, request, messages, usage, follow_up


class StoredAnswers(LlmClient):
    """As LlmClient, but ``complete`` raises Unanswered instead of asking. For one thread.

    ``paid``: key -> what the answer took, for answers that are accounted to whoever reads them first.
    ``moved``: key of a question as it would be put now -> the key under which it was put.
    ``trouble``: the last reason why a request about a document was to be split, by document id.
    """

    def __init__(
        self, settings: LlmSettings, engine: Engine, limits_engine: Engine, api: BatchApi | None = None
    ) -> None:
        super().__init__(settings, engine, limits_engine)
        self.api: BatchApi = api or LitellmBatches(self._pause)
        self.batches = BatchLedger(
            engine,
            LimitsDb(limits_engine),
            self._worker.id,
            settings.budget_usd,
            settings.budget_period,
            lambda: datetime.now(UTC),
        )
        self.paid: dict[str, tuple[str, Usage]] = {}
        self.moved: dict[str, str] = {}
        self.trouble: dict[str, str] = {}

    def check(self) -> None:
        """As LlmClient's; raises BatchUnsupported as well."""
        self.api.check(self.settings.primary)
        super().check()

    def complete(self, request: LlmRequest[T]) -> LlmAnswer[T]:
        try:
            return super().complete(request)
        except CallFailed as error:
            self.trouble.update(dict.fromkeys(request.document_ids, error.reason))
            raise

    def most_usd(self, request: LlmRequest[Any], messages: tuple[Message, ...]) -> float:
        """The most that the request can cost in a batch; 0 when the price is unknown."""
        return self._callers[self.settings.primary.name].most_usd(request, messages) * PRICE_SHARE

    def key_of(self, request: LlmRequest[Any]) -> str:
        return request_key(self.settings.primary, request.messages, request.format)

    def _ask(
        self, request: LlmRequest[T], messages: tuple[Message, ...], usage: Usage
    ) -> tuple[CachedReply, str | None]:
        keys = [request_key(model, messages, request.format) for model in self.settings.models]
        cached = self.ledger.find([self.moved.get(key, key) for key in keys])
        if cached is None:
            raise Unanswered(keys[0], request, messages, usage, len(messages) > len(request.messages))
        call_id, took = self.paid.pop(cached.key, (None, None))
        if took is None:
            usage.cache_hits += 1
            return cached, None
        usage.calls += took.calls
        usage.input_tokens += took.input_tokens
        usage.cached_tokens += took.cached_tokens
        usage.output_tokens += took.output_tokens
        usage.cost_usd += took.cost_usd
        return cached, call_id

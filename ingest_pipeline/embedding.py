"""Vectors of memory sentences, for the near duplicates that words alone do not bring together. Off by default.

Asked for outside of the fold, which takes them as an argument and stays pure. Only sentences that another one might
repeat are asked about, each once: the LLM client's cache keeps their vectors, and an erased person's go with it.
"""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from ingest_pipeline.extraction.models import model_settings
from ingest_pipeline.extraction.redaction import Redaction, Redactor
from ingest_pipeline.llm.client import LlmClient
from ingest_pipeline.llm.embeddings import EmbeddingTransport, Vector, embedding_request
from ingest_pipeline.llm.errors import BudgetExhausted, CallFailed, ProviderUnavailable
from ingest_pipeline.llm.limits import open_limits
from ingest_pipeline.llm.settings import LlmSettings
from ingest_pipeline.settings import Settings


@dataclass
class Embedder:
    """Safe to use from several threads. ``close`` it at the end."""

    client: LlmClient
    redactor: Redactor = field(default_factory=Redactor)
    threads: int = 1
    _out: threading.Event = field(default_factory=threading.Event)

    def vectors(self, profile_id: str, sentences: Sequence[str]) -> Mapping[str, Vector] | None:
        """By sentence; without those that the provider refuses. None when the budget is spent or the provider is down:
        then nobody is asked any more. Raises LlmStopped for what only a changed setting mends."""
        if self._out.is_set():
            return None
        try:
            with ThreadPoolExecutor(max(1, min(self.threads, len(sentences)))) as pool:
                found = list(pool.map(lambda sentence: self._vector(profile_id, sentence), sentences))
        except (BudgetExhausted, ProviderUnavailable):
            self._out.set()
            return None
        return {sentence: vector for sentence, vector in zip(sentences, found, strict=True) if vector}

    def close(self) -> None:
        self.client.close()

    def _vector(self, profile_id: str, sentence: str) -> Vector | None:
        text = Redaction(self.redactor).shown(sentence)
        try:
            return self.client.complete(embedding_request(text, profile_id)).value
        except CallFailed:
            return None  # accounted as a failed call; its words decide


def open_embedder(settings: Settings, engine: Engine) -> Embedder | None:
    """The embedder of INGEST_EMBEDDING_MODEL; None without one. Raises ModelNotFound, PricesMissing."""
    if settings.embedding_model is None:
        return None
    # No output: a budget holds what the input can cost.
    model = replace(model_settings(settings.embedding_model, settings), max_output_tokens=0)
    client = LlmClient(
        LlmSettings(
            (model,), settings.budget_usd, max_attempts=settings.max_attempts, outage_s=settings.outage_seconds
        ),
        engine,
        open_limits(settings.limits_url),
        transport=EmbeddingTransport(),
    )
    client.check()
    return Embedder(client, Redactor(settings.redact, settings.phone_region.upper()), settings.max_concurrency)

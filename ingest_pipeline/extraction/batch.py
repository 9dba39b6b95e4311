"""The LLM extractor without the asking: what is to be asked about some documents, and what the answers give.

    documents ─▶ plan ─▶ outcomes (all answers stored) + questions ─▶ a batch ─▶ read ─▶ one Extraction per document

Both go the way that direct calls go, from the same packs through the same re-asking, splitting and grounding, only that
a question without a stored answer stays open.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from ingest_pipeline.chunking import Span
from ingest_pipeline.documents import Document
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extraction import packing
from ingest_pipeline.extraction.base import Extraction
from ingest_pipeline.extraction.llm import ExtractionOptions, LlmExtractor, extraction_options
from ingest_pipeline.extraction.models import llm_settings
from ingest_pipeline.extraction.prompt import Passage
from ingest_pipeline.extraction.results import PackResult
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.llm.batch_rows import BatchItem
from ingest_pipeline.llm.exchange import LlmRequest, Message
from ingest_pipeline.llm.limits import open_limits
from ingest_pipeline.llm.settings import ModelSettings
from ingest_pipeline.llm.stored import StoredAnswers, Unanswered
from ingest_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """``outcomes``: documents whose answers are all stored. ``questions``: what is to be asked about the others."""

    outcomes: list[Extraction]
    questions: list[BatchItem]


class BatchExtractor(LlmExtractor):
    """For one thread. Its ``extract`` fails documents whose answers are not stored."""

    client: StoredAnswers

    def __init__(self, schema: TraitSchema, client: StoredAnswers, options: ExtractionOptions | None = None) -> None:
        super().__init__(schema, client, options, threads=1)
        self._root: list[Passage] = []
        self._open: list[tuple[list[Passage], list[Passage], Unanswered]] = []
        self._failed: Mapping[str, str] = {}

    @property
    def primary(self) -> ModelSettings:
        return self.client.settings.primary

    def plan(self, documents: Sequence[Document]) -> Plan:
        """What there is to ask about documents of one profile and source."""
        self._open, self._failed = [], {}
        outcomes = list(self.extract(documents))
        questions = [self._item(root, pack, unanswered) for root, pack, unanswered in self._open]
        asked = {document for question in questions for document in question.asked}
        # Two packs may ask the same, about documents of the same text.
        unique = {question.key: question for question in reversed(questions)}
        return Plan([outcome for outcome in outcomes if outcome.document_id not in asked], [*reversed(unique.values())])

    def read(self, items: Iterable[BatchItem], documents: Mapping[str, Document]) -> Iterator[Extraction]:
        """The outcomes of the documents that the answered items of a batch are about.

        Documents with an unanswered question fail: with the reason for which their item failed, or, when an answer
        makes a further question necessary, with the reason for that.
        """
        items = list(items)
        self._open = []
        self._failed = {item.key: item.outcome or "batch_failed" for item in items}
        roots: dict[tuple[tuple[str, int, int], ...], list[Passage]] = {}
        for item in items:
            if any(document not in documents for document, _, _ in item.passages):
                continue
            pack = [Passage(documents[document], Span(start, end)) for document, start, end in item.passages]
            whole = pack if len(pack) > 1 or pack[0].is_whole else packing.passages(pack[0].document)
            for part in [pack] if whole is pack else [[passage] for passage in whole]:
                roots.setdefault(_places(part), part)
            if not item.follow_up:
                self.client.moved[self.client.key_of(self.request(pack))] = item.key
        yield from self.extract_packs(list(roots.values()))

    def ask_all(self, packs: list[list[Passage]]) -> Iterator[tuple[list[Passage], PackResult]]:
        for pack in packs:
            self._root = pack
            yield pack, self.ask(pack)

    def ask(self, pack: list[Passage]) -> PackResult:
        try:
            return super().ask(pack)
        except Unanswered as unanswered:
            self._open.append((self._root, pack, unanswered))
            reason = self._reason(pack, unanswered)
            return PackResult(failures=[(passage, reason) for passage in pack], usage=unanswered.usage)

    def _reason(self, pack: list[Passage], unanswered: Unanswered) -> str:
        key = self.client.moved.get(unanswered.key, unanswered.key)
        if key in self._failed:
            return self._failed[key]
        if unanswered.follow_up:
            return "invalid_answer"
        return self.client.trouble.get(pack[0].document.id, "overlooked")

    def _item(self, root: list[Passage], pack: list[Passage], unanswered: Unanswered) -> BatchItem:
        request, messages = unanswered.request, unanswered.messages
        return BatchItem(
            key=unanswered.key,
            profile_id=request.profile_id,
            passages=_places(root),
            asked=request.document_ids,
            follow_up=unanswered.follow_up or pack is not root,
            held_usd=self.client.most_usd(request, messages),
            line=self._line(unanswered.key, request, messages),
        )

    def _line(self, key: str, request: LlmRequest[Any], messages: tuple[Message, ...]) -> bytes:
        return self.client.api.line(self.primary, key, messages, request.format)


def _places(pack: list[Passage]) -> tuple[tuple[str, int, int], ...]:
    return tuple((passage.document.id, passage.span.start, passage.span.end) for passage in pack)


def open_batch_extractor(settings: Settings, schema: TraitSchema, engine: Engine) -> BatchExtractor:
    """The batch side of INGEST_MODEL. Raises ConfigurationError when it has none."""
    if settings.model == "offline":
        raise ConfigurationError(
            "INGEST_MODEL=offline asks no provider, so there is nothing to batch; set INGEST_MODEL to a litellm name"
        )
    client = StoredAnswers(llm_settings(settings), engine, open_limits(settings.limits_url))
    return BatchExtractor(schema, client, extraction_options(settings))

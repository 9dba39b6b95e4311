"""From answers to outcomes: what asking about packs brought becomes one Extraction per document."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ingest_pipeline.documents import Document
from ingest_pipeline.extraction.base import Candidate, Extraction, Kind, Observation, Status
from ingest_pipeline.extraction.grounding import ground
from ingest_pipeline.extraction.prompt import Passage
from ingest_pipeline.extraction.redaction import InventedPlaceholder, Redaction
from ingest_pipeline.extraction.schema import Answer, DocumentItems, MemoryItem, TraitItem
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.llm.usage import Usage


@dataclass
class PackResult:
    """What a pack brought: per passage its candidates, or the reason why there are none.

    ``overlooked`` are passages that the answer does not list.
    """

    candidates: list[tuple[Passage, list[Candidate]]] = field(default_factory=list)
    failures: list[tuple[Passage, str]] = field(default_factory=list)
    dropped: list[tuple[Passage, Counter[str]]] = field(default_factory=list)
    overlooked: list[Passage] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def add(self, other: "PackResult") -> None:
        """Take in what asking about a part of the pack brought."""
        self.candidates += other.candidates
        self.failures += other.failures
        self.dropped += other.dropped
        self.usage += other.usage


def read_pack(
    pack: list[Passage], answer: Answer, schema: TraitSchema, redaction: Redaction, usage: Usage
) -> PackResult:
    """The candidates of an answer, with the values that ``redaction`` hid."""
    result = PackResult(usage=usage)
    for number, passage in enumerate(pack, 1):
        reference = f"D{number}"
        if reference in answer.missing:
            result.overlooked.append(passage)
            continue
        dropped = answer.dropped.get(reference, Counter())
        proposed = _candidates(passage, answer.documents[reference], schema, dropped)
        result.candidates.append((passage, list(_restored(passage, proposed, redaction, dropped))))
        result.dropped.append((passage, dropped))
    return result


def _candidates(
    passage: Passage, items: DocumentItems, schema: TraitSchema, dropped: Counter[str]
) -> Iterator[Candidate]:
    for trait in items.traits:
        if trait.about != "subject":
            dropped["other_subject"] += 1
        elif schema.get(trait.key) is None:
            dropped["unknown_trait"] += 1
        else:
            values = trait.value if isinstance(trait.value, list) else [trait.value]
            yield from (_candidate(Kind.TRAIT, trait.key, value, trait) for value in values)
    for memory in items.memories:
        if memory.about != "subject":
            dropped["other_subject"] += 1
        else:
            yield _candidate(Kind.MEMORY, memory.type, memory.content, memory, memory.importance)


def _candidate(
    kind: Kind, key: str, value: Any, item: TraitItem | MemoryItem, importance: float | None = None
) -> Candidate:
    return Candidate(
        kind=kind,
        key=key,
        value=value,
        quote=item.quote,
        confidence=item.confidence,
        importance=importance,
        stated=item.date_phrase or None,
        retracted=item.retracted,
        sensitive=item.sensitive,
    )


def _restored(
    passage: Passage, proposed: Iterable[Candidate], redaction: Redaction, dropped: Counter[str]
) -> Iterator[Candidate]:
    """The candidates in the document's own words, placed where their quotes stand in the passage."""
    text, span = passage.document.text, passage.span
    for one in proposed:
        try:
            value = redaction.restored(one.value) if isinstance(one.value, str) else one.value
            quote, stated = redaction.restored(one.quote), one.stated and redaction.restored(one.stated)
        except InventedPlaceholder:
            dropped["invented_placeholder"] += 1
            continue
        start = text.find(quote, span.start, span.end) if quote else -1
        yield Candidate(
            one.kind, one.key, value, quote, one.confidence, one.importance, stated, one.retracted,
            start if start >= 0 else span.start, one.sensitive,
        )  # fmt: skip


@dataclass
class DocumentWork:
    """One document's state while its passages are asked about."""

    document: Document
    open_passages: int = 0
    candidates: list[tuple[int, list[Candidate]]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)

    def outcome(self, schema: TraitSchema, timezone: str) -> Extraction:
        """One failed passage fails the document: half of its facts must not pass for all of them."""
        document = self.document
        if self.reason is not None:
            return Extraction(document.id, Status.FAILED, (), {}, self.reason, self.usage)
        observations: list[Observation] = []
        dropped = Counter(self.dropped)
        # In the order of the text, so that of two overlapping passages the first one's items are kept.
        for _, candidates in sorted(self.candidates, key=lambda each: each[0]):
            grounded = ground(document, candidates, schema, timezone)
            dropped.update(grounded.dropped)
            fresh = [each for each in grounded.observations if not _said_before(each, observations)]
            dropped["duplicate"] += len(grounded.observations) - len(fresh)
            observations += fresh
        status = Status.OK if observations else Status.EMPTY
        return Extraction(document.id, status, tuple(observations), dict(+dropped), None, self.usage)


def begin_work(packs: list[list[Passage]]) -> dict[str, DocumentWork]:
    """The documents of the packs, by id."""
    work = {passage.document.id: DocumentWork(passage.document) for pack in packs for passage in pack}
    for pack in packs:
        for passage in pack:
            work[passage.document.id].open_passages += 1
    return work


def collect(work: dict[str, DocumentWork], pack: list[Passage], result: PackResult) -> Iterator[DocumentWork]:
    """Hand a pack's result to its documents; yields those that are complete. Its usage is the first one's."""
    for passage, candidates in result.candidates:
        work[passage.document.id].candidates.append((passage.span.start, candidates))
    for passage, dropped in result.dropped:
        work[passage.document.id].dropped.update(dropped)
    for passage, reason in result.failures:
        work[passage.document.id].reason = reason
    work[pack[0].document.id].usage += result.usage
    for document_id in dict.fromkeys(passage.document.id for passage in pack):
        item = work[document_id]
        item.open_passages -= sum(passage.document.id == document_id for passage in pack)
        if not item.open_passages:
            yield item


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

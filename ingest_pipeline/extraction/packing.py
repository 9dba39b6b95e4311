"""Which documents go into one prompt, and which are cut into several.

documents ──▶ passages (whole documents, or chunks of long ones) ──▶ packs of about ``pack_tokens``
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ingest_pipeline.chunking import Span, chunk, halves
from ingest_pipeline.documents import Document
from ingest_pipeline.extraction.prompt import Passage
from ingest_pipeline.llm.prices import estimate_tokens

CHUNK_TOKENS = 6_000
"""Longest passage. Beyond it answers get long and models begin to overlook things."""
OVERLAP_TOKENS = 150
MIN_SPLIT_CHARS = 400
"""Shorter passages are not cut further: what proves a fact would be torn apart."""
MAX_PACK_DOCUMENTS = 25
"""More documents in one prompt are mixed up."""
_NEVER = datetime.min.replace(tzinfo=UTC)


def passages(document: Document) -> list[Passage]:
    """The document, whole or in overlapping chunks that begin at speakers' turns where possible."""
    text = document.text
    tokens = estimate_tokens(text)
    if tokens <= CHUNK_TOKENS:
        return [Passage(document, Span(0, len(text)))]
    per_token = len(text) / tokens
    spans = chunk(text, int(CHUNK_TOKENS * per_token), int(OVERLAP_TOKENS * per_token), _turns(document))
    return [Passage(document, span) for span in spans]


def split(passage: Passage) -> list[Passage]:
    """The passage in two parts; one that is too short for that is asked about once more, for less; then nothing."""
    if len(passage.span) < MIN_SPLIT_CHARS:
        return [] if passage.brief else [replace(passage, brief=True)]
    document = passage.document
    return [Passage(document, part) for part in halves(document.text, passage.span, 100, _turns(document))]


def packs(documents: Sequence[Document], pack_tokens: int) -> Iterator[list[Passage]]:
    """Packs in the documents' order in time, whatever order they come in.

    Documents of one pack are asked about the same traits. A pack is closed by what is in it, never by what comes next.
    So when some packs' documents are done and the rest is packed again, as after a crash, the other packs are the same
    as before and their answers are in the cache.
    """
    by_traits: dict[str, list[Document]] = {}
    for document in documents:
        by_traits.setdefault(document.definitions or "", []).append(document)
    for _, alike in sorted(by_traits.items()):
        yield from _packs(alike, pack_tokens)


def _packs(documents: Sequence[Document], pack_tokens: int) -> Iterator[list[Passage]]:
    pack: list[Passage] = []
    tokens = 0
    for document in sorted(documents, key=lambda each: (each.occurred_at or _NEVER, each.id)):
        parts = passages(document)
        size = estimate_tokens(document.text)
        if len(parts) > 1 or size >= pack_tokens:
            yield from ([part] for part in parts)
            continue
        pack += parts
        tokens += size
        # Closed a little early, so that packs are about the target on average.
        if tokens >= 0.8 * pack_tokens or len(pack) >= MAX_PACK_DOCUMENTS:
            yield pack
            pack, tokens = [], 0
    if pack:
        yield pack


def _turns(document: Document) -> list[int]:
    return sorted({segment.start for segment in document.segments})

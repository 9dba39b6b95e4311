"""Extracting: pending documents become observations, partition by partition, in threads.

store ── pending keys ──▶ extractor (threads) ──▶ store        one KeyOutcome per profile × source
                              ▲        └── failed for a passing reason: once more when all others are done
                              └────────┘
"""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TypeAlias

from sqlalchemy import Engine

from ingest_pipeline.documents import Document
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extraction.base import Extraction, Extractor, Status, Usage
from ingest_pipeline.llm.errors import TRANSIENT
from ingest_pipeline.store.documents import load_documents
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.extractions import PartitionKey, Selection, load_pending, save_extractions, still_selected
from ingest_pipeline.store.upsert import batches

SLICE = 100
"""Documents of one partition that are handed to the extractor at once; also bounds what is in memory."""

HELD = 10_000
"""Documents at the most that wait for being tried once more at the end of a run."""

SAVE_AT = 500
"""Outcomes per transaction when they come fast. Slow ones are stored as they come: a call that was paid for is kept."""


@dataclass(slots=True)
class KeyOutcome:
    """What happened to one partition. ``failed`` counts documents by reason; holds no text."""

    key: PartitionKey
    documents: int = 0
    ok: int = 0
    empty: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    observations: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)

    def add(self, extraction: Extraction) -> None:
        self.documents += 1
        self.ok += extraction.status is Status.OK
        self.empty += extraction.status is Status.EMPTY
        if extraction.status is Status.FAILED:
            self.failed[extraction.reason or "unknown"] += 1
        self.observations += len(extraction.observations)
        self.dropped.update(extraction.dropped)
        self.usage += extraction.usage

    def __iadd__(self, other: "KeyOutcome") -> "KeyOutcome":
        """What happened to several profiles of one bucket: under the key of one of them."""
        for name in self.__slots__[1:]:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def replace(self, failure: str, extraction: Extraction) -> None:
        """Count the second outcome of a document in place of its failure; what both took is counted."""
        self.documents -= 1
        self.failed -= Counter({failure: 1})
        self.add(extraction)

    @property
    def bad(self) -> bool:
        return bool(self.failed)


@dataclass(frozen=True, slots=True)
class _Slice:
    key: PartitionKey
    documents: tuple[Document, ...]
    of: int  # slices of this partition in all; they finish in any order


_Piece: TypeAlias = tuple[PartitionKey, list[str], int]
"""A slice whose documents are not loaded yet: their ids."""


def extract_pending(
    engine: Engine, extractor: Extractor, selection: Selection, threads: int = 1, run_id: str | None = None
) -> Generator[KeyOutcome, None, None]:
    """Extract the selected documents and yield each partition's outcome once all of it is stored.

    At most ``threads`` slices are with the extractor at a time. Documents that failed for a passing reason are tried
    once more at the end. Raises ConfigurationError when the extractor says that going on makes no sense; what was
    finished by then, in other threads too, is stored and yielded first.
    """
    saver = _Saver(engine, extractor, run_id)
    try:
        error = None
        for done in _run(extractor, _slices(engine, selection), threads):
            error = error or done.error
            yield from saver.add(done)
        yield from saver.flush()
        for done in () if error else _run(extractor, _loaded(engine, saver.held_pieces()), threads):
            error = error or done.error
            saver.add_again(done)
        yield from saver.release()
    finally:
        # Also when the consumer stops or a thread breaks: a call that was paid for is kept.
        saver.save()
    if error:
        raise error


def _slices(engine: Engine, selection: Selection) -> Iterator[_Slice]:
    """The pending documents, a bounded number in memory at a time."""
    for page in load_pending(engine, selection):
        yield from _loaded(engine, _pieces(page), selection)


def _pieces(page: Iterable[tuple[PartitionKey, list[str]]]) -> Iterator[_Piece]:
    for key, documents in page:
        yield from ((key, ids, -(-len(documents) // SLICE)) for ids in batches(documents, SLICE))


def _loaded(engine: Engine, pieces: Iterable[_Piece], selection: Selection | None = None) -> Iterator[_Slice]:
    """With a selection without what somebody else, a server perhaps, has extracted since it was found."""
    for group in _groups(pieces):
        with reading(engine) as connection:
            wanted: Iterable[str] = chain.from_iterable(ids for _, ids, _ in group)
            wanted = wanted if selection is None else still_selected(connection, selection, wanted)
            loaded = {document.id: document for document in load_documents(connection, wanted)}
        for key, ids, of in group:
            yield _Slice(key, tuple(loaded[i] for i in ids if i in loaded), of)


def _groups(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces whose documents are loaded by one query."""
    group: list[_Piece] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += len(piece[1])
        if size >= SAVE_AT:
            yield group
            group, size = [], 0
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class _Done:
    """A slice and the outcomes that came before the extractor gave up, if it did."""

    slice: _Slice
    extractions: list[Extraction]
    error: ConfigurationError | None = None


def _extract(extractor: Extractor, piece: _Slice) -> _Done:
    extractions: list[Extraction] = []
    if not piece.documents:
        return _Done(piece, extractions)
    try:
        for extraction in extractor.extract(piece.documents):
            extractions.append(extraction)
    except ConfigurationError as error:
        return _Done(piece, extractions, error)
    return _Done(piece, extractions)


def _run(extractor: Extractor, slices: Iterator[_Slice], threads: int) -> Iterator[_Done]:
    """The slices' outcomes, as they come. After one with an error no other slice is begun."""
    if threads == 1:
        for piece in slices:
            done = _extract(extractor, piece)
            yield done
            if done.error:
                return
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="extract") as pool:
        running: set[Future[_Done]] = set()
        stopped = False
        try:
            while True:
                for piece in () if stopped else islice(slices, 2 * threads - len(running)):
                    running.add(pool.submit(_extract, extractor, piece))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                # One that broke comes last, so that the others are not lost with it.
                for future in sorted(finished, key=lambda f: f.exception() is not None):
                    done = future.result()
                    stopped = stopped or done.error is not None
                    yield done
                if stopped:
                    running = {future for future in running if not future.cancel()}
        finally:
            for future in running:
                future.cancel()


class _Saver:
    """Stores outcomes in batches and holds each partition's tally until the last of it is stored.

    ``held``: per partition the documents that failed for a passing reason, with that reason.
    """

    def __init__(self, engine: Engine, extractor: Extractor, run_id: str | None) -> None:
        self.engine, self.extractor, self.run_id = engine, extractor, run_id
        self.waiting: list[Extraction] = []
        self.tallies: dict[PartitionKey, KeyOutcome] = {}
        self.slices: Counter[PartitionKey] = Counter()
        self.complete: set[PartitionKey] = set()
        self.held: dict[PartitionKey, dict[str, str]] = {}
        self.room = HELD

    def add(self, done: _Done) -> Iterator[KeyOutcome]:
        key = done.slice.key
        tally = self.tallies.setdefault(key, KeyOutcome(key))
        for extraction in done.extractions:
            tally.add(extraction)
            if extraction.reason is not None and extraction.reason in TRANSIENT and self.room:
                self.room -= 1
                self.held.setdefault(key, {})[extraction.document_id] = extraction.reason
        self.waiting += done.extractions
        self.slices[key] += not done.error
        if self.slices[key] == done.slice.of:
            del self.slices[key]
            self.complete.add(key)
        if len(self.waiting) >= SAVE_AT or any(extraction.usage.calls for extraction in done.extractions):
            yield from self.flush()

    def save(self) -> None:
        waiting, self.waiting = self.waiting, []
        save_extractions(self.engine, waiting, self.extractor.fingerprint, self.extractor.model, self.run_id)

    def flush(self) -> Iterator[KeyOutcome]:
        self.save()
        told = self.complete - self.held.keys()
        self.complete -= told
        for key in sorted(told):
            yield self.tallies.pop(key)

    def held_pieces(self) -> Iterator[_Piece]:
        """What is to be tried once more, of partitions that are complete otherwise."""
        return _pieces([(key, list(self.held[key])) for key in sorted(self.complete)])

    def add_again(self, done: _Done) -> None:
        """The second outcomes, stored at once: there are few, and each was paid for."""
        for extraction in done.extractions:
            failure = self.held[done.slice.key].pop(extraction.document_id)
            self.tallies[done.slice.key].replace(failure, extraction)
        self.waiting += done.extractions
        self.save()

    def release(self) -> Iterator[KeyOutcome]:
        """The partitions that were held back."""
        self.save()
        for key in sorted(self.complete):
            yield self.tallies.pop(key)
        self.complete = set()

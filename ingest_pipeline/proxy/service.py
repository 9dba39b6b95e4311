"""One chat request from its body to the last byte of the answer, and what happens with it afterwards.

in a thread      read, who, known, booked
in the loop      upstream ─▶ answer, as it comes ───────────────────────▶ [DONE]
in a thread                    └─▶ the user's words stored, before that ─┘└─▶ settled, extracted
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError

from ingest_pipeline.background import MAX_DUE, Background
from ingest_pipeline.direct import extract_stored
from ingest_pipeline.documents import Json
from ingest_pipeline.errors import IngestError, ProfileNotFound
from ingest_pipeline.extraction.redaction import Redactor
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.proxy.accounts import Accounts, Ticket
from ingest_pipeline.proxy.errors import UpstreamFailed
from ingest_pipeline.proxy.forwarding import Forwarder, Stream, Whole, check_translatable
from ingest_pipeline.proxy.injection import Known, describe, injected
from ingest_pipeline.proxy.request import ChatRequest, check_model, find_reference, read_request
from ingest_pipeline.proxy.said import Said, read_said
from ingest_pipeline.proxy.upstream import Upstream, choose_upstream, configured_upstream
from ingest_pipeline.store.conversations import find_new, load_known, load_unextracted, save_said
from ingest_pipeline.store.definitions import profile_schema
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.lookup import find_profile

THREADS = 4
"""Profiles that are extracted at once in the background of one process."""

DONE = b"data: [DONE]\n\n"

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A request that is ready to go: ``body`` is what the upstream gets."""

    request: ChatRequest
    body: dict[str, Json]
    reference: str
    profile_id: str
    upstream: Upstream
    ticket: Ticket | None
    at: datetime


class ChatProxy:
    """One per process. ``complete`` is called in one event loop."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._accounts = Accounts(pipeline.settings, pipeline.engine)
        self._forwarder = Forwarder()
        self._redactor = Redactor(pipeline.settings.redact, pipeline.settings.phone_region.upper())
        # The offline extractor is Python code that holds the interpreter.
        threads = 1 if pipeline.settings.model == "offline" else min(THREADS, pipeline.settings.max_concurrency)
        self.background = Background(self._extract, threads)
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def models(self) -> tuple[str, ...]:
        """Those that may be asked for; when any may, the ones that texts are extracted with."""
        settings = self.pipeline.settings
        extraction = () if settings.model == "offline" else (settings.model, *settings.fallback_models)
        return settings.proxy_models or extraction

    def start(self) -> None:
        """Take up what an earlier process left."""
        for profile_id, document_id in load_unextracted(
            self.pipeline.engine, self.pipeline.extractor.fingerprint, MAX_DUE
        ):
            self.background.add(profile_id, [document_id])

    async def close(self) -> None:
        """End what is under way; answers have been given by now."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._forwarder.close()
        await anyio.to_thread.run_sync(self.background.close)
        await anyio.to_thread.run_sync(self._accounts.close)

    async def complete(self, data: bytes, headers: Mapping[str, str]) -> bytes | AsyncIterator[bytes]:
        """The answer's JSON, or its server-sent events.

        Raises InvalidInput, NotAllowed, NoRoom, UpstreamFailed, PricesMissing. By the end of the answer what the user
        said is stored.
        """
        turn = await anyio.to_thread.run_sync(self._prepare, data, headers)
        # While the upstream answers.
        new = self._spawn(anyio.to_thread.run_sync(self._find_new, turn))
        try:
            answer = await self._forwarder.send(turn.upstream, turn.body)
        except UpstreamFailed as failure:
            _log.info("the upstream answered with HTTP %d", failure.status)
            self._spawn(self._settle_failed(turn, failure))
            raise
        except BaseException:
            self._spawn(self._settle_lost(turn))
            raise
        # Whatever becomes of the caller's connection.
        stored = self._spawn(self._store(turn, new))
        if isinstance(answer, Whole):
            try:
                await asyncio.shield(stored)
            finally:
                # Not at the same time: on SQLite one would wait for the other.
                self._spawn(self._settle(turn, answer.usage, 0))
            return answer.content
        frames = self._relay(turn, answer, stored)
        # Begun here, so that it is brought to an end even when nobody takes the rest.
        return _chained(await anext(frames), frames)

    def _prepare(self, data: bytes, headers: Mapping[str, str]) -> _Turn:
        settings, engine = self.pipeline.settings, self.pipeline.engine
        request = read_request(data, self.pipeline.schema)
        check_model(request, settings.proxy_models)
        upstream = choose_upstream(self._configured, settings.upstream_base_urls, headers)
        check_translatable(upstream, request.body)
        reference = find_reference(request, headers)
        profile_id = _find_or_create(self.pipeline, reference)
        now = datetime.now(UTC)
        body = request.body
        if not request.options.skip_injection:
            known = load_known(engine, profile_id, now)
            schema = request.options.traits or self._schema(profile_id, known)
            text = self._redactor.begin().shown(describe(known, schema))
            body = body | {"messages": injected(request.messages, text)}
        ticket = self._accounts.open(upstream, request, profile_id)
        return _Turn(request, body, reference, profile_id, upstream, ticket, now)

    def _schema(self, profile_id: str, known: Known) -> TraitSchema:
        """With the traits that came with texts of the profile, where it has values of them."""
        schema = self.pipeline.schema
        if all(schema.get(key) for key in known.traits or ()):
            return schema
        return profile_schema(self.pipeline.engine, profile_id, schema)

    @cached_property
    def _configured(self) -> Upstream:
        return configured_upstream(self.pipeline.settings)

    async def _relay(self, turn: _Turn, stream: Stream, stored: "asyncio.Task[None]") -> AsyncIterator[bytes]:
        try:
            async for frame in stream.frames():
                yield frame
            await asyncio.shield(stored)
            yield DONE
        except UpstreamFailed as failure:
            yield error_frame(str(failure), "upstream_error", "upstream_error")
            await asyncio.shield(stored)
        except (IngestError, SQLAlchemyError):
            yield error_frame("what the user said could not be stored; try again", "internal_error", "internal_error")
        finally:
            self._spawn(self._finish(turn, stream))

    async def _finish(self, turn: _Turn, stream: Stream) -> None:
        await stream.close()
        await self._settle(turn, stream.usage, stream.events)

    async def _settle(self, turn: _Turn, usage: Json, events: int) -> None:
        if turn.ticket is not None:
            await anyio.to_thread.run_sync(self._accounts.answered, turn.ticket, usage, events)

    async def _settle_failed(self, turn: _Turn, failure: UpstreamFailed) -> None:
        if turn.ticket is not None:
            await anyio.to_thread.run_sync(self._accounts.failed, turn.ticket, failure)

    async def _settle_lost(self, turn: _Turn) -> None:
        if turn.ticket is not None:
            await anyio.to_thread.run_sync(self._accounts.lost, turn.ticket)

    def _find_new(self, turn: _Turn) -> list[Said]:
        if turn.request.options.skip_extraction:
            return []
        return find_new(self.pipeline.engine, read_said(turn.reference, turn.request.messages))

    async def _store(self, turn: _Turn, new: "asyncio.Task[list[Said]]") -> None:
        said = await new
        if said:
            await anyio.to_thread.run_sync(self._save, turn, said)

    def _save(self, turn: _Turn, said: list[Said]) -> None:
        metadata = {"source": None, "metadata": turn.request.metadata or None, "model": turn.request.model}
        definitions = turn.request.options.definitions
        documents = save_said(self.pipeline.engine, turn.profile_id, said, metadata, turn.at, definitions)
        self.background.add(turn.profile_id, documents)

    def _extract(self, profile_id: str, documents: Sequence[str]) -> None:
        extract_stored(self.pipeline, profile_id, documents)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("after an answer: %s", type(error).__name__)


def _find_or_create(pipeline: Pipeline, reference: str) -> str:
    try:
        return find_profile(pipeline.engine, reference)
    except ProfileNotFound:
        return create_profile(pipeline.engine, reference)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for frame in rest:
        yield frame


def error_frame(message: str, kind: str, code: str) -> bytes:
    """An error in the middle of an answer, as OpenAI's clients understand it."""
    return b"data: " + json.dumps({"error": {"message": message, "type": kind, "code": code}}).encode() + b"\n\n"

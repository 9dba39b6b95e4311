"""A transport without a network, for tests of the client: its script says how each call ends."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Engine, text

from ingest_pipeline.llm.client import LlmClient
from ingest_pipeline.llm.errors import ModelNotFound
from ingest_pipeline.llm.exchange import AnswerFormat, InvalidAnswer, LlmRequest, Message, ProviderReply
from ingest_pipeline.llm.limits import open_limits
from ingest_pipeline.llm.prices import Prices
from ingest_pipeline.llm.settings import LlmSettings, ModelSettings
from ingest_pipeline.llm.transport import ProviderCall

Step: TypeAlias = str | ProviderReply | BaseException | Callable[[ProviderCall], ProviderReply]

PRICES = Prices(input=1.0, output=10.0)
PROFILE = "5b1f0b46-6f38-4c8a-9e08-3c3b0e5a7a11"
DOCUMENT = "0d7a4c1e-7a55-4a43-8f0b-b0d1a4a1a222"


def reply(content: str, finish_reason: str = "stop", used: tuple[int, int] = (100, 20)) -> ProviderReply:
    return ProviderReply(content, finish_reason, *used)


class FakeClock:
    """Time that passes only when told to."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Scripted:
    """Plays its steps one after the other: text is an answer, an exception is raised, a callable decides.

    When the steps are used up, the last one is played again.
    """

    steps: list[Step] = field(default_factory=lambda: ["yes"])
    known_prices: Prices | None = PRICES
    unknown_models: frozenset[str] = frozenset()
    calls: list[ProviderCall] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, model: ModelSettings) -> None:
        if model.name in self.unknown_models:
            raise ModelNotFound(model.name)

    def prices(self, model: ModelSettings) -> Prices | None:
        return self.known_prices

    def close(self) -> None:
        pass

    def send(self, call: ProviderCall) -> ProviderReply:
        with self._lock:
            step = self.steps[min(len(self.calls), len(self.steps) - 1)]
            self.calls.append(call)
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            return step(call)
        return reply(step) if isinstance(step, str) else step


def parse(answer: str) -> str:
    """Any answer but one that begins with "bad"."""
    if answer.startswith("bad"):
        raise InvalidAnswer("it is bad")
    return answer


def reask(messages: tuple[Message, ...], answer: str, problem: str) -> tuple[Message, ...]:
    return (*messages, Message("assistant", answer), Message("user", problem))


def question(words: str = "what?", **fields: Any) -> LlmRequest[str]:
    messages = (Message("system", "You answer."), Message("user", words))
    fields = {"profile_id": PROFILE, "document_ids": (DOCUMENT,), "format": AnswerFormat("answer", {})} | fields
    return LlmRequest(messages, parse=parse, reask=reask, **fields)


class Clients:
    """Makes clients of one store and one limits database, and closes them."""

    def __init__(self, engine: Engine, database_url: str, folder: Path) -> None:
        self.engine = engine
        self.limits_url = f"sqlite:///{folder / 'limits.db'}" if database_url.startswith("sqlite") else database_url
        self.slept: list[float] = []
        self._made: list[LlmClient] = []

    def __call__(
        self, transport: Any, *, models: tuple[ModelSettings, ...] = (ModelSettings("m/one"),), **fields: Any
    ) -> LlmClient:
        sleep = fields.pop("sleep", self.slept.append)
        clock = fields.pop("clock", None)
        client = LlmClient(
            LlmSettings(models, **fields),
            self.engine,
            open_limits(self.limits_url),
            transport=transport,
            clock=clock,
            now=lambda: datetime.now(UTC),
            sleep=sleep,
        )
        self._made.append(client)
        return client

    def rows(self, columns: str = "outcome", table: str = "llm_calls") -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            query = text(f"SELECT {columns} FROM {table} ORDER BY created_at, 1")
            return [tuple(row) for row in connection.execute(query)]

    def outcomes(self) -> list[str]:
        return [row[0] for row in self.rows()]

    def close(self) -> None:
        for client in self._made:
            client.close()


def opened(engine: Engine, database_url: str, folder: Path) -> Iterator[Clients]:
    clients = Clients(engine, database_url, folder)
    yield clients
    clients.close()

"""What is asked and what is answered."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

from ingest_pipeline.errors import IngestError
from ingest_pipeline.llm.settings import ModelSettings
from ingest_pipeline.llm.usage import Usage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


class InvalidAnswer(IngestError):
    """An answer that does not fit. The message goes back to the model, so it may quote the answer: never log it."""


@dataclass(frozen=True)
class AnswerFormat:
    """A JSON schema, converted once. ``name`` is shown to the provider."""

    name: str
    schema: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.schema, sort_keys=True).encode()).hexdigest()

    @cached_property
    def most_tokens(self) -> int:
        """Providers count the schema as input."""
        return len(json.dumps(self.schema))


@dataclass(frozen=True)
class LlmRequest(Generic[T]):
    """One question. The client holds no words of its own: ``reask`` puts the follow-up to an invalid answer.

    parse: the answer's text -> value; raises InvalidAnswer.
    reask: (messages so far, the answer, what is wrong with it) -> messages of the next question.
    expected_output_tokens: for the rate limit; corrected after the call.
    max_wait_s: longest wait for a slot, None = as long as it takes.
    """

    messages: tuple[Message, ...]
    parse: Callable[[str], T]
    reask: Callable[[tuple[Message, ...], str, str], tuple[Message, ...]]
    format: AnswerFormat | None = None
    purpose: str = "extract"
    profile_id: str | None = None
    document_ids: tuple[str, ...] = ()
    expected_output_tokens: int = 400
    max_wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class ProviderReply:
    """One answer as the provider gave it. Token counts are the provider's, or estimates when it gave none."""

    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class LlmAnswer(Generic[T]):
    """``model`` is the one that answered, which may be a fallback."""

    value: T
    model: str
    usage: Usage = field(default_factory=Usage)


def request_key(model: ModelSettings, messages: Sequence[Message], answer_format: AnswerFormat | None) -> str:
    """SHA-256 over everything that decides the answer. Not the answer mode: it only says how the shape is told."""
    decisive = [
        model.name,
        model.api_base,
        model.max_output_tokens,
        model.temperature,
        answer_format.digest if answer_format else None,
        [[message.role, message.content] for message in messages],
    ]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()

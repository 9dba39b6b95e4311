"""How a batch reaches a provider: litellm's ``create_file``, ``create_batch``, ``retrieve_batch``, ``file_content``."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ingest_pipeline.llm.errors import STOP_ERRORS, BatchRefused, BatchUnsupported, ProviderUnavailable
from ingest_pipeline.llm.exchange import AnswerFormat, Message, ProviderReply
from ingest_pipeline.llm.settings import ModelSettings
from ingest_pipeline.llm.transport import (
    FailureKind,
    LitellmTransport,
    ProviderCall,
    ProviderFailure,
    classify,
    failure,
    provider_of,
    request_body,
    storable,
)

T = TypeVar("T")

PROVIDERS = ("openai", "azure", "hosted_vllm", "litellm_proxy", "mistral")
"""Those of litellm's batch providers that take and give OpenAI's lines; Vertex, Bedrock and xAI have their own."""
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
ATTEMPTS, PAUSE_S = 4, 0.5
_PASSING = frozenset({FailureKind.RATE_LIMITED, FailureKind.SERVER_ERROR, FailureKind.UNREACHABLE, FailureKind.TIMEOUT})


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A batch as the provider sees it. ``error`` is the provider's code for a batch that it gave up as a whole."""

    provider_id: str
    state: str
    error: str | None = None
    files: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """One line of the output or error file. ``reply`` None: ``failure`` says why. ``counted``: tokens are given."""

    key: str
    reply: ProviderReply | None = None
    failure: FailureKind | None = None
    status_code: int | None = None
    counted: bool = True


class BatchApi(Protocol):
    """Raises an LlmStopped: BatchUnsupported, BatchRefused, ProviderUnavailable, or what stops calls too."""

    def check(self, model: ModelSettings) -> None: ...

    def line(self, model: ModelSettings, key: str, messages: tuple[Message, ...], form: AnswerFormat | None) -> bytes:
        """One request of the file, ended by a line feed."""
        ...

    def upload(self, model: ModelSettings, name: str, content: bytes) -> str:
        """The file's id."""
        ...

    def create(self, model: ModelSettings, file_id: str, batch_id: str) -> str:
        """The provider's id of the new batch. ProviderUnavailable leaves open whether there is one."""
        ...

    def find(self, model: ModelSettings, file_id: str, batch_id: str) -> str | None:
        """The provider's id of a batch that was perhaps created. Raises BatchUnsupported when it cannot be told."""
        ...

    def retrieve(self, model: ModelSettings, provider_id: str) -> BatchStatus: ...

    def answers(self, model: ModelSettings, file_id: str) -> Iterator[BatchAnswer]: ...


class LitellmBatches:
    """``pause`` waits between attempts; what is safe to repeat is tried up to ATTEMPTS times."""

    def __init__(self, pause: Callable[[float], object] = time.sleep) -> None:
        self._pause = pause

    def check(self, model: ModelSettings) -> None:
        LitellmTransport().check(model)
        if provider_of(model) not in PROVIDERS:
            raise BatchUnsupported(model.name, PROVIDERS)

    def line(self, model: ModelSettings, key: str, messages: tuple[Message, ...], form: AnswerFormat | None) -> bytes:
        body = request_body(ProviderCall(model, messages, form, model.answer_mode))
        request = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(request, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    def upload(self, model: ModelSettings, name: str, content: bytes) -> str:
        file = (name, content, "application/jsonl")
        return str(self._call(model, "create_file", file=file, purpose="batch").id)

    def create(self, model: ModelSettings, file_id: str, batch_id: str) -> str:
        made = self._call(
            model,
            "create_batch",
            attempts=1,
            completion_window="24h",
            endpoint="/v1/chat/completions",
            input_file_id=file_id,
            metadata={"ingest_batch": batch_id},
        )
        return str(made.id)

    def find(self, model: ModelSettings, file_id: str, batch_id: str) -> str | None:
        if provider_of(model) == "mistral":
            raise BatchUnsupported(model.name, PROVIDERS)  # litellm cannot list its batches
        after: dict[str, Any] = {}
        while True:
            page = self._call(model, "list_batches", limit=100, **after)
            for one in page.data:
                if one.input_file_id == file_id or (one.metadata or {}).get("ingest_batch") == batch_id:
                    return str(one.id)
            if not getattr(page, "has_more", False) or not page.data:
                return None
            after = {"after": str(page.data[-1].id)}

    def retrieve(self, model: ModelSettings, provider_id: str) -> BatchStatus:
        batch = self._call(model, "retrieve_batch", batch_id=provider_id)
        problems = getattr(batch.errors, "data", None) or []
        error = str(problems[0].code) if problems and problems[0].code else None
        files = tuple(str(file) for file in (batch.output_file_id, batch.error_file_id) if file)
        return BatchStatus(provider_id, str(batch.status), error, files)

    def answers(self, model: ModelSettings, file_id: str) -> Iterator[BatchAnswer]:
        content = self._call(model, "file_content", file_id=file_id).content
        for line in content.decode("utf-8", "replace").split("\n"):
            if line.strip() and (answer := read_line(line)) is not None:
                yield answer

    def _call(self, model: ModelSettings, name: str, attempts: int = ATTEMPTS, **arguments: Any) -> Any:
        import litellm
        from openai import OpenAIError

        shared: dict[str, Any] = {
            "custom_llm_provider": provider_of(model), "timeout": model.timeout_s, "max_retries": 0,
            "api_base": model.api_base, "api_key": model.api_key.get_secret_value() if model.api_key else None,
        }  # fmt: skip
        for attempt in range(1, attempts + 1):
            try:
                return getattr(litellm, name)(**shared, **arguments)
            except OpenAIError as error:
                trouble = failure(error)
            if trouble.kind not in _PASSING or attempt == attempts:
                break
            self._pause(trouble.retry_after_s or PAUSE_S * 2**attempt)
        raise _stopped(model, trouble)


def _stopped(model: ModelSettings, trouble: ProviderFailure) -> Exception:
    if trouble.kind.value in STOP_ERRORS:
        return STOP_ERRORS[trouble.kind.value](model.name)
    if trouble.kind in _PASSING:
        return ProviderUnavailable(model.name, 0.0, model.place)
    return BatchRefused(model.name, trouble.status_code)


def read_line(line: str) -> BatchAnswer | None:
    """A line of the output or error file; None when it names no request."""
    try:
        given = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None
    if not isinstance(given, dict) or not isinstance(given.get("custom_id"), str):
        return None
    key = given["custom_id"]
    response = given.get("response") if isinstance(given.get("response"), dict) else None
    status = response.get("status_code") if response else None
    body = response.get("body") if response else None
    if isinstance(body, dict) and status == 200 and not given.get("error"):
        return _answered(key, body)
    code = status if isinstance(status, int) and status >= 400 else 500
    problem = json.dumps(given.get("error") or body or "")
    kind = FailureKind.TIMEOUT if "batch_expired" in problem else classify(code, problem, {}).kind
    return BatchAnswer(key, failure=kind, status_code=code)


def _answered(key: str, body: dict[str, Any]) -> BatchAnswer:
    try:
        choice = body["choices"][0]
        text = storable(choice["message"].get("content") or "")
        reason = str(choice.get("finish_reason") or "stop")
    except (KeyError, IndexError, TypeError, AttributeError):
        return BatchAnswer(key, failure=FailureKind.SERVER_ERROR, status_code=200)
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    assert isinstance(usage, dict)
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    used = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return BatchAnswer(key, ProviderReply(text, reason, *used, cached or 0), None, 200, counted=bool(used[0]))

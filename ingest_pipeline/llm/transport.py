"""How a call reaches a provider: through litellm, which is imported by the first call and does no retries itself."""

import os
import re
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Protocol

from ingest_pipeline.llm.errors import ModelNotFound
from ingest_pipeline.llm.exchange import AnswerFormat, Message, ProviderReply
from ingest_pipeline.llm.prices import Prices, estimate_tokens
from ingest_pipeline.llm.settings import AnswerMode, ModelSettings

CONNECT_TIMEOUT_S = 5.0
"""As in OpenAI's own package. An address that swallows what is sent to it is known as dead after that."""


class FailureKind(StrEnum):
    """What a failed call means. The values are outcomes in ``llm_calls``."""

    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    UNREACHABLE = "unreachable"  # no connection: nothing was sent
    TIMEOUT = "timeout"
    AUTH = "auth"
    NOT_FOUND = "not_found"
    QUOTA = "quota"
    TOO_LONG = "too_long"
    REFUSED = "refused"  # the provider's content filter
    UNSUPPORTED = "unsupported"  # a parameter; ``ProviderFailure.parameter`` names it
    BAD_REQUEST = "bad_request"


class ProviderFailure(Exception):
    """A call that brought no answer. Holds no text of the call or the provider's message."""

    def __init__(
        self,
        kind: FailureKind,
        status_code: int | None = None,
        retry_after_s: float | None = None,
        parameter: str | None = None,
    ) -> None:
        super().__init__(f"{kind} (HTTP {status_code})")
        self.kind = kind
        self.status_code = status_code
        self.retry_after_s = retry_after_s
        self.parameter = parameter


@dataclass(frozen=True)
class ProviderCall:
    """One call as it is sent. ``omit`` are parameters that this model does not take."""

    model: ModelSettings
    messages: Sequence[Message]
    format: AnswerFormat | None
    mode: AnswerMode
    omit: frozenset[str] = frozenset()


class Transport(Protocol):
    def check(self, model: ModelSettings) -> None:
        """Get ready, which may take seconds. Raises ModelNotFound for a model that nobody serves."""
        ...

    def prices(self, model: ModelSettings) -> Prices | None:
        """The list price of the model, if known."""
        ...

    def send(self, call: ProviderCall) -> ProviderReply:
        """Send once. Raises ProviderFailure."""
        ...

    def close(self) -> None:
        """Close the connections. Idempotent."""
        ...


class LitellmTransport:
    """``litellm.completion`` with its own retries off.

    For OpenAI-compatible providers the HTTP client is ours, one per address and key: litellm makes one per thread
    that comes at the same time, and leaves the others' connections open.
    """

    def __init__(self) -> None:
        self._clients: dict[tuple[str | None, str | None], Any] = {}
        self._opening = threading.Lock()

    def check(self, model: ModelSettings) -> None:
        litellm = load_litellm()
        try:
            litellm.get_llm_provider(model.name, api_base=model.api_base)
        except litellm.exceptions.BadRequestError as error:
            raise ModelNotFound(model.name) from error
        self._warm_up(model)

    def prices(self, model: ModelSettings) -> Prices | None:
        listed = load_litellm().model_cost
        entry = listed.get(model.name) or listed.get(model.name.partition("/")[2])
        if not entry or entry.get("input_cost_per_token") is None or entry.get("output_cost_per_token") is None:
            return None
        cached = entry.get("cache_read_input_token_cost")
        return Prices(
            entry["input_cost_per_token"] * 1e6,
            entry["output_cost_per_token"] * 1e6,
            None if cached is None else cached * 1e6,
        )

    def send(self, call: ProviderCall) -> ProviderReply:
        litellm = load_litellm()
        from openai import OpenAIError  # the base of litellm's exceptions

        _log_nothing()
        arguments, client = _arguments(call), self._client(call.model)
        if client is not None and "response_format" in arguments:
            # As it is: OpenAI's package looks through every part of a schema for what to convert, at each call.
            arguments["extra_body"] = {"response_format": arguments.pop("response_format")}
        try:
            response = litellm.completion(**arguments, client=client)
        except OpenAIError as error:
            raise failure(error) from None
        return _reply(call, response)

    def close(self) -> None:
        with self._opening:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _warm_up(self, model: ModelSettings) -> None:
        """Have litellm and openai import what they put off until the first call, without a call.

        It takes a second, and calls that were let go one by one during it would all arrive at its end.
        """
        client = self._client(model)
        if client is not None:
            _ = client.chat.completions.with_raw_response
        messages = [{"role": "user", "content": "-"}]
        load_litellm().completion(model=model.name, api_base=model.api_base, messages=messages, mock_response="-")

    def _client(self, model: ModelSettings) -> Any:
        """Our client for OpenAI-compatible providers; None leaves it to litellm."""
        if _provider(model.name, model.api_base) != "openai":
            return None
        from httpx import Limits
        from openai import DefaultHttpxClient, OpenAI

        secret = model.api_key.get_secret_value() if model.api_key else os.environ.get("OPENAI_API_KEY")
        if not secret:
            return None  # litellm says what is missing
        with self._opening:
            client = self._clients.get((model.api_base, secret))
            if client is None:
                # No limit on connections: how many calls go on at once is the limiter's business.
                http = DefaultHttpxClient(limits=Limits(max_connections=None, keepalive_expiry=30.0))
                client = OpenAI(api_key=secret, base_url=model.api_base, max_retries=0, http_client=http)
                self._clients[model.api_base, secret] = client
            return client


@cache
def _provider(name: str, api_base: str | None) -> str:
    return str(load_litellm().get_llm_provider(name, api_base=api_base)[1])


@cache
def load_litellm() -> Any:
    """The module; its import takes 2–3 s and must not fetch a price list from the network."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def _log_nothing() -> None:
    """Keep litellm from preparing a log record of the answer in a thread of its own, for callbacks that are not there.

    It takes a seventh of a call's time and would keep texts. Where litellm has no such switch, it goes on doing so.
    """
    switch = _logging_switch()
    if switch is not None:
        switch.set(True)


@cache
def _logging_switch() -> ContextVar[bool] | None:
    try:
        from litellm._internal_context import is_internal_call
    except ImportError:
        return None
    return is_internal_call if isinstance(is_internal_call, ContextVar) else None


def provider_of(model: ModelSettings) -> str:
    """litellm's name of the provider. Raises ModelNotFound."""
    LitellmTransport().check(model)
    return _provider(model.name, model.api_base)


def request_body(call: ProviderCall) -> dict[str, Any]:
    """What litellm would send for the call as JSON, for providers that speak OpenAI's language."""
    litellm = load_litellm()
    given = _arguments(call)
    name, provider = litellm.get_llm_provider(call.model.name, api_base=call.model.api_base)[:2]
    names = ("max_tokens", "max_completion_tokens", "temperature", "response_format")
    options: dict[str, Any] = {key: given[key] for key in names if key in given}
    known = litellm.get_optional_params(model=name, custom_llm_provider=provider, drop_params=True, **options)
    known = {key: value for key, value in known.items() if key not in ("stream", "extra_body")}
    return {"model": name, "messages": given["messages"], **known}


def timeout_of(model: ModelSettings) -> Any:
    """For litellm: connecting takes no longer than CONNECT_TIMEOUT_S."""
    from httpx import Timeout

    return Timeout(model.timeout_s, connect=min(CONNECT_TIMEOUT_S, model.timeout_s))


def _arguments(call: ProviderCall) -> dict[str, Any]:
    model = call.model
    arguments: dict[str, Any] = {
        "model": model.name,
        "messages": [{"role": message.role, "content": message.content} for message in call.messages],
        "timeout": timeout_of(model),
        "max_retries": 0,
        "num_retries": 0,
    }
    limit = "max_completion_tokens" if "max_tokens" in call.omit else "max_tokens"
    arguments[limit] = model.max_output_tokens
    if model.temperature is not None and "temperature" not in call.omit:
        arguments["temperature"] = model.temperature
    if model.api_base is not None:
        arguments["api_base"] = model.api_base
    if model.api_key is not None:
        arguments["api_key"] = model.api_key.get_secret_value()
    if call.format is not None and call.mode is not AnswerMode.PROMPT:
        arguments["response_format"] = _response_format(call.format, call.mode)
    return arguments


def _response_format(answer_format: AnswerFormat, mode: AnswerMode) -> dict[str, Any]:
    if mode is AnswerMode.OBJECT:
        return {"type": "json_object"}
    schema = {"name": answer_format.name, "schema": answer_format.schema, "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def _reply(call: ProviderCall, response: Any) -> ProviderReply:
    if not response.choices:
        raise ProviderFailure(FailureKind.SERVER_ERROR, 200)
    choice = response.choices[0]
    text = storable(choice.message.content or "")
    usage = getattr(response, "usage", None)
    details = getattr(usage, "prompt_tokens_details", None)
    prompt = "".join(message.content for message in call.messages)
    return ProviderReply(
        text=text,
        finish_reason=choice.finish_reason or "stop",
        input_tokens=getattr(usage, "prompt_tokens", 0) or estimate_tokens(prompt),
        output_tokens=getattr(usage, "completion_tokens", 0) or estimate_tokens(text),
        cached_tokens=getattr(details, "cached_tokens", 0) or 0,
    )


def storable(text: str) -> str:
    """Neither a lone surrogate nor NUL can be stored in every database."""
    return _UNSTORABLE.sub("\ufffd", text)


_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|credit balance is too low", re.I)
_KEYLESS = re.compile(r"missing credentials|api_key client option must be set|missing \w+ api key", re.I)
_TOO_LONG = re.compile(r"context_length_exceeded|maximum context length|context window|prompt is too long", re.I)
_FILTERED = re.compile(r"content_policy|content_filter|content management policy|safety (system|reasons)", re.I)
_FORMAT = re.compile(r"response_format|json_schema|response_schema|structured output", re.I)


def failure(error: Exception) -> ProviderFailure:
    """What a litellm exception means: by its status code, because its class is often another's."""
    if _was_not_connected(error):
        return ProviderFailure(FailureKind.UNREACHABLE)
    code = str(getattr(error, "status_code", None))
    status = int(code) if code.isdigit() else 500
    headers = getattr(error, "litellm_response_headers", None) or {}
    return classify(status, str(error), headers)


def _was_not_connected(error: BaseException) -> bool:
    from httpx import ConnectError, ConnectTimeout

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectError | ConnectTimeout):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def classify(status: int, message: str, headers: Mapping[str, str]) -> ProviderFailure:
    """What a refusal with this status, text and headers means."""
    kind, parameter = _kind(status, message)
    return ProviderFailure(kind, status, retry_after(headers), parameter)


def _kind(status: int, message: str) -> tuple[FailureKind, str | None]:
    by_status = {401: FailureKind.AUTH, 403: FailureKind.AUTH, 404: FailureKind.NOT_FOUND, 408: FailureKind.TIMEOUT}
    if status in by_status:
        return by_status[status], None
    if _QUOTA.search(message):
        return FailureKind.QUOTA, None
    if status == 429:
        return FailureKind.RATE_LIMITED, None
    if status >= 500 and _KEYLESS.search(message):
        # litellm has no key to ask with and sent nothing: the status is its own.
        return FailureKind.AUTH, None
    if status >= 500:
        return FailureKind.SERVER_ERROR, None
    if status == 413 or _TOO_LONG.search(message):
        return FailureKind.TOO_LONG, None
    if _FILTERED.search(message):
        return FailureKind.REFUSED, None
    if _FORMAT.search(message):
        return FailureKind.UNSUPPORTED, "response_format"
    for parameter in ("temperature", "max_tokens"):
        if parameter in message:
            return FailureKind.UNSUPPORTED, parameter
    return FailureKind.BAD_REQUEST, None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``retry-after-ms`` or ``retry-after`` header; None without a usable one (an HTTP date is not)."""
    lowered = {str(name).lower(): str(value) for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = lowered.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) / unit
    return None

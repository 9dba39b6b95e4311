"""Sending a request upstream through litellm, and its answer as it comes.

litellm makes every answer into its own classes: of several choices in a stream it keeps the first to end, and it writes
other names of models, reasons and fields. Servers that speak OpenAI's language need none of that, so their answers are
passed on byte by byte, taken where they arrive: at the HTTP client that litellm is given.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio.to_thread

from ingest_pipeline.documents import Json
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.llm.transport import load_litellm
from ingest_pipeline.proxy.errors import UpstreamFailed
from ingest_pipeline.proxy.upstream import OPENAI, Upstream

if TYPE_CHECKING:
    import httpx

TIMEOUT_S, CONNECT_TIMEOUT_S = 600.0, 10.0
"""For the next bytes of an answer, and for a connection."""

_TRANSLATED = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
        "max_tokens", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty", "reasoning_effort",
        "response_format", "seed", "service_tier", "stop", "stream_options", "temperature", "thinking", "tool_choice",
        "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
    }
)  # fmt: skip
"""What litellm translates for providers with a language of their own. Other names may be orders to litellm itself,
such as an address to ask instead."""
_PLACEHOLDER: list[dict[str, str]] = [{"role": "user", "content": "-"}]
_LEFT_OUT = frozenset({"metadata", "store"})
"""OpenAI's own book-keeping, which means nothing elsewhere."""


@dataclass(slots=True)
class _Arrival:
    """The HTTP response of a call under way."""

    response: "httpx.Response | None" = None


_arrival: ContextVar[_Arrival | None] = ContextVar("arrival", default=None)


async def _note(response: "httpx.Response") -> None:
    arrival = _arrival.get()
    if arrival is not None:
        arrival.response = response


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer in one piece: the JSON as it came. ``usage`` as the upstream says, if it does."""

    content: bytes

    @property
    def usage(self) -> Json:
        return _usage(self.content)


class Stream(Protocol):
    """An answer in pieces. ``events`` counts those that came, ``usage`` is what the upstream said of it by then."""

    events: int

    @property
    def usage(self) -> Json: ...

    def frames(self) -> AsyncIterator[bytes]:
        """Server-sent events without the closing ``[DONE]``. Raises UpstreamFailed when the answer breaks off."""
        ...

    async def close(self) -> None:
        """Stop receiving. Idempotent."""
        ...


class Forwarder:
    """One per process; all its calls are made in one event loop."""

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None
        self._clients: dict[Upstream, Any] = {}

    async def send(self, upstream: Upstream, body: Mapping[str, Json]) -> Whole | Stream:
        """``body`` as ``check_translatable`` let pass. Raises UpstreamFailed."""
        if not self._clients:  # importing it takes seconds
            await anyio.to_thread.run_sync(load_litellm)
        litellm = load_litellm()
        from openai import OpenAIError  # the base of litellm's exceptions

        arguments = self._arguments(upstream, body)
        arrival = _Arrival()
        token = _arrival.set(arrival)
        try:
            answer = await litellm.acompletion(**arguments)
        except OpenAIError as error:
            raise failure(error, arrival.response, upstream) from None
        finally:
            _arrival.reset(token)
        streaming, raw = bool(body.get("stream")), arrival.response
        if raw is not None:
            return _AsItComes(raw) if streaming else await _whole(raw)
        return _Translated(answer) if streaming else Whole(answer.model_dump_json(exclude_none=True).encode())

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()

    def _arguments(self, upstream: Upstream, body: Mapping[str, Json]) -> dict[str, Any]:
        from httpx import Timeout

        rest = {name: value for name, value in body.items() if name != "model"}
        arguments: dict[str, Any] = {
            "model": upstream.model(body["model"]),
            "custom_llm_provider": upstream.provider,
            "api_base": upstream.base_url,
            "api_key": upstream.key.get_secret_value() if upstream.key else None,
            "timeout": Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            "max_retries": 0,
            "num_retries": 0,
        }
        if upstream.provider == OPENAI:
            # What is sent stands in extra_body, past litellm's own reading of messages and parameters. It leaves alone
            # what it takes for a stream, so the answer is one to it in any case; and it is not to go to the other
            # endpoint that it prefers for some models, whose answers have another shape.
            sent = {"extra_body": {"stream": False} | rest, "messages": _PLACEHOLDER, "stream": True}
            return arguments | sent | {"client": self._client(upstream), "_skip_responses_api_bridge": True}
        # Tools that are servers would be called from here; looking for them needs a package that is not there.
        translated = {name: rest[name] for name in rest.keys() & _TRANSLATED}
        given = {"messages": body["messages"], "stream": bool(body.get("stream"))}
        return arguments | translated | given | {"_skip_mcp_handler": True}

    def _client(self, upstream: Upstream) -> Any:
        """The configured upstream's is kept; all share their connections."""
        from httpx import Limits
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        if upstream in self._clients:
            return self._clients[upstream]
        if self._http is None:
            self._http = DefaultAsyncHttpxClient(
                limits=Limits(max_connections=None, keepalive_expiry=30.0),
                # A redirection could lead anywhere.
                follow_redirects=False,
                event_hooks={"response": [_note]},
            )
        key = upstream.key.get_secret_value() if upstream.key else os.environ.get("OPENAI_API_KEY") or "none"
        client = AsyncOpenAI(api_key=key, base_url=upstream.base_url, max_retries=0, http_client=self._http)
        if not upstream.is_callers:
            self._clients[upstream] = client
        return client


async def _whole(response: "httpx.Response") -> Whole:
    from httpx import HTTPError

    try:
        return Whole(await response.aread())
    except HTTPError as error:
        raise _broke_off(error) from None
    finally:
        await response.aclose()


class _AsItComes:
    """The upstream's own server-sent events."""

    def __init__(self, response: "httpx.Response") -> None:
        self._response = response
        self._last = b""
        self.events = 0

    @property
    def usage(self) -> Json:
        return _usage(self._last)

    async def frames(self) -> AsyncIterator[bytes]:
        from httpx import HTTPError

        lines: list[str] = []
        try:
            async for line in self._response.aiter_lines():
                if line:
                    lines.append(line)
                    continue
                if any(line.startswith("data:") and line[5:].strip() == "[DONE]" for line in lines):
                    return
                if lines:
                    yield self._frame(lines)
                    lines = []
        except HTTPError as error:
            raise _broke_off(error) from None
        if lines:
            yield self._frame(lines)

    def _frame(self, lines: list[str]) -> bytes:
        self.events += 1
        for line in lines:
            # Every event may have the field; the last one's is not null.
            if line.startswith("data:") and '"usage"' in line:
                self._last = line[5:].encode()
        return "\n".join([*lines, "", ""]).encode()

    async def close(self) -> None:
        await self._response.aclose()


class _Translated:
    """What litellm makes of another provider's stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.usage: Json = None
        self.events = 0

    async def frames(self) -> AsyncIterator[bytes]:
        from openai import OpenAIError

        try:
            async for chunk in self._stream:
                self.events += 1
                usage = getattr(chunk, "usage", None)
                self.usage = usage.model_dump() if usage is not None else self.usage
                yield b"data: " + chunk.model_dump_json(exclude_none=True).encode() + b"\n\n"
        except OpenAIError as error:
            raise failure(error, None, None) from None

    async def close(self) -> None:
        await self._stream.aclose()


def _broke_off(error: Exception) -> UpstreamFailed:
    from httpx import TimeoutException

    status = 504 if isinstance(error, TimeoutException) else 502
    return UpstreamFailed(status, f"the upstream's answer broke off ({type(error).__name__})")


def _usage(content: bytes) -> Json:
    try:
        answer = json.loads(content)
    except ValueError:
        return None
    usage = answer.get("usage") if isinstance(answer, dict) else None
    return usage if isinstance(usage, dict) else None


def failure(error: Exception, response: "httpx.Response | None", upstream: Upstream | None) -> UpstreamFailed:
    """What the caller is told: the upstream's own words and status where it had any."""
    if response is not None and response.status_code >= 300:
        return _refusal(response, upstream)
    litellm = load_litellm()
    if isinstance(error, litellm.exceptions.Timeout):
        return UpstreamFailed(504, "the upstream does not answer in time")
    code = str(getattr(error, "status_code", ""))
    headers = getattr(error, "litellm_response_headers", None) or {}
    is_connection = isinstance(error, litellm.exceptions.APIConnectionError)
    if response is None and (is_connection or (upstream is not None and upstream.provider == OPENAI)):
        return UpstreamFailed(502, "the upstream cannot be reached")
    # Its further lines may be a traceback.
    message = str(error).partition("\n")[0]
    return _told(int(code) if code.isdigit() else 502, message, None, headers.get("retry-after"), upstream)


def _refusal(response: "httpx.Response", upstream: Upstream | None) -> UpstreamFailed:
    try:
        answer = json.loads(response.content) if response.is_stream_consumed else None
    except ValueError:
        answer = None
    error = answer.get("error") if isinstance(answer, dict) else None
    error = error if isinstance(error, dict) else {"message": error}
    message, code = error.get("message"), error.get("code")
    told = (
        message if isinstance(message, str) and message else f"the upstream answered with HTTP {response.status_code}"
    )
    upstream_code = code if isinstance(code, str) else None
    return _told(response.status_code, told, upstream_code, response.headers.get("retry-after"), upstream)


def _told(
    status: int, message: str, code: str | None, retry_after: str | None, upstream: Upstream | None
) -> UpstreamFailed:
    if status in (401, 403) and upstream is not None and not upstream.is_callers:
        # Providers quote a part of the key.
        message = "the upstream refuses the key that is configured here"
    return UpstreamFailed(status if 400 <= status <= 599 else 502, message, code, retry_after)


def check_translatable(upstream: Upstream, body: Mapping[str, Json]) -> None:
    """Raises InvalidInput for what cannot be said in the language of the upstream."""
    if upstream.provider == OPENAI:
        return
    for name in body.keys() - _TRANSLATED - _LEFT_OUT - {"model", "messages", "stream"}:
        raise InvalidInput("unsupported_parameter", f"{upstream.provider} takes no parameter of this name", name)
    messages = body["messages"]
    # Links to images would be fetched from here, wherever they lead.
    parts = (part for message in messages if isinstance(message.get("content"), list) for part in message["content"])
    for part in parts:
        if part["type"] != "text" and any(_is_link(value) for value in part.values()):
            raise InvalidInput(
                "invalid_message_format", "this upstream takes images and files as data: URLs only", "messages"
            )


def _is_link(value: Json) -> bool:
    if isinstance(value, dict):
        return any(_is_link(each) for each in value.values())
    return isinstance(value, str) and "://" in value[:32]

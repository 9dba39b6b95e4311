"""A provider's embeddings by way of the LLM client: the same limits, budget, accounts and cache as for any question.

A request's only message is the text; the answer is the vector as a JSON list.
"""

import json
from typing import Any

from ingest_pipeline.llm.exchange import InvalidAnswer, LlmRequest, Message, ProviderReply
from ingest_pipeline.llm.prices import estimate_tokens
from ingest_pipeline.llm.transport import (
    FailureKind,
    LitellmTransport,
    ProviderCall,
    ProviderFailure,
    failure,
    load_litellm,
    timeout_of,
)

Vector = tuple[float, ...]

_DIGITS = 6
"""Behind the point, of each number: cosines differ by less than a millionth, and a vector takes half the room."""


class EmbeddingTransport(LitellmTransport):
    """``litellm.embedding`` with its own retries off."""

    def send(self, call: ProviderCall) -> ProviderReply:
        litellm = load_litellm()
        from openai import OpenAIError  # the base of litellm's exceptions

        (message,) = call.messages
        model = call.model
        client = self._client(model)
        arguments: dict[str, Any] = {"timeout": timeout_of(model) if client else model.timeout_s, "max_retries": 0}
        if model.api_base is not None:
            arguments["api_base"] = model.api_base
        if model.api_key is not None:
            arguments["api_key"] = model.api_key.get_secret_value()
        try:
            response = litellm.embedding(model=model.name, input=[message.content], client=client, **arguments)
        except OpenAIError as error:
            raise failure(error) from None
        if not response.data:
            raise ProviderFailure(FailureKind.SERVER_ERROR, 200)
        vector = [round(float(number), _DIGITS) for number in response.data[0]["embedding"]]
        used = getattr(getattr(response, "usage", None), "prompt_tokens", 0)
        return ProviderReply(json.dumps(vector), "stop", used or estimate_tokens(message.content), 0)


def embedding_request(text: str, profile_id: str) -> LlmRequest[Vector]:
    """The question for one text's vector."""
    return LlmRequest(
        messages=(Message("user", text),),
        parse=_parse,
        reask=lambda messages, _answer, _problem: messages,
        purpose="embed",
        profile_id=profile_id,
        expected_output_tokens=0,
    )


def _parse(answer: str) -> Vector:
    try:
        vector = tuple(float(number) for number in json.loads(answer))
    except (json.JSONDecodeError, TypeError, ValueError):
        raise InvalidAnswer("not a list of numbers") from None
    if not vector:
        raise InvalidAnswer("an empty list")
    return vector

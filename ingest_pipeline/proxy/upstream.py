"""Where a request goes: the configured upstream, or another that the caller may choose and pays for."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.models import model_settings
from ingest_pipeline.llm.transport import provider_of
from ingest_pipeline.proxy.errors import NotAllowed
from ingest_pipeline.settings import Settings

KEY_HEADER, PROVIDER_HEADER, BASE_URL_HEADER = "x-upstream-key", "x-upstream-provider", "x-upstream-base-url"

OPENAI = "openai"
"""litellm's name for every server that speaks OpenAI's language, wherever it is."""

PROVIDERS = frozenset(
    {
        OPENAI, "anthropic", "cerebras", "cohere_chat", "deepseek", "fireworks_ai", "gemini", "groq", "mistral",
        "openrouter", "perplexity", "together_ai", "xai",
    }
)  # fmt: skip
"""What a caller may choose: each has one public address of its own, which neither a model's name nor a parameter
changes. litellm knows many others, some of which are wherever the request says."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """``base_url`` None: the provider's own. ``key`` None: litellm looks into the environment.

    ``is_callers``: the key is the caller's, and so is the bill. ``is_extractions``: it is where texts are extracted.
    """

    provider: str
    base_url: str | None = None
    key: SecretStr | None = None
    is_callers: bool = False
    is_extractions: bool = False

    def is_nowhere(self) -> bool:
        """Whether neither a key nor an address is set: what users say is not sent to OpenAI to be refused there."""
        set_here = self.provider != OPENAI or self.base_url or self.key
        return not (set_here or os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))

    def model(self, name: str) -> str:
        """litellm's name of a model there."""
        return name if name.startswith(f"{self.provider}/") else f"{self.provider}/{name}"


def configured_upstream(settings: Settings) -> Upstream:
    """Of INGEST_UPSTREAM_…; where none is set, that of extraction."""
    if settings.upstream_provider or settings.upstream_base_url or settings.upstream_key:
        return Upstream(settings.upstream_provider or OPENAI, settings.upstream_base_url, settings.upstream_key)
    if settings.model == "offline":
        return Upstream(OPENAI, settings.api_base, settings.llm_api_key)
    provider = provider_of(model_settings(settings.model, settings))
    return Upstream(provider, settings.api_base, settings.llm_api_key, is_extractions=True)


def choose_upstream(configured: Upstream, allowed_urls: frozenset[str], headers: Mapping[str, str]) -> Upstream:
    """The upstream of a request.

    The configured key goes to the configured upstream only: any other takes the caller's. Raises NotAllowed for an
    address that is not in INGEST_UPSTREAM_BASE_URLS, InvalidInput for an unknown provider or a missing key.
    """
    key, provider, url = (_given(headers, name) for name in (KEY_HEADER, PROVIDER_HEADER, BASE_URL_HEADER))
    provider = provider.lower() if provider else None
    if provider not in PROVIDERS | {None, configured.provider}:
        raise InvalidInput(
            "invalid_upstream_provider", f"X-Upstream-Provider must be one of {', '.join(sorted(PROVIDERS))}"
        )
    address = _allowed_url(url, configured, allowed_urls) if url else None
    is_other_provider = provider is not None and provider != configured.provider
    if not key:
        if is_other_provider or address != (url and configured.base_url):
            raise InvalidInput("missing_upstream_key", "an upstream other than the configured one needs X-Upstream-Key")
        if configured.is_nowhere():
            raise InvalidInput(
                "missing_upstream_key",
                "no upstream is configured; set INGEST_UPSTREAM_KEY, or send X-Upstream-Key",
            )
        return configured
    base_url = address or (None if is_other_provider else configured.base_url)
    chosen = provider or (configured.provider if base_url == configured.base_url else OPENAI)
    return Upstream(chosen, base_url, SecretStr(key), is_callers=True)


def _allowed_url(url: str, configured: Upstream, allowed_urls: frozenset[str]) -> str:
    """The address as the settings write it."""
    for allowed in (configured.base_url, *sorted(allowed_urls)):
        if allowed and _plain(allowed) == _plain(url):
            return allowed
    raise NotAllowed("upstream_base_url_not_allowed", "this X-Upstream-Base-URL is not among INGEST_UPSTREAM_BASE_URLS")


def _given(headers: Mapping[str, str], name: str) -> str | None:
    return (headers.get(name) or "").strip() or None


def _plain(url: str) -> str:
    """The same for spellings that differ in the case of the host or a slash at the end."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return parts._replace(netloc=parts.netloc.lower(), path=parts.path.rstrip("/")).geturl()

"""Where a request goes, and with whose key."""

import pytest
from pydantic import SecretStr

from ingest_pipeline.errors import ConfigurationError, InvalidInput
from ingest_pipeline.proxy.errors import NotAllowed
from ingest_pipeline.proxy.upstream import PROVIDERS, Upstream, choose_upstream, configured_upstream
from ingest_pipeline.settings import Settings, load_settings

OURS = Upstream("openai", "https://llm.example/v1", SecretStr("ours"))
OTHER = "https://other.example/v1"
ALLOWED = frozenset({f"{OTHER}/", "http://localhost:8080"})


@pytest.mark.parametrize(
    ("headers", "provider", "url", "key"),
    [
        ({}, "openai", "https://llm.example/v1", "ours"),
        ({"x-upstream-provider": "OpenAI"}, "openai", "https://llm.example/v1", "ours"),
        ({"x-upstream-base-url": "https://LLM.example/v1/"}, "openai", "https://llm.example/v1", "ours"),
        ({"x-upstream-key": "k"}, "openai", "https://llm.example/v1", "k"),
        ({"x-upstream-key": "k", "x-upstream-provider": "anthropic"}, "anthropic", None, "k"),
        ({"x-upstream-key": "k", "x-upstream-base-url": OTHER}, "openai", f"{OTHER}/", "k"),
        (
            {"x-upstream-key": "k", "x-upstream-base-url": "http://Localhost:8080/"},
            "openai",
            "http://localhost:8080",
            "k",
        ),
    ],
)
def test_the_upstream_of_a_request(headers: dict[str, str], provider: str, url: str | None, key: str) -> None:
    """Calls with the configured key go to the configured upstream only; addresses are as the settings write them."""
    chosen = choose_upstream(OURS, ALLOWED, headers)
    assert (chosen.provider, chosen.base_url) == (provider, url)
    assert chosen.key is not None
    assert chosen.key.get_secret_value() == key
    assert chosen.is_callers is (key != "ours")


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/v1/admin",
        "https://other.example.evil.example/v1",
        "https://other.example:444/v1",
        "http://other.example/v1",
        "https://user@other.example/v1",
        "https://other.example/v1?x=1",
        "https://other.example/v1#x",
        "//other.example/v1",
        "http://169.254.169.254/",
        "http://[::1]:5432/",
        "localhost:8080",
        "http://[broken",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        choose_upstream(OURS, ALLOWED, {"x-upstream-key": "k", "x-upstream-base-url": url})
    assert refused.value.code == "upstream_base_url_not_allowed"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-upstream-provider": "ollama", "x-upstream-key": "k"}, "invalid_upstream_provider"),
        ({"x-upstream-provider": "anthropic"}, "missing_upstream_key"),
        ({"x-upstream-base-url": OTHER}, "missing_upstream_key"),
        ({"x-upstream-base-url": OTHER, "x-upstream-key": " "}, "missing_upstream_key"),
    ],
)
def test_what_is_wrong_is_told(headers: dict[str, str], code: str) -> None:
    with pytest.raises(InvalidInput) as wrong:
        choose_upstream(OURS, ALLOWED, headers)
    assert wrong.value.code == code


@pytest.mark.parametrize(
    ("settings", "provider", "url", "key"),
    [
        ({}, "openai", None, None),
        ({"api_base": "http://a.example", "llm_api_key": "e"}, "openai", "http://a.example", "e"),
        ({"model": "anthropic/claude-x", "llm_api_key": "e"}, "anthropic", None, "e"),
        ({"model": "openai/x", "api_base": "http://a.example", "upstream_key": "u"}, "openai", None, "u"),
        ({"llm_api_key": "e", "upstream_base_url": "http://b.example"}, "openai", "http://b.example", None),
        ({"llm_api_key": "e", "upstream_provider": "groq"}, "groq", None, None),
    ],
)
def test_the_configured_upstream(
    tmp_path: object, settings: dict[str, str], provider: str, url: str | None, key: str | None
) -> None:
    """That of extraction, or one of its own: keys and addresses of both are never mixed."""
    configured = configured_upstream(Settings(home=tmp_path, **settings))  # type: ignore[arg-type]
    assert (configured.provider, configured.base_url) == (provider, url)
    assert (configured.key.get_secret_value() if configured.key else None) == key


@pytest.mark.parametrize("url", ["llm.example", "ftp://llm.example", "http://", "https:///v1"])
def test_addresses_in_settings_are_addresses(tmp_path: object, url: str) -> None:
    for name in ("upstream_base_url", "upstream_base_urls"):
        with pytest.raises(ConfigurationError, match=f"INGEST_{name.upper()}.*write addresses such as"):
            load_settings(home=tmp_path, **{name: url})


def test_a_models_name_is_the_providers() -> None:
    """Whatever other provider's name it begins with."""
    assert OURS.model("gpt-x") == OURS.model("openai/gpt-x") == "openai/gpt-x"
    assert OURS.model("cohere/command-r") == "openai/cohere/command-r"


def test_every_provider_that_may_be_chosen_is_one_of_litellms() -> None:
    from ingest_pipeline.llm.transport import load_litellm

    assert set(load_litellm().provider_list) >= PROVIDERS


def test_without_key_and_address_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even to be refused: it holds what users say and what is known of them."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidInput, match="no upstream is configured") as refused:
        choose_upstream(Upstream("openai"), frozenset(), {})
    assert refused.value.code == "missing_upstream_key"
    assert choose_upstream(Upstream("openai"), frozenset(), {"x-upstream-key": "k"}).is_callers
    for there in (Upstream("openai", "http://127.0.0.1:1/v1"), Upstream("openai", key=SecretStr("k"))):
        assert choose_upstream(there, frozenset(), {}) is there

"""Texts that a model extracts, over real connections: a provider that fails, two that ask about one text at once."""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from ingest_pipeline.documents import Document
from ingest_pipeline.extracting import KeyOutcome, extract_pending
from ingest_pipeline.extraction.base import Extraction, Extractor
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.llm.tables import LlmCallRow
from ingest_pipeline.pipeline import open_pipeline
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow
from tests.builders import rows
from tests.extractors import Around
from tests.listening import listening
from tests.provider import Body, Provider, find_something
from tests.serving import KEY
from tests.upstream import Upstream

SAID = "I moved to Lisbon last month."
PRICES = '{"openai/extract": {"input": 1, "output": 1}}'


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


def model_of(provider: Provider, **more: object) -> dict[str, Any]:
    return {"model": "openai/extract", "api_base": provider.base_url, "llm_api_key": "k", "prices": PRICES, **more}


def asked(url: str, path: str, body: Any, method: str = "POST") -> httpx.Response:
    return httpx.request(method, f"{url}{path}", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)


FAILURES = [
    ({"status": 400, "error": "context_length_exceeded"}, "too_long"),
    ({"status": 400, "error": "content management policy"}, "refused"),
    ({"malformed": 1.0}, "invalid_answer"),
]


def test_a_provider_that_fails_is_told_with_the_kept_document(tmp_path: Path, provider: Provider) -> None:
    """Never 200 with nothing in it. The same call finishes it, once the provider is well."""
    with listening(f"sqlite:///{tmp_path / 'p.db'}", tmp_path, **model_of(provider)) as (url, app):
        asked(url, "/api/profiles", {"externalId": "ana"})
        well, kept = provider.behaviour, []
        for number, (behaviour, reason) in enumerate(FAILURES):
            provider.behave(**behaviour)
            body = {"data": f"{SAID} For the {number + 1}. time.", "metadata": {"n": number}}
            response = asked(url, "/api/profiles/ana/ingest", body)
            kept.append((body, failed(app, response, body["data"], 500, "extraction_error", reason)))
            provider.behaviour = well
        for body, document in kept:
            again = asked(url, "/api/profiles/ana/ingest", body)
            assert (again.status_code, again.json()["documentId"]) == (200, document)
            (memory,) = again.json()["extracted"]["memories"]
            assert memory["evidence"][0]["documentId"] == document
            calls = len(provider.seen)
            once_more = asked(url, "/api/profiles/ana/ingest", body).json()
            assert once_more["extracted"]["memories"] == again.json()["extracted"]["memories"]
            assert set(once_more["extracted"]["stats"].values()) == {0}
            assert len(provider.seen) == calls


def failed(app: FastAPI, response: httpx.Response, text: Any, status: int, code: str, reason: str) -> str:
    """The document that the answer names: it has the text. Nothing of that is in the answer."""
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["details"]["reason"]) == (status, code, reason)
    assert error["type"] == ("internal_error" if status == 500 else "rate_limit_error")
    assert ("Retry-After" in response.headers) is (status == 503)
    assert SAID not in response.text
    document: str = error["details"]["documentId"]
    assert document in error["message"]
    assert {row.id: row.text for row in rows(app.state.services.pipeline.engine, DocumentRow)}[document] == text
    return document


@pytest.mark.parametrize(
    ("behaviour", "status", "code", "reason"),
    [
        ({"status": 401, "error": "invalid_api_key"}, 500, "extraction_error", "auth"),
        ({"status": 404, "error": "no such model"}, 500, "extraction_error", "not_found"),
        ({"status": 429, "error": "insufficient_quota"}, 503, "budget_exhausted", "quota"),
        ({}, 503, "budget_exhausted", "budget"),
    ],
)
def test_so_is_one_that_nobody_asks_again_for_now(
    tmp_path: Path, provider: Provider, behaviour: dict[str, Any], status: int, code: str, reason: str
) -> None:
    """What is told at once does not wait for the provider."""
    provider.behave(**behaviour)
    settings = model_of(provider, **({} if behaviour else {"budget_usd": "0.000001"}))
    with listening(f"sqlite:///{tmp_path / 'p.db'}", tmp_path, **settings) as (url, app):
        asked(url, "/api/profiles", {"externalId": "ana"})
        for text in (SAID, f"{SAID} Really."):
            response = asked(url, "/api/profiles/ana/ingest", {"data": text})
            failed(app, response, text, status, code, reason)
        assert len(provider.seen) == bool(behaviour)


def test_a_client_that_goes_away_loses_nothing(database_url: str, tmp_path: Path) -> None:
    """Its text is extracted and folded all the same."""
    held = Held()
    with Provider(answer=held) as provider, listening(database_url, tmp_path, **model_of(provider)) as (url, app):
        asked(url, "/api/profiles", {"externalId": "ana"})
        client = HTTPConnection(urlsplit(url).netloc)
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        client.request("POST", "/api/profiles/ana/ingest", json.dumps({"data": SAID}), headers)
        assert held.asked.wait(60)
        client.close()
        held.go.set()
        engine: Engine = app.state.services.pipeline.engine
        for _ in range(1_200):
            if memories := load_facts(engine, find_profile(engine, "ana")).memories:
                break
            threading.Event().wait(0.05)
        assert [proof.quote for memory in memories for proof in memory.proofs] == [SAID]


@dataclass(frozen=True)
class Telling(Around):
    """An extractor that tells when it is asked."""

    inside: Extractor
    asking: threading.Event

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        self.asking.set()
        return self.inside.extract(documents)


class Held:
    """Answers of a provider that are on their way until ``go`` is set."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def __call__(self, body: Body) -> str:
        self.asked.set()
        assert self.go.wait(60)
        return find_something(body)


def synced(app: FastAPI, held: Held) -> list[KeyOutcome]:
    """What a sync with an engine and a client of its own does with what is pending, begun while the answer is held."""
    found: list[KeyOutcome] = []
    asking = threading.Event()
    pipeline = open_pipeline(app.state.services.pipeline.settings)

    def run() -> None:
        extractor = Telling(pipeline.extractor, asking)
        found.extend(extract_pending(pipeline.engine, extractor, Selection(extractor.fingerprint), 2))
        list(fold_profiles(pipeline.engine, pipeline.schema))

    assert held.asked.wait(60)
    sync = threading.Thread(target=run)
    sync.start()
    assert asking.wait(60)
    held.go.set()
    sync.join()
    pipeline.close()
    return found


@pytest.mark.parametrize("way", ["proxy", "ingest"])
def test_a_sync_beside_the_server_asks_about_a_fresh_text_for_nothing(
    database_url: str, tmp_path: Path, way: str
) -> None:
    """Both want it at once: one call is made and paid, and its facts are there once."""
    held = Held()
    with Upstream() as upstream, Provider(answer=held) as provider:
        settings = model_of(provider, upstream_base_url=upstream.base_url, upstream_key="u")
        with listening(database_url, tmp_path, **settings) as (url, app):
            asked(url, "/api/profiles", {"externalId": "ana"})
            body: dict[str, Any] = {"data": SAID}
            path = "/api/profiles/ana/ingest"
            if way == "proxy":
                messages = [{"role": "user", "content": SAID}]
                path, body = "/v1/chat/completions", {"model": "gpt-x", "messages": messages, "user": "ana"}
            client = threading.Thread(target=asked, args=(url, path, body))
            client.start()
            outcomes = synced(app, held)
            client.join()
            assert app.state.proxy.background.drain(60)
            engine: Engine = app.state.services.pipeline.engine
            assert [outcome.ok for outcome in outcomes] == [1]
            assert len(provider.seen) == 1
            assert len([call for call in rows(engine, LlmCallRow) if call.purpose == "extract"]) == 1
            assert [(d.state, d.text) for d in rows(engine, DocumentRow)] == [("done", SAID)]
            assert len(rows(engine, ExtractionRow)) == 1
            (memory,) = load_facts(engine, find_profile(engine, "ana")).memories
            assert [proof.quote for proof in memory.proofs] == [SAID]

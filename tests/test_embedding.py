"""Embeddings: asked for once, within limits and budget, and only to join what says the same."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from ingest_pipeline.documents import Role
from ingest_pipeline.duplicates import candidates
from ingest_pipeline.embedding import Embedder, open_embedder
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extraction.base import Extraction, Kind, Observation, Status
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.llm.tables import LlmCacheRow, LlmCallRow
from ingest_pipeline.settings import Settings, load_settings
from ingest_pipeline.store.extractions import save_extractions
from ingest_pipeline.store.fold_outcomes import Folded
from ingest_pipeline.store.profiles import count_unfolded
from ingest_pipeline.store.tables import DocumentRow, Memory
from tests.builders import contact, day, record, rows, save
from tests.provider import Provider

SCHEMA = load_traits(None)
MODEL = "openai/embedder"
ONE, OTHER, THIRD = "Is evaluating the top tier.", "Assesses the top tier.", "Repairs wooden clocks."


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        provider.embed = lambda text: [1.0, 0.1] if "tier" in text else [0.1, 1.0]
        yield provider


def configured(provider: Provider, tmp_path: Path, **changes: object) -> Settings:
    given = {
        "home": tmp_path, "embedding_model": MODEL, "api_base": provider.base_url, "llm_api_key": SecretStr("k"),
        "prices": {MODEL: {"input": 0.02, "output": 0}}, "rpm": 100_000,
    }  # fmt: skip
    return load_settings(**given | changes)


@pytest.fixture
def embedder(provider: Provider, tmp_path: Path, engine: Engine) -> Iterator[Embedder]:
    embedder = open_embedder(configured(provider, tmp_path), engine)
    assert embedder
    yield embedder
    embedder.close()


def remember(engine: Engine, *sentences: str) -> None:
    text = " ".join(sentences)
    save(engine, record(contact(1), text=text, said=day(1), native_id=str(len(text))))
    (row,) = rows(engine, DocumentRow, native_id=str(len(text)))
    found = [
        Observation(
            Kind.MEMORY, "fact", s, 0.9, 0.5, s, text.index(s), text.index(s) + len(s), Role.SUBJECT, day(1), None
        )
        for s in sentences
    ]
    save_extractions(engine, [Extraction(row.id, Status.OK, tuple(found))], "f", "fake", None)


def refold(engine: Engine, settings: Settings, embedder: Embedder | None) -> list[Folded]:
    embed = embedder.vectors if embedder else None
    return list(fold_profiles(engine, SCHEMA, rules=settings.fold_rules(), embed=embed))


def test_only_what_may_be_repeated_is_asked_about() -> None:
    """One of each wording, of blocks with several."""
    assert candidates([ONE, "is evaluating top tier", OTHER, "Has 2 dogs."]) == sorted([ONE, OTHER])
    assert candidates([ONE, ONE.upper(), "Has 2 dogs.", "Has 3 dogs."]) == []


def test_the_same_in_other_words_is_one_memory_and_is_asked_for_once(
    engine: Engine, provider: Provider, embedder: Embedder, tmp_path: Path
) -> None:
    """Accounted, cached under the profile, within the price."""
    settings = configured(provider, tmp_path)
    remember(engine, ONE, OTHER, THIRD)
    refold(engine, settings, embedder)
    assert sorted(row.sightings for row in rows(engine, Memory)) == [1, 1]
    assert sorted(json.loads(seen.body)["input"] for seen in provider.seen) == sorted([[ONE], [OTHER], [THIRD]])
    calls = rows(engine, LlmCallRow)
    assert {(row.purpose, row.outcome) for row in calls} == {("embed", "ok")}
    assert all(row.cost_usd > 0 for row in calls)
    assert {row.profile_id for row in rows(engine, LlmCacheRow)} == {row.profile_id for row in rows(engine, Memory)}
    remember(engine, ONE, OTHER, "Owns a boat.")
    refold(engine, settings, embedder)
    assert len(provider.seen) == 4
    assert count_unfolded(engine) == 0


def test_without_vectors_words_decide_and_the_next_sync_makes_up_for_it(
    engine: Engine, provider: Provider, embedder: Embedder, tmp_path: Path
) -> None:
    """An edit or a direct text folds at once and asks nobody."""
    settings = configured(provider, tmp_path)
    remember(engine, ONE, OTHER)
    refold(engine, settings, None)
    assert (len(rows(engine, Memory)), provider.seen, count_unfolded(engine)) == (2, [], 1)
    refold(engine, settings, embedder)
    assert (len(rows(engine, Memory)), count_unfolded(engine)) == (1, 0)


def test_a_spent_budget_stops_asking_not_folding(engine: Engine, provider: Provider, tmp_path: Path) -> None:
    settings = configured(provider, tmp_path, budget_usd=1e-9)
    embedder = open_embedder(settings, engine)
    assert embedder
    remember(engine, ONE, OTHER)
    refold(engine, settings, embedder)
    embedder.close()
    assert (len(rows(engine, Memory)), provider.seen, count_unfolded(engine)) == (2, [], 1)


def test_a_sentence_that_the_provider_refuses_goes_by_its_words(
    engine: Engine, provider: Provider, embedder: Embedder, tmp_path: Path
) -> None:
    provider.behave(status=400, error="no")
    remember(engine, ONE, OTHER)
    refold(engine, configured(provider, tmp_path), embedder)
    assert (len(rows(engine, Memory)), count_unfolded(engine)) == (2, 0)


def test_what_is_hidden_from_providers_is_hidden_here(engine: Engine, provider: Provider, tmp_path: Path) -> None:
    embedder = open_embedder(configured(provider, tmp_path, redact="email"), engine)
    assert embedder
    found = embedder.vectors("0d7a4c1e-7a55-4a43-8f0b-b0d1a4a1a222", ["Is reached at kim@x.example."])
    embedder.close()
    assert list(found or ()) == ["Is reached at kim@x.example."]
    assert "kim@" not in provider.seen[0].body


def test_no_model_no_embedder_and_a_wrong_key_is_told(engine: Engine, provider: Provider, tmp_path: Path) -> None:
    assert open_embedder(configured(provider, tmp_path, embedding_model=None), engine) is None
    embedder = open_embedder(configured(provider, tmp_path), engine)
    assert embedder
    provider.behave(status=401, error="key")
    with pytest.raises(ConfigurationError, match="INGEST_LLM_API_KEY"):
        embedder.vectors("0d7a4c1e-7a55-4a43-8f0b-b0d1a4a1a222", [ONE])
    embedder.close()

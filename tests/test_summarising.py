"""Summaries by a model: asked for once per state of the facts, checked, and never needed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from ingest_pipeline.documents import Role
from ingest_pipeline.editing import Editor, add_memory, clear_summary, set_summary
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extraction.base import Extraction, Kind, Observation, Status
from ingest_pipeline.extraction.personal import Personal
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.llm.tables import LlmCallRow
from ingest_pipeline.settings import Settings, load_settings
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.extractions import save_extractions
from ingest_pipeline.store.overview import load_overview
from ingest_pipeline.store.summaries import ask_again, count_due
from ingest_pipeline.store.tables import DocumentRow, Profile
from ingest_pipeline.summarising import SummaryReport, open_summariser
from tests.builders import contact, day, record, rows, save
from tests.provider import Body, Provider

SCHEMA = load_traits(None)
MODEL = "openai/writer"
GOOD = "Likes the top tier, says the model."


def facts_of(body: Body) -> dict[str, Any]:
    text = body["messages"][1]["content"].removeprefix("<facts>\n").removesuffix("\n</facts>")
    found: dict[str, Any] = json.loads(text)
    return found


def told(summary: str) -> str:
    return json.dumps({"summary": summary})


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(answer=lambda body: told(GOOD)) as provider:
        yield provider


@pytest.fixture
def settings(provider: Provider, tmp_path: Path) -> Settings:
    return load_settings(
        home=tmp_path, summary="llm", model=MODEL, api_base=provider.base_url, llm_api_key=SecretStr("k"),
        prices={MODEL: {"input": 1, "output": 1}}, rpm=100_000, max_concurrency=2, max_attempts=2,
    )  # fmt: skip


def know(engine: Engine, person: int, *sentences: str) -> str:
    """Somebody of whom these sentences are known; their profile."""
    text = " ".join(sentences)
    key = f"{person}-{len(text)}"
    save(engine, record(contact(person), text=text, said=day(1), native_id=key))
    (document,) = rows(engine, DocumentRow, native_id=key)
    found, at = [], 0
    for sentence in sentences:
        found.append(
            Observation(
                kind=Kind.MEMORY, key="fact", value=sentence, confidence=0.9, importance=0.5, quote=sentence,
                start=at, end=at + len(sentence), role=Role.SUBJECT, said_at=day(1), effective_at=None,
            )
        )  # fmt: skip
        at += len(sentence) + 1
    save_extractions(engine, [Extraction(document.id, Status.OK, tuple(found))], "f", "m", None)
    return str(document.profile_id)


def sync(engine: Engine, settings: Settings) -> SummaryReport:
    for _ in fold_profiles(engine, SCHEMA, rules=settings.fold_rules()):
        pass
    summariser = open_summariser(settings, SCHEMA, engine)
    assert summariser
    try:
        return summariser.refresh(engine)
    finally:
        summariser.close()


def shown(engine: Engine, profile: str) -> tuple[str | None, str | None, int]:
    (row,) = rows(engine, Profile, id=profile)
    return row.summary, row.summary_source, row.summary_version


def editor(engine: Engine, settings: Settings) -> Editor:
    return Editor(engine, SCHEMA, "ana", Via.CLI, settings.fold_rules())


def test_a_model_writes_what_the_template_wrote_before_it_once(
    engine: Engine, settings: Settings, provider: Provider
) -> None:
    profile = know(engine, 1, "Is evaluating the top tier.")
    for _ in fold_profiles(engine, SCHEMA, rules=settings.fold_rules()):
        pass
    assert shown(engine, profile)[1:] == ("template", 1)
    report = sync(engine, settings)
    assert (report.written, report.failed, report.left, report.usage.calls) == (1, {}, {}, 1)
    assert shown(engine, profile) == (GOOD, "llm", 2)
    (call,) = rows(engine, LlmCallRow)
    assert (call.purpose, call.outcome, call.cost_usd > 0) == ("summary", "ok", True)
    assert facts_of(json.loads(provider.seen[0].body))["memories"] == ["Is evaluating the top tier."]
    assert sync(engine, settings) == SummaryReport()
    assert (len(provider.seen), shown(engine, profile)) == (1, (GOOD, "llm", 2))


def test_changed_facts_show_the_template_at_once_and_the_model_after_the_next_sync(
    engine: Engine, settings: Settings, provider: Provider
) -> None:
    profile = know(engine, 1, "Is evaluating the top tier.")
    other = know(engine, 2, "Repairs wooden clocks.")
    sync(engine, settings)
    add_memory(editor(engine, settings), profile, "Is moving to Porto.", "fact", 0.9)
    text, source, version = shown(engine, profile)
    assert (source, version) == ("template", 3)
    assert "Is moving to Porto." in str(text)
    assert sync(engine, settings).written == 1
    assert shown(engine, profile) == (GOOD, "llm", 4)
    assert shown(engine, other) == (GOOD, "llm", 2)


def test_what_a_person_wrote_stays_until_it_is_cleared(engine: Engine, settings: Settings, provider: Provider) -> None:
    profile = know(engine, 1, "Is evaluating the top tier.")
    for _ in fold_profiles(engine, SCHEMA, rules=settings.fold_rules()):
        pass
    set_summary(editor(engine, settings), profile, "Our oldest customer.")
    assert sync(engine, settings) == SummaryReport()
    assert shown(engine, profile)[:2] == ("Our oldest customer.", "manual")
    clear_summary(editor(engine, settings), profile)
    assert sync(engine, settings).written == 1
    assert shown(engine, profile)[:2] == (GOOD, "llm")


def test_a_summary_written_by_hand_while_the_model_writes_is_kept(
    engine: Engine, settings: Settings, provider: Provider
) -> None:
    profile = know(engine, 1, "Is evaluating the top tier.")

    def meanwhile(body: Body) -> str:
        set_summary(editor(engine, settings), profile, "Our oldest customer.")
        return told(GOOD)

    provider.answer = meanwhile
    assert sync(engine, settings).written == 0
    assert shown(engine, profile)[:2] == ("Our oldest customer.", "manual")


@pytest.mark.parametrize(
    "bad",
    ["no JSON", told("Has 17 cats."), told("x" * 700), told(""), told("Has diabetes and takes insulin.")],
    ids=["not JSON", "a number of its own", "too long", "empty", "a sensitive matter of its own"],
)
def test_a_bad_answer_leaves_the_template_and_is_asked_for_again_a_few_times(
    engine: Engine, settings: Settings, provider: Provider, bad: str
) -> None:
    profile = know(engine, 1, "Is evaluating the top tier.")
    provider.answer = lambda body: bad
    for _ in range(settings.max_attempts):
        assert count_due(engine) in (0, 1)
        assert sync(engine, settings).failed == {"invalid_answer": 1}
    asked = len(provider.seen)
    assert sync(engine, settings) == SummaryReport()  # given up
    assert (len(provider.seen), shown(engine, profile)[1]) == (asked, "template")
    overview = load_overview(engine)
    assert (overview.summaries, overview.summaries_due) == ({"template": 1}, 0)
    assert overview.summaries_failed == {"invalid_answer": 1}
    provider.answer = lambda body: told(GOOD)
    ask_again(engine)
    assert sync(engine, settings).written == 1
    assert load_overview(engine).summaries_failed == {}


def test_a_spent_budget_stops_it_without_an_error_and_the_next_sync_goes_on(
    engine: Engine, settings: Settings, provider: Provider
) -> None:
    profiles = [know(engine, n, f"Is evaluating the tier of {n} vans.") for n in range(1, 4)]
    poor = settings.model_copy(update={"budget_usd": 0.0001})
    report = sync(engine, poor)
    assert (report.written, report.left) == (0, {"budget": 3})
    assert "budget" in str(report.stopped)
    assert {shown(engine, profile)[1] for profile in profiles} == {"template"}
    assert sync(engine, settings).written == 3


def test_a_provider_that_is_down_is_no_reason_to_give_up(
    engine: Engine, settings: Settings, provider: Provider
) -> None:
    profile = know(engine, 1, "Is evaluating the top tier.")
    provider.behave(status=400, error="odd")
    assert sync(engine, settings).failed == {"bad_request": 1}
    provider.behave(status=401, error="bad key")
    assert sync(engine, settings).left == {"auth": 1}
    assert shown(engine, profile)[1] == "template"


def test_no_provider_sees_what_is_redacted_or_sensitive(engine: Engine, settings: Settings, provider: Provider) -> None:
    careful = settings.model_copy(update={"redact": frozenset({Personal.EMAIL})})
    profile = know(engine, 1, "Answers at ana@acme.example on Fridays.")
    for _ in fold_profiles(engine, SCHEMA, rules=careful.fold_rules()):
        pass
    add_memory(editor(engine, careful), profile, "Has diabetes and takes insulin.", "fact", 0.9)
    provider.answer = lambda body: told("Answers at [EMAIL_1] on Fridays.")
    assert sync(engine, careful).written == 1
    sent = provider.seen[0].body
    assert "[EMAIL_1]" in sent
    assert "acme.example" not in sent
    assert "diabetes" not in sent
    assert shown(engine, profile)[0] == "Answers at ana@acme.example on Fridays."


def test_nothing_but_sensitive_facts_is_not_asked_about(engine: Engine, settings: Settings, provider: Provider) -> None:
    know(engine, 1, "Has diabetes and takes insulin.")
    assert sync(engine, settings).failed == {"withheld": 1}
    assert sync(engine, settings) == SummaryReport()
    assert not provider.seen


def test_nobody_is_asked_about_a_mere_name(engine: Engine, settings: Settings, provider: Provider) -> None:
    save(engine, record(contact(1), text="Hello.", said=day(1), native_id="1"))
    assert sync(engine, settings) == SummaryReport()


def test_another_model_writes_anew_and_the_template_takes_over_when_it_is_asked_to(
    engine: Engine, settings: Settings, provider: Provider
) -> None:
    profile = know(engine, 1, "Is evaluating the top tier.")
    sync(engine, settings)
    other = settings.model_copy(update={"model": "openai/other", "prices": {}})
    assert sync(engine, other).written == 1
    plain = settings.model_copy(update={"summary": "template"})
    assert open_summariser(load_settings(home=settings.home), SCHEMA, engine) is None
    for _ in fold_profiles(engine, SCHEMA, rules=load_settings(home=plain.home).fold_rules()):
        pass
    assert shown(engine, profile)[1] == "template"


def test_a_model_is_needed_for_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="INGEST_MODEL"):
        load_settings(home=tmp_path, summary="llm").fold_rules()

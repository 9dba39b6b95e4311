"""Documents are kept for as long as their source's setting says, and nothing of them longer."""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, insert, update

from ingest_pipeline import cli
from ingest_pipeline.documents import Rejected, Skipped, Source
from ingest_pipeline.llm.tables import LlmCacheRow, LlmCallRow
from ingest_pipeline.retention import cutoff_of, within
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store import expiring
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.expiring import count_expired, erase_expired
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import (
    DocumentRow,
    Evidence,
    ExtractionRow,
    FileRow,
    IdentifierRow,
    ObservationRow,
    Profile,
    TraitRow,
)
from tests.builders import contact, day, record, rows, save, save_text, sender
from tests.merging import sync
from tests.orchestration import ANA, BEN, Workplace, metadata

NOW = datetime(2024, 1, 20, 12, tzinfo=UTC)
A, B = "a@x.example", "b@x.example"


@pytest.mark.parametrize(
    ("days", "said", "kept"),
    [(None, 1, True), (10, 1, False), (10, 10, True), (19, 1, True), (10, None, True)],
    ids=["no limit", "older", "of that moment", "younger", "undated"],
)
def test_units_past_the_limit_are_not_read(days: int | None, said: int | None, kept: bool) -> None:
    """An undated one counts from when it is stored."""
    cutoff = cutoff_of((("crm", days),) if days else (), Source.CRM, NOW)
    unit = replace(record(said=day(said) if said else None), units=3)
    assert within(unit, cutoff) == (unit if kept else Skipped(unit.file, "past_retention", 3))
    for other in (Rejected("f", "1", "broken"), Skipped("f", "bot_message")):
        assert within(other, cutoff) is other


def test_every_source_has_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, source in enumerate(Source, start=1):
        monkeypatch.setenv(f"INGEST_RETENTION_DAYS_{source.upper()}", str(number))
    assert load_settings().keep_days == (("crm", 1), ("email", 2), ("chat", 3), ("direct", 4))
    assert load_settings().read_options().keep_days == load_settings().keep_days


def test_what_is_past_the_limit_goes_with_all_that_hangs_on_it(engine: Engine) -> None:
    """Old versions, what they prove, and answers about them; the profile keeps its identifiers, and others all."""
    sync(
        engine,
        record(contact(1, A), native_id="1", text="I live in Lisbon.", said=day(1)),
        record(contact(1, A), native_id="2", text="I work as a plumber.", said=day(15)),
        record(sender(B), native_id="3", text="I live in Oslo.", said=day(2)),
    )
    old = rows(engine, DocumentRow, native_id="1")[0]
    with engine.begin() as connection:
        cached = {"state": "answered", "worker": "w", "model": "m", "created_at": day(1), "answer": "{}"}
        connection.execute(insert(LlmCacheRow).values(key="k", profile_id=old.profile_id, **cached))
        connection.execute(insert(LlmCallRow).values(
            id=old.id, request_key="k", purpose="extract", profile_id=old.profile_id, document_id=old.id, model="m",
            attempt=1, outcome="ok", held_usd=0.0, worker="w", created_at=day(1), cost_usd=0.5,
        ))  # fmt: skip
    limits = (("crm", 10), ("chat", 1))
    assert count_expired(engine, limits, NOW) == {Source.CRM: 2, Source.CHAT: 0}

    assert erase_expired(engine, limits, NOW) == {Source.CRM: 2}
    sync(engine)

    assert [row.native_id for row in rows(engine, DocumentRow)] == ["2"]
    (kept,) = rows(engine, DocumentRow)
    hanging = [row.document_id for table in (ObservationRow, ExtractionRow, Evidence) for row in rows(engine, table)]
    assert set(hanging) == {kept.id}
    assert {row.value for row in rows(engine, TraitRow)}.isdisjoint({"Lisbon", "Oslo"})
    assert rows(engine, LlmCacheRow) == []
    assert find_profile(engine, A)
    assert find_profile(engine, B)
    assert count_expired(engine, limits, NOW) == {Source.CRM: 0, Source.CHAT: 0}
    assert erase_expired(engine, limits, NOW) == {}


def test_undated_documents_count_from_when_they_were_stored(engine: Engine) -> None:
    save(engine, record(contact(1, A), native_id="1", said=None))
    later = datetime.now(UTC) + timedelta(days=9)
    assert erase_expired(engine, (("crm", 10),), later) == {}
    assert erase_expired(engine, (("crm", 10),), later + timedelta(days=2)) == {Source.CRM: 1}


def test_many_go_in_pages(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiring, "PAGE", 2)
    save(engine, *(record(contact(1, A), native_id=str(n), said=day(1)) for n in range(5)))
    assert erase_expired(engine, (("crm", 10),), NOW) == {Source.CRM: 5}


def test_a_profile_that_nothing_is_known_of_goes(engine: Engine) -> None:
    """One that was made for a customer number stays: others refer to it."""
    kept = create_profile(engine, "customer-1")
    gone = create_profile(engine, "customer-2")
    for profile in (kept, gone):
        save_text(engine, profile, "I live in Lisbon.", None, None, day(1))
    with engine.begin() as connection:
        connection.execute(update(Profile).where(Profile.id == gone).values(external_id=None))
    assert erase_expired(engine, (("direct", 10),), NOW) == {Source.DIRECT: 2}
    assert [row.id for row in rows(engine, Profile)] == [kept]
    assert rows(engine, IdentifierRow) == []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    monkeypatch.setenv("INGEST_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Workplace(tmp_path, instance)


def test_each_sync_erases_what_is_past_the_limit_and_reads_it_no_more(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted where people look; the profile's tables are built again in the same run."""
    place.mail("a", ANA, "I live in Lisbon.")
    place.mail("b", BEN, "I work as a plumber at Bolt.")
    assert place.run().success
    assert {row.key for row in rows(place.engine, TraitRow)} >= {"location"}
    monkeypatch.setenv("INGEST_RETENTION_DAYS_EMAIL", "30")

    result = place.run()

    assert result.success
    shown: Mapping[str, object] = metadata(result, "email_documents")
    assert (shown["documents_expired"], shown["documents_new"], shown["skipped"]) == (2, 0, 2)
    assert rows(place.engine, DocumentRow) == []
    assert rows(place.engine, TraitRow) == []
    assert len(rows(place.engine, Profile)) == 2
    skipped = [row.counts["skipped"] for row in rows(place.engine, FileRow)]
    assert skipped == [{"past_retention": 1}] * 2


@pytest.mark.parametrize("arguments", [("status",), ("sync", "--dry-run")])
def test_what_the_next_sync_erases_is_told_before(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """By ``ingest status`` and ``ingest sync --dry-run``."""
    place.mail("a", ANA, "I live in Lisbon.")
    assert place.run().success
    monkeypatch.setenv("INGEST_RETENTION_DAYS_EMAIL", "30")
    shown = []
    for more in ((), ("--json",)):
        monkeypatch.setattr(sys, "argv", ["ingest", *arguments, *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        shown.append(capfd.readouterr().out)
    assert "1 documents of email are older than 30 days: the next sync erases them" in shown[0]
    assert json.loads(shown[1])["retention"] == {"email": {"days": 30, "documents": 1}}

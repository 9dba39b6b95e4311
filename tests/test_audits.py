"""Audits find what is wrong in the tables themselves: each is shown a damaged store and a sound one."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, delete, update

from ingest_pipeline.extraction.base import Extraction, Status
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.store.audits import EvidenceAudit, audit_evidence, count_failed, count_invalid_values
from ingest_pipeline.store.extractions import save_extractions
from ingest_pipeline.store.tables import DocumentRow, Evidence, TraitRow
from tests.builders import contact, day, record, rows, save
from tests.test_store_people import sync

SCHEMA = load_traits(None)
A, B = "a@x.example", "b@x.example"


@pytest.fixture
def stored(engine: Engine) -> Engine:
    save(engine, record(contact(1, A), text="I live in Lisbon. 🙂 I prefer email.", said=day(1)))
    save(engine, record(contact(2, B), text="I live in Porto.", said=day(1), native_id="2"))
    sync(engine)
    return engine


def test_a_sound_store_passes(stored: Engine) -> None:
    audit = audit_evidence(stored)
    assert (audit.without, audit.wrong) == (0, 0)
    assert audit.facts == len(rows(stored, TraitRow)) >= 3
    assert audit.evidence == len(rows(stored, Evidence))
    assert count_invalid_values(stored, SCHEMA) == {}
    assert count_failed(stored) == {}


def test_an_empty_store_passes(engine: Engine) -> None:
    assert audit_evidence(engine) == EvidenceAudit(0, 0, 0, 0)


def test_a_fact_without_evidence_is_found_and_a_manual_one_needs_none(stored: Engine) -> None:
    with stored.begin() as connection:
        connection.execute(delete(Evidence))
    assert audit_evidence(stored).without == len(rows(stored, TraitRow))
    with stored.begin() as connection:
        connection.execute(update(TraitRow).values(source="manual"))
    assert audit_evidence(stored).without == 0


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_quote_that_stands_elsewhere_is_found(stored: Engine, shift: int) -> None:
    row = max(rows(stored, Evidence), key=lambda e: e.start_char)
    with stored.begin() as connection:
        moved = {"start_char": row.start_char + shift, "end_char": row.end_char + shift}
        connection.execute(update(Evidence).where(Evidence.id == row.id).values(**moved))
    assert audit_evidence(stored).wrong == 1


def test_a_value_that_the_schema_does_not_allow_is_found(stored: Engine) -> None:
    with stored.begin() as connection:
        connection.execute(update(TraitRow).where(TraitRow.key == "contact_preference").values(value="pigeon"))
        connection.execute(update(TraitRow).where(TraitRow.key == "location").values(key="shoe_size"))
    assert count_invalid_values(stored, SCHEMA) == {"contact_preference": 1, "shoe_size": 2}
    assert count_invalid_values(stored, SCHEMA, datetime(2100, 1, 1, tzinfo=UTC)) == {}


def fail(engine: Engine, native_id: str, reason: str, run: str, fingerprint: str = "f") -> None:
    (row,) = rows(engine, DocumentRow, native_id=native_id)
    save_extractions(engine, [Extraction(row.id, Status.FAILED, reason=reason)], fingerprint, "fake", run)


def test_failures_are_counted_by_reason_and_by_run(stored: Engine) -> None:
    fail(stored, "1", "timeout", "run 1")
    fail(stored, "2", "refused", "run 2")
    assert count_failed(stored) == {"timeout": 1, "refused": 1}
    assert count_failed(stored, "run 2") == {"refused": 1}
    fail(stored, "1", "refused", "run 3", fingerprint="g")
    assert count_failed(stored) == {"refused": 2}, "only the latest outcome of a document counts"


def test_what_was_replaced_or_belongs_to_nobody_has_not_failed(stored: Engine) -> None:
    fail(stored, "1", "timeout", "run")
    fail(stored, "2", "timeout", "run")
    save(stored, record(contact(1, A), text="Something else.", modified=day(2)))
    with stored.begin() as connection:
        connection.execute(update(DocumentRow).where(DocumentRow.native_id == "2").values(profile_id=None))
    assert count_failed(stored) == {}
    list(fold_profiles(stored, SCHEMA))
    assert audit_evidence(stored).without == 0

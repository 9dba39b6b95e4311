"""What the LLM proxy tells a model of a user: what is known and not too old to be told."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from ingest_pipeline.documents import Role
from ingest_pipeline.editing import Editor, confirm
from ingest_pipeline.extraction.base import Extraction, Kind, Observation, Status
from ingest_pipeline.extraction.traits import TraitSchema, parse_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.proxy.injection import describe
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.conversations import load_known
from ingest_pipeline.store.extractions import save_extractions
from ingest_pipeline.store.tables import DocumentRow
from tests.builders import contact, day, record, rows, save


def schema(**changes: object) -> TraitSchema:
    """A city is told while it is as sure as 0.3."""
    return parse_traits(
        [{"key": "city", "label": "City", "valueType": "string", "extraction": {"confidenceThreshold": 0.6}} | changes]
    )


FADING = schema(halfLifeDays=100, injection={"enabled": True})


@pytest.fixture
def profile(engine: Engine) -> str:
    """Somebody who said on day 1, surely enough (0.8), that they live in Lisbon."""
    save(engine, record(contact(1), text="Lisbon", said=day(1), native_id="1"))
    (document,) = rows(engine, DocumentRow, native_id="1")
    found = Observation(
        kind=Kind.TRAIT, key="city", value="Lisbon", confidence=0.8, importance=None, quote="Lisbon", start=0, end=6,
        role=Role.SUBJECT, said_at=day(1), effective_at=None,
    )  # fmt: skip
    save_extractions(engine, [Extraction(document.id, Status.OK, (found,))], "f", "m", None)
    for _ in fold_profiles(engine, FADING):
        pass
    return str(document.profile_id)


def told(engine: Engine, profile: str, at: datetime, by: TraitSchema = FADING) -> bool:
    return "- City: Lisbon" in describe(load_known(engine, profile, at), by)


def test_a_trait_is_told_until_time_has_made_it_too_doubtful(engine: Engine, profile: str) -> None:
    later = [day(1) + timedelta(days=days) for days in (0, 141, 142, 9_999)]  # 0.8 × 0.5^(141.5 / 100) = 0.3
    assert [told(engine, profile, at) for at in later] == [True, True, False, False]
    assert told(engine, profile, later[-1], schema(injection={"enabled": True}))


def test_what_was_confirmed_is_told_as_long_again(engine: Engine, profile: str) -> None:
    editor = Editor(engine, FADING, "kim", Via.CLI)
    decided = confirm(editor, profile, "city")
    assert decided.after
    at = decided.after.edit.at if decided.after.edit else day(1)
    assert told(engine, profile, at + timedelta(days=100))
    assert not told(engine, profile, at + timedelta(days=300))

"""Shapes on the wire: the fields that existing clients read, no more and no less."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ingest_pipeline.direct import Change, TextRequest, TextResult
from ingest_pipeline.documents import Json
from ingest_pipeline.edits import Action, Edit, Target
from ingest_pipeline.errors import ConfigurationError, ExtractionError, IngestError, InvalidInput, ProfileNotFound
from ingest_pipeline.store.audit_log import AuditEntry
from ingest_pipeline.store.facts import Fact, Past, ProfileFacts, Proof
from ingest_pipeline.wire import (
    audit_json,
    error_json,
    evidence_json,
    lineage_json,
    memory_json,
    past_json,
    profile_json,
    text_result_json,
    time_json,
    trait_json,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PROOF = Proof(
    document_id="d1", quote="I love chess", start=3, end=15, value="chess", occurred_at=NOON, source="direct",
    origin="api", kind="text", role="subject", native_id="d1", metadata={"source": None}, file=None, file_sha256=None,
    position=None, observation_id="o1", fingerprint="f", model="offline", extracted_at=NOON, run_id=None,
)  # fmt: skip
TRAIT = Fact(
    id="t1", kind="trait", key="interests", value=["chess"], value_type="array", category="personal", confidence=0.9,
    importance=None, source="extracted", since=NOON, created_at=NOON, updated_at=NOON, proofs=(PROOF,),
)  # fmt: skip
MEMORY = Fact(
    id="m1", kind="memory", key="event", value="Moved to Rome.", value_type=None, category=None, confidence=0.9,
    importance=0.7, source="extracted", since=NOON, created_at=NOON, updated_at=NOON, proofs=(PROOF,),
)  # fmt: skip
PROFILE = ProfileFacts(
    id="p1", external_id="crm-1", name="Kim", summary=None, summary_version=0, summary_updated_at=None,
    created_at=NOON, updated_at=NOON, identifiers=("email:kim@x.example",), documents={"direct": 1},
    traits=(TRAIT,), memories=(MEMORY,), history=(),
)  # fmt: skip
EVIDENCE = {
    "documentId": "d1",
    "quote": "I love chess",
    "startChar": 3,
    "endChar": 15,
    "occurredAt": "2026-11-23T12:00:00.000Z",
}


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (None, None),
        (NOON, "2026-11-23T12:00:00.000Z"),
        (NOON + timedelta(microseconds=1_999), "2026-11-23T12:00:00.001Z"),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2025-12-31T23:00:00.000Z"),
    ],
)
def test_times_are_iso_8601_in_utc(moment: datetime | None, expected: str | None) -> None:
    """With milliseconds, as JavaScript writes them, whatever zone they came in."""
    assert time_json(moment) == expected


def test_a_profile() -> None:
    """The public fields; names and identifiers are not among them."""
    assert profile_json(PROFILE) == {
        "id": "p1",
        "externalId": "crm-1",
        "summary": None,
        "summaryVersion": 0,
        "summaryUpdatedAt": None,
        "createdAt": "2026-11-23T12:00:00.000Z",
        "updatedAt": "2026-11-23T12:00:00.000Z",
    }


def test_a_stored_trait() -> None:
    """As the profile API gives it."""
    assert trait_json(TRAIT, "p1") == {
        "id": "t1",
        "profileId": "p1",
        "key": "interests",
        "category": "personal",
        "valueType": "array",
        "value": ["chess"],
        "confidence": 0.9,
        "source": "extracted",
        "sourceMessageIds": ["d1"],
        "createdAt": "2026-11-23T12:00:00.000Z",
        "updatedAt": "2026-11-23T12:00:00.000Z",
        "conflicts": [],
        "edit": None,
    }


def test_the_answer_of_the_ingest_endpoint() -> None:
    """Exactly the documented fields; what was there before counts in no stat, a memory that went is not listed."""
    result = TextResult(
        document_id="d1",
        profile=PROFILE,
        traits=(
            Change(TRAIT, "create", stored=True),
            Change(TRAIT, "update", stored=True),
            Change(TRAIT, "update", stored=False),
            Change(TRAIT, "delete", stored=True),
        ),
        memories=(
            Change(MEMORY, "create", stored=True),
            Change(MEMORY, "update", stored=False),
            Change(MEMORY, "delete", stored=True),
        ),
    )
    trait = {"key": "interests", "value": ["chess"], "confidence": 0.9, "evidence": [EVIDENCE]}
    memory = {
        "id": "m1",
        "profileId": "p1",
        "content": "Moved to Rome.",
        "type": "event",
        "importance": 0.7,
        "decayFactor": 1.0,
        "sourceMessageIds": ["d1"],
        "createdAt": "2026-11-23T12:00:00.000Z",
        "lastAccessedAt": None,
        "evidence": [EVIDENCE],
    }
    assert text_result_json(result, TextRequest("x", "survey", {"a": 1})) == {
        "profile": profile_json(PROFILE),
        "extracted": {
            "traits": [trait | {"action": action} for action in ("create", "update", "update", "delete")],
            "memories": [memory, memory],
            "stats": {"traitsCreated": 1, "traitsUpdated": 1, "memoriesCreated": 1},
        },
        "source": "survey",
        "metadata": {"a": 1},
        "documentId": "d1",
    }


def test_lineage_is_evidence_and_where_it_comes_from() -> None:
    """Nothing that is known of a proof is left out."""
    lineage = lineage_json(PROOF)
    assert lineage.items() >= evidence_json(PROOF).items()
    assert evidence_json(PROOF) == EVIDENCE
    assert len(lineage) == len(Proof.__slots__)


def test_an_earlier_value() -> None:
    """With why it ended: by what was said, or by whose decision."""
    assert past_json(Past("location", "Rome", None, NOON, "replaced", "o2", "I moved to Lisbon")) == {
        "key": "location",
        "value": "Rome",
        "validFrom": None,
        "validTo": "2026-11-23T12:00:00.000Z",
        "edit": None,
        "reason": "replaced",
        "endedBy": {"id": "o2", "quote": "I moved to Lisbon", "edit": None},
    }
    decided = past_json(Past("location", "Rome", None, NOON, "cleared", "e2", edit=EDIT, ending=EDIT))
    assert decided["edit"] == decided["endedBy"]["edit"] == EDIT_JSON


EDIT = Edit("e1", NOON, "kim", Action.CONFIRM, Target.TRAIT, "location", "rome", "Rome", 0.5)
EDIT_JSON = {
    "id": "e1", "at": "2026-11-23T12:00:00.000Z", "by": "kim", "action": "confirm", "kind": "trait", "key": "location",
    "target": "rome", "value": "Rome", "confidence": 0.5,
}  # fmt: skip


def test_a_trait_in_conflict_and_a_decided_one() -> None:
    """Each value has its own evidence; the documents of the other values are not those of the one shown."""
    rome = replace(PROOF, document_id="d2", value="Rome", quote="I live in Rome")
    fact = replace(
        TRAIT, key="location", value="Lisbon", value_type="string", alternatives=("Rome",),
        proofs=(replace(PROOF, value=None), rome),
    )  # fmt: skip
    shown = trait_json(fact, "p1")
    assert shown["conflicts"] == [{"value": "Rome", "evidence": [evidence_json(rome)]}]
    assert (shown["sourceMessageIds"], shown["edit"]) == (["d1"], None)
    assert trait_json(replace(fact, edit=EDIT), "p1")["edit"] == EDIT_JSON
    assert memory_json(replace(MEMORY, edit=EDIT), "p1")["edit"] == EDIT_JSON


def test_an_audit_entry() -> None:
    entry = AuditEntry("a1", NOON, "kim", "cli", "show", "p1", {"key": "location"})
    assert audit_json(entry) == {
        "at": "2026-11-23T12:00:00.000Z", "by": "kim", "via": "cli", "action": "show", "profileId": "p1",
        "detail": {"key": "location"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind", "code", "more"),
    [
        (InvalidInput("invalid_data", "no", "data"), "invalid_request_error", "invalid_data", {"param": "data"}),
        (InvalidInput("ambiguous_profile", "no"), "invalid_request_error", "ambiguous_profile", {}),
        (ProfileNotFound(), "not_found_error", "profile_not_found", {}),
        (InvalidInput("trait_not_found", "no", "key"), "not_found_error", "trait_not_found", {"param": "key"}),
        (InvalidInput("memory_not_found", "no"), "not_found_error", "memory_not_found", {}),
        (InvalidInput("nothing_to_clear", "no"), "invalid_request_error", "nothing_to_clear", {}),
        (
            ExtractionError("truncated", "no", "d1"),
            "internal_error",
            "extraction_error",
            {"details": {"reason": "truncated", "documentId": "d1"}},
        ),
        (
            ExtractionError("rate_limited", "no", "d1"),
            "rate_limit_error",
            "rate_limited",
            {"details": {"reason": "rate_limited", "documentId": "d1"}},
        ),
        (
            ExtractionError("budget", "no", "d1"),
            "rate_limit_error",
            "budget_exhausted",
            {"details": {"reason": "budget", "documentId": "d1"}},
        ),
        (ConfigurationError("no"), "internal_error", "configuration_error", {}),
        (IngestError("no"), "internal_error", "internal_error", {}),
    ],
)
def test_errors(error: IngestError, kind: str, code: str, more: dict[str, Json]) -> None:
    """Type, code and message always; param and details where there are any."""
    body = error_json(error)
    assert list(body) == ["error"]
    assert body["error"] == {"message": str(error), "type": kind, "code": code} | more

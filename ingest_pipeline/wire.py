"""Shapes on the wire: JSON objects of the ingest endpoint and the profile API, in camelCase with times in UTC."""

from collections.abc import Iterable
from datetime import UTC, datetime

from ingest_pipeline.direct import Change, TextRequest, TextResult
from ingest_pipeline.documents import Json
from ingest_pipeline.edits import Edit
from ingest_pipeline.errors import ConfigurationError, ExtractionError, IngestError, InvalidInput
from ingest_pipeline.facts import Fact, Past, ProfileHead, Proof
from ingest_pipeline.store.audit_log import AuditEntry
from ingest_pipeline.store.lookup import ProfileSummary

Object = dict[str, Json]


def time_json(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def profile_json(profile: ProfileHead) -> Object:
    return {
        "id": profile.id,
        "externalId": profile.external_id,
        "summary": profile.summary,
        "summaryVersion": profile.summary_version,
        "summaryUpdatedAt": time_json(profile.summary_updated_at),
        "createdAt": time_json(profile.created_at),
        "updatedAt": time_json(profile.updated_at),
    }


def listed_json(profile: ProfileSummary) -> Object:
    """A profile in a list, with what a person recognises it by."""
    return {
        "id": profile.id,
        "externalId": profile.external_id,
        "name": profile.name,
        "identifiers": profile.identifiers,
        "summary": profile.summary,
        "summaryVersion": profile.summary_version,
        "summaryUpdatedAt": time_json(profile.summary_updated_at),
        "createdAt": time_json(profile.created_at),
        "updatedAt": time_json(profile.updated_at),
        "counts": {"documents": profile.documents, "traits": profile.traits, "memories": profile.memories},
    }


def evidence_json(proof: Proof) -> Object:
    return {
        "documentId": proof.document_id,
        "quote": proof.quote,
        "startChar": proof.start,
        "endChar": proof.end,
        "occurredAt": time_json(proof.occurred_at),
    }


def lineage_json(proof: Proof) -> Object:
    """Evidence with all that is known of where it comes from."""
    return evidence_json(proof) | {
        "value": proof.value,
        "source": proof.source,
        "origin": proof.origin,
        "kind": proof.kind,
        "role": proof.role,
        "nativeId": proof.native_id,
        "metadata": proof.metadata,
        "file": proof.file,
        "fileSha256": proof.file_sha256,
        "position": proof.position,
        "observationId": proof.observation_id,
        "fingerprint": proof.fingerprint,
        "model": proof.model,
        "extractedAt": time_json(proof.extracted_at),
        "runId": proof.run_id,
    }


def trait_json(fact: Fact, profile_id: str) -> Object:
    """The API's trait; of our own ``conflicts``, values that hold as well as this one, and ``edit``, who decided."""
    return {
        "id": fact.id,
        "profileId": profile_id,
        "key": fact.key,
        "category": fact.category,
        "valueType": fact.value_type,
        "value": fact.value,
        "confidence": fact.confidence,
        "source": fact.source,
        "sourceMessageIds": _documents(fact.supporting()),
        "createdAt": time_json(fact.created_at),
        "updatedAt": time_json(fact.updated_at),
        "conflicts": [
            {"value": value, "evidence": [evidence_json(proof) for proof in fact.proofs_of(value)]}
            for value in fact.alternatives
        ],
        "edit": edit_json(fact.edit),
    }


def memory_json(fact: Fact, profile_id: str) -> Object:
    """The API's memory; of our own ``eventAt``, the day an event is on, ``sightings``, how many independent texts say
    it, and ``edit``, who wrote, revised or confirmed it."""
    return _memory(fact, profile_id) | {
        "eventAt": time_json(fact.event_at),
        "sightings": fact.sightings,
        "edit": edit_json(fact.edit),
    }


def _memory(fact: Fact, profile_id: str) -> Object:
    return {
        "id": fact.id,
        "profileId": profile_id,
        "content": fact.value,
        "type": fact.key,
        "importance": fact.importance,
        "decayFactor": fact.decay,
        "sourceMessageIds": _documents(fact.proofs),
        "createdAt": time_json(fact.created_at),
        "lastAccessedAt": None,
    }


def past_json(past: Past) -> Object:
    return {
        "key": past.key,
        "value": past.value,
        "validFrom": time_json(past.valid_from),
        "validTo": time_json(past.valid_to),
        "edit": edit_json(past.edit),
        "reason": past.reason,
        "endedBy": {"id": past.ended_by, "quote": past.quote, "edit": edit_json(past.ending)},
    }


def edit_json(edit: Edit | None) -> Object | None:
    """A decision: who, when, what. ``target`` names the value or sentence that is meant, ``value`` what is to hold."""
    if edit is None:
        return None
    return {
        "id": edit.id,
        "at": time_json(edit.at),
        "by": edit.actor,
        "action": edit.action.value,
        "kind": edit.kind.value,
        "key": edit.key,
        "target": edit.target,
        "value": edit.value,
        "confidence": edit.confidence,
    }


def audit_json(entry: AuditEntry) -> Object:
    return {
        "at": time_json(entry.at),
        "by": entry.actor,
        "via": entry.via,
        "action": entry.action,
        "profileId": entry.profile_id,
        "detail": dict(entry.detail),
    }


def text_result_json(result: TextResult, request: TextRequest) -> Object:
    """The answer of the ingest endpoint."""
    return {
        "profile": profile_json(result.profile),
        "extracted": {
            "traits": [_changed_trait(change) for change in result.traits],
            "memories": [_changed_memory(change, result.profile.id) for change in result.memories if _remains(change)],
            "stats": {
                "traitsCreated": _count(result.traits, "create"),
                "traitsUpdated": _count(result.traits, "update"),
                "memoriesCreated": _count(result.memories, "create"),
            },
        },
        "source": request.source,
        "metadata": request.metadata,
        "documentId": result.document_id,
    }


def error_json(error: IngestError) -> Object:
    """The API's error body."""
    kind, code = _error_type(error)
    body: Object = {"message": str(error), "type": kind, "code": code}
    if isinstance(error, InvalidInput) and error.param:
        body["param"] = error.param
    if isinstance(error, ExtractionError):
        body["details"] = {"reason": error.reason, "documentId": error.document_id}
    return {"error": body}


_EXHAUSTED = {"rate_limited": "rate_limited", "budget": "budget_exhausted", "quota": "budget_exhausted"}
"""Reasons that more time or money mends: code of the answer."""


def _error_type(error: IngestError) -> tuple[str, str]:
    if isinstance(error, InvalidInput):
        return "not_found_error" if error.code.endswith("_not_found") else "invalid_request_error", error.code
    if isinstance(error, ExtractionError):
        if error.reason in _EXHAUSTED:
            return "rate_limit_error", _EXHAUSTED[error.reason]
        return "internal_error", "extraction_error"
    return "internal_error", "configuration_error" if isinstance(error, ConfigurationError) else "internal_error"


def _documents(proofs: Iterable[Proof]) -> list[str]:
    return sorted({proof.document_id for proof in proofs})


def _changed_trait(change: Change) -> Object:
    fact = change.fact
    return {
        "key": fact.key,
        "value": fact.value,
        "confidence": fact.confidence,
        "action": change.action,
        "evidence": [evidence_json(proof) for proof in fact.supporting()],
    }


def _changed_memory(change: Change, profile_id: str) -> Object:
    return _memory(change.fact, profile_id) | {"evidence": [evidence_json(proof) for proof in change.fact.proofs]}


def _remains(change: Change) -> bool:
    return change.action != "delete"


def _count(changes: tuple[Change, ...], action: str) -> int:
    return sum(change.action == action and change.stored for change in changes)

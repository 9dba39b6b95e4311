"""The profile API: profiles with their traits, memories and what proves them; decisions by hand."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from ingest_pipeline import editing, wire
from ingest_pipeline.api.bodies import MemoryBody, ProfileBody, SummaryBody, TraitBody
from ingest_pipeline.api.openapi import answers, body_of
from ingest_pipeline.api.services import FINDING, Called, take_api
from ingest_pipeline.api.shapes import (
    Erased,
    Erasing,
    Exported,
    FullLineage,
    Memories,
    OneMemory,
    OneProfile,
    OneTrait,
    Profiles,
    Success,
    Traits,
    WholeProfile,
)
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.exporting import export_person
from ingest_pipeline.extraction.base import MemoryType
from ingest_pipeline.store.audit_log import Audited
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.engine import looking
from ingest_pipeline.store.facts import load_facts, load_memories, load_profile, load_traits
from ingest_pipeline.store.lookup import list_profiles

router = APIRouter(prefix="/api/profiles", tags=["profiles"], dependencies=[Depends(take_api)])

RECENT = 10
"""Memories that come with a profile."""

ERASING_S = 20.0
"""How long the answer to an erasure is waited for; proxies usually give up after 30 to 60 seconds."""

_ERASED = answers(Erased, *FINDING) | {202: {"model": Erasing, "description": "It takes longer, and goes on."}}
_VALUE = ("invalid_value_type", "invalid_confidence")
_MEMORY = ("invalid_content", "invalid_memory_type", "invalid_importance")

Limit = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0, le=2**31)]


@router.get("", responses=answers(Profiles, "invalid_limit", "invalid_offset"))
def profiles(call: Called, limit: Limit = 20, offset: Offset = 0, search: str = "") -> JSONResponse:
    """A page of profiles by name; ``search`` looks in names, external ids and identifiers."""
    found, total = list_profiles(call.engine, search, limit, offset)
    return JSONResponse({"profiles": [wire.listed_json(profile) for profile in found], "total": total})


@router.post(
    "",
    responses=answers(OneProfile, "invalid_json", "invalid_external_id", "profile_erased", "ambiguous_profile"),
    openapi_extra=body_of({"externalId": "ana@acme.com"}),
)
def create(body: ProfileBody, call: Called) -> JSONResponse:
    """Create the profile with this external id, or get the one there is."""
    if not isinstance(body.externalId, str):
        raise InvalidInput("invalid_external_id", "externalId must be a string", "externalId")
    profile_id = create_profile(call.engine, body.externalId)
    return JSONResponse({"profile": wire.profile_json(load_profile(call.engine, profile_id))})


@router.get("/{profile}", responses=answers(WholeProfile, *FINDING))
def get(profile: str, call: Called) -> JSONResponse:
    """A profile with its traits and its latest memories."""
    profile_id = call.find(profile)
    call.record(Audited.SHOW, profile_id)
    with looking(call.engine) as connection:
        head = load_profile(connection, profile_id)
        traits = load_traits(connection, profile_id)
        recent = load_memories(connection, profile_id, RECENT, latest=True)
    return JSONResponse(
        {
            "profile": wire.profile_json(head),
            "traits": [wire.trait_json(fact, profile_id) for fact in traits],
            "recentMemories": [wire.memory_json(fact, profile_id) for fact in recent],
        }
    )


@router.patch(
    "/{profile}",
    responses=answers(OneProfile, *FINDING, "invalid_json", "missing_summary", "invalid_summary"),
    openapi_extra=body_of({"summary": "Our oldest customer."}),
)
def patch(profile: str, body: SummaryBody, call: Called) -> JSONResponse:
    """Write the summary by hand; it stays until it is changed by hand."""
    decided = editing.set_summary(call.editor, call.find(profile), body.summary)
    return JSONResponse({"profile": wire.profile_json(decided.profile)})


@router.delete("/{profile}", responses=_ERASED)
async def delete(profile: str, call: Called) -> JSONResponse:
    """Erase the person, also in other people's texts, and keep them away.

    What takes longer than a client waits is answered by 202 and goes on; the same call then waits for the rest of it.
    """
    profile_id = await run_in_threadpool(call.find, profile)
    erasing = await run_in_threadpool(call.services.erasures.begin, profile_id, call.actor)
    waiting = asyncio.wrap_future(erasing)
    waiting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # told below, or in the log
    await asyncio.wait([waiting], timeout=ERASING_S)
    if not erasing.done():
        return JSONResponse({"success": False, "state": "running"}, 202, {"Retry-After": str(int(ERASING_S))})
    gone = erasing.result()
    deleted = {"traits": "traits", "memories": "memories", "messages": "documents"}
    return JSONResponse(
        {
            "success": True,
            "deleted": {name: gone.erased.get(table, 0) for name, table in deleted.items()},
            "clean": bool(gone.proof) and gone.clean,
        }
    )


@router.get("/{profile}/export", responses=answers(Exported, *FINDING))
def export(profile: str, call: Called) -> JSONResponse:
    """All there is about the person."""
    profile_id = call.find(profile)
    call.record(Audited.EXPORT, profile_id)
    return JSONResponse(export_person(call.engine, profile_id))


@router.get("/{profile}/traits", responses=answers(Traits, *FINDING))
def traits(profile: str, call: Called) -> JSONResponse:
    """What is known, by trait."""
    profile_id = call.find(profile)
    call.record(Audited.SHOW, profile_id)
    found = load_traits(call.engine, profile_id)
    return JSONResponse({"traits": [wire.trait_json(fact, profile_id) for fact in found]})


@router.put(
    "/{profile}/traits/{key}",
    responses=answers(OneTrait, *FINDING, "invalid_json", "trait_not_found", "missing_value", *_VALUE),
    openapi_extra=body_of({"value": "Lisbon", "confidence": 1}),
)
def put_trait(profile: str, key: str, body: TraitBody, call: Called) -> JSONResponse:
    """Set a trait by hand: the value holds until it is set again or cleared, whatever is read."""
    profile_id = call.find(profile)
    decided = editing.set_trait(call.editor, profile_id, key, body.value, body.confidence)
    assert decided.after is not None
    return JSONResponse({"trait": wire.trait_json(decided.after, profile_id)})


@router.delete("/{profile}/traits/{key}", responses=answers(Success, *FINDING, "trait_not_found"))
def delete_trait(profile: str, key: str, call: Called) -> JSONResponse:
    """Reject what the trait shows: it does not come back from the same or new evidence."""
    editing.delete_trait(call.editor, call.find(profile), key)
    return JSONResponse({"success": True})


@router.get("/{profile}/memories", responses=answers(Memories, *FINDING, "invalid_memory_type", "invalid_limit"))
def memories(
    profile: str,
    call: Called,
    type: Annotated[MemoryType | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JSONResponse:
    """The weightiest memories, all or of one type."""
    profile_id = call.find(profile)
    call.record(Audited.SHOW, profile_id)
    found = load_memories(call.engine, profile_id, limit, type)
    return JSONResponse({"memories": [wire.memory_json(fact, profile_id) for fact in found]})


@router.post(
    "/{profile}/memories",
    status_code=201,
    responses=answers(OneMemory, *FINDING, "invalid_json", *_MEMORY, status=201),
    openapi_extra=body_of({"content": "Is evaluating the enterprise plan.", "type": "fact", "importance": 0.7}),
)
def add_memory(profile: str, body: MemoryBody, call: Called) -> JSONResponse:
    """Write a memory by hand."""
    profile_id = call.find(profile)
    decided = editing.add_memory(call.editor, profile_id, body.content, body.type, body.importance)
    assert decided.after is not None
    return JSONResponse({"memory": wire.memory_json(decided.after, profile_id)}, 201)


@router.delete("/{profile}/memories/{memory_id}", responses=answers(Success, *FINDING, "memory_not_found"))
def delete_memory(profile: str, memory_id: str, call: Called) -> JSONResponse:
    """Reject a memory of this profile: neither the sentence nor a near duplicate comes back."""
    editing.delete_memory(call.editor, call.find(profile), memory_id)
    return JSONResponse({"success": True})


@router.get("/{profile}/lineage", responses=answers(FullLineage, *FINDING))
def lineage(profile: str, call: Called) -> JSONResponse:
    """Every fact with its evidence, and the documents' and files' own data."""
    profile_id = call.find(profile)
    call.record(Audited.WHY, profile_id)
    facts = load_facts(call.engine, profile_id)
    return JSONResponse(
        {
            "profile": wire.profile_json(facts),
            "traits": [
                wire.trait_json(fact, profile_id) | {"evidence": [wire.lineage_json(proof) for proof in fact.proofs]}
                for fact in facts.traits
            ],
            "memories": [
                wire.memory_json(fact, profile_id) | {"evidence": [wire.lineage_json(proof) for proof in fact.proofs]}
                for fact in facts.memories
            ],
            "history": [wire.past_json(past) for past in facts.history],
        }
    )

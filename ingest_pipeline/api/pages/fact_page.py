"""A fact and what proves it: each quote in its text, with who said it, when, and where it was read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy import func, select

from ingest_pipeline.api.pages.paging import Paging
from ingest_pipeline.api.pages.passages import Passage, quote_in, speaker_at, turns
from ingest_pipeline.api.pages.profile_view import label_of
from ingest_pipeline.api.pages.rendering import page, turn_to
from ingest_pipeline.api.pages.visits import Visit, Visited
from ingest_pipeline.documents import Segment
from ingest_pipeline.editing.standing import standing
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.store.audit_log import Audited
from ingest_pipeline.store.contributions import Contribution, DocumentFacts, load_document_facts
from ingest_pipeline.store.edits import load_edits
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.facts import Fact, Past, Proof, load_fact, load_past
from ingest_pipeline.store.passages import load_texts
from ingest_pipeline.store.tables import Profile

router = APIRouter(include_in_schema=False, prefix="/profiles/{profile}")

PROOFS_PER_PAGE = 10


@dataclass(frozen=True, slots=True)
class Shown:
    """A piece of evidence as the page has it. ``opposes``: it says something else than the fact."""

    proof: Proof
    passage: Passage
    segment: Segment | None
    record_url: str | None
    run_url: str | None
    opposes: bool


@router.get("/facts/{reference}")
def fact(
    request: Request,
    profile: str,
    reference: str,
    visit: Visited,
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """A trait by its key, one of the schema also when the profile has none; a memory by its id."""
    living = visit.living(profile)
    if living != profile:
        return turn_to(f"/profiles/{living}/facts/{reference}")
    schema = visit.schema_of(living)
    found, history = _find(visit, living, reference, schema)
    trait = schema.get(found.key if found and found.kind == "trait" else reference)
    edits = load_edits(visit.engine, living)
    stands = standing(edits, schema)
    proofs = found.proofs if found else ()
    paging = Paging(number, PROOFS_PER_PAGE, len(proofs), f"/profiles/{living}/facts/{reference}")
    shown = proofs[paging.first - 1 if paging.total else 0 : paging.last]
    return page(
        request,
        visit,
        "fact.html",
        profile=living,
        person=name_of(visit, living),
        fact=found,
        history=history,
        trait=trait,
        label=label_of(schema, found.key if found else reference),
        evidence=_show(visit, found, shown) if found else [],
        paging=paging,
        rejected=[edit for (key, _), edit in stands.rejected.items() if key == reference],
        clearable=_is_decided(found, stands.is_decided(reference)),
    )


def name_of(visit: Visit, profile: str) -> str:
    """What the pages call a profile."""
    with reading(visit.engine) as connection:
        called = select(func.coalesce(Profile.told_name, Profile.display_name, Profile.external_id, "Nameless"))
        return str(connection.execute(called.where(Profile.id == profile)).scalar_one())


def _find(visit: Visit, profile: str, reference: str, schema: TraitSchema) -> tuple[Fact | None, tuple[Past, ...]]:
    """Recorded before it is shown. Raises InvalidInput (``fact_not_found``)."""
    try:
        found, history = load_fact(visit.engine, profile, reference)
    except InvalidInput as error:
        history = load_past(visit.engine, profile, reference)
        visit.record(Audited.WHY, profile, found=False)
        if not history and schema.get(reference) is None:
            raise InvalidInput("fact_not_found", "This profile has no such trait or memory; it may be gone.") from error
        return None, history
    visit.record(Audited.WHY, profile, kind=found.kind, key=found.key)
    return found, history


def _is_decided(found: Fact | None, trait_is: bool) -> bool:
    """Whether there is a decision that can be taken back."""
    return found is not None and (found.edit is not None if found.kind == "memory" else trait_is)


def _show(visit: Visit, found: Fact, proofs: Sequence[Proof]) -> list[Shown]:
    """Their texts by one query."""
    texts = load_texts(visit.engine, [proof.document_id for proof in proofs])
    supporting = {id(proof) for proof in found.supporting()}
    shown = []
    for proof in proofs:
        text = texts[proof.document_id]
        span = (proof.start, proof.end)
        shown.append(
            Shown(
                proof,
                quote_in(text.text, span),
                speaker_at(text.segments, span),
                visit.settings.record_urls.of_record(proof.origin, proof.kind, proof.native_id, proof.metadata),
                run_address(visit, proof.run_id),
                id(proof) not in supporting,
            )
        )
    return shown


def run_address(visit: Visit, run_id: str | None) -> str | None:
    """Of a run in Dagster's web server, where its address is set."""
    return f"{visit.settings.dagster_url}/runs/{run_id}" if visit.settings.dagster_url and run_id else None


@router.get("/documents/{document}")
def document(
    request: Request,
    profile: str,
    document: str,
    visit: Visited,
    claim: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """A whole document with every claim found in it. ``claim``: the observation to look at first."""
    found = load_document_facts(visit.engine, document)
    if found.profile_id is None or found.profile_id != visit.living(profile):
        raise InvalidInput("document_not_found", "This profile has no such document; it may be another's now.")
    visit.record(Audited.DOCUMENT, found.profile_id)
    schema = visit.schema_of(found.profile_id)
    claims = list(found.contributions)
    spans = [(one.start, one.end) for one in claims]
    return page(
        request,
        visit,
        "document.html",
        profile=found.profile_id,
        person=name_of(visit, found.profile_id),
        document=found,
        turns=list(turns(found.text, found.segments, spans)),
        claims=claims,
        first=_first(claims, claim),
        labels={one.key: label_of(schema, one.key) for one in claims},
        record_url=visit.settings.record_urls.of_record(found.origin, found.kind, found.native_id, found.metadata),
        runs=_runs(visit, found),
    )


def _first(claims: Sequence[Contribution], wanted: str) -> int | None:
    return next((n for n, one in enumerate(claims) if one.observation_id == wanted), None)


def _runs(visit: Visit, found: DocumentFacts) -> dict[str, str]:
    addresses = {attempt.run_id: run_address(visit, attempt.run_id) for attempt in found.attempts if attempt.run_id}
    return {run: address for run, address in addresses.items() if run and address}

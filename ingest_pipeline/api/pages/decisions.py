"""What a person decides on the pages. Each ends on the page that the form was on, or on the profile's."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from ingest_pipeline import editing
from ingest_pipeline.api.pages.profile_view import label_of
from ingest_pipeline.api.pages.rendering import Notice, turn_to
from ingest_pipeline.api.pages.visits import Changing, Text, Visit
from ingest_pipeline.documents import Json
from ingest_pipeline.editing import Decided
from ingest_pipeline.editing.standing import standing
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.store.edits import load_edits

router = APIRouter(include_in_schema=False, prefix="/profiles/{profile}")

Back = Annotated[str, Form()]
"""``fact``: the form is on the fact's own page."""


@router.post("/facts/{reference}/confirm")
def confirm(
    request: Request, profile: str, reference: str, visit: Changing, value: Text = "", back: Back = ""
) -> Response:
    def work() -> Decided:
        return editing.confirm(visit.editor, profile, reference, value or None)

    said = "{} confirmed. Only newer evidence may change it."
    return _decide(request, visit, profile, reference, back, work, said)


@router.post("/facts/{reference}/reject")
def reject(request: Request, profile: str, reference: str, visit: Changing, value: Text = "") -> Response:
    return _decide(
        request, visit, profile, reference, "", lambda: editing.reject(visit.editor, profile, reference, value or None),
        "{} rejected. It does not come back, whatever is read.", undo=True,
    )  # fmt: skip


@router.post("/facts/{reference}/unreject")
def unreject(
    request: Request, profile: str, reference: str, visit: Changing, value: Text = "", back: Back = ""
) -> Response:
    def work() -> Decided:
        return editing.unreject(visit.editor, profile, reference, value or None)

    return _decide(request, visit, profile, reference, back, work, "{}: the rejection is taken back.")


@router.post("/facts/{reference}/clear")
def clear(request: Request, profile: str, reference: str, visit: Changing, back: Back = "") -> Response:
    return _decide(
        request, visit, profile, reference, back, lambda: editing.clear(visit.editor, profile, reference),
        "{}: the decision is taken back; the evidence decides again.",
    )  # fmt: skip


@router.post("/facts/{reference}/set")
def set_trait(request: Request, profile: str, reference: str, visit: Changing, value: Text = "") -> Response:
    """The elements of a many-valued trait are one per line."""
    trait = visit.schema_of(visit.living(profile)).get(reference)
    given: Json = value.strip() or None
    if trait and trait.value_type == "array":
        given = [line.strip() for line in value.splitlines() if line.strip()] or None
    return _decide(
        request, visit, profile, reference, "fact", lambda: editing.set_trait(visit.editor, profile, reference, given),
        "{} saved. It stays, whatever is read later.",
    )  # fmt: skip


@router.post("/facts/{reference}/revise")
def revise(
    request: Request,
    profile: str,
    reference: str,
    visit: Changing,
    content: Text = "",
    kind: Annotated[str, Form(alias="type")] = "",
    importance: Text = "",
) -> Response:
    return _decide(
        request, visit, profile, reference, "fact",
        lambda: editing.revise_memory(
            visit.editor, profile, reference, content or None, kind or None, _share(importance)
        ),
        "{} saved. What proves it stays with it.",
    )  # fmt: skip


@router.post("/memories")
def add_memory(
    request: Request,
    profile: str,
    visit: Changing,
    content: Text = "",
    kind: Annotated[str, Form(alias="type")] = "fact",
    importance: Text = "",
) -> Response:
    return _decide(
        request, visit, profile, "", "",
        lambda: editing.add_memory(visit.editor, profile, content, kind, _share(importance)),
        "{} written.", "#memories",
    )  # fmt: skip


@router.post("/summary")
def set_summary(request: Request, profile: str, visit: Changing, summary: Text = "") -> Response:
    return _decide(
        request, visit, profile, "summary", "",
        lambda: editing.set_summary(visit.editor, profile, summary.replace("\r\n", "\n")),
        "{} saved. It stays until somebody changes it.",
    )  # fmt: skip


@router.post("/summary/clear")
def clear_summary(request: Request, profile: str, visit: Changing) -> Response:
    return _decide(
        request, visit, profile, "summary", "", lambda: editing.clear_summary(visit.editor, profile),
        "{}: made from the facts again.",
    )  # fmt: skip


def _share(text: str) -> float | None:
    """Raises InvalidInput (``invalid_importance``)."""
    try:
        return float(text.replace(",", ".")) if text.strip() else None
    except ValueError:
        raise InvalidInput("invalid_importance", "importance must be a number from 0 to 1", "importance") from None


def _decide(
    request: Request,
    visit: Visit,
    profile: str,
    reference: str,
    back: str,
    work: Callable[[], Decided],
    said: str,
    place: str = "",
    undo: bool = False,
) -> Response:
    """Carry it out and say so. What was refused is said in the same place, where it can be put right."""
    schema = visit.schema_of(visit.living(profile))  # ProfileNotFound is a page of its own
    own = f"/profiles/{profile}/facts/{reference}"
    name = label_of(schema, reference) if schema.get(reference) else "Memory"
    name = "Summary" if reference == "summary" else name
    try:
        done = work()
    except InvalidInput as error:
        goal = own if back == "fact" else f"/profiles/{profile}{place}"
        said = str(error).replace(reference, name) if schema.get(reference) else str(error)
        return turn_to(goal, request, Notice(f"{said[:1].upper()}{said[1:]}.", bad=True))
    there = back == "fact" and (done.after is not None or schema.get(reference) is not None)
    goal = own if there else f"/profiles/{done.profile.id}{place}"
    notice = Notice(said.format(name), undo=f"{own}/unreject" if undo and _is_only(visit, done, schema) else None)
    return turn_to(goal, request, notice)


def _is_only(visit: Visit, done: Decided, schema: TraitSchema) -> bool:
    """Whether what was rejected just now is all that is rejected of this trait: an undo takes back all of it."""
    stands = standing(load_edits(visit.engine, done.profile.id), schema)
    just_now = {edit.id for edit in done.edits}
    return all(edit.id in just_now for (key, _), edit in stands.rejected.items() if key == done.edits[0].key)

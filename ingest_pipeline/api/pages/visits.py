"""What a page's route is called with: who looks, and what may be shown or changed."""

import uuid
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Form, Request
from sqlalchemy import Engine

from ingest_pipeline.api.guard import is_foreign
from ingest_pipeline.api.pages.sessions import COOKIE, DEFAULT_ACTOR, Session, Sessions
from ingest_pipeline.api.services import Services
from ingest_pipeline.documents import Json
from ingest_pipeline.editing import Editor
from ingest_pipeline.errors import IngestError, ProfileNotFound
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.settings import Settings
from ingest_pipeline.store.audit_log import Audited, Via, append
from ingest_pipeline.store.definitions import profile_schema
from ingest_pipeline.store.lookup import find_profile


class LoginNeeded(IngestError):
    """Nobody has logged in, or too long ago."""


class StaleForm(IngestError):
    """A change without the token of this session's forms."""

    def __init__(self) -> None:
        super().__init__("this form is too old, or was not made by this page; go back, reload it and try again")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who may look. ``fresh``: the session began with this request, its cookie is to be set."""

    services: Services
    session: Session
    token: str
    keyed: bool
    fresh: bool = False

    @property
    def actor(self) -> str:
        return self.session.actor

    @property
    def engine(self) -> Engine:
        return self.services.pipeline.engine

    @property
    def settings(self) -> Settings:
        return self.services.pipeline.settings

    @property
    def schema(self) -> TraitSchema:
        return self.services.pipeline.schema

    def schema_of(self, profile: str) -> TraitSchema:
        """With the traits that were given with the profile's own texts."""
        return profile_schema(self.engine, profile, self.schema)

    @property
    def editor(self) -> Editor:
        return Editor(self.engine, self.schema, self.actor, Via.VIEWER, self.settings.fold_rules())

    def record(self, action: Audited, profile_id: str | None, **detail: Json) -> None:
        """Tell the audit log that a profile is read. Raises StoreUnavailable: what is not recorded is not shown."""
        append(self.engine, self.actor, Via.VIEWER, action, profile_id, detail)

    def living(self, profile_id: str) -> str:
        """The id of the profile that this one goes on as. Raises ProfileNotFound, also for what is no id: addresses
        and names do not belong into the paths of pages."""
        try:
            return find_profile(self.engine, str(uuid.UUID(profile_id)))
        except ValueError:
            raise ProfileNotFound from None


def sessions_of(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


async def begin_visit(request: Request) -> Visit:
    """Of somebody who may not have logged in: the login page is all that they see."""
    sessions = sessions_of(request)
    known = sessions.read(request.cookies.get(COOKIE))
    session = known or sessions.begin(DEFAULT_ACTOR, proven=False)
    visit = Visit(request.app.state.services, session, sessions.token(session), sessions.keyed, fresh=known is None)
    request.state.visit = visit
    return visit


async def visited(visit: Annotated[Visit, Depends(begin_visit)]) -> Visit:
    """Raises LoginNeeded."""
    if not visit.session.proven:
        raise LoginNeeded("log in first")
    return visit


async def checked(
    request: Request, visit: Annotated[Visit, Depends(begin_visit)], token: Annotated[str, Form()] = ""
) -> Visit:
    """Of a form. Raises StaleForm when it is not one that this session was given."""
    if is_foreign(request.headers) or not sessions_of(request).is_token(visit.session, token):
        raise StaleForm
    return visit


async def changing(visit: Annotated[Visit, Depends(visited)], _checked: Annotated[Visit, Depends(checked)]) -> Visit:
    """Raises LoginNeeded, StaleForm."""
    return visit


Begun = Annotated[Visit, Depends(begin_visit)]
Checked = Annotated[Visit, Depends(checked)]
Visited = Annotated[Visit, Depends(visited)]
Changing = Annotated[Visit, Depends(changing)]
Text = Annotated[str, Form()]

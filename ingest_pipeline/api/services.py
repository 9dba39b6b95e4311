"""What routes work with, and who is calling."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy import Engine

from ingest_pipeline.api.erasures import Erasures
from ingest_pipeline.api.paths import reference_in
from ingest_pipeline.api.rates import RateKind, RequestRates
from ingest_pipeline.api.upload_worker import UploadWorker
from ingest_pipeline.api.wrong_keys import WRONG_KEYS_PER_MINUTE
from ingest_pipeline.documents import Json
from ingest_pipeline.editing import Editor
from ingest_pipeline.pipeline import Pipeline, open_pipeline
from ingest_pipeline.proxy.request import header_text
from ingest_pipeline.settings import Settings
from ingest_pipeline.store.audit_log import Audited, Via, append, check_actor
from ingest_pipeline.store.lookup import find_profile

ACTOR_HEADER = "X-Actor"
"""Who is at work behind the key, for the audit log; ``api`` when nobody says."""


LOGINS_PER_MINUTE = 20
"""Attempts of one address at the pages' login."""


FINDING = ("profile_not_found", "ambiguous_profile")
"""Error codes of ``Call.find``."""


@dataclass(frozen=True, slots=True)
class Services:
    """One per process, safe to use from several threads."""

    pipeline: Pipeline
    rates: RequestRates
    erasures: Erasures
    uploads: UploadWorker

    def close(self) -> None:
        self.uploads.stop()
        self.erasures.close()
        self.pipeline.extractor.close()  # ends waits for the provider
        self.uploads.join()
        self.rates.close()
        self.pipeline.close()


def open_services(settings: Settings) -> Services:
    """Raises ConfigurationError with one line that says what to do."""
    pipeline = open_pipeline(settings.while_someone_waits())
    per_minute = {
        RateKind.API: settings.api_rpm,
        RateKind.PROXY: settings.proxy_rpm,
        RateKind.LOGIN: LOGINS_PER_MINUTE,
        RateKind.WRONG_KEY: WRONG_KEYS_PER_MINUTE,
    }
    rates = RequestRates(settings.limits_url, per_minute)
    return Services(pipeline, rates, Erasures(pipeline), UploadWorker(pipeline))


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as the routes see it. ``actor`` is who makes it."""

    services: Services
    actor: str

    @property
    def pipeline(self) -> Pipeline:
        return self.services.pipeline

    @property
    def engine(self) -> Engine:
        return self.services.pipeline.engine

    @property
    def editor(self) -> Editor:
        return Editor(self.engine, self.pipeline.schema, self.actor, Via.API, self.pipeline.settings.fold_rules())

    def find(self, reference: str) -> str:
        """The id of the profile that a path names. Raises ProfileNotFound."""
        return find_profile(self.engine, reference_in(reference))

    def record(self, action: Audited, profile_id: str | None, **detail: Json) -> None:
        """Tell the audit log that a profile is read. Raises StoreUnavailable: what is not recorded is not shown."""
        append(self.engine, self.actor, Via.API, action, profile_id, detail)


async def call_of(
    request: Request,
    actor: Annotated[str, Header(alias=ACTOR_HEADER, description="Who is at work behind the key.")] = "api",
) -> Call:
    return Call(request.app.state.services, check_actor(header_text(actor)))


Called = Annotated[Call, Depends(call_of)]


def take_api(request: Request) -> None:
    """A dependency: count the request against the caller's allowance."""
    _take(request, RateKind.API)


def take_proxy(request: Request) -> None:
    """As ``take_api``, of the LLM proxy's own allowance."""
    _take(request, RateKind.PROXY)


def _take(request: Request, kind: RateKind) -> None:
    services: Services = request.app.state.services
    allowance = services.rates.take(kind, request.state.caller)
    request.scope["state"]["headers"] = allowance.headers()

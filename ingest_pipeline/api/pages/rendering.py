"""Templates → pages: what every page is given, how values and dates are written, what is said after a change."""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib import resources
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ingest_pipeline.api.pages.chart import money
from ingest_pipeline.api.pages.sessions import COOKIE, LASTS_S
from ingest_pipeline.api.pages.visits import Visit, sessions_of
from ingest_pipeline.documents import Json

NOTICE = "ingest_notice"
"""The cookie with what the next page says of the last change."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One line above a page, after a change. ``undo``: path of the form that takes it back. Holds no personal text."""

    text: str
    bad: bool = False
    undo: str | None = None


def page(
    request: Request,
    visit: Visit,
    template: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **shown: Any,
) -> HTMLResponse:
    """A page for ``visit``; sets its cookie when it is new."""
    notice = _read_notice(request.cookies.get(NOTICE))
    frame = {"visit": visit, "path": request.url.path, "notice": notice, "schema": visit.schema}
    response = HTMLResponse(environment().get_template(template).render(frame | shown), status, headers)
    if visit.fresh:
        set_session(request, response, visit)
    if notice:
        response.delete_cookie(NOTICE)
    return response


def turn_to(path: str, request: Request | None = None, notice: Notice | None = None) -> RedirectResponse:
    """To another page of ours, by GET, with what that one says first."""
    response = RedirectResponse(path, 303)
    if request and notice:
        value = base64.urlsafe_b64encode(json.dumps([notice.text, notice.bad, notice.undo]).encode()).decode()
        response.set_cookie(NOTICE, value, 60, httponly=True, samesite="lax", secure=is_https(request))
    return response


def _read_notice(cookie: str | None) -> Notice | None:
    """Text only, shown escaped; what it takes back is a path of ours."""
    try:
        text, bad, undo = json.loads(base64.urlsafe_b64decode(cookie or ""))
    except (binascii.Error, ValueError, TypeError):
        return None
    undo = undo if isinstance(undo, str) and undo.startswith("/profiles/") else None
    return Notice(str(text), bool(bad), undo)


def set_session(request: Request, response: Response, visit: Visit) -> None:
    value = sessions_of(request).write(visit.session)
    response.set_cookie(COOKIE, value, LASTS_S, httponly=True, samesite="lax", secure=is_https(request))


def is_https(request: Request) -> bool:
    """Whether the browser came by TLS: ended here, or at a proxy that is trusted to say so."""
    trusted = request.app.state.services.pipeline.settings.trusted_proxies
    client = request.scope.get("client")
    if client and client[0] in trusted:
        return request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[-1].strip() == "https"
    return request.url.scheme == "https"


@lru_cache(maxsize=1)
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("ingest_pipeline.api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "value": value_text, "day": day, "moment": moment, "number": number, "count": count,
        "role": voice, "money": money, "coded": coded,
    }  # fmt: skip
    made.globals |= {"static": static_path, "kind_of": kind_of}
    return made


class _FromSource(Protocol):
    @property
    def origin(self) -> str: ...
    @property
    def kind(self) -> str: ...


def kind_of(document: _FromSource) -> str:
    """``salesforce task``; ``mail`` where the origin says it all."""
    return " ".join(dict.fromkeys((document.origin, *document.kind.split("_"))))


def value_text(value: Json) -> str:
    """As people write it; the elements of a list one after the other."""
    if isinstance(value, list | tuple):
        return ", ".join(value_text(element) for element in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def day(at: datetime | None, unknown: str = "no date") -> Markup:
    if at is None:
        return Markup('<span class="quiet">{}</span>').format(unknown)
    return Markup('<time datetime="{}">{}</time>').format(at.date().isoformat(), f"{at.day} {at:%b %Y}")


def moment(at: datetime | None, unknown: str = "at an unknown time") -> Markup:
    if at is None:
        return Markup('<span class="quiet">{}</span>').format(unknown)
    written = f"{at.day} {at:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="seconds"), written)


def number(n: float) -> str:
    return f"{n:,}"


def count(n: int, one: str, many: str | None = None) -> str:
    """``3 memories``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


_VOICES = {
    "subject": "in their own words",
    "field": "a field of their record",
    "signature": "in their signature",
    "note": "a note about them",
    "staff": "staff",
    "other": "somebody else",
    "assistant": "an assistant",
    "system": "system text",
}


def voice(role: str) -> str:
    return _VOICES.get(role, role)


def coded(text: str) -> Markup:
    """Text with `code` in it."""
    parts = text.split("`")
    marked = (Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts))
    return Markup("").join(marked)


STATIC = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@lru_cache(maxsize=32)
def static_file(name: str) -> tuple[bytes, str] | None:
    """A file that comes with the pages and its type; None when there is none of the name."""
    kind = STATIC.get(name.rpartition(".")[2])
    file = resources.files(__package__).joinpath("static", name)
    if kind is None or "/" in name or "\\" in name or not file.is_file():
        return None
    return file.read_bytes(), kind


@lru_cache(maxsize=32)
def static_path(name: str) -> str:
    """Its address, which changes with its content: browsers may keep it for good."""
    found = static_file(name)
    assert found is not None, name
    return f"/static/{name}?v={hashlib.sha256(found[0]).hexdigest()[:12]}"

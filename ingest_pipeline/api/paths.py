"""Paths whose parts hold slashes, as identifiers (``slack:T1/U1``) and external ids may.

``%2F`` stands for one that is part of an id. Servers decode a path before anybody can tell, so it is read once more.
"""

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

_ENCODED = re.compile(r"%2f", re.IGNORECASE)
_SLASH = "\x1f"
"""In its place until routes are found: a control character, which no id has."""


class SlashesInIds:
    """Middleware, around everything that looks at the path."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path") or b""
        if b"%2" in raw:
            scope["path"] = unquote(_ENCODED.sub(_SLASH, raw.decode("ascii")))
        await self.app(scope, receive, send)


def reference_in(part: str) -> str:
    """An id as it was meant, from a path's part."""
    return part.replace(_SLASH, "/")

"""What the proxy answers besides bad requests.

IngestError
├── NotAllowed        what the caller asks for is not switched on
├── NoRoom            a shared limit or the budget leaves no room for the call now
└── UpstreamFailed    the upstream answered with an error, or not at all
"""

from ingest_pipeline.errors import IngestError


class NotAllowed(IngestError):
    """``code`` is the API's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoRoom(IngestError):
    """``code`` is ``rate_limited`` or ``budget_exhausted``; ``retry_after_s``: when it may be worth another try."""

    def __init__(self, code: str, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


class UpstreamFailed(IngestError):
    """``status`` is the upstream's HTTP status: 502 when it cannot be reached, 504 when it takes too long.

    The message is the upstream's own, for the caller only: it may quote the request, so it is never logged.
    ``upstream_code`` is its error code, ``retry_after`` its header as it stands.
    """

    def __init__(
        self, status: int, message: str, upstream_code: str | None = None, retry_after: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.upstream_code = upstream_code
        self.retry_after = retry_after

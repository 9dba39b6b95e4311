"""Every error that the pipeline raises on purpose.

    IngestError
    ├── ConfigurationError       a setting, the inbox, the trait schema; exit code 2
    │   ├── TraitSchemaError
    │   └── StoreUnavailable     the database does not answer or is not at the current revision
    │       └── NoDatabase           there is none where one was to be looked into
    ├── InvalidInput             bad arguments of a call; carries the API's error code
    │   └── ProfileNotFound
    ├── UnreadableFile           nothing in a file can be used
    └── ExtractionError          a document's extraction failed; carries the reason kept in the store

Messages say what is wrong, where, and what to do, and hold no personal text.
"""


class IngestError(Exception):
    """Base of all errors raised on purpose."""


class ConfigurationError(IngestError):
    """The pipeline cannot start as configured."""


class TraitSchemaError(ConfigurationError):
    """The trait schema file is missing or not valid."""


class StoreUnavailable(ConfigurationError):
    """The database cannot be reached or is not at the current revision."""


class NoDatabase(StoreUnavailable):
    """There is no database of this program at that place."""


class InvalidInput(IngestError):
    """An argument that a caller must change. ``code`` is the HTTP API's error code."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class ProfileNotFound(InvalidInput):
    """No profile has this id, external id or identifier."""

    def __init__(self) -> None:
        super().__init__(
            "profile_not_found",
            "no profile has this id, external id or identifier; `ingest profiles --search` or "
            "GET /api/profiles?search= finds one, `ingest text --create` or POST /api/profiles makes one",
        )


class UnreadableFile(IngestError):
    """Nothing in this file can be used. The message is stored as the file's rejection."""


class ExtractionError(IngestError):
    """One document could not be extracted. ``reason`` is a short stable code, kept for ``ingest retry``."""

    def __init__(self, reason: str, message: str, document_id: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.document_id = document_id

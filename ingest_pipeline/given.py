"""What ``ingest text`` is given on the command line, in a file or on stdin; times as the API takes them."""

import json
import sys
from codecs import BOM_UTF8
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from ingest_pipeline.direct import MAX_DATA_BYTES
from ingest_pipeline.documents import Json
from ingest_pipeline.errors import InvalidInput


def given_text(data: str | None, file: Path | None, dash: str | None) -> str:
    """The text, from exactly one of the three. Raises InvalidInput.

    At most a little more than what is allowed is read; ``check_request`` then refuses it.
    """
    given = [value is not None for value in (data, file, dash)]
    if sum(given) != 1 or dash not in (None, "-"):
        raise InvalidInput("invalid_data", "give the text by exactly one of --data TEXT, --file F or - (stdin)", "data")
    if data is not None:
        return data
    try:
        with file.open("rb") if file else nullcontext(sys.stdin.buffer) as stream:
            raw = stream.read(MAX_DATA_BYTES + len(BOM_UTF8) + 1).removeprefix(BOM_UTF8)
        # What is too large is refused as that, even where it is cut off within a character.
        return raw.decode("utf-8", "strict" if len(raw) <= MAX_DATA_BYTES else "replace")
    except OSError as error:
        raise InvalidInput("invalid_data", f"cannot read the text: {error.strerror}", "data") from None
    except UnicodeDecodeError:
        raise InvalidInput("invalid_data", "the text is not UTF-8", "data") from None


def given_metadata(metadata: str | None) -> dict[str, Json] | None:
    """A JSON object. Raises InvalidInput."""
    if metadata is None:
        return None
    try:
        value = json.loads(metadata)
    except (json.JSONDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput("invalid_metadata", "metadata must be a JSON object", "metadata")
    return value


def given_moment(value: Json) -> datetime | None:
    """An ISO 8601 time; without a zone it is in UTC. Raises InvalidInput (``invalid_occurred_at``)."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(
            "invalid_occurred_at", "occurredAt must be an ISO 8601 time such as 2024-05-03T09:30:00Z", "occurredAt"
        ) from None


def given_traits(file: Path | None) -> Json:
    """The list of trait schemas in a JSON file, which may hold it under ``traits``. Raises InvalidInput."""
    if file is None:
        return None
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidInput("invalid_trait_schema", f"cannot read the traits: {error.strerror}", "traits") from None
    except (ValueError, RecursionError):
        raise InvalidInput("invalid_trait_schema", "the file with the traits is not JSON", "traits") from None
    return value.get("traits", value) if isinstance(value, dict) else value

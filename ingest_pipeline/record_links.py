"""Links to records where they live: the CRM, the help desk, the chat. From templates that whoever runs this gives.

    {"salesforce": "https://acme.lightning.force.com/{id}",
     "hubspot/contact": "https://app.hubspot.com/contacts/4711/record/0-1/{id}"}

A template is chosen by origin and kind of the document, else by its origin. ``{id}`` is the record's native id;
``{native_id}`` as stored, and every plain value of the document's metadata by its name.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from pydantic import RootModel, model_validator

from ingest_pipeline.documents import Json

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")


def web_address(address: str | None) -> str | None:
    """An http(s) URL with a host, without the slash at its end. Raises ValueError."""
    if address is None:
        return None
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or "{" in parts.netloc or "}" in parts.netloc:
        raise ValueError("write a web address such as https://crm.example.com, without a placeholder in its host")
    return address.rstrip("/")


class RecordUrls(RootModel[dict[str, str]]):
    """Templates by ``origin`` or ``origin/kind``. Immutable in use."""

    root: dict[str, str] = {}

    @model_validator(mode="after")
    def _are_addresses(self) -> "RecordUrls":
        for template in self.root.values():
            web_address(template)
        return self

    def of_record(self, origin: str, kind: str, native_id: str, metadata: Mapping[str, Json]) -> str | None:
        """The address of a document's record; None without a template, or when it wants what is not known."""
        values = {name: value for name, value in metadata.items() if isinstance(value, str | int)}
        own = {"id": values.get("id", native_id), "native_id": native_id, "origin": origin, "kind": kind}
        return self._fill((f"{origin}/{kind}", origin), values | own)

    def of_identifier(self, kind: str, value: str) -> str | None:
        """The address of a person's own record, from an identifier such as ``salesforce:ORG/ID``."""
        org, _, own_id = value.rpartition("/")
        return self._fill((f"{kind}/contact", kind), {"id": own_id, "native_id": value, "org": org})

    def _fill(self, names: tuple[str, ...], values: Mapping[str, str | int]) -> str | None:
        template = next((self.root[name] for name in names if name in self.root), None)
        if template is None or any(name not in values for name in _PLACEHOLDER.findall(template)):
            return None
        return _PLACEHOLDER.sub(lambda found: quote(str(values[found[1]]), safe=""), template)

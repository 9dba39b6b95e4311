"""What HubSpot keeps about contacts besides their own rows: notes, calls, meetings, tasks, mails, tickets, deals."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ingest_pipeline.documents import LINKED, PARTIAL, WHOM, Json, Person, Role
from ingest_pipeline.sources import hubspot_columns
from ingest_pipeline.sources.crm_mail import add_own_words, is_automatic, plain_text
from ingest_pipeline.sources.crm_records import email_addresses
from ingest_pipeline.sources.crm_text import Fields, TextBuilder
from ingest_pipeline.sources.hubspot_rows import SPOILED, Left, RowReader, Sheet, contact_id, entries


@dataclass(frozen=True, slots=True)
class Activity:
    """One kind of row that belongs to contacts. Of the columns in a group the first filled one is used.

    title, texts: groups of columns; role: whose words the texts are.
    """

    title: tuple[str, ...] = ()
    texts: tuple[tuple[str, ...], ...] = ()
    role: Role = Role.NOTE
    joined_by: str = "engagement"


ACTIVITIES = {
    "note": Activity(texts=(("hs_note_body", "body"),)),
    "call": Activity(("hs_call_title", "title"), (("hs_call_body", "body"), ("hs_call_summary",))),
    "meeting": Activity(("hs_meeting_title", "title"), (("hs_meeting_body", "body"), ("hs_internal_meeting_notes",))),
    "task": Activity(("hs_task_subject", "subject"), (("hs_task_body", "body"),)),
    # A rep logs what was sent by SMS, WhatsApp or LinkedIn; whether the contact wrote it is not told.
    "communication": Activity(texts=(("hs_communication_body", "body"),), role=Role.STAFF),
    "email": Activity(
        ("hs_email_subject", "subject"), (("hs_email_text", "text", "hs_email_html", "html", "body"),), Role.STAFF
    ),
    "ticket": Activity(("subject",), (("content",),), joined_by="ticket"),
    "deal": Activity(texts=(("description",),), joined_by="deal"),
}

CUSTOMER_SOURCES = frozenset({"email", "form", "chat", "whatsapp", "facebook messenger"})
"""Ticket sources (lower case) in which the customer typed the text."""


class ActivityReader(RowReader):
    """Rows that point at contacts. ``hs_timestamp`` is when it happened, ``createdate`` when it was entered."""

    moments: tuple[str, ...] = (
        "hs_timestamp", "hs_meeting_start_time", "start_time", "timestamp", "createdate", "created_at",
    )  # fmt: skip

    def __init__(self, sheet: Sheet) -> None:
        super().__init__(sheet)
        self._activity = ACTIVITIES[sheet.kind]
        self._fields: Fields | None = None
        if sheet.kind == "deal":
            excluded = sheet.options.exclude_columns
            self._fields = Fields(self._names, hubspot_columns.DEAL, {}, excluded, sheet.table.columns)
        if sheet.kind in ("ticket", "deal"):
            self.moments = ("createdate", "created_at")

    def _content(
        self, cells: Sequence[str], native: str, metadata: dict[str, Json]
    ) -> tuple[tuple[Person, ...], TextBuilder]:
        contacts = self._contacts(cells, native, metadata)
        if owner := self._cell(cells, "hubspot_owner_id"):
            metadata["author_id"] = owner
        text = TextBuilder()
        if self._sheet.kind == "email":
            people = self._mail(cells, contacts, text, metadata)
        else:
            if not contacts:
                raise Left("no_person")
            people = tuple(self._person(contact) for contact in contacts)
            self._words(cells, contacts, text, metadata)
        if not text.build()[0]:
            raise Left("no_text")
        return people, text

    def _words(self, cells: Sequence[str], contacts: list[str], text: TextBuilder, metadata: dict[str, Json]) -> None:
        if self._fields:
            self._fields.add(text, cells)
        role = self._activity.role
        title, _ = self._first(cells, self._activity.title)
        text.text(title, role, "title")
        source = self._cell(cells, "source_type") or self._cell(cells, "source")
        typed = self._sheet.kind == "ticket" and source.lower() in CUSTOMER_SOURCES
        for group in self._activity.texts:
            body, column = self._first(cells, group)
            if typed and len(contacts) == 1:
                add_own_words(text, body, column)
            else:
                text.text(body, Role.OTHER if typed else role, column)

    def _mail(
        self, cells: Sequence[str], contacts: list[str], text: TextBuilder, metadata: dict[str, Json]
    ) -> tuple[Person, ...]:
        """An incoming mail is its sender's; any other is the rep's, who wrote it to the contacts."""
        direction = (self._cell(cells, "hs_email_direction") or self._cell(cells, "type")).upper()
        subject, _ = self._first(cells, self._activity.title)
        body, column = self._first(cells, self._activity.texts[0])
        if direction == "DRAFT_EMAIL":
            raise Left("draft")
        if subject:
            metadata["subject"] = subject[:500]
        if direction != "INCOMING_EMAIL":
            if not contacts:
                raise Left("no_person")
            metadata["direction"] = "outbound"
            text.text(body, Role.STAFF, column)
            return tuple(self._person(contact) for contact in contacts)
        metadata["direction"] = "inbound"
        sender = self._sender(cells, contacts)
        add_own_words(text, body, column)
        return (sender,)

    def _sender(self, cells: Sequence[str], contacts: list[str]) -> Person:
        """The contact with the mail's address, or the bare address; without an address the mail's only contact."""
        addresses = email_addresses(
            self._cell(cells, "hs_email_from_email"), self._cell(cells, "from_email"), _from_in(self._headers(cells))
        )
        if not addresses:
            if len(contacts) != 1:
                raise Left("no_sender")
            return self._person(contacts[0])
        if self._sheet.staff.includes(addresses[0].value):
            raise Left("internal_sender")
        if is_automatic(addresses[0].value):
            raise Left("automatic_mail")
        known = self._sheet.joins.all("address", addresses[0].value)
        both = [contact for contact in known if contact in contacts]
        native = known[0] if len(known) == 1 else both[0] if len(both) == 1 else None
        return self._person(native) if native else Person(addresses[0], "email", identifiers=addresses[:1])

    def _headers(self, cells: Sequence[str]) -> str:
        return self._cell(cells, "hs_email_headers")

    def _contacts(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> list[str]:
        listed = entries(self._cell(cells, "associated_contact_ids"))
        contacts = {found for entry in listed if (found := contact_id(entry))}
        linked = self._sheet.joins.all(self._activity.joined_by, native)
        if SPOILED in linked or len(contacts) < len(listed):
            metadata.setdefault("warnings", []).append("associated_contact_ids: not a number")
            metadata[WHOM] = PARTIAL
        if linked:
            metadata.setdefault(WHOM, LINKED)
        return sorted(contacts.union(linked) - {SPOILED})

    def _person(self, contact: str) -> Person:
        return Person(self._identifier(contact), self._namespace, claims=False)

    def _first(self, cells: Sequence[str], columns: Sequence[str]) -> tuple[str, str]:
        """(plain text, column) of the first filled one."""
        for column in columns:
            if text := plain_text(self._cell(cells, column)).strip():
                return text, column
        return "", columns[0] if columns else ""


def _from_in(headers: str) -> str:
    """The sender's address in ``hs_email_headers``: ``{"from": {"email": …}, "to": […]}``."""
    if not headers.startswith("{"):
        return ""
    try:
        sender = json.loads(headers).get("from")
    except (ValueError, RecursionError):
        return ""
    address = sender.get("email") if isinstance(sender, dict) else None
    return address if isinstance(address, str) else ""

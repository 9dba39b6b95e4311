"""Zendesk exports: tickets with their comments, and users, as JSON, JSON Lines (the full export) or CSV.

A ticket is about its requester, and about everybody else outside who comments on it. Comments with ``public`` false are
agents' notes. Whoever is no end user is staff. Times are in UTC.
"""

import json
import re
from collections.abc import Iterator

from ingest_pipeline.documents import LINKED, PARTIAL, WHOM, Item, Json, Person, Rejected, Role, Skipped, Source
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.columns import ZENDESK_USER
from ingest_pipeline.sources.crm_desk import Desk, Objects, read_desk
from ingest_pipeline.sources.crm_dialogue import Message, add_dialogue, in_order, speakers
from ingest_pipeline.sources.crm_mail import plain_text
from ingest_pipeline.sources.crm_records import clean_name, email_addresses
from ingest_pipeline.sources.crm_tables import TableFile
from ingest_pipeline.sources.crm_text import TextBuilder
from ingest_pipeline.sources.crm_units import (
    Batch,
    Unit,
    Values,
    add_fields,
    heads,
    id_in,
    list_in,
    object_in,
    text_in,
)
from ingest_pipeline.sources.phones import certain_phone

LISTS = frozenset({"tickets", "users", "comments", "organizations", "results"})
END_USER = "end-user"

_TABLES = tuple(
    frozenset(keys.split())
    for keys in (
        "requester_id subject",
        "requester subject submitter",
        "requester subject status assignee",
        "requester subject comments",
        "author_id public body",
        "author_id public html_body",
        "ticket_id public body",
        "role email restricted_agent",
        "role email ticket_restriction",
        "role email organization_id",
        "role email iana_time_zone",
        "domain_names shared_tickets",
    )
)
_HOST = re.compile(r"https?://([a-z0-9-]+)\.zendesk\.com/", re.IGNORECASE)


def detect(file: SourceFile, head: bytes) -> bool:
    """A table or JSON with the keys of tickets, comments or users, or a zip of such."""
    return any(signature <= keys for keys in heads(file, head) for signature in _TABLES)


def read(export: Export, options: ReadOptions) -> Iterator[Item]:
    """The items of an export. Raises UnreadableFile when none of its files can be opened."""
    return read_desk(export, options, Objects("zendesk", LISTS, _keep, _items, parts_of="ticket", account_key="name"))


def kind_of(unit: Unit) -> str:
    """``ticket``, ``comment``, ``user``, ``organization`` or ""."""
    values = unit.values
    if "requester_id" in values or ("requester" in values and "subject" in values):
        return "ticket"
    if "public" in values and ("author_id" in values or "user_id" in values):
        return "comment"
    if "role" in values and "email" in values:
        return "user"
    if unit.list == "organizations" or "domain_names" in values or "shared_tickets" in values:
        return "organization"
    return ""


# -- joins -------------------------------------------------------------------------------------------------------------


def _keep(unit: Unit, batch: Batch) -> bool:
    """Remember users, organizations and comments for the tickets. A file of tickets holds nothing else."""
    kind, values = kind_of(unit), unit.values
    if batch.seen == 1 and (host := _HOST.match(text_in(values, "url"))):
        batch.add("account", "name", host[1].lower())
    native = id_in(values, "id")
    if kind == "user":
        address, role = text_in(values, "email"), text_in(values, "role")
        batch.add("user", native, json.dumps([role, text_in(values, "name"), address]))
        if role.lower() not in (END_USER, ""):
            batch.add("staff", "addresses", address)
    elif kind == "organization":
        batch.add("organization", native, text_in(values, "name"))
    elif kind == "comment":
        batch.add("comment", id_in(values, "ticket_id"), json.dumps(values))
    return kind != "ticket" or bool(unit.list)


# -- items -------------------------------------------------------------------------------------------------------------


def _items(desk: Desk, file: TableFile, unit: Unit) -> Iterator[Item]:
    kind = kind_of(unit)
    if kind == "ticket":
        yield from _ticket(desk, file, unit)
    elif kind == "user":
        yield _user(desk, file, unit)
    elif kind == "comment":
        desk.part(file.file)
    else:
        desk.skip(file.file, "lookup_table" if kind else "not_used")


def _user(desk: Desk, file: TableFile, unit: Unit) -> Item:
    values = unit.values
    native = id_in(values, "id")
    if not native:
        return Rejected(file.file, unit.position, "the user has no id")
    if text_in(values, "role").lower() not in (END_USER, ""):
        return Skipped(file.file, "staff")
    if text_in(values, "active").lower() == "false":
        return Skipped(file.file, "deleted")
    emails = email_addresses(text_in(values, "email"))
    if any(desk.staff.includes(email.value) for email in emails):
        return Skipped(file.file, "internal_person")
    excluded = desk.options.exclude_columns
    name = clean_name(text_in(values, "name"))
    phone = certain_phone(text_in(values, "phone"), desk.options.phone_region)
    text = TextBuilder()
    if name and "name" not in excluded:
        text.field("Name", name, "name")
    company = desk.joins.first("organization", id_in(values, "organization_id"))
    tags = ", ".join(str(tag) for tag in list_in(values, "tags") if isinstance(tag, str))
    shown = {**values, "organization_name": company, "tags": tags}
    add_fields(text, shown, ZENDESK_USER, object_in(values, "user_fields"), excluded)
    for key in ZENDESK_USER.texts:
        if key not in excluded:
            text.text(plain_text(text_in(values, key)), Role.NOTE, key)
    person = Person(desk.identifier(native), desk.namespace, name, (*emails, phone) if phone else emails)
    metadata: dict[str, Json] = {}
    at = desk.moment(values, metadata, "updated_at", "created_at")
    return desk.record("user", native, (person,), text, unit, file, metadata, at, at)


def _ticket(desk: Desk, file: TableFile, unit: Unit) -> Iterator[Item]:
    """One record for each person outside who asked or wrote."""
    values = unit.values
    native = id_in(values, "id")
    requester = id_in(values, "requester_id", "requester")
    if not native:
        yield Rejected(file.file, unit.position, "the ticket has no id")
        return
    if text_in(values, "status").lower() == "deleted":
        desk.skip(file.file, "deleted")
        return
    people = _People(desk, values)
    messages = in_order(_messages(desk, values, people, native))
    outside = list(dict.fromkeys([*([requester] if people.is_outside(requester) else []), *speakers(messages)]))
    if not outside:
        desk.skip(file.file, "internal_person" if requester else "no_person")
        return
    metadata: dict[str, Json] = {"status": text_in(values, "status"), "subject": text_in(values, "subject")[:500]}
    if people.unknown:
        metadata[WHOM] = PARTIAL
    elif len(messages) > 1:
        metadata[WHOM] = LINKED
    at = desk.moment(values, metadata, "created_at", "created")
    modified = desk.moment(values, {}, "updated_at", "updated")
    for person in outside:
        text = TextBuilder()
        _subject(text, values, messages, person, requester)
        own = add_dialogue(text, messages, person, person == requester)
        _satisfaction(text, values, person == requester)
        last = max((m.at for m in messages if m.at and m.speaker == person), default=at)
        yield desk.record(
            "ticket", native, (people.person(person),), text, unit, file, dict(metadata), last, modified, max(own, 1)
        )


def _subject(text: TextBuilder, values: Values, messages: list[Message], person: str, requester: str) -> None:
    """The requester's own words when they opened the ticket, else an agent's."""
    if person == requester:
        opened = not messages or messages[0].speaker == requester
        text.text(text_in(values, "subject"), Role.SUBJECT if opened else Role.STAFF, "subject")


def _satisfaction(text: TextBuilder, values: Values, is_requester: bool) -> None:
    if is_requester:
        rating = object_in(values, "satisfaction_rating")
        text.text(text_in(rating, "comment"), Role.SUBJECT, "satisfaction_rating")


def _messages(desk: Desk, values: Values, people: "_People", ticket: str) -> Iterator[Message]:
    comments = [comment for comment in list_in(values, "comments") if isinstance(comment, dict)]
    joined = desk.joins.all("comment", ticket)
    desk.consumed += len(joined)
    comments += [json.loads(comment) for comment in joined]
    if not comments and (description := text_in(values, "description")):
        author = id_in(values, "submitter_id", "submitter") or id_in(values, "requester_id", "requester")
        yield _message(desk, {"author_id": author, "body": description, "id": f"{ticket}/description"}, people)
    for comment in comments:
        yield _message(desk, comment, people)


def _message(desk: Desk, comment: Values, people: "_People") -> Message:
    author = id_in(comment, "author_id", "user_id", "author")
    body = text_in(comment, "body") or plain_text(text_in(comment, "plain_body", "html_body"))
    private = comment.get("public") is False or text_in(comment, "public").lower() in ("false", "0")
    outside = people.is_outside(author)
    role = Role.NOTE if private and not outside else Role.SUBJECT if outside else Role.STAFF
    at = desk.moment(comment, {}, "created_at", "created")
    native = id_in(comment, "id")
    return Message(author if outside else "", people.name(author), body, role, native, at)


class _People:
    """Who the people of one ticket are: from the users table, or from the users that stand in the ticket itself.

    ``unknown``: somebody who was asked for is in neither.
    """

    def __init__(self, desk: Desk, ticket: Values) -> None:
        self.unknown = False
        self._desk = desk
        self._inside: dict[str, tuple[str, str, str]] = {}
        self._outside: dict[str, bool] = {}
        self._names: dict[str, str] = {}
        self._requester = id_in(ticket, "requester_id", "requester")
        self._assignee = id_in(ticket, "assignee_id", "assignee")
        embedded = [object_in(ticket, key) for key in ("submitter", "assignee", "requester")]
        embedded += [each for each in list_in(ticket, "collaborator") if isinstance(each, dict)]
        for user in embedded:
            if native := id_in(user, "id"):
                self._inside[native] = (text_in(user, "role"), text_in(user, "name"), text_in(user, "email"))
        if self._requester and (name := text_in(ticket, "requester")) and self._requester != name:
            # The CSV of a view has the requester in columns of their own.
            self._inside.setdefault(self._requester, (END_USER, name, text_in(ticket, "requester_email")))

    def _known(self, native: str) -> tuple[str, str, str]:
        """(role, name, address), each "" when unknown."""
        if found := self._desk.joins.first("user", native):
            role, name, address = json.loads(found)
            return role, name, address
        return self._inside.get(native, ("", "", ""))

    def is_outside(self, native: str) -> bool:
        """Whether this is a customer. Of a ticket whose users are not in the export only the requester is."""
        if native not in self._outside:
            self._outside[native] = self._is_outside(native)
        return self._outside[native]

    def _is_outside(self, native: str) -> bool:
        if not native:
            return False
        role, _, address = self._known(native)
        self.unknown |= not (role or address)
        if role and role.lower() != END_USER:
            return False
        if any(self._desk.staff.includes(email.value) for email in email_addresses(address)):
            return False
        return bool(role) or native == self._requester or (bool(address) and native != self._assignee)

    def name(self, native: str) -> str:
        name = self._names.get(native)
        if name is None:
            name = self._names[native] = clean_name(self._known(native)[1]) or ""
        return name

    def person(self, native: str) -> Person:
        """A person whom the users table holds is only referred to; else the ticket describes them."""
        _, name, address = self._known(native)
        if self._desk.joins.first("user", native) or not (name or address):
            return self._desk.referred(native)
        identifiers = email_addresses(address)
        return Person(self._desk.identifier(native), self._desk.namespace, clean_name(name), identifiers)


READER = Reader(format="zendesk", source=Source.CRM, detect=detect, read=read, by_folder=True, names_everybody=True)

"""Intercom exports: contacts and conversations, as the JSON of its interface or as a warehouse's CSV tables.

A warehouse's history tables hold several versions of one object: those not ``_fivetran_active`` are left out. Words of
users and leads are theirs, those of admins are staff's, their notes are about the contact; bots are assistants.
"""

import json
from collections.abc import Iterator

from ingest_pipeline.documents import LINKED, WHOM, Item, Json, Person, Rejected, Role, Skipped, Source
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.columns import INTERCOM_CONTACT
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

LISTS = frozenset({"conversations", "contacts", "data", "users", "admins", "teammates", "companies"})
CUSTOMERS = frozenset({"user", "lead", "contact", "visitor"})
"""Author types of people outside; ``admin`` and ``team`` are staff, ``bot`` is an assistant."""

_JOINED = "\x1f"
_TABLES = tuple(
    frozenset(keys.split())
    for keys in (
        "conversation_parts source",
        "conversation_id part_type author_type",
        "source_author_id source_author_type",
        "workspace_id signed_up_at role",
        "contact_id conversation_id",
        "company_id contact_id fivetran_active",
        "monthly_spend session_count",
        "away_mode_enabled has_inbox_seat",
        "fivetran_deleted fivetran_synced job_title email name",
    )
)


def detect(file: SourceFile, head: bytes) -> bool:
    """A table or JSON with the keys of conversations, their parts or contacts, or a zip of such."""
    return any(signature <= keys for keys in heads(file, head) for signature in _TABLES)


def read(export: Export, options: ReadOptions) -> Iterator[Item]:
    """The items of an export. Raises UnreadableFile when none of its files can be opened."""
    return read_desk(export, options, Objects("intercom", LISTS, _keep, _items, parts_of="conversation"))


def kind_of(unit: Unit) -> str:
    """``conversation``, ``part``, ``conversation_contact``, ``contact``, ``admin``, ``company``, … or ""."""
    values = unit.values
    if "part_type" in values and "conversation_id" in values:
        return "part"
    if "source_author_type" in values or "conversation_parts" in values or unit.list == "conversations":
        return "conversation"
    if "conversation_id" in values and "contact_id" in values:
        return "conversation_contact"
    if "company_id" in values and "contact_id" in values:
        return "contact_company"
    if unit.list in ("admins", "teammates") or text_in(values, "type") == "admin":
        return "admin"
    if "monthly_spend" in values or "session_count" in values or unit.list == "companies":
        return "company"
    if "workspace_id" in values or text_in(values, "type") in ("contact", "user", "lead") or "signed_up_at" in values:
        return "contact"
    return "admin" if {"job_title", "email", "name"} <= values.keys() else ""


def _is_earlier(values: Values) -> bool:
    return text_in(values, "fivetran_active").lower() == "false"


def _keep(unit: Unit, batch: Batch) -> bool:
    """Remember what conversations and contacts need. False for files of nothing but whole conversations."""
    values, kind = unit.values, kind_of(unit)
    if _is_earlier(values):
        return True
    if kind == "part":
        version = text_in(values, "updated_at") + _JOINED + json.dumps(values)
        batch.add("part", id_in(values, "conversation_id"), version)
    elif kind == "conversation_contact":
        batch.add("contact_of", id_in(values, "conversation_id"), id_in(values, "contact_id"))
    elif kind == "contact_company":
        batch.add("company_of", id_in(values, "contact_id"), id_in(values, "company_id"))
    elif kind == "company":
        batch.add("company", id_in(values, "id"), text_in(values, "name"))
    elif kind == "admin":
        batch.add("staff", "addresses", text_in(values, "email"))
    elif kind == "contact":
        batch.add("contact", id_in(values, "id"), text_in(values, "name"))
    return kind != "conversation" or "conversation_parts" not in values


def _items(desk: Desk, file: TableFile, unit: Unit) -> Iterator[Item]:
    kind = kind_of(unit)
    if _is_earlier(unit.values):
        desk.skip(file.file, "earlier_version")
    elif kind == "conversation":
        yield from _conversation(desk, file, unit)
    elif kind == "contact":
        yield _contact(desk, file, unit)
    elif kind == "part":
        if text_in(unit.values, "body"):
            desk.part(file.file)
        else:
            desk.skip(file.file, "system_part")
    else:
        desk.skip(file.file, "staff" if kind == "admin" else "lookup_table")


def _contact(desk: Desk, file: TableFile, unit: Unit) -> Item:
    values = unit.values
    native = id_in(values, "id")
    if not native:
        return Rejected(file.file, unit.position, "the contact has no id")
    if text_in(values, "fivetran_deleted").lower() == "true":
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
    own = object_in(values, "custom_attributes") or {
        key.removeprefix("custom_"): value for key, value in values.items() if key.startswith("custom_")
    }
    company = _company(desk, values, native)
    title = text_in(own, "job_title", "Job Title")
    shown = {**values, **object_in(values, "location"), "company_name": company, "job_title": title}
    rest = {key: value for key, value in own.items() if key not in ("job_title", "Job Title")}
    add_fields(text, shown, INTERCOM_CONTACT, rest, excluded)
    namespace = f"intercom:{text_in(values, 'workspace_id')}"
    person = Person(desk.identifier(native), namespace, name, (*emails, phone) if phone else emails)
    metadata: dict[str, Json] = {"role": text_in(values, "role")}
    at = desk.moment(values, metadata, "updated_at", "created_at")
    return desk.record("contact", native, (person,), text, unit, file, metadata, at, at)


def _company(desk: Desk, values: Values, native: str) -> str:
    """The name of the contact's only company."""
    companies = [
        id_in(each, "id") for each in list_in(object_in(values, "companies"), "data") if isinstance(each, dict)
    ]
    companies = companies or list(desk.joins.all("company_of", native))
    return desk.joins.first("company", companies[0]) if len(companies) == 1 else ""


def _conversation(desk: Desk, file: TableFile, unit: Unit) -> Iterator[Item]:
    """One record for each contact who wrote, or whom it is about."""
    values = unit.values
    native = id_in(values, "id")
    if not native:
        yield Rejected(file.file, unit.position, "the conversation has no id")
        return
    messages = in_order(_messages(desk, values, native))
    listed = object_in(values, "contacts")
    contacts = [id_in(each, "id") for each in list_in(listed, "contacts") if isinstance(each, dict)]
    linked = desk.joins.all("contact_of", native)
    contacts += linked
    people = {person: None for person in (*speakers(messages), *contacts) if person}
    if not people:
        desk.skip(file.file, "no_person")
        return
    metadata: dict[str, Json] = {"state": text_in(values, "state")}
    if linked or len(messages) > 1:
        metadata[WHOM] = LINKED
    created = desk.moment(values, metadata, "created_at")
    modified = desk.moment(values, {}, "updated_at")
    remark = text_in(object_in(values, "conversation_rating"), "remark") or text_in(
        values, "conversation_rating_remark"
    )
    for person in people:
        text = TextBuilder()
        own = add_dialogue(text, messages, person, len(people) == 1)
        if len(people) == 1:
            text.text(remark, Role.SUBJECT, "conversation_rating")
        last = max((m.at for m in messages if m.at and m.speaker == person), default=created)
        who = (_person(desk, values, person),)
        yield desk.record("conversation", native, who, text, unit, file, dict(metadata), last, modified, max(own, 1))


def _person(desk: Desk, conversation: Values, native: str) -> Person:
    """A contact of the export is only referred to; else the conversation's author says who they are."""
    if not desk.joins.all("contact", native):
        for author in _authors(conversation):
            emails = email_addresses(text_in(author, "email"))
            if emails and id_in(author, "id") == native and not desk.staff.includes(emails[0].value):
                return Person(desk.identifier(native), desk.namespace, clean_name(text_in(author, "name")), emails)
    return desk.referred(native)


def _authors(conversation: Values) -> Iterator[Values]:
    yield object_in(object_in(conversation, "source"), "author")
    for part in list_in(object_in(conversation, "conversation_parts"), "conversation_parts"):
        if isinstance(part, dict):
            yield object_in(part, "author")


def _messages(desk: Desk, values: Values, conversation: str) -> Iterator[Message]:
    source = object_in(values, "source")
    if source:
        first: Values = {**source, "id": f"{conversation}/source", "created_at": values.get("created_at")}
    else:
        first = {
            "id": f"{conversation}/source", "created_at": values.get("created_at"), "part_type": "source",
            "body": values.get("source_body"), "author_id": values.get("source_author_id"),
            "author_type": values.get("source_author_type"),
        }  # fmt: skip
    parts = list_in(object_in(values, "conversation_parts"), "conversation_parts")
    joined = [json.loads(version.partition(_JOINED)[2]) for version in desk.joins.all("part", conversation)]
    desk.consumed += len([part for part in joined if text_in(part, "body")])
    for part in (first, *parts, *joined):
        if isinstance(part, dict) and (message := _message(desk, part)):
            yield message


def _message(desk: Desk, part: Values) -> Message | None:
    body = plain_text(text_in(part, "body"))
    if not body.strip():
        return None
    author = object_in(part, "author")
    kind = (text_in(author, "type") or text_in(part, "author_type")).lower()
    speaker = id_in(author, "id") or text_in(part, "author_id")
    is_note = text_in(part, "part_type").lower().startswith("note")
    if kind in CUSTOMERS and not any(
        desk.staff.includes(email.value) for email in email_addresses(text_in(author, "email"))
    ):
        role = Role.SUBJECT
    else:
        role = Role.ASSISTANT if kind == "bot" else Role.NOTE if is_note else Role.STAFF
        speaker = ""
    name = clean_name(text_in(author, "name")) or (desk.joins.first("contact", speaker) if speaker else "")
    return Message(speaker, name, body, role, id_in(part, "id"), desk.moment(part, {}, "created_at"))


READER = Reader(format="intercom", source=Source.CRM, detect=detect, read=read, by_folder=True, names_everybody=True)

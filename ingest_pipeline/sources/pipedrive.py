"""Pipedrive exports: persons, notes and activities, as the JSON of its interface or as CSV.

E-mail and phone are lists. Notes and activities belong to a person by id, or through their deal; exports from the
screen name people without their ids, and names are no key: those rows are counted. Times are in UTC.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

from ingest_pipeline.documents import (
    LINKED,
    WHOM,
    Identifier,
    Item,
    Json,
    Person,
    Rejected,
    Role,
    Skipped,
    Source,
)
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.columns import PIPEDRIVE_PERSON
from ingest_pipeline.sources.crm_desk import Desk, Objects, read_desk
from ingest_pipeline.sources.crm_mail import plain_text
from ingest_pipeline.sources.crm_records import clean_name, email_addresses, read_moment
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

LISTS = frozenset({"data", "items", "persons", "notes", "activities", "deals", "organizations", "users"})

_TABLES = tuple(
    frozenset(keys.split())
    for keys in (
        "add_time update_time owner_id",
        "add_time update_time user_id content",
        "add_time update_time person_id",
        "add_time update_time org_id",
        "add_time marked_as_done_time",
        "person_name person_organization",
        "person_name person_email_work",
        "person_id person_name",
        "activity_subject activity_type",
        "note_content note_person",
        "default_currency icon_url is_admin",
    )
)
_NOT_OWN = re.compile(
    r"(?:id|.*_(?:id|count|flag|time|date|hash|url|cc_email|owner|ids)|cc_email|first_char|picture|visible_to|owner.*"
    r"|name|first_name|last_name|emails?(?:_\w+)?|phones?(?:_\w+)?|im|postal_address.*|next_activity.*|last_activity.*"
    r"|(?:open|won|lost|closed|done|undone|total|email|activities|files|notes|followers|participant)_.*"
    r"|active.*|label.*|[0-9a-f]{40}(?:_.*)?|org|organization|custom_fields|person_created|update.*|add_.*)\Z"
)
"""Keys that are Pipedrive's own, or company fields under a hash that says nothing."""


@lru_cache(maxsize=4_096)  # the same keys stand in every object
def _is_own(key: str) -> bool:
    return key not in PIPEDRIVE_PERSON.labels and key not in ("_", "notes") and not _NOT_OWN.match(key)


def detect(file: SourceFile, head: bytes) -> bool:
    """A table or JSON with the keys of persons, notes or activities, or a zip of such."""
    return any(signature <= keys for keys in heads(file, head) for signature in _TABLES)


def read(export: Export, options: ReadOptions) -> Iterator[Item]:
    """The items of an export. Raises UnreadableFile when none of its files can be opened."""
    return read_desk(
        export, options, Objects("pipedrive", LISTS, _keep, lambda *found: (_item(*found),), account_key="id")
    )


def plain(unit: Unit) -> Unit:
    """Without the prefix that exports from the screen have: ``person_job_title`` -> ``job_title``."""
    values = unit.values
    if "add_time" in values:
        return unit
    for name in ("person", "activity", "note", "deal", "organization"):
        prefixed = sum(key.startswith(f"{name}_") for key in values)
        if prefixed == len(values) or (prefixed > len(values) / 2 and f"{name}_id" in values):
            return unit._replace(
                values={key.removeprefix(f"{name}_"): value for key, value in values.items()} | {"_": name}
            )
    return unit


def kind_of(unit: Unit) -> str:
    """``person``, ``note``, ``activity``, ``deal``, ``organization``, ``user`` or ""."""
    values = unit.values
    if named := text_in(values, "_"):
        return named
    if "content" in values:
        return "note"
    if "due_date" in values or "marked_as_done_time" in values:
        return "activity"
    if "stage_id" in values or ("value" in values and "pipeline_id" in values):
        return "deal"
    if "icon_url" in values or "default_currency" in values:
        return "user"
    if {"email", "emails", "phone", "phones", "email_work", "first_name"} & values.keys():
        return "person"
    return "organization" if "name" in values else ""


def _keep(unit: Unit, batch: Batch) -> bool:
    """Remember users, deals and organizations. Owners stand in every object: some are looked at."""
    unit = plain(unit)
    values, kind = unit.values, kind_of(unit)
    if kind == "user":
        batch.add("staff", "addresses", text_in(values, "email"))
    elif kind == "deal":
        if person := id_in(values, "person_id"):
            batch.add("deal", id_in(values, "id"), person)
    elif kind == "organization":
        batch.add("organization", id_in(values, "id"), text_in(values, "name"))
    for key in ("owner_id", "user_id", "user"):
        if address := text_in(object_in(values, key), "email"):
            batch.add("staff", "addresses", address)
    if account := id_in(values, "company_id"):
        batch.add("account", "id", account)
    return kind in ("user", "deal", "organization") or batch.seen < 1_000


def _item(desk: Desk, file: TableFile, unit: Unit) -> Item:
    unit = plain(unit)
    kind = kind_of(unit)
    if kind not in ("person", "note", "activity"):
        return Skipped(file.file, "staff" if kind == "user" else "lookup_table" if kind else "not_used")
    native = id_in(unit.values, "id")
    if not native:
        return Rejected(file.file, unit.position, f"the {kind} has no id")
    values = unit.values
    if text_in(values, "active_flag").lower() == "false" or text_in(values, "is_deleted").lower() == "true":
        return Skipped(file.file, "deleted")
    return _person(desk, file, unit, native) if kind == "person" else _entry(desk, file, unit, kind, native)


def _person(desk: Desk, file: TableFile, unit: Unit, native: str) -> Item:
    values = unit.values
    emails = email_addresses(*(address for _, address in _labelled(values, "email")))
    if any(desk.staff.includes(email.value) for email in emails):
        return Skipped(file.file, "internal_person")
    excluded = desk.options.exclude_columns
    name = clean_name(text_in(values, "name")) or clean_name(
        text_in(values, "first_name"), text_in(values, "last_name")
    )
    text = TextBuilder()
    if name and "name" not in excluded:
        text.field("Name", name, "name")
    organization = text_in(object_in(values, "org_id"), "name") or text_in(object_in(values, "org"), "name")
    company = organization or desk.joins.first("organization", id_in(values, "org_id"))
    own = {key: value for key, value in values.items() if _is_own(key)}
    add_fields(text, {**values, "company_name": company}, PIPEDRIVE_PERSON, own, excluded)
    if "notes" not in excluded:
        text.text(plain_text(text_in(values, "notes")), Role.NOTE, "notes")
    merged = id_in(values, "merge_what_id")
    same_as = (desk.identifier(merged),) if merged and merged != native else ()
    person = Person(desk.identifier(native), desk.namespace, name, (*emails, *_mobiles(desk, values)), same_as)
    metadata: dict[str, Json] = {}
    at = desk.moment(values, metadata, "update_time", "updated", "add_time", "created")
    return desk.record("person", native, (person,), text, unit, file, metadata, at, at)


def _mobiles(desk: Desk, values: Values) -> Iterator[Identifier]:
    """Personal numbers: work numbers are on many cards."""
    for label, number in _labelled(values, "phone"):
        personal = "mobile" in label or "cell" in label
        if personal and (phone := certain_phone(number, desk.options.phone_region)):
            yield phone


def _labelled(values: Values, what: str) -> Iterator[tuple[str, str]]:
    """(label, value) of ``email`` or ``phone``: a list of objects, or columns such as ``email_work``."""
    for key in (what, f"{what}s"):
        for entry in list_in(values, key):
            if isinstance(entry, dict):
                yield text_in(entry, "label").lower(), text_in(entry, "value")
            elif isinstance(entry, str):
                yield "", entry
    prefix = f"{what}_"
    for key, value in values.items():
        if key.startswith(prefix) and isinstance(value, str):
            yield key.removeprefix(prefix), value


def _entry(desk: Desk, file: TableFile, unit: Unit, kind: str, native: str) -> Item:
    """A note or an activity, about its person and its other participants."""
    values = unit.values
    people = [id_in(values, "person_id")]
    people += [id_in(each, "person_id") for each in list_in(values, "participants") if isinstance(each, dict)]
    people = list(dict.fromkeys(person for person in people if person))
    if not people:
        people = list(desk.joins.all("deal", id_in(values, "deal_id")))
    if not people:
        named = text_in(values, "person", "person_name", "contact_person")
        return Skipped(file.file, "person_without_id" if named else "no_person")
    text = TextBuilder()
    metadata: dict[str, Json] = {}
    if list_in(values, "participants"):
        metadata[WHOM] = LINKED
    if author := id_in(values, "user_id", "owner_id"):
        metadata["author_id"] = author
    if kind == "note":
        text.text(plain_text(text_in(values, "content")), Role.NOTE, "content")
        at = desk.moment(values, metadata, "add_time", "created")
    else:
        metadata["type"] = text_in(values, "type")
        for key in ("subject", "note", "public_description"):
            text.text(plain_text(text_in(values, key)), Role.NOTE, key)
        at = _activity_time(desk, values, metadata)
    modified = desk.moment(values, {}, "update_time", "updated")
    who = tuple(desk.referred(person) for person in people)
    return desk.record(kind, native, who, text, unit, file, metadata, at, modified)


def _activity_time(desk: Desk, values: Values, metadata: dict[str, Json]) -> datetime | None:
    """When it was done; what is only planned was written when it was added."""
    if done := desk.moment(values, metadata, "marked_as_done_time"):
        return done
    due = f"{text_in(values, 'due_date')} {text_in(values, 'due_time')}".strip()
    is_done = text_in(values, "done").lower() in ("true", "1", "yes", "done")
    moment = read_moment(due, desk.now, UTC, desk.options.date_order)[0]
    if is_done and moment is not None:
        metadata["date_source"] = "due_date"
        return moment
    return desk.moment(values, metadata, "add_time", "created")


READER = Reader(format="pipedrive", source=Source.CRM, detect=detect, read=read, by_folder=True, names_everybody=True)

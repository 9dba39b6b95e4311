"""What one Salesforce table tells of another, on disk: whose account, case, activity, document or mail it is."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.crm_records import email_addresses
from ingest_pipeline.sources.crm_tables import Lookup, TableFile, Tables
from ingest_pipeline.sources.salesforce_cells import JOINED
from ingest_pipeline.sources.salesforce_ids import PEOPLE, id18
from ingest_pipeline.sources.salesforce_people import EMAIL_COLUMNS, is_person_account

RELATIONS: Mapping[str, tuple[str, str, str]] = {
    # object -> space of the lookup, key column, value column
    "case": ("case", "id", "contactid"),
    "taskrelation": ("activity", "taskid", "relationid"),
    "taskwhorelation": ("activity", "taskid", "relationid"),
    "eventrelation": ("activity", "eventid", "relationid"),
    "eventwhorelation": ("activity", "eventid", "relationid"),
    "contentdocumentlink": ("document", "contentdocumentid", "linkedentityid"),
}
HANGS_ON = frozenset({"emailmessage", "casecomment", "note", "contentnote", "contentversion"})
"""Objects that may hang on a case."""

_Pairs: TypeAlias = Iterator[tuple[str, str]]


class Used(NamedTuple):
    """A table of the export and its object, lower case."""

    table: TableFile
    object: str


def load_joins(joins: Lookup, tables: Tables, found: Sequence[Used], options: ReadOptions) -> None:
    """Fill the lookup with what the export's tables need; its spaces are those of ``salesforce_cells.Sheet``."""
    objects = {each.object for each in found}
    for each in found:
        if each.object == "account":
            joins.add("account", _pairs(tables, each, options, _account))
            joins.add("person_account", _pairs(tables, each, options, _person_account))
        elif each.object in RELATIONS and (each.object != "case" or objects & HANGS_ON):
            space, key, value = RELATIONS[each.object]
            joins.add(space, _relations(tables, each, options, key, value))
        elif each.object == "emailmessagerelation":
            joins.add("mail", _pairs(tables, each, options, _mail_relation))
        elif each.object == "user":
            joins.add("portal", _pairs(tables, each, options, _portal_user))
        if each.object in ("contact", "lead", "account") and "emailmessage" in objects:
            joins.add("address", _pairs(tables, each, options, _addresses))
    joins.close_for_writing()


def staff_addresses(tables: Tables, found: Iterable[Used], options: ReadOptions) -> Iterator[str]:
    """The addresses of the org's own users; customers' portal users and automatic ones are none."""
    for each in found:
        if each.object != "user":
            continue
        for at, cells in tables.lookup_rows(each.table, options):
            kind = _cell(at, cells, "usertype").lower()
            if kind in ("", "standard") and not _id(at, cells, "contactid"):
                yield _cell(at, cells, "email")


_Read: TypeAlias = Callable[[Mapping[str, int], Sequence[str]], Iterable[tuple[str, str]]]


def _pairs(tables: Tables, used: Used, options: ReadOptions, read: _Read) -> _Pairs:
    for at, cells in tables.lookup_rows(used.table, options):
        yield from read(at, cells)


def _relations(tables: Tables, used: Used, options: ReadOptions, key: str, value: str) -> _Pairs:
    for at, cells in tables.lookup_rows(used.table, options):
        left, right = _id(at, cells, key), _id(at, cells, value)
        if left and right and right[:3] in _POINTED_AT and not _is_deleted(at, cells):
            yield left, right


_POINTED_AT: Collection[str] = {*PEOPLE, "001", "500"}


def _account(at: Mapping[str, int], cells: Sequence[str]) -> _Pairs:
    if account := _id(at, cells, "id"):
        yield account, JOINED.join((_cell(at, cells, "name"), _cell(at, cells, "industry")))


def _person_account(at: Mapping[str, int], cells: Sequence[str]) -> _Pairs:
    account = _id(at, cells, "id")
    if account and is_person_account(_cell(at, cells, "ispersonaccount")):
        yield account, _id(at, cells, "personcontactid") or account


def _mail_relation(at: Mapping[str, int], cells: Sequence[str]) -> _Pairs:
    mail, person = _id(at, cells, "emailmessageid"), _id(at, cells, "relationid")
    if mail and person and person[:3] in PEOPLE:
        yield mail, JOINED.join((_cell(at, cells, "relationtype").lower(), person))


def _portal_user(at: Mapping[str, int], cells: Sequence[str]) -> _Pairs:
    user, contact = _id(at, cells, "id"), _id(at, cells, "contactid")
    if user and contact:
        yield user, contact


def _addresses(at: Mapping[str, int], cells: Sequence[str]) -> _Pairs:
    person = _id(at, cells, "personcontactid") or _id(at, cells, "id")
    is_person = person is not None and (person[:3] in PEOPLE or is_person_account(_cell(at, cells, "ispersonaccount")))
    # A converted lead is the contact that it became.
    if person and is_person and not _id(at, cells, "convertedcontactid") and not _is_deleted(at, cells):
        for email in email_addresses(*(_cell(at, cells, column) for column in EMAIL_COLUMNS)):
            yield email.value, person


def _is_deleted(at: Mapping[str, int], cells: Sequence[str]) -> bool:
    return _cell(at, cells, "isdeleted").lower() in ("1", "true")


def _id(at: Mapping[str, int], cells: Sequence[str], column: str) -> str | None:
    try:
        return id18(_cell(at, cells, column))
    except ValueError:
        return None


def _cell(at: Mapping[str, int], cells: Sequence[str], column: str) -> str:
    place = at.get(column)
    return cells[place].strip() if place is not None else ""

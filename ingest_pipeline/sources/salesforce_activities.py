"""What Salesforce keeps about people besides their own rows: activities, cases, comments, notes, mails."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence

from ingest_pipeline.documents import Json, Person, Record, Role
from ingest_pipeline.sources.columns import TRUE
from ingest_pipeline.sources.crm_mail import add_own_words, is_automatic, plain_text
from ingest_pipeline.sources.crm_records import clean_name, email_addresses
from ingest_pipeline.sources.crm_text import TextBuilder
from ingest_pipeline.sources.salesforce_cells import JOINED, Dates, Left, RowReader, Sheet

CUSTOMER_ORIGINS = frozenset({"web", "email", "e-mail", "chat", "community", "portal", "messaging", "whatsapp", "sms"})
"""Case origins (lower case) in which the customer typed the text; in all others an agent did."""

DRAFT = "5"
"""``Status`` of a mail that was never sent (object reference, EmailMessage)."""

MAX_RECIPIENTS = 50
"""People of one outgoing mail: beyond it is a mailing."""

_ACTIVITY_TIMES = ("startdatetime", "activitydatetime", "completeddatetime", "activitydate")
_MAIL_SUBTYPES = frozenset({"email", "listemail"})
_MAIL_LINEAGE = (("subject", "subject"), ("message_id", "messageidentifier"), ("thread", "threadidentifier"))
_LOGGED_MAIL = re.compile(
    r"\s*(?:(?:Additional )?To|From):[^\n]*\n(?:[^\n]*\n){0,12}?\s*(?:Subject|Body):", re.IGNORECASE
)
_MAIL_SUBJECT = re.compile(r"\s*(?:e-?mail|(?:<<|>>)\s*e-?mail)\s*:", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]{16,}={0,2}\s*\Z")


class ActivityReader(RowReader):
    """Rows that point at people. ``OwnerId`` and ``CreatedById`` are employees: authors, never the profile."""

    def __init__(self, sheet: Sheet) -> None:
        super().__init__(sheet)
        readers: dict[str, Callable[[Sequence[str], str, dict[str, Json]], Record]] = {
            "task": self._activity,
            "event": self._activity,
            "case": self._case,
            "casecomment": self._case_comment,
            "note": self._note,
            "contentnote": self._content_note,
            "contentversion": self._content_version,
            "emailmessage": self._mail,
        }
        self._read_object = readers[sheet.object]
        self._activity_times = [(self._at[column], column) for column in _ACTIVITY_TIMES if column in self._at]

    def _record_of(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        return self._read_object(cells, native, metadata)

    # -- one method per object -------------------------------------------------------------------------------------

    def _activity(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        """A task or event, about everybody it lists. A logged mail in it is the rep's, who owns the task."""
        who = self._id(cells, "whoid")
        people = (who, *self._linked("activity", native, metadata))
        account = self._link(cells, "accountid", metadata)
        if who is None:
            people += (self._link(cells, "whatid", metadata), account)
        persons = self._referred(people)
        subject, description = self._cell(cells, "subject"), self._cell(cells, "description")
        is_mail = self._cell(cells, "tasksubtype").lower() in _MAIL_SUBTYPES
        logged = bool(description) and (is_mail or bool(_LOGGED_MAIL.match(description)))
        text = TextBuilder()
        text.text(subject, Role.STAFF if logged and _MAIL_SUBJECT.match(subject) else Role.NOTE, "Subject")
        text.text(description, Role.STAFF if logged else Role.NOTE, "Description")
        if logged:
            metadata["logged_mail"] = True
        self._author(cells, metadata, "ownerid" if logged else "createdbyid")
        return self._record(native, persons, text, self._activity_dates(cells, metadata), metadata)

    def _case(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        supplied = email_addresses(self._cell(cells, "suppliedemail"))
        internal = any(self._sheet.staff.includes(email.value) for email in supplied)
        contact = self._id(cells, "contactid")
        account = self._link(cells, "accountid", metadata)
        if contact or not supplied or internal:
            if not contact and internal:
                raise Left("internal_person")
            person = self._referred([contact, account])[0]
        else:
            person = Person(supplied[0], "email", clean_name(self._cell(cells, "suppliedname")), supplied)
        origin = self._cell(cells, "origin").lower()
        theirs = origin in CUSTOMER_ORIGINS and not internal
        if origin:
            metadata["case_origin"] = origin
        text = TextBuilder()
        text.text(self._cell(cells, "subject"), Role.SUBJECT if theirs else Role.NOTE, "Subject")
        description = self._cell(cells, "description")
        if theirs:
            add_own_words(text, description, "Description")
        else:
            text.text(description, Role.NOTE, "Description")
            self._author(cells, metadata, "createdbyid")
        return self._record(native, (person,), text, self._dates(cells, metadata, "createddate"), metadata)

    def _case_comment(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        """A customer's own words when their portal user wrote it; published, the agent's answer; else their note."""
        author = self._author(cells, metadata, "createdbyid")
        case = self._id(cells, "parentid")
        writer = self._sheet.joins.first("portal", author) if author else ""
        published = self._cell(cells, "ispublished").lower() in TRUE
        role = Role.SUBJECT if writer else Role.STAFF if published else Role.NOTE
        text = TextBuilder()
        text.text(self._cell(cells, "commentbody"), role, "CommentBody")
        dates = self._dates(cells, metadata, "createddate", "lastmodifieddate")
        return self._record(native, self._referred([writer or case])[:1], text, dates, metadata)

    def _note(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        return self._written_note(cells, native, [self._id(cells, "parentid")], self._cell(cells, "body"), metadata)

    def _content_note(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        body = note_body(self._cell(cells, "content")) or self._cell(cells, "textpreview")
        return self._written_note(cells, native, self._linked("document", native, metadata), body, metadata)

    def _content_version(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        """A file's version: that of a note (``SNOTE``) is the note, under the note's id."""
        if self._cell(cells, "filetype").upper() != "SNOTE":
            raise Left("not_a_note")
        if self._cell(cells, "islatest").lower() in {"0", "false"}:
            raise Left("earlier_version")
        document = self._id(cells, "contentdocumentid")
        if document is None:
            raise Left("no_person")
        body = note_body(self._cell(cells, "versiondata")) or self._cell(cells, "textpreview")
        self._kind = "contentnote"
        return self._written_note(cells, document, self._linked("document", document, metadata), body, metadata)

    def _written_note(
        self, cells: Sequence[str], native: str, about: Sequence[str | None], body: str, metadata: dict[str, Json]
    ) -> Record:
        persons = self._referred(about)
        self._author(cells, metadata, "createdbyid")
        text = TextBuilder()
        text.text(self._cell(cells, "title"), Role.NOTE, "Title")
        text.text(body, Role.NOTE, "Body")
        dates = self._dates(cells, metadata, "createddate", "lastmodifieddate")
        return self._record(native, persons, text, dates, metadata)

    # -- mails -----------------------------------------------------------------------------------------------------

    def _mail(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        """Inbound, the sender's own words; outbound, the rep's words to their recipients."""
        if self._cell(cells, "status").lower() in {DRAFT, "draft"}:
            raise Left("draft")
        sender = email_addresses(self._cell(cells, "fromaddress"))
        incoming = self._cell(cells, "incoming").lower()
        inbound = incoming in TRUE if incoming else bool(sender) and not self._sheet.staff.includes(sender[0].value)
        for key, column in _MAIL_LINEAGE:
            if value := self._cell(cells, column):
                metadata[key] = value[:500]
        metadata["direction"] = "inbound" if inbound else "outbound"
        body = self._cell(cells, "textbody") or plain_text(self._cell(cells, "htmlbody"))
        text = TextBuilder()
        related = [self._id(cells, "relatedtoid"), self._id(cells, "parentid")]
        if inbound:
            persons: tuple[Person, ...] = (self._mail_sender(cells, self._linked("mail", native, metadata), related),)
            add_own_words(text, body, "TextBody")
        else:
            persons = self._recipients(cells, self._linked("mail", native, metadata), related)
            text.text(body, Role.STAFF, "TextBody")
            self._author(cells, metadata, "createdbyid")
        dates = self._dates(cells, metadata, "messagedate", "createddate")
        return self._record(native, persons, text, dates, metadata)

    def _mail_sender(self, cells: Sequence[str], relations: Sequence[str], related: list[str | None]) -> Person:
        addresses = email_addresses(self._cell(cells, "fromaddress"))
        if not addresses:
            raise Left("no_sender")
        address = addresses[0].value
        if self._sheet.staff.includes(address):
            raise Left("internal_sender")
        if is_automatic(address):
            raise Left("automatic_mail")
        for relation in relations:
            kind, _, related_person = relation.partition(JOINED)
            if kind == "fromaddress":
                return self._referred([related_person])[0]
        hint = next((person for each in related if (person := self._person_behind(each))), None)
        return self._sender(address, clean_name(self._cell(cells, "fromname")) or "", hint)

    def _recipients(
        self, cells: Sequence[str], relations: Sequence[str], related: list[str | None]
    ) -> tuple[Person, ...]:
        """The people it was sent to; they are only referred to. Without any, the case's or the related person."""
        found: dict[Person, None] = {}
        for relation in relations:
            kind, _, person = relation.partition(JOINED)
            if kind == "toaddress":
                found.update(dict.fromkeys(self._referred([person])))
        if not found:
            for email in email_addresses(self._cell(cells, "toaddress"))[:MAX_RECIPIENTS]:
                if not self._sheet.staff.includes(email.value):
                    person_behind = self._sender(email.value, "", None)
                    found[Person(person_behind.key, person_behind.namespace, claims=False)] = None
        return tuple(found) or self._referred(related)

    # -- parts -----------------------------------------------------------------------------------------------------

    def _author(self, cells: Sequence[str], metadata: dict[str, Json], column: str) -> str:
        """The employee who wrote it, for lineage."""
        author = self._link(cells, column, metadata) or ""
        if author:
            metadata["author_id"] = author
        return author

    def _activity_dates(self, cells: Sequence[str], metadata: dict[str, Json]) -> Dates:
        dates = self._dates(cells, metadata, "createddate")
        latest = dates.modified_at or self._sheet.now
        for place, column in self._activity_times:
            cell = cells[place]
            if not cell:
                continue
            moment, warning = self._moments[cell]
            if warning == "unreadable":
                metadata.setdefault("warnings", []).append(f"{column}: {warning}")
            # Noon stands for the whole day, so a day counts as past when it had begun.
            if moment and (moment <= latest or (len(cell) == 10 and moment.date() <= latest.date())):
                return Dates(moment, dates.modified_at, self._written(column))
        return dates


def note_body(cell: str) -> str:
    """The text of a content note: HTML, in most exports as base64."""
    if _BASE64.match(cell):
        try:
            decoded = base64.b64decode(cell, validate=False).decode()
        except (binascii.Error, UnicodeDecodeError):
            return plain_text(cell)
        if decoded.isprintable() or "<" in decoded or "\n" in decoded:
            return plain_text(decoded)
    return plain_text(cell)

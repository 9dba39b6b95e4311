"""What surrounds the cast's records in real exports: broken rows, deleted contacts, automatic mail, bots."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ingest_pipeline.demo.crm_files import CrmWriter, row_of, stamp
from ingest_pipeline.demo.mail_files import SUPPORT, Message
from ingest_pipeline.demo.people import Entry, Person, data
from ingest_pipeline.demo.slack_file import BOT, Workspace

JOIN_DAY = datetime(2024, 1, 8, 7, 0, tzinfo=UTC)
BROKEN_DAYS = {
    "general/2025-04-02.json": '[\n {"type": "message", "user": "U04STAF00", "ts": "1743411600.000119", "te',
}
"""Members of the export that cannot be read."""

CRM_REJECTED = {"Contact": 1, "Lead": 1, "Task": 1, "contacts": 1}
CRM_SKIPPED = {
    "Organization": {"lookup_table": 1},
    "User": {"lookup_table": 5},
    "Contact": {"deleted": 1, "internal_person": 1},
    "Task": {"no_person": 1},
    "Note": {"no_person": 1},
}


@dataclass(frozen=True, slots=True)
class StrayMail:
    """A mail of nobody in the cast, in ``box``, and what reading it gives."""

    message: Message
    box: str
    outcome: str


def stray_mails() -> Iterator[StrayMail]:
    for number, row in enumerate(data("noise.toml")["mail"]):
        domain = row["sender"].rpartition("@")[2].rstrip(">") or "unknown.example"
        message = Message(
            at=row["at"],
            sender=row["sender"],
            to=SUPPORT,
            subject=row["subject"],
            id=f"<stray.{number}@{domain}>",
            text=row["text"],
            headers=row.get("headers", {}),
        )
        yield StrayMail(message, row.get("box", "mbox"), row["outcome"])


def spoil_crm(writer: CrmWriter, people: Sequence[Person]) -> dict[str, int]:
    """Adds rows that are broken or nobody's, and some with an unusual owner; gives further documents per table."""
    day = datetime(2024, 9, 2, 8, 30, tzinfo=UTC)
    dates = {"CreatedDate": stamp(day), "LastModifiedDate": stamp(day), "SystemModstamp": stamp(day)}
    gone = {"FirstName": "Gregor", "LastName": "Hale", "Name": "Gregor Hale", "Title": "Buyer"}
    writer.raw("Contact", row_of("Contact", Id=writer.new_id("Contact"), IsDeleted="1", **gone, **dates))
    writer.raw("Contact", row_of("Contact", Id=writer.new_id("Contact"), IsDeleted="0", **gone, **dates)[:6])
    test = {"FirstName": "Tom", "LastName": "Becker", "Name": "Tom Becker", "Email": "tom.becker@northwind.example"}
    writer.raw("Contact", row_of("Contact", Id=writer.new_id("Contact"), IsDeleted="0", **test, **dates))
    writer.raw("Lead", row_of("Lead", Id=writer.new_id("Lead").lower(), LastName="Roe", IsDeleted="0", **dates))
    dentist = {"Subject": "Dentist", "Description": "Private, not about a customer.", "Status": "Completed"}
    writer.raw("Task", row_of("Task", Id=writer.new_id("Task"), IsDeleted="0", **dentist, **dates))
    writer.raw("Task", [*row_of("Task", Id=writer.new_id("Task"), IsDeleted="0", **dentist, **dates), "1", "1"])
    writer.raw("contacts", ["5999", "Nobody", "Complete"])
    slugs = {person.slug: person for person in people}
    extra: dict[str, int] = {}
    if "ana-ferreira" in slugs:
        master = {"MasterRecordId": writer.ids["contact:ana-ferreira"], "LastName": "Ferreira", "IsDeleted": "1"}
        writer.raw("Contact", row_of("Contact", Id=writer.new_id("Contact"), **master, **dates))
        account = writer.ids["account:Vela Logistics"]
        body = {"Title": "Company news", "Body": "Vela moved to Faro.", "IsPrivate": "0", "IsDeleted": "0"}
        writer.raw("Note", row_of("Note", Id=writer.new_id("Note"), ParentId=account, **body, **dates))
    if "henrik-olsen" in slugs:
        case = Entry("case", day, "The nightly export has been empty since 30 August. Please check.", "Empty export")
        supplied = {"SuppliedName": "Henrik Olsen", "SuppliedEmail": slugs["henrik-olsen"].email}
        writer.activity(case, "", **supplied)
    if {"noah-williams", "chloe-bennett"} <= slugs.keys():
        both = f"{writer.ids['hubspot:noah-williams']};{writer.ids['hubspot:chloe-bennett']}"
        note = Entry(
            "hubspot_note", day, "<p>Both came to the user day in Leeds and sat at the label workshop.</p>", by="elena"
        )
        writer.hubspot_note(note, both)
        extra["notes"] = 1
    return extra


def chatter(workspace: Workspace) -> None:
    """Joins, a bot and staff among themselves: messages from which no profile follows."""
    for number, user in enumerate(list(workspace.users.values())):
        joined = {"subtype": "channel_join", "user": user["id"], "text": f"<@{user['id']}> has joined the channel"}
        workspace.noise("general", JOIN_DAY + timedelta(minutes=number), joined)
    for week in range(0, 96, 4):
        at = JOIN_DAY + timedelta(days=7 * week, hours=1)
        status = "All systems operational" if week % 12 else "Planning was slow for 14 minutes"
        posted = {"subtype": "bot_message", "bot_id": BOT, "username": "Statusbot", "text": f"{status}."}
        workspace.noise("general", at, posted)
    workspace.post(
        "general", JOIN_DAY + timedelta(days=30), "tom", "I moved to Lisbon, please call me on my new number"
    )
    workspace.post("general", JOIN_DAY + timedelta(days=30, minutes=3), "maya", "noted! I prefer email anyway :)")
    removed = {"subtype": "tombstone", "user": "USLACKBOT", "hidden": True, "text": "This message was deleted."}
    workspace.noise("general", JOIN_DAY + timedelta(days=30, minutes=9), removed)

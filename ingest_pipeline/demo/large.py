"""An inbox of any size for measurements, written as a stream: a Salesforce export, an mbox and a Slack export."""

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO

from ingest_pipeline.demo import crm_files, mail_files, slack_file
from ingest_pipeline.demo.chance import DAYS, FIRST_DAY, Chance
from ingest_pipeline.demo.inbox import MBOX
from ingest_pipeline.demo.invent import Inventor
from ingest_pipeline.demo.people import Person

DOCUMENTS_PER_PERSON = 10
_MAILS, _CHATS, _ENTRIES = 4, 3, 2
_BATCH = 100
"""People who share a channel, and who are in memory at one time."""

_CHAT_DAYS = 30
_TABLES = ("Organization", "User", "Account", "Contact", "Task", "Event", "Note")


@dataclass(frozen=True, slots=True)
class _Outputs:
    """The open files. ``users`` collects the Slack members until the zip can take them."""

    tables: dict[str, IO[str]]
    mbox: BinaryIO
    archive: zipfile.ZipFile
    users: IO[bytes]


def generate_large(target: Path, documents: int, seed: int) -> int:
    """Writes exactly ``documents`` documents about a tenth as many people; gives how many people.

    A person has a contact, two activities or notes, four mails and three conversation-days; the last one perhaps
    fewer. Memory does not grow with the number, except for the zip's directory.
    Raises ValueError below 10 documents: then not all formats have one.
    """
    if documents < DOCUMENTS_PER_PERSON:
        raise ValueError(f"at least {DOCUMENTS_PER_PERSON} documents are needed")
    people = -(-documents // DOCUMENTS_PER_PERSON)
    with ExitStack() as stack:
        outputs = _open(target, stack, stack.enter_context(TemporaryFile()))
        crm = crm_files.CrmWriter()
        for number, batch in enumerate(_batches(seed, people, documents)):
            _write_batch(outputs, crm, number, batch, seed)
        _write_lists(outputs, -(-people // _BATCH))
    return people


def _open(target: Path, stack: ExitStack, users: IO[bytes]) -> _Outputs:
    tables: dict[str, IO[str]] = {}
    for table in _TABLES:
        path = target / crm_files.table_path(table)
        path.parent.mkdir(parents=True, exist_ok=True)
        tables[table] = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        tables[table].write(crm_files.header(table))
    for name in (MBOX, slack_file.ARCHIVE):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
    mbox = stack.enter_context((target / MBOX).open("wb"))
    archive = stack.enter_context(zipfile.ZipFile(target / slack_file.ARCHIVE, "w", zipfile.ZIP_STORED))
    return _Outputs(tables, mbox, archive, users)


def _batches(seed: int, people: int, documents: int) -> Iterator[list[Person]]:
    inventor, left = Inventor(seed), documents
    for start in range(0, people, _BATCH):
        batch = []
        for person in inventor.people(min(_BATCH, people - start), start, homes=("salesforce", "slack")):
            batch.append(_trimmed(person, min(left, DOCUMENTS_PER_PERSON), Chance(f"{seed}:days:{person.slug}")))
            left -= DOCUMENTS_PER_PERSON
        yield batch


def _trimmed(person: Person, documents: int, chance: Chance) -> Person:
    """The person with as many documents, the contact among them; conversations are moved to few days, all different."""
    left = documents - 1
    entries = [entry for entry in person.entries if entry.kind != "case"][: min(_ENTRIES, left)]
    left -= len(entries)
    chats = person.chats[: min(_CHATS, left)]
    days = sorted(chance.some(range(_CHAT_DAYS), len(chats)))
    moved = [
        replace(chat, at=FIRST_DAY + timedelta(days=day * DAYS // _CHAT_DAYS, hours=8, seconds=chance.below(30_000)))
        for chat, day in zip(chats, days, strict=True)
    ]
    left -= len(chats)
    return replace(person, entries=tuple(entries), chats=tuple(moved), mails=person.mails[: min(_MAILS, left)])


def _write_batch(outputs: _Outputs, crm: crm_files.CrmWriter, number: int, batch: list[Person], seed: int) -> None:
    workspace = slack_file.Workspace()
    channel = f"customers-{number:05d}"
    for place, person in enumerate(batch):
        crm.person(person)
        # They sign with their name only: a signature that says more is another document.
        signer = replace(person, phone="", title="")
        for turn, mail in enumerate(person.mails):
            message = mail_files.person_message(signer, mail, turn, Chance(f"{seed}:signature:{person.slug}"))
            outputs.mbox.write(mail_files.mbox_entry(message))
        workspace.member(person, number * _BATCH + place)
        for chat in person.chats:
            workspace.conversation(person, chat, channel, threaded=False)
    for table, file in outputs.tables.items():
        file.write(crm.flush(table))
    crm.ids.clear()
    slack_file.add_members(outputs.archive, workspace.day_members())
    members = list(workspace.users.values())
    staff_count = len(members) - len(batch)
    for user in members if number == 0 else members[staff_count:]:
        outputs.users.write(b",\n" if outputs.users.tell() else b"[")
        outputs.users.write(slack_file.to_json(user).encode())


def _write_lists(outputs: _Outputs, channels: int) -> None:
    names = [f"customers-{number:05d}" for number in range(channels)]
    slack_file.add_members(outputs.archive, [slack_file.channel_list(names)])
    outputs.users.write(b"]")
    outputs.users.seek(0)
    with outputs.archive.open(slack_file.member_info("users.json"), "w", force_zip64=True) as member:
        shutil.copyfileobj(outputs.users, member)

"""Further generated exports for ``readers.py``: mail in files and zips, Outlook, desks, a table with a mapping."""

import csv
import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from exports import START, VARIANTS, mails, text

from tests.ole_file import ole_bytes

FILES_PER_FOLDER = 1_000
_chance = random.Random(5)
_SAID = [text(_chance, _chance.randint(1, 3)) for _ in range(VARIANTS)]
_FILETIME = datetime(1601, 1, 1, tzinfo=UTC)


def write_eml(path: Path, size: int) -> int:
    """Folders of single mails."""
    return _files(path, size, "eml", (mail.partition(b"\n")[2] for mail in mails()))


def write_msg(path: Path, size: int) -> int:
    """Folders of Outlook messages: headers, a plain text body and the sender as properties."""
    return _files(path, size, "msg", map(_msg, mails()))


def _msg(mail: bytes) -> bytes:
    head, _, body = mail.partition(b"\n")[2].partition(b"\n\n")
    texts = {0x001A: "IPM.Note", 0x0037: "Re: Hello", 0x007D: head.decode(), 0x1000: body.decode()}
    ticks = int((START - _FILETIME).total_seconds()) * 10_000_000
    table = b"\0" * 32 + struct.pack("<HHIq", 0x0040, 0x0039, 6, ticks)
    streams = {f"__substg1.0_{number:04X}001F": value.encode("utf-16-le") for number, value in texts.items()}
    return ole_bytes({"__properties_version1.0": table, **streams})


def _files(path: Path, size: int, suffix: str, contents: Iterator[bytes]) -> int:
    written = 0
    for number, content in enumerate(contents):
        if written >= size:
            break
        folder = path / f"{number // FILES_PER_FOLDER}"
        folder.mkdir(parents=True, exist_ok=True)
        written += (folder / f"{number}.{suffix}").write_bytes(content)
    return written


def write_mail_zip(path: Path, size: int) -> int:
    """Gmail's Takeout: a mailbox in a zip, every mail with its thread and labels. ``size`` is that of the mailbox."""
    written = 0
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("Takeout/Mail/All mail.mbox", "w", force_zip64=True) as member,
    ):
        for number, mail in enumerate(mails()):
            if written >= size:
                break
            line, _, rest = mail.partition(b"\n")
            labels = f"\nX-GM-THRID: {1_790_000_000 + number // 5}\nX-Gmail-Labels: Inbox,Opened\n".encode()
            written += member.write(line + labels + rest)
    return written


def write_intercom(path: Path, size: int) -> int:
    """Conversations of six messages, with the contact who wrote half of them."""
    return _list(path, size, '{"type": "conversation.list", "conversations": [\n', _conversation)


def _conversation(n: int) -> dict[str, Any]:
    kim = {"type": "user", "id": f"c{n % 5_000}", "name": f"Person {n % 5_000}", "email": f"p{n % 5_000}@x.example"}
    rep = {"type": "admin", "id": "7", "name": "Sam Roe", "email": "sam@northwind.example"}
    start = 1_609_750_000 + n * 600
    parts = [
        {"type": "conversation_part", "id": str(n * 10 + k), "part_type": "comment", "created_at": start + 60 * k,
         "body": f"<p>{_SAID[(n + k) % VARIANTS]}</p>", "author": kim if k % 2 else rep, "attachments": []}
        for k in range(5)
    ]  # fmt: skip
    return {
        "type": "conversation", "id": str(n), "created_at": start, "updated_at": start + 900, "state": "closed",
        "source": {"type": "conversation", "id": f"s{n}", "body": f"<p>{_SAID[n % VARIANTS]}</p>", "author": kim},
        "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": kim["id"]}]},
        "conversation_parts": {"type": "conversation_part.list", "conversation_parts": parts, "total_count": 5},
        "tags": {"type": "tag.list", "tags": []}, "priority": "not_priority", "read": True, "waiting_since": None,
    }  # fmt: skip


def write_pipedrive(path: Path, size: int) -> int:
    """Persons as the interface gives them."""
    return _list(path, size, '{"success": true, "data": [\n', _person)


def _person(n: int) -> dict[str, Any]:
    moment = f"{START + timedelta(minutes=n % 2_000_000):%Y-%m-%d %H:%M:%S}"
    return {
        "id": n + 1, "company_id": 42, "owner_id": {"id": 1, "name": "Rep", "email": "rep@northwind.example"},
        "name": f"Kim Roe {n}", "first_name": "Kim", "last_name": f"Roe {n}", "open_deals_count": 0, "label": None,
        "email": [{"label": "work", "value": f"kim{n}@x{n}.example", "primary": True}],
        "phone": [{"label": "mobile", "value": f"+44 7700 {n % 1_000_000:06d}", "primary": True}],
        "org_id": {"name": f"Company {n // 5}", "value": n // 5}, "job_title": "Head of Logistics", "visible_to": "3",
        "notes": f"<p>{_SAID[n % VARIANTS]}</p>", "active_flag": True, "add_time": moment, "update_time": moment,
        "favourite_tea": "Oolong", "cc_email": "acme+42@pipedrivemail.example", "picture_id": None,
    }  # fmt: skip


def _list(path: Path, size: int, head: str, made: Callable[[int], dict[str, Any]]) -> int:
    with path.open("w", encoding="utf-8", buffering=1 << 20) as file:
        written = file.write(head)
        for number in count():
            written += file.write((",\n" if number else "") + json.dumps(made(number)))
            if written >= size:
                break
        file.write("]}")
    return path.stat().st_size


_MAPPING = """files:
  - file: people.csv
    kind: customer
    id: customer_no
    email: mail
    phone: mobile
    name: [first, last]
    fields: [town, {sector: Industry}, size, language]
    text: remarks
    time: changed_on
"""


def write_mapped(path: Path, size: int) -> int:
    """Customers of some system, with a mapping: twelve columns, of which one is a text."""
    path.mkdir()
    (path / "mapping.yaml").write_text(_MAPPING)
    header = ["customer_no", "first", "last", "mail", "mobile", "town", "sector", "size", "language", "remarks",
              "changed_on", "street"]  # fmt: skip
    with (path / "people.csv").open("w", encoding="utf-8", newline="", buffering=1 << 20) as file:
        writer = csv.writer(file, delimiter=";")
        written = writer.writerow(header)
        for n in count():
            written += writer.writerow(_customer(n))
            if written >= size:
                break
    return (path / "people.csv").stat().st_size


def _customer(n: int) -> list[str]:
    moment = f"{START + timedelta(minutes=n % 2_000_000):%Y-%m-%d %H:%M}"
    return [
        str(n), "Kim", f"Roe {n}", f"kim{n}@x{n}.example", f"+44 7700 {n % 1_000_000:06d}", "London", "Logistics",
        str(n % 500), "English", _SAID[n % VARIANTS], moment, f"{n} High Street",
    ]  # fmt: skip


WRITERS: dict[str, Callable[[Path, int], int]] = {
    "eml": write_eml,
    "mail_zip": write_mail_zip,
    "msg": write_msg,
    "intercom": write_intercom,
    "pipedrive": write_pipedrive,
    "mapped": write_mapped,
}

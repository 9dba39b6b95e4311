"""Generated exports of any size for ``readers.py``: an mbox, a Salesforce folder, a Slack zip, written as streams.

Texts repeat after some hundred variants; ids, addresses and times do not.
"""

import base64
import csv
import json
import quopri
import random
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.header import Header
from pathlib import Path
from typing import Any

START = datetime(2021, 1, 4, 8, tzinfo=UTC)
VARIANTS = 300
_WORDS = """
    the we our this that order project team week call invoice update contract rollout server office plan
    question shipment customer report meeting version budget data training access account change review
    price delivery about with from need moved prefer working would like please send next last before
    after because still already Lisbon Berlin Müller café naïve Zürich enterprise dashboard integration
    migration quarterly deadline feedback
""".split()  # noqa: SIM905 - for people to read
_NAMES = ("Ana Ferreira", "Li Wei", "Jürgen Groß", "Priya Nair", "Tom Okafor", "Zoë Laurent", "Sam Lee", "Mia Rossi")
_SENDERS = tuple(Header(name).encode() for name in _NAMES)


def text(chance: random.Random, sentences: int) -> str:
    """Sentences of 6 to 18 words."""
    made = []
    for _ in range(sentences):
        words = chance.choices(_WORDS, k=chance.randint(6, 18))
        made.append(" ".join(words).capitalize() + chance.choice(".....?!"))
    return " ".join(made)


def wrapped(body: str, width: int = 76) -> str:
    lines, line = [], ""
    for word in body.split():
        if len(line) + len(word) >= width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


def write_mbox(path: Path, size: int) -> int:
    """Mails of 2 to 6 KB: threads with quotes below or above the answer, signatures, a third with HTML beside."""
    written = 0
    with path.open("wb", buffering=1 << 20) as file:
        for mail in mails():
            if written >= size:
                return written
            written += file.write(mail)
    return written


def mails() -> Iterator[bytes]:
    """Mails as an mbox holds them, with a From-line above and blank lines below, without end."""
    chance = random.Random(1)
    bodies = [_mail_body(chance, n) for n in range(VARIANTS)]
    for number, moment in enumerate(_moments(41)):
        headers, body = bodies[number * 7 % VARIANTS]
        person = number * 31 % 5_000
        head = headers.format(
            n=number,
            person=person,
            root=number // 5 * 5,
            name=_SENDERS[person % len(_SENDERS)],
            date=moment.strftime("%a, %d %b %Y %H:%M:%S +0000"),
            line=moment.strftime("%a %b %d %H:%M:%S %Y"),
        )
        yield head.encode() + body + b"\n\n"


_HEAD = """From person{{person}}@customer{{person}}.example {{line}}
Return-Path: <person{{person}}@customer{{person}}.example>
Received: from mail.customer{{person}}.example (mail.customer{{person}}.example [192.0.2.17])
\tby mx.northwind.example (Postfix) with ESMTPS id 4ABCD{{n}}
\tfor <sales@northwind.example>; {{date}}
Received: by mail.customer{{person}}.example with SMTP id x{{n}}; {{date}}
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=customer{{person}}.example; s=2020;
\tbh={hash}; h=from:to:subject:date:message-id:in-reply-to;
\tb={signature}
From: {{name}} <person{{person}}@customer{{person}}.example>
To: Sales <sales@northwind.example>, Kim Roe <kim.roe@northwind.example>
Subject: Re: {subject}
Date: {{date}}
Message-ID: <{{n}}.abcdef@customer{{person}}.example>
In-Reply-To: <{{root}}.0@northwind.example>
References: <{{root}}.0@northwind.example> <{{root}}.1@northwind.example>
X-Mailer: Thunderbird 115.8
MIME-Version: 1.0
"""


def _mail_body(chance: random.Random, number: int) -> tuple[str, bytes]:
    digest = base64.b64encode(chance.randbytes(32)).decode()
    signature = base64.b64encode(chance.randbytes(192)).decode()
    signature = "\n\t ".join(signature[at : at + 70] for at in range(0, len(signature), 70))
    head = _HEAD.format(hash=digest, signature=signature, subject=text(chance, 1)[:50])
    own = "\n\n".join(wrapped(text(chance, chance.randint(2, 5))) for _ in range(chance.randint(1, 4)))
    quote = "\n".join(f"> {line}" for line in wrapped(text(chance, chance.randint(4, 14))).split("\n"))
    intro = "On Mon, 4 Jan 2021 at 09:12, Kim Roe <kim.roe@northwind.example> wrote:"
    below = f"{intro}\n\n{quote}\n\n{own}" if number % 5 == 0 else f"{own}\n\n{intro}\n{quote}"
    plain = f"Hi Kim,\n\n{below}\n\nBest regards,\nAna\n\n-- \nAna Ferreira\nHead of Logistics\n+351 21 123 45 67\n"
    if number % 3:
        kind = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
        return head + kind, escaped(plain.encode())
    paragraphs = "".join(f'<p style="margin:0">{part}</p>' for part in plain.split("\n\n"))
    html = f"<html><head><style>p {{color: #222}}</style></head><body><div dir=ltr>{paragraphs}</div></body></html>"
    parts = [("plain", plain), ("html", html)]
    body = b"".join(
        f"--=_b{number}\nContent-Type: text/{kind}; charset=utf-8\n".encode()
        + b"Content-Transfer-Encoding: quoted-printable\n\n"
        + quopri.encodestring(part.encode())
        + b"\n"
        for kind, part in parts
    )
    kind = f'Content-Type: multipart/alternative; boundary="=_b{number}"\n\n'
    return head + kind, escaped(body + f"--=_b{number}--\n".encode())


def escaped(body: bytes) -> bytes:
    """As mbox writers do; the standard library splits at what they leave."""
    return body.replace(b"\nFrom ", b"\n>From ")


def write_salesforce(path: Path, size: int) -> int:
    """A folder with Account, Contact and Task as the weekly export has them: every cell quoted, tasks of many lines."""
    path.mkdir()
    chance = random.Random(2)
    notes = [
        "\n".join(wrapped(text(chance, chance.randint(1, 4))) for _ in range(chance.randint(1, 3)))
        for _ in range(VARIANTS)
    ]
    people = max(100, size // 4_000)
    written = _table(path / "Account.csv", _ACCOUNT, (_account(n) for n in range(people // 5)))
    written += _table(path / "Contact.csv", _CONTACT, (_contact(n, people) for n in range(people)))
    tasks = (_task(n, people, notes[n % VARIANTS], moment) for n, moment in enumerate(_moments(97)))
    return written + _table(path / "Task.csv", _TASK, tasks, size - written)


def _note(chance: random.Random) -> str:
    return "\n".join(wrapped(text(chance, chance.randint(1, 4))) for _ in range(chance.randint(1, 3)))


_SYSTEM = ["IsDeleted", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp"]
_ACCOUNT = ["Id", "Name", "Type", "Industry", "Phone", "Website", "BillingCity", "BillingCountry", "OwnerId", *_SYSTEM]
_CONTACT = [
    "Id", "MasterRecordId", "AccountId", "LastName", "FirstName", "Salutation", "Name", "MailingStreet", "MailingCity",
    "MailingPostalCode", "MailingCountry", "Phone", "MobilePhone", "Email", "Title", "Department", "LeadSource",
    "Birthdate", "Description", "OwnerId", "HasOptedOutOfEmail", "Level__c", "Languages__c", *_SYSTEM,
]  # fmt: skip
_TASK = [
    "Id", "WhoId", "WhatId", "Subject", "ActivityDate", "Status", "Priority", "IsHighPriority", "OwnerId",
    "Description", "Type", "AccountId", "IsClosed", "CallDurationInSeconds", "CallType", "TaskSubtype", *_SYSTEM,
]  # fmt: skip
_REP = "005A0000000AAAA"
_TAIL = ["0", "2021-01-04 08:00:00", _REP, "2021-06-01 09:30:00", _REP, "2021-06-01 09:30:00"]


def _account(n: int) -> list[str]:
    return [
        f"001A0000{n:07d}", f"Company {n} Ltd", "Customer", "Logistics", f"+44 20 7{n:06d}",
        f"https://c{n}.example", "London", "United Kingdom", _REP, *_TAIL,
    ]  # fmt: skip


def _contact(n: int, people: int) -> list[str]:
    first, _, last = _NAMES[n % len(_NAMES)].partition(" ")
    return [
        f"003A0000{n:07d}", "", f"001A0000{n % max(1, people // 5):07d}", f"{last} {n}", first, "",
        f"{first} {last} {n}", f"{n} High Street", "London", f"E{n % 20} 4AB", "United Kingdom",
        f"+44 20 8{n:06d}", f"+44 7700 {n:06d}",
        f"person{n}@customer{n}.example", "Head of Logistics", "Operations", "Web", "", "Prefers calls.",
        _REP, "0", "Tertiary", "English, Portuguese", *_TAIL,
    ]  # fmt: skip


def _task(n: int, people: int, note: str, moment: datetime) -> list[str]:
    stamp = moment.strftime("%Y-%m-%d %H:%M:%S")
    return [
        f"00TA0000{n:07d}", f"003A0000{n * 17 % people:07d}", "", "Call", stamp[:10], "Completed", "Normal", "0",
        _REP, note, "Call", f"001A0000{n % max(1, people // 5):07d}", "1", "", "", "Task", "0", stamp,
        _REP, stamp, _REP, stamp,
    ]  # fmt: skip


def _table(path: Path, header: list[str], rows: Iterator[list[str]], size: int | None = None) -> int:
    with path.open("w", encoding="utf-8", newline="", buffering=1 << 20) as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        written = writer.writerow(header)
        for row in rows:
            written += writer.writerow(row)
            if size is not None and written >= size:
                break
    return path.stat().st_size


def write_slack(path: Path, size: int) -> int:
    """Channels of a dozen people with a file per day of 20 to 150 messages, blocks and author profiles as Slack's.

    ``size`` is that of the JSON inside.
    """
    chance = random.Random(3)
    texts = [text(chance, chance.randint(1, 4)) for _ in range(VARIANTS)]
    users = [_user(n) for n in range(400)]
    written = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("users.json", json.dumps(users))
        archive.writestr("channels.json", json.dumps([{"id": f"C{n}", "name": f"team-{n}"} for n in range(20)]))
        for number, day in enumerate(_moments(1_440)):
            for channel in range(20):
                if written >= size:
                    return written
                count = 20 + (number * 37 + channel * 11) % 130
                messages = [
                    _message(texts[(number + n * 7) % VARIANTS], users[channel * 20 + n * n % 12], day, n)
                    for n in range(count)
                ]
                content = json.dumps(messages, indent=4)
                archive.writestr(f"team-{channel}/{day:%Y-%m-%d}.json", content)
                written += len(content)
    return written


def _user(n: int) -> dict[str, Any]:
    name = f"{_NAMES[n % len(_NAMES)]} {n}"
    profile = {"real_name": name, "display_name": f"user{n}", "email": f"person{n}@customer{n}.example"}
    return {
        "id": f"U{n:08d}", "team_id": "T0001", "name": f"user{n}", "deleted": False, "real_name": name,
        "tz": "Europe/Lisbon", "profile": {**profile, "team": "T0001"}, "is_bot": False, "is_admin": False,
    }  # fmt: skip


def _message(said: str, user: dict[str, Any], day: datetime, n: int) -> dict[str, Any]:
    elements = [{"type": "rich_text_section", "elements": [{"type": "text", "text": said}]}]
    return {
        "client_msg_id": f"5f0c5a3e-0000-4000-8000-{n:012d}", "type": "message", "text": said, "user": user["id"],
        "ts": f"{int(day.timestamp()) + n * 60}.{n:06d}", "team": "T0001", "user_team": "T0001", "source_team": "T0001",
        "user_profile": {
            "avatar_hash": "g0123456789a", "image_72": "https://secure.gravatar.example/avatar/0123456789abcdef.jpg",
            "first_name": user["real_name"].split()[0], "real_name": user["real_name"],
            "display_name": user["name"], "team": "T0001", "name": user["name"], "is_restricted": False,
        },
        "blocks": [{"type": "rich_text", "block_id": f"b{n}", "elements": elements}],
    }  # fmt: skip


def _moments(minutes: int) -> Iterator[datetime]:
    """Every so many minutes; from the start again after ten thousand days."""
    number = 0
    while True:
        yield START + timedelta(minutes=number * minutes % (1_440 * 1_900))
        number += 1


WRITERS: dict[str, Callable[[Path, int], int]] = {
    "mbox": write_mbox,
    "salesforce": write_salesforce,
    "slack": write_slack,
}

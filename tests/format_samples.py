"""A small valid export of every format, with a text, a name and a time to choose: for tests that hold for all formats.

A new reader needs a builder here, under its format's name.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header

from ingest_pipeline.documents import Item, Json, Source
from ingest_pipeline.sources import registry
from ingest_pipeline.sources.base import HEAD_BYTES, Export, Reader, ReadOptions, SourceFile
from tests.ole_file import ole_bytes

OPTIONS = ReadOptions(
    internal_domains=frozenset({"vendor.example"}), timezone="Europe/Berlin", phone_region="DE", date_order="dmy"
)
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Said:
    """What the person of a sample says. ``more`` is a second text of theirs, "" for none."""

    text: str = "I live in Lisbon."
    name: str = "Kim Roe"
    at: datetime = datetime(2024, 1, 10, 8, tzinfo=UTC)
    more: str = ""

    @property
    def texts(self) -> list[str]:
        return [self.text, *([self.more] if self.more else [])]

    def iso(self) -> str:
        return self.at.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def unix(self) -> int:
        return int(self.at.timestamp())


def table(header: str, *rows: list[str]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return out.getvalue().encode()


def dumped(value: Json) -> bytes:
    return json.dumps(value).encode()


def zipped(members: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            # Without the time of day, or two zips of the same would differ.
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def _mapped(said: Said) -> Files:
    mapping = (
        b"system: erp\nfiles:\n  - {file: people.csv, id: nr, email: mail, name: called, text: remarks, time: seen,"
        b" record_id: entry, written_by: person}\n"
    )
    rows = [["1", str(n), "kim@x.example", said.name, text, said.iso()] for n, text in enumerate(said.texts)]
    return {"mapping.yaml": mapping, "people.csv": table("nr,entry,mail,called,remarks,seen", *rows)}


def _salesforce(said: Said) -> Files:
    contact = ["003A00000000001", said.name, "kim@x.example", said.iso(), "005A00000000001"]
    tasks = [
        [f"00TA0000000000{n}", "003A00000000001", text, said.iso(), "005A00000000001"]
        for n, text in enumerate(said.texts, start=1)
    ]
    return {
        "Contact.csv": table("Id,LastName,Email,SystemModstamp,CreatedById", contact),
        "Task.csv": table("Id,WhoId,Description,SystemModstamp,CreatedById", *tasks),
    }


def _hubspot(said: Said) -> Files:
    moment = said.at.strftime("%Y-%m-%d %H:%M")
    rows = [
        [str(101 + n), said.name, "Roe", f"kim{n}@x.example", moment, moment, text] for n, text in enumerate(said.texts)
    ]
    return {"contacts.csv": table("Record ID,First Name,Last Name,Email,Create Date,Last Modified Date,Message", *rows)}


def _zendesk(said: Said) -> Files:
    url = "https://acme.zendesk.com/api/v2"
    kim = {"id": 7, "name": said.name, "email": "kim@x.example", "role": "end-user"}
    comments = [
        {"id": n, "author_id": 7, "body": text, "public": True, "created_at": said.iso()}
        for n, text in enumerate(said.texts, start=11)
    ]
    ticket = {
        "url": f"{url}/tickets/3.json", "id": 3, "subject": "Hello", "status": "open", "requester_id": 7,
        "submitter_id": 7, "created_at": said.iso(), "updated_at": said.iso(), "requester": kim, "submitter": kim,
        "comments": comments,
    }  # fmt: skip
    return {"tickets.json": dumped(ticket) + b"\n"}


def _intercom(said: Said) -> Files:
    kim = {"type": "user", "id": "5ed93b", "name": said.name, "email": "kim@x.example"}
    parts = [
        {"type": "conversation_part", "id": str(n), "part_type": "comment", "body": text, "author": kim,
         "created_at": said.unix()}
        for n, text in enumerate(said.texts[1:])
    ]  # fmt: skip
    conversation = {
        "type": "conversation", "id": "123", "created_at": said.unix(), "updated_at": said.unix(), "state": "closed",
        "source": {"type": "conversation", "id": "403", "body": said.text, "author": kim},
        "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": "5ed93b"}]},
        "conversation_parts": {"type": "conversation_part.list", "conversation_parts": parts},
    }  # fmt: skip
    return {"conversations.json": dumped({"type": "conversation.list", "conversations": [conversation]})}


def _pipedrive(said: Said) -> Files:
    moment = said.at.strftime("%Y-%m-%d %H:%M:%S")
    kim = {
        "id": 7, "company_id": 42, "name": said.name, "email": [{"value": "kim@x.example", "primary": True}],
        "phone": [], "owner_id": 1, "org_id": None, "add_time": moment, "update_time": moment, "active_flag": True,
    }  # fmt: skip
    notes = [
        {"id": n, "content": text, "person_id": 7, "deal_id": None, "user_id": 1, "add_time": moment,
         "update_time": moment, "active_flag": True}
        for n, text in enumerate(said.texts)
    ]  # fmt: skip
    return {
        "persons.json": dumped({"success": True, "data": [kim]}),
        "notes.json": dumped({"success": True, "data": notes}),
    }


def _mails(said: Said) -> list[bytes]:
    name = Header(said.name, "utf-8").encode() if not said.name.isascii() else said.name
    date = said.at.strftime("%a, %d %b %Y %H:%M:%S +0000")
    return [
        f"From: {name} <kim@x.example>\nTo: sam@vendor.example\nDate: {date}\nMessage-ID: <{n}@x.example>\n"
        "Subject: Hello\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n".encode()
        + text.encode()
        + b"\n"
        for n, text in enumerate(said.texts)
    ]


def _eml(said: Said) -> Files:
    return {f"{n}.eml": mail for n, mail in enumerate(_mails(said))}


def _mbox(said: Said) -> Files:
    line = said.at.strftime("From kim@x.example %a %b %d %H:%M:%S %Y\n").encode()
    return {"all.mbox": b"".join(line + mail.replace(b"\nFrom ", b"\n>From ") + b"\n" for mail in _mails(said))}


def _mail_zip(said: Said) -> Files:
    return {"takeout.zip": zipped({f"Takeout/Mail/{name}": content for name, content in _mbox(said).items()})}


def _msg(said: Said) -> Files:
    mails = [mail.decode().partition("\n\n") for mail in _mails(said)]
    return {
        f"{n}.msg": ole_bytes(
            {
                "__properties_version1.0": b"\0" * 32,
                "__substg1.0_007D001F": head.replace("\n", "\r\n").encode("utf-16-le"),
                "__substg1.0_1000001F": body.encode("utf-16-le"),
            }
        )
        for n, (head, _, body) in enumerate(mails)
    }


def _pst(_said: Said) -> Files:
    # No library writes them: only what is damaged can be tested here.
    return {"all.pst": b"!BDN\0\0\0\0SM" + b"\0" * 1_000}


def _slack(said: Said) -> Files:
    user = {"id": "U1", "team_id": "T1", "real_name": said.name, "profile": {"email": "kim@x.example"}}
    messages = [
        {"type": "message", "user": "U1", "ts": f"{said.unix() + n}.000100", "text": text}
        for n, text in enumerate(said.texts)
    ]
    members = {
        "users.json": dumped([user]),
        "channels.json": dumped([{"id": "C1", "name": "general"}]),
        f"general/{said.at:%Y-%m-%d}.json": dumped(messages),
    }
    return {"slack.zip": zipped(members)}


def _whatsapp(said: Said) -> Files:
    lines = [f"[{said.at:%d.%m.%y}, {said.at:%H:%M}:{n:02}] {said.name}: {t}\n" for n, t in enumerate(said.texts)]
    return {"chat.txt": "".join(lines).encode()}


def _telegram(said: Said) -> Files:
    messages = [
        {"id": n, "type": "message", "date": said.at.strftime("%Y-%m-%dT%H:%M:%S"), "date_unixtime": str(said.unix()),
         "from": said.name, "from_id": "user123", "text": text, "text_entities": []}
        for n, text in enumerate(said.texts)
    ]  # fmt: skip
    chat = {"name": "Kim", "type": "personal_chat", "id": 9, "messages": messages}
    return {"result.json": dumped(chat)}


def _discord(said: Said) -> Files:
    author = {"id": "80351110224678912", "name": "kim", "nickname": said.name, "isBot": False}
    messages = [
        {"id": str(80351110224678913 + n), "type": "Default", "timestamp": said.iso(), "content": text,
         "author": author}
        for n, text in enumerate(said.texts)
    ]  # fmt: skip
    whole = {
        "guild": {"id": "1", "name": "G"},
        "channel": {"id": "2", "type": "GuildTextChat", "name": "general"},
        "messages": messages,
        "messageCount": len(messages),
    }
    return {"general.json": dumped(whole)}


def _facebook(said: Said) -> Files:
    def mangled(text: str) -> str:
        return text.encode().decode("latin-1")

    messages = [
        {"sender_name": mangled(said.name), "timestamp_ms": said.unix() * 1000 - n, "content": mangled(text)}
        for n, text in enumerate(said.texts)
    ]
    whole = {
        "participants": [{"name": mangled(said.name)}],
        "messages": messages,
        "title": "T",
        "thread_path": "inbox/kim_1",
    }
    return {"message_1.json": dumped(whole)}


def _chatgpt(said: Said) -> Files:
    mapping: dict[str, Json] = {"root": {"id": "root", "message": None, "parent": None, "children": ["m0"]}}
    for n, text in enumerate(said.texts):
        mapping[f"m{n}"] = {
            "id": f"m{n}",
            "parent": f"m{n - 1}" if n else "root",
            "children": [],
            "message": {
                "id": f"m{n}",
                "author": {"role": "user"},
                "create_time": said.unix() + n,
                "content": {"content_type": "text", "parts": [text]},
            },
        }
    conversation = {
        "id": "c1", "title": "T", "create_time": said.unix(), "mapping": mapping,
        "current_node": f"m{len(said.texts) - 1}",
    }  # fmt: skip
    return {"conversations.json": dumped([conversation])}


def _claude(said: Said) -> Files:
    messages = [
        {"uuid": f"m{n}", "text": text, "sender": "human", "created_at": said.iso(),
         "content": [{"type": "text", "text": text}]}
        for n, text in enumerate(said.texts)
    ]  # fmt: skip
    conversation = {
        "uuid": "c1", "name": "T", "created_at": said.iso(), "account": {"uuid": "a1"}, "chat_messages": messages,
    }  # fmt: skip
    return {"conversations.json": dumped([conversation])}


def _msteams(said: Said) -> Files:
    author = {"User": {"Id": "9bd4aca7", "DisplayName": said.name, "TenantId": "af4acab6"}}
    messages = [
        {"Id": str(said.unix() * 1000 + n), "Body": {"ContentType": "text", "Content": text},
         "CreatedDateTime": said.iso(), "From": author, "MessageType": "message", "ChatId": "19:9738@thread.v2"}
        for n, text in enumerate(said.texts)
    ]  # fmt: skip
    return {"messages_5dbe.json": dumped(messages)}


def _jsonl(said: Said) -> Files:
    lines = [
        {"profile": "kim@x.example", "text": text, "occurred_at": said.iso(), "metadata": {"name": said.name}}
        for text in said.texts
    ]
    return {"texts.jsonl": b"\n".join(dumped(line) for line in lines)}


BUILDERS: dict[str, Callable[[Said], Files]] = {
    "mapped": _mapped,
    "salesforce": _salesforce,
    "hubspot": _hubspot,
    "zendesk": _zendesk,
    "intercom": _intercom,
    "pipedrive": _pipedrive,
    "mbox": _mbox,
    "eml": _eml,
    "mail_zip": _mail_zip,
    "msg": _msg,
    "pst": _pst,
    "slack": _slack,
    "whatsapp": _whatsapp,
    "telegram": _telegram,
    "discord": _discord,
    "facebook": _facebook,
    "msteams": _msteams,
    "chatgpt": _chatgpt,
    "claude": _claude,
    "jsonl": _jsonl,
}

WITHOUT_WORDS = frozenset({"pst"})
"""Formats whose sample holds nothing to read."""

READABLE = tuple(reader for reader in registry.READERS if reader.format not in WITHOUT_WORDS)


def named(reader: Reader) -> str:
    """JSON Lines have a reader per source."""
    return f"{reader.source}-{reader.format}"


def source_file(name: str, data: bytes, mapped: bool = False) -> SourceFile:
    return SourceFile(name, len(data), 0.0, lambda: io.BytesIO(data), mapped)


def source_files(source: Source, files: Files) -> tuple[SourceFile, ...]:
    """As the inbox would give them."""
    mapped = "mapping.yaml" in files
    return tuple(source_file(f"{source.value}/acme/{name}", data, mapped) for name, data in files.items())


def read(reader: Reader, files: Files, options: ReadOptions = OPTIONS) -> list[Item]:
    """The items of the files, each of them an export of its own where the reader takes them so."""
    found = source_files(reader.source, files)
    exports = [found] if reader.by_folder else [(file,) for file in found]
    return [item for each in exports for item in reader.read(Export(reader.format, reader.source, each), options)]


def detected(reader: Reader, files: Files) -> list[str | None]:
    """The format that each file is taken for."""
    found = [registry.detect(reader.source, file, _head(file)) for file in source_files(reader.source, files)]
    return [each.format if each else None for each in found]


def _head(file: SourceFile) -> bytes:
    with file.opener() as stream:
        return stream.read(HEAD_BYTES)

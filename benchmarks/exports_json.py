"""Generated exports of other systems, written as streams: JSON of chats and desks, WhatsApp's text, plain tables."""

import csv
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from exports import VARIANTS, text

START = datetime(2021, 1, 4, 8, tzinfo=UTC)
MINUTES_APART = 2
PEOPLE = 6
_chance = random.Random(4)
_SHORT = [text(_chance, _chance.randint(1, 2)) for _ in range(VARIANTS)]
_LONG = [text(_chance, _chance.randint(6, 14)) for _ in range(VARIANTS)]

Object = dict[str, Any]


def _moment(n: int) -> datetime:
    return START + timedelta(minutes=n * MINUTES_APART % (1_440 * 1_800))


def _iso(n: int) -> str:
    return _moment(n).strftime("%Y-%m-%dT%H:%M:%S.000+00:00")


def _who(n: int) -> int:
    return n * n // 3 % PEOPLE


def _json(path: Path, size: int, head: str, objects: Iterator[Object], tail: str, indent: int | None = None) -> int:
    """One JSON text of about so many bytes."""
    with path.open("w", encoding="utf-8", buffering=1 << 20) as file:
        written = file.write(head)
        for number, entry in enumerate(objects):
            written += file.write((",\n" if number else "") + json.dumps(entry, ensure_ascii=False, indent=indent))
            if written >= size:
                break
        written += file.write(tail)
    return path.stat().st_size


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def write_telegram(path: Path, size: int) -> int:
    head = '{"name": "Team", "type": "private_group", "id": 5, "messages": [\n'
    return _json(path, size, head, map(_telegram, _numbers()), "]}", 1)


def _telegram(n: int) -> Object:
    said = _SHORT[n % VARIANTS]
    return {
        "id": n, "type": "message", "date": _moment(n).strftime("%Y-%m-%dT%H:%M:%S"),
        "date_unixtime": str(int(_moment(n).timestamp())), "from": f"Person {_who(n)}",
        "from_id": f"user{1000 + _who(n)}", "text": said, "text_entities": [{"type": "plain", "text": said}],
    }  # fmt: skip


def write_discord(path: Path, size: int) -> int:
    head = '{"guild": {"id": "1", "name": "G"}, "channel": {"id": "2", "name": "general"}, "messages": [\n'
    return _json(path, size, head, map(_discord, _numbers()), '], "messageCount": 1}', 2)


def _discord(n: int) -> Object:
    author = {
        "id": str(10**16 + _who(n)), "name": "alice", "discriminator": "0000", "nickname": f"Alice {_who(n)}",
        "color": "#FFFFFF", "isBot": False, "roles": [{"id": "1", "name": "member", "color": "#fff", "position": 1}],
        "avatarUrl": "https://cdn.example/avatars/123456789012345678/abcdefabcdef.png?size=512",
    }  # fmt: skip
    return {
        "id": str(10**17 + n), "type": "Default", "timestamp": _iso(n), "timestampEdited": None, "isPinned": False,
        "content": _SHORT[n % VARIANTS], "author": author, "attachments": [], "embeds": [], "stickers": [],
        "reactions": [], "mentions": [], "inlineEmojis": [],
    }  # fmt: skip


def write_msteams(path: Path, size: int) -> int:
    return _json(path, size, "[", map(_msteams, _numbers()), "]")


def _msteams(n: int) -> Object:
    user = {"Id": f"9bd4aca7-99cf-4b1b-a16d-e25717dc94{_who(n):02}", "DisplayName": "Will", "TenantId": "t"}
    return {
        "Id": str(1_609_459_200_000 + n), "Body": {"ContentType": "html", "Content": f"<p>{_SHORT[n % VARIANTS]}</p>"},
        "CreatedDateTime": _iso(n), "LastModifiedDateTime": _iso(n), "DeletedDateTime": None, "Subject": "",
        "Summary": None, "Importance": "normal", "Locale": "en-us", "ReplyToId": None, "WebUrl": None,
        "From": {"Application": None, "Device": None, "User": user}, "Attachments": [], "Mentions": [],
        "Reactions": [], "MessageType": "message", "ChannelIdentity": None, "ChatId": "19:x", "EventDetail": None,
    }  # fmt: skip


def write_facebook(path: Path, size: int) -> int:
    head = '{"participants": [{"name": "x"}], "messages": [\n'
    return _json(path, size, head, map(_facebook, _numbers()), '], "title": "x", "thread_path": "inbox/x"}', 2)


def _facebook(n: int) -> Object:
    return {
        "sender_name": f"Person {_who(n)}", "timestamp_ms": int(_moment(10**6 - n).timestamp()) * 1_000,
        "content": _SHORT[n % VARIANTS].encode().decode("latin-1"), "is_geoblocked_for_viewer": False,
    }  # fmt: skip


def write_chatgpt(path: Path, size: int) -> int:
    return _json(path, size, "[", map(_chatgpt, _numbers()), "]")


def _chatgpt(c: int) -> Object:
    nodes = {}
    for k in range(20):
        role, said = ("assistant", _LONG[(c + k) % VARIANTS]) if k % 2 else ("user", _SHORT[(c + k) % VARIANTS])
        message = {
            "id": f"n{c}-{k}", "author": {"role": role, "name": None, "metadata": {}},
            "create_time": _moment(c * 600).timestamp() + k * 30, "content": {"content_type": "text", "parts": [said]},
            "status": "finished_successfully", "weight": 1.0, "metadata": {"request_id": "x" * 30}, "recipient": "all",
        }  # fmt: skip
        parent = f"n{c}-{k - 1}" if k else None
        nodes[f"n{c}-{k}"] = {"id": f"n{c}-{k}", "message": message, "parent": parent, "children": [f"n{c}-{k + 1}"]}
    created = _moment(c * 600).timestamp()
    return {"title": "T", "create_time": created, "mapping": nodes, "current_node": f"n{c}-19", "id": f"c{c}"}


def write_claude(path: Path, size: int) -> int:
    return _json(path, size, "[", map(_claude, _numbers()), "]")


def _claude(c: int) -> Object:
    messages = []
    for k in range(20):
        sender, said = ("assistant", _LONG[(c + k) % VARIANTS]) if k % 2 else ("human", _SHORT[(c + k) % VARIANTS])
        messages.append(
            {
                "uuid": f"{c}-{k}", "text": said, "content": [{"type": "text", "text": said, "citations": []}],
                "sender": sender, "created_at": _iso(c * 600 + k), "updated_at": _iso(c * 600 + k),
                "attachments": [], "files": [],
            }
        )  # fmt: skip
    return {"uuid": f"c{c}", "name": "T", "created_at": _iso(c), "account": {"uuid": "a"}, "chat_messages": messages}


def write_zendesk(path: Path, size: int) -> int:
    """A ticket of six comments per line, as the full JSON export has them."""
    return _lines(path, size, _zendesk)


def _zendesk(n: int) -> str:
    url = "https://acme.zendesk.com/api/v2"
    kim = {"id": 7 + n % 5_000, "name": f"Person {n % 5_000}", "email": f"p{n % 5_000}@x.example", "role": "end-user"}
    comments = [
        {"id": n * 10 + k, "author_id": kim["id"] if k % 2 == 0 else 1, "body": _SHORT[(n + k) % VARIANTS],
         "public": True, "created_at": _iso(n * 10 + k), "attachments": [], "via": {"channel": "email"}}
        for k in range(6)
    ]  # fmt: skip
    ticket = {
        "url": f"{url}/tickets/{n}.json", "id": n, "subject": "Hello", "status": "open", "requester_id": kim["id"],
        "submitter_id": kim["id"], "created_at": _iso(n * 10), "updated_at": _iso(n * 10 + 9), "requester": kim,
        "submitter": kim, "comments": comments, "tags": ["a", "b"], "custom_fields": [{"id": 1, "value": None}],
    }  # fmt: skip
    return json.dumps(ticket)


def write_jsonl(path: Path, size: int) -> int:
    return _lines(path, size, _jsonl)


def _jsonl(n: int) -> str:
    said = _LONG[n % VARIANTS]
    return json.dumps(
        {"profile": f"p{n % 5_000}@x.example", "text": said, "occurred_at": _iso(n), "metadata": {"n": n}}
    )


def write_whatsapp(path: Path, size: int) -> int:
    return _lines(path, size, lambda n: f"{_moment(n):%d/%m/%Y, %H:%M} - Person {_who(n)}: {_SHORT[n % VARIANTS]}")


def _lines(path: Path, size: int, line: Callable[[int], str]) -> int:
    with path.open("w", encoding="utf-8", buffering=1 << 20) as file:
        written = 0
        for number in _numbers():
            written += file.write(line(number) + "\n")
            if written >= size:
                return path.stat().st_size
    return 0


def write_hubspot(path: Path, size: int) -> int:
    """A contacts export: 20 columns, of which half are filled."""
    header = [
        "Record ID", "First Name", "Last Name", "Email", "Phone Number", "Mobile Phone Number", "Job Title",
        "Company Name", "City", "Country/Region", "Industry", "Lifecycle Stage", "Lead Status", "Contact owner",
        "Create Date", "Last Modified Date", "Message", "Associated Company IDs", "Website URL", "Number of Pageviews",
    ]  # fmt: skip
    return _table(path, size, header, _hubspot)


def _hubspot(n: int) -> list[str]:
    moment = _moment(n).strftime("%Y-%m-%d %H:%M")
    return [
        str(101 + n), "Kim", f"Roe {n}", f"kim{n}@x{n}.example", "", f"+44 7700 {n % 1_000_000:06d}",
        "Head of Logistics", f"Company {n // 5}", "London", "United Kingdom", "Logistics", "Customer", "", "Sam Roe",
        moment, moment, _SHORT[n % VARIANTS], "", "", "3",
    ]  # fmt: skip


def _table(path: Path, size: int, header: list[str], row: Callable[[int], list[str]]) -> int:
    with path.open("w", encoding="utf-8", newline="", buffering=1 << 20) as file:
        writer = csv.writer(file)
        written = writer.writerow(header)
        for number in _numbers():
            written += writer.writerow(row(number))
            if written >= size:
                break
    return path.stat().st_size


WRITERS: dict[str, Callable[[Path, int], int]] = {
    "telegram": write_telegram,
    "discord": write_discord,
    "msteams": write_msteams,
    "facebook": write_facebook,
    "chatgpt": write_chatgpt,
    "claude": write_claude,
    "zendesk": write_zendesk,
    "jsonl": write_jsonl,
    "whatsapp": write_whatsapp,
    "hubspot": write_hubspot,
}

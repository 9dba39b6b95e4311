"""Conversations as a Slack workspace export: one zip with users, channels and a file per channel and day."""

import html
import io
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from ingest_pipeline.demo.people import Chat, Person, staff, staff_email
from ingest_pipeline.documents import Json

TEAM = "T04NWIND1"
ARCHIVE = "chat/slack-export.zip"
BOT = "B04STATUS"

_ZIP_DATE = (2026, 1, 5, 2, 0, 0)


class Workspace:
    """Members and days of a workspace. ``days`` maps (channel, day) to its messages, in the order of their times."""

    def __init__(self) -> None:
        self.days: dict[tuple[str, str], list[dict[str, Json]]] = defaultdict(list)
        self.users: dict[str, dict[str, Json]] = {}
        self.skipped: Counter[str] = Counter()
        self._staff = staff()
        for number, (key, name) in enumerate(self._staff.items()):
            self._add_user(key, f"U04STAF{number:02d}", name, staff_email(key), "Europe/Berlin")

    def member(self, person: Person, number: int) -> str:
        """Adds a person as a guest of the workspace; gives their user id. The profile shows the last address."""
        email = person.addresses[1] if len(person.addresses) > 1 else person.email
        return self._add_user(person.slug, f"U05{number:06d}", person.name, email, "")

    def conversation(self, person: Person, chat: Chat, channel: str, threaded: bool) -> None:
        """A day's exchange; in a thread, everything after the first message answers it."""
        at, root = chat.at, ""
        for number, (speaker, text) in enumerate(chat.lines):
            ts = self.post(channel, at, speaker if speaker != "me" else person.slug, text, root)
            root = ts if threaded and number == 0 else root
            at += timedelta(seconds=40 + (len(text) * 7) % 300)

    def post(self, channel: str, at: datetime, speaker: str, text: str, thread: str = "") -> str:
        """One message; gives its ``ts``."""
        user, name = self.users[speaker]["id"], self.users[speaker]["profile"]["real_name"]
        day = self.days[channel, f"{at:%Y-%m-%d}"]
        ts = f"{int(at.timestamp())}.{(len(day) + 1) * 100 + 19:06d}"
        message: dict[str, Json] = {"type": "message", "user": user, "ts": ts, "text": html.escape(text, quote=False)}
        message["user_profile"] = {"real_name": name, "team": TEAM}
        if thread:
            message |= {"thread_ts": thread, "parent_user_id": user}
        elif len(text) % 3 == 0:
            message["blocks"] = [_block(text)]
        day.append(message)
        self.skipped["internal_sender"] += speaker in self._staff
        return ts

    def noise(self, channel: str, at: datetime, message: Mapping[str, Json]) -> None:
        """A message that nobody wrote, of a ``subtype``: a bot's, a join."""
        self.skipped[str(message["subtype"])] += 1
        day = self.days[channel, f"{at:%Y-%m-%d}"]
        day.append({"type": "message", "ts": f"{int(at.timestamp())}.{(len(day) + 1) * 100 + 19:06d}", **message})

    def members(self) -> Iterator[tuple[str, str]]:
        """(path, JSON text) of every member of the export."""
        yield "users.json", to_json(list(self.users.values()))
        yield channel_list(sorted({channel for channel, _ in self.days}))
        yield from self.day_members()

    def day_members(self) -> Iterator[tuple[str, str]]:
        """(path, JSON text) of the day files."""
        for (channel, day), messages in sorted(self.days.items()):
            yield f"{channel}/{day}.json", to_json(sorted(messages, key=lambda each: str(each["ts"])))

    def _add_user(self, key: str, user: str, name: str, email: str, zone: str) -> str:
        profile = {"real_name": name, "display_name": name.split()[0], "email": email, "team": TEAM}
        self.users[key] = {
            "id": user, "team_id": TEAM, "name": key, "deleted": False, "is_bot": False, "tz": zone or None,
            "real_name": name, "profile": profile,
        }  # fmt: skip
        return user


def channel_list(names: Sequence[str]) -> tuple[str, str]:
    """(path, JSON text) of the list of channels."""
    channels = [
        {"id": f"C06{number:06d}", "name": name, "created": 1700000000, "is_archived": False, "members": []}
        for number, name in enumerate(names)
    ]
    return "channels.json", to_json(channels)


def zip_bytes(members: Iterable[tuple[str, str]]) -> bytes:
    """A zip of text members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        add_members(archive, members)
    return buffer.getvalue()


def add_members(archive: zipfile.ZipFile, members: Iterable[tuple[str, str]]) -> None:
    for name, text in members:
        archive.writestr(member_info(name), text.encode("utf-8"))


def member_info(name: str) -> zipfile.ZipInfo:
    """A member with a fixed date. Stored, not deflated: compressed bytes depend on the zlib at hand."""
    info = zipfile.ZipInfo(name, _ZIP_DATE)
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info


def to_json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _block(text: str) -> dict[str, Json]:
    element = {"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}
    return {"type": "rich_text", "block_id": "b1", "elements": [element]}

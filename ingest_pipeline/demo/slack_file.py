"""Conversations as a Slack workspace export: one zip with users, channels and a file per channel and day."""

import html
import io
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import BinaryIO

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

    def channels(self) -> list[str]:
        return sorted({channel for channel, _ in self.days})

    def members(self) -> Iterable[tuple[str, str]]:
        """(path, JSON text) of every member of the export."""
        yield "users.json", _json(list(self.users.values()))
        channels = [
            {"id": f"C06{number:06d}", "name": name, "created": 1700000000, "is_archived": False, "members": []}
            for number, name in enumerate(self.channels())
        ]
        yield "channels.json", _json(channels)
        for (channel, day), messages in sorted(self.days.items()):
            yield f"{channel}/{day}.json", _json(sorted(messages, key=lambda each: str(each["ts"])))

    def _add_user(self, key: str, user: str, name: str, email: str, zone: str) -> str:
        profile = {"real_name": name, "display_name": name.split()[0], "email": email, "team": TEAM}
        self.users[key] = {
            "id": user, "team_id": TEAM, "name": key, "deleted": False, "is_bot": False, "tz": zone or None,
            "real_name": name, "profile": profile,
        }  # fmt: skip
        return user


def zip_bytes(members: Iterable[tuple[str, str]]) -> bytes:
    """A zip of text members with a fixed date."""
    buffer = io.BytesIO()
    write_zip(buffer, members)
    return buffer.getvalue()


def write_zip(stream: BinaryIO, members: Iterable[tuple[str, str]]) -> None:
    """Writes the members as they come. Stored, not deflated: compressed bytes depend on the zlib at hand."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, text in members:
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, text.encode("utf-8"))


def _block(text: str) -> dict[str, Json]:
    element = {"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}
    return {"type": "rich_text", "block_id": "b1", "elements": [element]}


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)

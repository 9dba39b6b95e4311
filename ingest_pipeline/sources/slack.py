"""Reads Slack export zips: one record per person, conversation and day, with the turns around theirs.

Shape: ``users.json``, ``channels.json`` (``groups``, ``dms``, ``mpims``), ``<conversation>/YYYY-MM-DD.json``, perhaps
all in one folder. Days are those of the files' names (the exporter's zone), times those of ``ts`` (UTC).
"""

import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ingest_pipeline.documents import Identifier, Item, Json, Person, Record, Rejected, Segment, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.archives import ZIP_MAGIC, Archive, open_zip
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import one_line, sanitized
from ingest_pipeline.sources.conversation import Turn, excerpt
from ingest_pipeline.sources.slack_text import Names, message_text

MAX_DAY_BYTES = 25_000_000
"""Of one conversation's day file, some 30,000 messages; parsed it takes about eight times that."""

MAX_USERS_BYTES = 200_000_000
MAX_LISTED_IDS = 50

_DAY = re.compile(r"(?P<root>.*?)(?P<folder>[^/]+)/(?P<day>\d{4}-\d{2}-\d{2})\.json")
_TS = re.compile(r"(\d{1,11})(?:\.(\d{1,6}))?")
# Subtypes under which a person's own words are stored; every other one is Slack's or a program's text.
_HUMAN_SUBTYPES = frozenset({"", "me_message", "thread_broadcast", "reply_broadcast"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LISTS = {"channels.json": "channel", "groups.json": "group", "dms.json": "dm", "mpims.json": "mpim"}


@dataclass(frozen=True, slots=True)
class _User:
    id: str
    team: str
    name: str
    email: str = ""
    is_bot: bool = False


@dataclass(frozen=True, slots=True)
class _Conversation:
    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class _Workspace:
    """What messages refer to. Held in memory as a whole; the messages are not."""

    team: str
    users: Mapping[str, _User]
    conversations: Mapping[str, _Conversation]
    names: Names


@dataclass(frozen=True, slots=True)
class _Day:
    member: str
    day: str
    conversation: _Conversation


@dataclass(frozen=True, slots=True)
class _Message:
    ts: str
    user: _User
    text: str
    thread: str
    moment: datetime


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    for file in export.files:
        with open_zip(file, options) as archive:
            yield from _archive_items(file, archive, options)


def _archive_items(file: SourceFile, archive: Archive, options: ReadOptions) -> Iterator[Item]:
    members = archive.names()
    days = [match for match in map(_DAY.fullmatch, members) if match is not None]
    lists = {name.rpartition("/")[2]: name for name in sorted(members, key=lambda name: -name.count("/"))}
    if not days and "users.json" not in lists:
        raise UnreadableFile(f"{file.name}: no day file (<channel>/YYYY-MM-DD.json) and no users.json in this zip")
    problems: list[Rejected] = []
    workspace = _workspace(file, archive, lists, problems)
    yield from problems
    skipped: Counter[str] = Counter()
    for match in days:
        folder = match["folder"]
        conversation = workspace.conversations.get(folder) or _Conversation(folder, folder, "channel")
        day = _Day(match[0], match["day"], conversation)
        entries = _load(file, archive, day.member, MAX_DAY_BYTES)
        if isinstance(entries, Rejected):
            yield entries
        else:
            yield from _day_items(file, day, entries, workspace, options, skipped)
    for reason, units in sorted(skipped.items()):
        yield Skipped(file.name, reason, units)


def _load(file: SourceFile, archive: Archive, member: str, limit: int) -> list[Json] | Rejected:
    """The member's JSON list, or why it cannot be used."""
    try:
        if archive.size(member) > limit:
            return Rejected(file.name, member, f"larger than {limit} bytes")
        with archive.open(member) as stream:
            loaded = json.loads(stream.read())
    except UnreadableFile:
        return Rejected(file.name, member, "this member of the zip is damaged")
    except RecursionError:
        return Rejected(file.name, member, "JSON nested too deeply")
    except ValueError:
        return Rejected(file.name, member, "not valid JSON")
    return loaded if isinstance(loaded, list) else Rejected(file.name, member, "a JSON list was expected")


def _workspace(file: SourceFile, archive: Archive, lists: Mapping[str, str], problems: list[Rejected]) -> _Workspace:
    def entries(name: str) -> list[dict[str, Json]]:
        if name not in lists:
            return []
        loaded = _load(file, archive, lists[name], MAX_USERS_BYTES)
        if isinstance(loaded, Rejected):
            problems.append(loaded)
            return []
        return [entry for entry in loaded if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

    raw_users = entries("users.json")
    teams = Counter(team for team in (_text(entry, "team_id") for entry in raw_users) if team)
    team = teams.most_common(1)[0][0] if teams else "unknown"
    users = {entry["id"]: _user(entry, team) for entry in raw_users}
    conversations: dict[str, _Conversation] = {}
    for list_name, kind in _LISTS.items():
        for entry in entries(list_name):
            # Folders are named after the conversation, direct messages after their id.
            name = _text(entry, "name") or entry["id"]
            conversations[name] = _Conversation(entry["id"], name, kind)
    names = Names(
        {user.id: user.name for user in users.values()},
        {conversation.id: conversation.name for conversation in conversations.values()},
    )
    return _Workspace(team, users, conversations, names)


def _user(entry: Mapping[str, Json], team: str) -> _User:
    profile = entry.get("profile")
    profile = profile if isinstance(profile, dict) else {}
    name = (
        _text(entry, "real_name")
        or _text(profile, "real_name")
        or _text(profile, "display_name")
        or _text(entry, "name")
        or _text(entry, "id")
    )
    email = _text(profile, "email").lower()
    return _User(
        id=_text(entry, "id"),
        team=_text(entry, "team_id") or team,
        name=one_line(name),
        email=email if "@" in email else "",
        is_bot=bool(entry.get("is_bot")) or entry.get("id") == "USLACKBOT",
    )


def _text(entry: Mapping[str, Json], key: str) -> str:
    value = entry.get(key)
    return sanitized(value.strip()) if isinstance(value, str) else ""


def _day_items(
    file: SourceFile,
    day: _Day,
    entries: list[Json],
    workspace: _Workspace,
    options: ReadOptions,
    skipped: Counter[str],
) -> Iterator[Item]:
    messages: dict[str, _Message] = {}
    for number, entry in enumerate(entries, start=1):
        found = _message(entry, workspace)
        if isinstance(found, str):
            skipped[found] += 1
        elif found is None:
            yield Rejected(file.name, f"{day.member}, message {number}", "not a message, or one without a valid ts")
        elif found.ts in messages:
            skipped["duplicate"] += 1
        else:
            messages[found.ts] = found
    ordered = sorted(messages.values(), key=lambda message: (message.moment, message.ts))
    turns = [_turn(message, options) for message in ordered]
    own: dict[str, list[int]] = {}
    for index, turn in enumerate(turns):
        if turn.is_staff:
            skipped["internal_sender"] += 1
        else:
            own.setdefault(turn.speaker, []).append(index)
    for indices in own.values():
        text, segments = excerpt(turns, indices)
        yield _record(file, day, [ordered[index] for index in indices], text, segments, workspace)


def _turn(message: _Message, options: ReadOptions) -> Turn:
    user = message.user
    is_staff = bool(user.email) and options.is_internal(user.email)
    return Turn(user.id, user.name, message.text, message.ts, message.moment, is_staff)


def _message(entry: Json, workspace: _Workspace) -> _Message | str | None:
    """A person's message, the reason to skip another's, or None for what is no message."""
    if not isinstance(entry, dict):
        return None
    subtype = _text(entry, "subtype")
    if entry.get("type", "message") != "message":
        return "not_a_message"
    user = workspace.users.get(_text(entry, "user")) or _unlisted(entry, workspace)
    if entry.get("bot_id") and subtype in _HUMAN_SUBTYPES:
        return "bot_message"
    # Since 2018 a shared file is a message with its author's words; before, Slack wrote "… uploaded a file".
    shared_with_words = subtype == "file_share" and "files" in entry and not entry.get("bot_id")
    if subtype not in _HUMAN_SUBTYPES and not shared_with_words:
        return re.sub(r"[^a-z_]", "", subtype.lower())[:40] or "unknown_subtype"
    if user is None or user.is_bot:
        return "bot_message"
    ts = _text(entry, "ts")
    moment = _moment(ts)
    if moment is None:
        return None
    text = message_text(entry, workspace.names)
    return _Message(ts, user, text, _text(entry, "thread_ts"), moment) if text else "empty"


def _unlisted(entry: Mapping[str, Json], workspace: _Workspace) -> _User | None:
    """An author whom users.json does not hold: a guest of a shared channel, or a removed account."""
    user_id = _text(entry, "user")
    if not user_id:
        return None
    profile = entry.get("user_profile")
    described = dict(profile) if isinstance(profile, dict) else {}
    team = _text(entry, "user_team") or _text(entry, "team") or _text(described, "team") or workspace.team
    return _user({**described, "id": user_id, "team_id": team, "profile": described}, team)


def _moment(ts: str) -> datetime | None:
    match = _TS.fullmatch(ts)
    if match is None:
        return None
    return _EPOCH + timedelta(seconds=int(match[1]), microseconds=int((match[2] or "").ljust(6, "0")))


def _record(
    file: SourceFile,
    day: _Day,
    own: list[_Message],
    text: str,
    segments: tuple[Segment, ...],
    workspace: _Workspace,
) -> Record:
    """The record of one person's messages ``own`` (at least one)."""
    user = own[0].user
    conversation = day.conversation
    threads = dict.fromkeys(message.thread for message in own if message.thread)
    metadata: dict[str, Json] = {
        "team": workspace.team,
        "channel": conversation.name,
        "channel_id": conversation.id,
        "channel_kind": conversation.kind,
        "day": day.day,
        "message_ids": [message.ts for message in own[:MAX_LISTED_IDS]],
    }
    if threads:
        metadata["threads"] = list(threads)[:MAX_LISTED_IDS]
    return Record(
        origin="slack",
        kind="conversation_day",
        native_id=f"{workspace.team}/{conversation.id}/{day.day}/{user.id}",
        subjects=(_person(user),),
        text=text,
        file=file.name,
        position=day.member,
        segments=segments,
        occurred_at=own[-1].moment,
        metadata=metadata,
        units=len(own),
    )


def _person(user: _User) -> Person:
    return Person(
        key=Identifier("slack", f"{user.team}/{user.id}"),
        namespace=f"slack:{user.team}",
        name=user.name if user.name != user.id else None,
        identifiers=(Identifier("email", user.email),) if user.email else (),
    )


def _detect(file: SourceFile, head: bytes) -> bool:
    if not head.startswith(ZIP_MAGIC):
        return False
    try:
        with file.opener() as stream, zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError):
        # A cut-off archive has lost its directory; a Slack export begins with its lists.
        return b"channels.json" in head[:200]
    has_lists = any(name.rpartition("/")[2] in {"users.json", *_LISTS} for name in names)
    return has_lists and (len(names) < 10 or any(_DAY.fullmatch(name) for name in names))


READER = Reader(format="slack", source=Source.CHAT, detect=_detect, read=_read)

"""Reads Slack export zips: one record per person, conversation and day, with the turns around theirs.

Shape: ``users.json``, ``channels.json`` (``groups``, ``dms``, ``mpims``), ``<conversation>/YYYY-MM-DD.json``, perhaps
all in one folder. Days are those of the files' names (the exporter's zone), times those of ``ts`` (UTC).
"""

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ClassVar

from msgspec import Struct, structs

from ingest_pipeline.documents import Identifier, Item, Json, Person, Record, Rejected, Role, Segment, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.archives import ZIP_MAGIC, Archive, open_zip
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import one_line, sanitized
from ingest_pipeline.sources.columns import FREE_MAIL
from ingest_pipeline.sources.conversation import (
    EARLIEST,
    FUTURE_SLACK,
    MAX_LISTED_IDS,
    Excerpts,
    Turn,
    own_turns,
    without_repeats,
)
from ingest_pipeline.sources.json_stream import Broken, Kind, NotJson, parse_list
from ingest_pipeline.sources.slack_text import Element, Names, message_text

MAX_DAY_BYTES = 25_000_000
"""Of one conversation's day file, some 30,000 messages; parsed it takes about eight times that."""

MAX_USERS_BYTES = 200_000_000

_DAY = re.compile(r"(?P<root>.*?)(?P<folder>[^/]+)/(?P<day>\d{4}-\d{2}-\d{2})\.json")
_TS = re.compile(r"\d{1,11}(?:\.\d{1,6})?")
# Subtypes under which a person's own words are stored; every other one is Slack's or a program's text.
_HUMAN_SUBTYPES = frozenset({"", "me_message", "thread_broadcast", "reply_broadcast"})
_LISTS = {"channels.json": "channel", "groups.json": "group", "dms.json": "dm", "mpims.json": "mpim"}


class _Reaction(Struct, gc=False):
    users: list[Json] = []


class _Profile(Struct, gc=False):
    real_name: str | None = None
    display_name: str | None = None
    name: str | None = None
    email: str | None = None
    team: str | None = None


class _File(Struct, gc=False):
    """Of a shared file it only matters that there is one."""


class Message(Struct, gc=False):
    """What is used of an entry of a day file."""

    SPARE: ClassVar = ("blocks", "user_profile", "files", "reactions")

    type: str = "message"
    subtype: str | None = None
    user: str | None = None
    ts: str = ""
    text: str | None = None
    blocks: list[Element] | None = None
    bot_id: str | None = None
    thread_ts: str | None = None
    user_team: str | None = None
    team: str | None = None
    user_profile: _Profile | None = None
    files: list[_File] | None = None
    reactions: list[_Reaction] | None = None


@dataclass(frozen=True, slots=True)
class _User:
    id: str
    team: str
    name: str
    email: str = ""
    is_bot: bool = False
    role: Role = Role.OTHER


@dataclass(frozen=True, slots=True)
class _Conversation:
    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class _Workspace:
    """What messages refer to. Held in memory as a whole; the messages are not. Authors not listed are added."""

    team: str
    users: dict[str, _User]
    conversations: Mapping[str, _Conversation]
    names: Names
    options: ReadOptions
    latest: datetime


@dataclass(frozen=True, slots=True)
class _Day:
    member: str
    day: str
    conversation: _Conversation


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
    workspace = _workspace(file, archive, lists, options, problems)
    yield from problems
    skipped: Counter[str] = Counter()
    for match in days:
        folder = match["folder"]
        conversation = workspace.conversations.get(folder) or _Conversation(folder, folder, "channel")
        day = _Day(match[0], match["day"], conversation)
        entries = _load(file, archive, day.member, MAX_DAY_BYTES, Message)
        if isinstance(entries, Rejected):
            yield entries
        else:
            yield from _day_items(file, day, entries, workspace, skipped)
    for reason, units in sorted(skipped.items()):
        yield Skipped(file.name, reason, units)


def _load(
    file: SourceFile, archive: Archive, member: str, limit: int, kind: type[Kind]
) -> list[Kind | Broken] | Rejected:
    """The member's JSON list, or why it cannot be used."""
    try:
        if archive.size(member) > limit:
            return Rejected(file.name, member, f"larger than {limit} bytes")
        with archive.open(member) as stream:
            return parse_list(stream.read(), kind)
    except UnreadableFile:
        return Rejected(file.name, member, "this member of the zip is damaged")
    except NotJson as error:
        return Rejected(file.name, member, str(error))


def _workspace(
    file: SourceFile, archive: Archive, lists: Mapping[str, str], options: ReadOptions, problems: list[Rejected]
) -> _Workspace:
    def entries(name: str) -> list[dict[str, Json]]:
        if name not in lists:
            return []
        loaded = _load(file, archive, lists[name], MAX_USERS_BYTES, dict)
        if isinstance(loaded, Rejected):
            problems.append(loaded)
            return []
        return [entry for entry in loaded if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

    raw_users = entries("users.json")
    teams = Counter(team for team in (_text(entry, "team_id") for entry in raw_users) if team)
    team = teams.most_common(1)[0][0] if teams else options.workspace or "unknown"
    options = replace(options, internal_domains=options.internal_domains | _admin_domains(raw_users))
    users = {entry["id"]: _user(entry, team, options) for entry in raw_users}
    users |= {user.id: user for user in users.values()}
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
    return _Workspace(team, users, conversations, names, options, datetime.now(UTC) + FUTURE_SLACK)


def _admin_domains(users: list[dict[str, Json]]) -> set[str]:
    """Mail domains of the workspace's owners and administrators: it is their company's."""
    profiles = [user.get("profile") for user in users if user.get("is_admin") or user.get("is_owner")]
    emails = [_text(profile, "email").lower() for profile in profiles if isinstance(profile, dict)]
    return {domain for _, at, domain in (email.rpartition("@") for email in emails) if at and domain} - FREE_MAIL


def _user(entry: Mapping[str, Json], team: str, options: ReadOptions) -> _User:
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
    name = one_line(name)
    is_staff = options.is_internal(email) if "@" in email else options.is_staff(_text(entry, "id"), name)
    return _User(
        id=_text(entry, "id"),
        team=_text(entry, "team_id") or team,
        name=name,
        email=email if "@" in email else "",
        is_bot=bool(entry.get("is_bot")) or entry.get("id") == "USLACKBOT",
        role=Role.STAFF if is_staff else Role.OTHER,
    )


def _text(entry: Mapping[str, Json], key: str) -> str:
    value = entry.get(key)
    return sanitized(value.strip()) if isinstance(value, str) else ""


def _day_items(
    file: SourceFile, day: _Day, entries: Sequence[Message | Broken], workspace: _Workspace, skipped: Counter[str]
) -> Iterator[Item]:
    turns: list[Turn] = []
    for number, entry in enumerate(entries, start=1):
        found = _turn(entry, workspace, skipped)
        if isinstance(found, Turn):
            turns.append(found)
        elif found:
            skipped[found] += 1
        else:
            yield Rejected(file.name, f"{day.member}, message {number}", "not a message, or one without a valid ts")
    ids = [turn.native_id for turn in turns]
    if ids != sorted(ids):  # texts of ten digits each: in order as numbers, too
        turns.sort(key=_seconds)
    if len(set(ids)) < len(ids):
        turns = without_repeats(turns, skipped)
    excerpts = Excerpts(turns)
    modified = next((turn.occurred_at for turn in reversed(turns) if turn.occurred_at), None)
    for speaker, indices in own_turns(turns, skipped).items():
        text, segments = excerpts.about(indices)
        own = [turns[index] for index in indices]
        yield _record(file, day, workspace.users[speaker], own, modified, text, segments, workspace.team)


def _seconds(turn: Turn) -> float:
    return float(turn.native_id)


def _turn(message: Message | Broken, workspace: _Workspace, skipped: Counter[str]) -> Turn | str:
    """A person's message, or the reason to skip another's; the reason is empty for what is no message."""
    if isinstance(message, Broken):
        return ""
    subtype = message.subtype or ""
    if message.type != "message":
        return "not_a_message"
    if subtype or message.bot_id:
        if message.bot_id and subtype in _HUMAN_SUBTYPES:
            return "bot_message"
        # Since 2018 a shared file is a message with its author's words; before, Slack wrote "… uploaded a file".
        shared_with_words = subtype == "file_share" and message.files is not None and not message.bot_id
        if subtype not in _HUMAN_SUBTYPES and not shared_with_words:
            return re.sub(r"[^a-z_]", "", subtype.lower())[:40] or "unknown_subtype"
    user = workspace.users.get(message.user or "") or _unlisted(message, workspace)
    if user is None or user.is_bot:
        return "bot_message"
    ts = message.ts
    if not _TS.fullmatch(ts):
        return ""
    text = message_text(message.blocks, message.text, workspace.names)
    if not text:
        return "empty"
    if message.reactions:
        skipped["reaction"] += sum(len(reaction.users) or 1 for reaction in message.reactions)
    thread = sanitized(message.thread_ts) if message.thread_ts else ""
    # A float holds the microseconds of any time before 2106.
    moment = datetime.fromtimestamp(float(ts), UTC)
    when = moment if EARLIEST <= moment <= workspace.latest else None
    return Turn(user.id, user.name, text, ts, when, user.role, 0, thread)


def _unlisted(message: Message, workspace: _Workspace) -> _User | None:
    """An author whom users.json does not hold: a guest of a shared channel, or a removed account."""
    user_id = message.user
    if not user_id:
        return None
    described = structs.asdict(message.user_profile) if message.user_profile else {}
    team = message.user_team or message.team or _text(described, "team") or workspace.team
    user = _user({**described, "id": user_id, "team_id": team, "profile": described}, team, workspace.options)
    workspace.users[user_id] = workspace.users[user.id] = user
    return user


def _record(
    file: SourceFile,
    day: _Day,
    user: _User,
    own: list[Turn],
    modified: datetime | None,
    text: str,
    segments: tuple[Segment, ...],
    team: str,
) -> Record:
    """The record of one person's messages ``own`` (at least one). ``modified``: when the day's last was sent."""
    conversation = day.conversation
    threads = dict.fromkeys(turn.thread for turn in own if turn.thread)
    metadata: dict[str, Json] = {
        "team": team,
        "channel": conversation.name,
        "channel_id": conversation.id,
        "channel_kind": conversation.kind,
        "day": day.day,
        "message_ids": [turn.native_id for turn in own[:MAX_LISTED_IDS]],
    }
    if threads:
        metadata["threads"] = list(threads)[:MAX_LISTED_IDS]
    return Record(
        origin="slack",
        kind="conversation_day",
        native_id=f"{team}/{conversation.id}/{day.day}/{user.id}",
        subjects=(_person(user),),
        text=text,
        file=file.name,
        position=day.member,
        segments=segments,
        occurred_at=own[-1].occurred_at,
        modified_at=modified,
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


READER = Reader(format="slack", source=Source.CHAT, detect=_detect, read=_read, version=2)

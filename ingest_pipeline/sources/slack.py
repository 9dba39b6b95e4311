"""Reads Slack export zips: one record per person, conversation and day, with the turns around theirs.

Shape: ``users.json``, ``channels.json`` (``groups``, ``dms``, ``mpims``), ``<conversation>/YYYY-MM-DD.json``, perhaps
all in one folder. Days are those of the files' names (the exporter's zone), times those of ``ts`` (UTC).
"""

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from msgspec import Struct

from ingest_pipeline.documents import Item, Json, Record, Rejected, Segment, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.archives import ZIP_MAGIC, Archive, open_zip
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import sanitized
from ingest_pipeline.sources.conversation import (
    EARLIEST,
    MAX_LISTED_IDS,
    Excerpts,
    Turn,
    own_turns,
    without_repeats,
)
from ingest_pipeline.sources.json_stream import Broken
from ingest_pipeline.sources.slack_text import Element, message_text
from ingest_pipeline.sources.slack_workspace import (
    LISTS,
    Conversation,
    Profile,
    User,
    Workspace,
    load_list,
    person_of,
    read_workspace,
    unlisted,
)

MAX_DAY_BYTES = 25_000_000
"""Of one conversation's day file, some 30,000 messages; parsed it takes about eight times that."""

_DAY = re.compile(r"(?P<root>.*?)(?P<folder>[^/]+)/(?P<day>\d{4}-\d{2}-\d{2})\.json")
_TS = re.compile(r"\d{1,11}(?:\.\d{1,6})?")
# Subtypes under which a person's own words are stored; every other one is Slack's or a program's text.
_HUMAN_SUBTYPES = frozenset({"", "me_message", "thread_broadcast", "reply_broadcast"})


class _Reaction(Struct, gc=False):
    users: list[Json] = []


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
    user_profile: Profile | None = None
    files: list[_File] | None = None
    reactions: list[_Reaction] | None = None


@dataclass(frozen=True, slots=True)
class _Day:
    member: str
    day: str
    conversation: Conversation


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
    workspace = read_workspace(file, archive, lists, options, problems)
    yield from problems
    skipped: Counter[str] = Counter()
    for match in days:
        folder = match["folder"]
        conversation = workspace.conversations.get(folder) or Conversation(folder, folder, "channel")
        day = _Day(match[0], match["day"], conversation)
        entries = load_list(file, archive, day.member, MAX_DAY_BYTES, Message)
        if isinstance(entries, Rejected):
            yield entries
        else:
            yield from _day_items(file, day, entries, workspace, skipped)
    for reason, units in sorted(skipped.items()):
        yield Skipped(file.name, reason, units)


def _day_items(
    file: SourceFile, day: _Day, entries: Sequence[Message | Broken], workspace: Workspace, skipped: Counter[str]
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


def _turn(message: Message | Broken, workspace: Workspace, skipped: Counter[str]) -> Turn | str:
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
    user_id = message.user or ""
    user = workspace.users.get(user_id)
    if user is None and user_id:
        user = unlisted(user_id, message.user_team or message.team, message.user_profile, workspace)
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


def _record(
    file: SourceFile,
    day: _Day,
    user: User,
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
        subjects=(person_of(user),),
        text=text,
        file=file.name,
        position=day.member,
        segments=segments,
        occurred_at=own[-1].occurred_at,
        modified_at=modified,
        metadata=metadata,
        units=len(own),
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
    has_lists = any(name.rpartition("/")[2] in {"users.json", *LISTS} for name in names)
    return has_lists and (len(names) < 10 or any(_DAY.fullmatch(name) for name in names))


READER = Reader(format="slack", source=Source.CHAT, detect=_detect, read=_read, version=2)

"""Conversations as text: one record per person and conversation-day, their messages with the turns around them.

A reader gives the turns of one conversation as it finds them; days are put together here, a few at a time.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from zoneinfo import ZoneInfo

from msgspec import Struct, structs

from ingest_pipeline.documents import Item, Json, Person, Record, Rejected, Role, Segment

TURNS_BEFORE = 2
TURNS_AFTER = 1

MAX_DAY_TURNS = 20_000
"""A longer day becomes several records per person."""

OPEN_DAYS = 3
"""Days that are put together at once: messages that were delivered late stand a little out of order."""

MAX_LISTED_IDS = 50
FUTURE_SLACK = timedelta(days=2)
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""Earlier times are clocks that were never set; 1970 is the common one."""

UNDATED = "undated"
NOT_EVIDENCE = {Role.STAFF: "internal_sender", Role.ASSISTANT: "assistant", Role.SYSTEM: "system"}
"""Turns that make no record of their own, by the reason under which they are counted."""


_SUBJECT = Role.SUBJECT


class Turn(Struct, frozen=True, gc=False):
    """One message, its text not blank. ``speaker`` is the person's id in the source, ``name`` how the text shows them.

    ``role``: OTHER for whoever may become a profile, unless ``speaker`` is empty: then it is who exported the chat, and
    is called "You" there. ``position`` is its number in the file.
    """

    speaker: str
    name: str
    text: str
    native_id: str
    occurred_at: datetime | None
    role: Role = Role.OTHER
    position: int = 0
    thread: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What all its records share. ``id`` is unique in the origin; ``where`` is the position's beginning.

    ``zone`` decides where days end; ``time_zone`` tells how the times' zone was decided.
    """

    origin: str
    id: str
    file: str
    zone: ZoneInfo
    time_zone: str
    where: str = "message"
    metadata: Mapping[str, Json] = field(default_factory=dict)


class Excerpts:
    """The texts about the people of one conversation-day. What they share is worked out once."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns
        self._lines = [f"{turn.name}: {turn.text}\n" for turn in turns]
        self._offsets = [0, *accumulate(map(len, self._lines))]
        # (begin, end, turn) of what each turn's speaker did not quote; those of turn n from _first[n] on.
        spans: list[tuple[int, int, Turn]] = []
        self._first = [0]
        for offset, turn in zip(self._offsets, turns, strict=False):
            begin = offset + len(turn.name) + 2
            if ">" in turn.text:
                spans += [(start, end, turn) for start, end in unquoted(turn.text, begin)]
            else:
                spans.append((begin, begin + len(turn.text), turn))
            self._first.append(len(spans))
        self._spans = spans

    def about(self, own: Sequence[int]) -> tuple[str, tuple[Segment, ...]]:
        """The text about one person as ``Name: message`` lines, and whose words each span holds.

        ``own`` are the indices of the person's turns, ascending, at least one. Around each run of them stand up to
        TURNS_BEFORE and TURNS_AFTER turns of others; windows that do not touch are set apart by a blank line. Segments
        cover message bodies only, without lines quoted with ``>``.
        """
        subject = self._turns[own[0]].speaker
        lines: list[str] = []
        segments: list[Segment] = []
        length = 0
        for start, end in _windows(len(self._turns), own):
            if length:
                lines.append("\n")
                length += 1
            lines += self._lines[start:end]
            moved = length - self._offsets[start]
            segments += [
                Segment(
                    moved + begin,
                    moved + stop,
                    _SUBJECT if turn.speaker == subject else turn.role,
                    turn.name,
                    turn.native_id,
                    turn.occurred_at,
                )
                for begin, stop, turn in self._spans[self._first[start] : self._first[end]]
            ]
            length += self._offsets[end] - self._offsets[start]
        return "".join(lines).removesuffix("\n"), tuple(segments)


def _windows(count: int, own: Sequence[int]) -> list[tuple[int, int]]:
    windows: list[tuple[int, int]] = []
    start, end = max(0, own[0] - TURNS_BEFORE), own[0] + 1 + TURNS_AFTER
    for index in own:
        if index - TURNS_BEFORE > end:
            windows.append((start, end))
            start = index - TURNS_BEFORE
        end = index + 1 + TURNS_AFTER
    windows.append((start, min(count, end)))
    return windows


def unquoted(text: str, offset: int) -> list[tuple[int, int]]:
    """One span per stretch of lines that the speaker did not quote."""
    spans: list[tuple[int, int]] = []
    position = offset
    for line in text.split("\n"):
        end = position + len(line)
        if line.strip() and not line.startswith(">"):
            if spans and spans[-1][1] + 1 == position:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((position, end))
        position = end + 1
    return spans


def own_turns(turns: Sequence[Turn], skipped: Counter[str]) -> dict[str, list[int]]:
    """Speaker → the indices of their turns, for those who may become a profile; the others are counted."""
    own: dict[str, list[int]] = {}
    for index, turn in enumerate(turns):
        if turn.role is not Role.OTHER:
            skipped[NOT_EVIDENCE[turn.role]] += 1
        elif not turn.speaker:
            skipped["exporter"] += 1
        elif (indices := own.get(turn.speaker)) is not None:
            indices.append(index)
        else:
            own[turn.speaker] = [index]
    return own


def plausible(moment: datetime | None, latest: datetime) -> datetime | None:
    """The moment unless it is a clock that was never set, or later than ``latest``, in the future."""
    return moment if moment is not None and EARLIEST <= moment <= latest else None


def from_unix(time: Json, per_second: int = 1) -> datetime | None:
    """The moment of a Unix time given as a number or in digits; None for anything else.

    ``per_second``: 1,000 for milliseconds.
    """
    try:
        if type(time) is int:
            return datetime.fromtimestamp(time / per_second, UTC)
        return datetime.fromtimestamp(float(time) / per_second, UTC) if time is not True and time is not False else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def from_iso(text: Json, zone: ZoneInfo) -> datetime | None:
    """The moment of an ISO 8601 time, which is in ``zone`` when it names none; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is UTC:
            return moment
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(slots=True)
class _Day:
    """Messages of one day; ``begin`` and ``end`` bound it in UTC, so that most messages need no zone arithmetic."""

    name: str
    begin: datetime
    end: datetime
    turns: list[Turn] = field(default_factory=list)


_NEVER = datetime.max.replace(tzinfo=UTC)
_NO_DAY = _Day("", _NEVER, _NEVER)


class Days:
    """Puts the messages of one conversation together by day and makes the records of the days that are done.

    ``person`` describes a speaker. A message without a plausible time is kept, among the undated. Messages of a day
    that is already done (more than OPEN_DAYS out of order) make further records of it.
    """

    def __init__(
        self, conversation: Conversation, person: Callable[[str], Person], skipped: Counter[str], latest: datetime
    ) -> None:
        self._conversation = conversation
        self._person = person
        self._skipped = skipped
        self._latest = latest
        self._days: list[_Day] = []
        self._last = _NO_DAY

    def add(self, turn: Turn) -> Iterable[Record]:
        """The records of the day that this message ends, seldom any."""
        moment = turn.occurred_at
        day = self._last
        if moment is None or not day.begin <= moment < day.end:
            if moment is not None and plausible(moment, self._latest) is None:
                moment, turn = None, structs.replace(turn, occurred_at=None)
            day = self._last = self._open_day(moment)
        day.turns.append(turn)
        if len(day.turns) >= MAX_DAY_TURNS:
            self._days.remove(day)
            self._last = _NO_DAY
            return self._records(day)
        return self._records(self._days.pop(0)) if len(self._days) > OPEN_DAYS else ()

    def finish(self) -> Iterator[Record]:
        """The records of the days that are left."""
        while self._days:
            yield from self._records(self._days.pop(0))

    def _open_day(self, moment: datetime | None) -> _Day:
        for day in reversed(self._days):
            if day.begin <= moment < day.end if moment else day.name == UNDATED:
                return day
        day = _new_day(moment, self._conversation.zone)
        self._days.append(day)
        return day

    def _records(self, day: _Day) -> Iterator[Record]:
        return _day_records(self._conversation, day, self._person, self._skipped)


def conversation_records(
    conversation: Conversation,
    turns: Iterable[Turn | Rejected],
    person: Callable[[str], Person],
    skipped: Counter[str],
    latest: datetime,
) -> Iterator[Item]:
    """The records of one conversation, day by day, and the rejections that come with its turns."""
    days = Days(conversation, person, skipped, latest)
    for turn in turns:
        if isinstance(turn, Rejected):
            yield turn
        else:
            yield from days.add(turn)
    yield from days.finish()


def _new_day(moment: datetime | None, zone: ZoneInfo) -> _Day:
    if moment is None:
        return _Day(UNDATED, _NEVER, _NEVER)
    local = moment.astimezone(zone)
    begin = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return _Day(local.date().isoformat(), begin.astimezone(UTC), (begin + timedelta(days=1)).astimezone(UTC))


def _day_records(
    conversation: Conversation, day: _Day, person: Callable[[str], Person], skipped: Counter[str]
) -> Iterator[Record]:
    turns = day.turns
    if day.name != UNDATED:
        if _occurred_at(turns[0]) > _occurred_at(turns[-1]):  # newest first: those of one moment, too
            turns.reverse()
        turns.sort(key=_occurred_at)
    turns = without_repeats(turns, skipped)
    own = own_turns(turns, skipped)
    # An export that ends in the middle of the day is older than one that goes on.
    modified = turns[-1].occurred_at
    excerpts = Excerpts(turns)
    for speaker, indices in own.items():
        text, segments = excerpts.about(indices)
        mine = [turns[index] for index in indices]
        threads = list(dict.fromkeys(turn.thread for turn in mine if turn.thread))[:MAX_LISTED_IDS]
        yield Record(
            origin=conversation.origin,
            kind="conversation_day",
            # With the first message's id: an export that begins in the middle of a day does not replace the whole day.
            native_id=f"{conversation.id}/{day.name}/{mine[0].native_id}",
            subjects=(person(speaker),),
            text=text,
            file=conversation.file,
            position=f"{conversation.where} {mine[0].position}",
            segments=segments,
            occurred_at=mine[-1].occurred_at,
            modified_at=modified,
            metadata={
                **conversation.metadata,
                "day": day.name,
                "time_zone": conversation.time_zone,
                "message_ids": [turn.native_id for turn in mine[:MAX_LISTED_IDS]],
                **({"threads": threads} if threads else {}),
            },
            units=len(mine),
        )


def without_repeats(turns: list[Turn], skipped: Counter[str]) -> list[Turn]:
    """The turns, each native id once; the others are counted."""
    first = {turn.native_id: turn for turn in reversed(turns)}
    if len(first) == len(turns):
        return turns
    skipped["duplicate"] += len(turns) - len(first)
    return [turn for turn in turns if first[turn.native_id] is turn]


def _occurred_at(turn: Turn) -> datetime:
    assert turn.occurred_at is not None  # the undated have a day of their own
    return turn.occurred_at

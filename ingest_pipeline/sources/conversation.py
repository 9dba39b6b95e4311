"""One person's part of a conversation-day as text: their messages with the turns around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ingest_pipeline.documents import Role, Segment

TURNS_BEFORE = 2
TURNS_AFTER = 1


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. ``speaker`` is the person's id in the source, ``name`` how the text shows them."""

    speaker: str
    name: str
    text: str
    native_id: str
    occurred_at: datetime | None
    is_staff: bool = False


def excerpt(turns: Sequence[Turn], own: Sequence[int]) -> tuple[str, tuple[Segment, ...]]:
    """The text about one person as ``Name: message`` lines, and whose words each span holds.

    ``own`` are the indices of the person's turns, ascending, at least one. Around each run of them stand up to
    TURNS_BEFORE and TURNS_AFTER turns of others; windows that do not touch are set apart by a blank line. Segments
    cover message bodies only, without lines quoted with ``>``.
    """
    subject = turns[own[0]].speaker
    pieces: list[str] = []
    segments: list[Segment] = []
    length = 0
    for number, (start, end) in enumerate(_windows(len(turns), own)):
        if number:
            pieces.append("\n")
            length += 1
        for turn in turns[start:end]:
            label = f"{turn.name}: "
            segments += _segments(turn, length + len(label), subject)
            piece = f"{label}{turn.text}\n"
            pieces.append(piece)
            length += len(piece)
    return "".join(pieces).removesuffix("\n"), tuple(segments)


def _windows(count: int, own: Sequence[int]) -> list[tuple[int, int]]:
    windows: list[tuple[int, int]] = []
    for index in own:
        start, end = max(0, index - TURNS_BEFORE), min(count, index + 1 + TURNS_AFTER)
        if windows and start <= windows[-1][1]:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows


def _segments(turn: Turn, offset: int, subject: str) -> list[Segment]:
    """One segment per stretch of lines that the speaker did not quote."""
    role = Role.SUBJECT if turn.speaker == subject else Role.STAFF if turn.is_staff else Role.OTHER
    if ">" not in turn.text and turn.text.strip():
        end = offset + len(turn.text)
        return [Segment(offset, end, role, turn.name, turn.native_id, turn.occurred_at)]
    spans: list[tuple[int, int]] = []
    position = offset
    for line in turn.text.split("\n"):
        end = position + len(line)
        if line.strip() and not line.startswith(">"):
            if spans and spans[-1][1] + 1 == position:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((position, end))
        position = end + 1
    return [Segment(start, end, role, turn.name, turn.native_id, turn.occurred_at) for start, end in spans]

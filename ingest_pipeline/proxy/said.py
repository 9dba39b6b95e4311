"""What the user said in a conversation: a document per message of theirs, with the two turns before it as context.

A conversation comes again with every request, longer by a turn, and often without its beginning. So a document is known
by the message's own words (``record_key``) and the turn before them (``id``):

    said just now, after the assistant's last turn   new unless it was said before after the same turn
    said earlier                                     new unless the same words are known from this user
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingest_pipeline.documents import Json, Role, Segment, content_hash, stable_id
from ingest_pipeline.llm.transport import storable
from ingest_pipeline.sources.assistants import ASSISTANT, USER, clipped
from ingest_pipeline.sources.conversation import TURNS_BEFORE, unquoted

_LABELS = {"user": USER, "assistant": ASSISTANT}
_ANSWERS = frozenset({"assistant", "tool", "function"})


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the user's. ``now``: nobody has answered it yet. ``position`` is its number in the request."""

    id: str
    record_key: str
    text: str
    segments: tuple[Segment, ...]
    now: bool
    position: int

    @property
    def content_hash(self) -> str:
        return content_hash(self.text, self.segments)


@dataclass(frozen=True, slots=True)
class _Turn:
    role: str
    text: str
    position: int


def read_said(reference: str, messages: Sequence[Json]) -> list[Said]:
    """The user's messages, in their order. ``reference`` is what the caller knows the user by.

    None when messages of role ``user`` have different names: then it is unclear whose they are.
    """
    names = {message["name"] for message in messages if message["role"] == "user" and message.get("name")}
    if len(names) > 1:
        return []
    turns = list(_turns(messages))
    answered = max((n for n, message in enumerate(messages) if message["role"] in _ANSWERS), default=-1)
    found: dict[str, Said] = {}
    for index, turn in enumerate(turns):
        if turn.role == "user":
            context = turns[max(0, index - TURNS_BEFORE) : index]
            said = _said(reference, turn, context, turn.position > answered)
            if said is not None:
                found[said.id] = said
    return list(found.values())


def _turns(messages: Sequence[Json]) -> Iterator[_Turn]:
    for position, message in enumerate(messages):
        if message["role"] in _LABELS:
            text = storable(message_text(message)).strip()
            if text:
                yield _Turn(message["role"], text, position)


def message_text(message: Json) -> str:
    """The words of a message: its text parts, without images, sound and files."""
    content = message.get("content")
    if isinstance(content, list):
        texts = (part.get("text") for part in content if part["type"] == "text")
        return "\n".join(text for text in texts if isinstance(text, str))
    return content or ""


def _said(reference: str, turn: _Turn, context: Sequence[_Turn], now: bool) -> Said | None:
    text, segments = _with_context(turn, context)
    if not any(segment.role is Role.SUBJECT for segment in segments):
        return None
    record_key = stable_id("llm_proxy", reference, content_hash(turn.text))
    before = content_hash(context[-1].text) if context else ""
    return Said(stable_id("document", record_key, before), record_key, text, segments, now, turn.position)


def _with_context(turn: _Turn, context: Sequence[_Turn]) -> tuple[str, tuple[Segment, ...]]:
    """``User: …`` and ``Assistant: …`` lines, or the message alone.

    Earlier words of the user's own stand outside every segment: they are evidence in their own document.
    """
    text, segments = "", list[Segment]()
    for before in context:
        text += f"{_LABELS[before.role]}: "
        start, words = len(text), clipped(before.text)
        if before.role == "assistant":
            segments.append(Segment(start, start + len(words), Role.ASSISTANT, ASSISTANT))
        text += f"{words}\n"
    text += f"{USER}: " if context else ""
    segments += [Segment(start, end, Role.SUBJECT) for start, end in unquoted(turn.text, len(text))]
    return text + turn.text, tuple(segments)

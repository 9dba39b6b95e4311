"""A ticket or conversation as text about one of its people: their messages with the turns around them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ingest_pipeline.documents import EVIDENCE_ROLES, Role
from ingest_pipeline.sources.crm_mail import own_words
from ingest_pipeline.sources.crm_text import TextBuilder

TURNS_BEFORE = 2
TURNS_AFTER = 1
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``role``: SUBJECT for any customer, STAFF, NOTE (written about the requester) or ASSISTANT.

    ``speaker`` is the customer's id, "" for others; ``name`` how the text shows them.
    """

    speaker: str
    name: str
    text: str
    role: Role
    native_id: str
    at: datetime | None = None


def in_order(messages: Iterable[Message]) -> list[Message]:
    """By time, those without one first, and each message once."""
    unique = {message.native_id: message for message in messages}
    return sorted(unique.values(), key=lambda message: message.at or _BEGINNING)


def speakers(messages: Iterable[Message]) -> list[str]:
    """The customers who say something, in order."""
    return list(dict.fromkeys(message.speaker for message in messages if message.role is Role.SUBJECT))


def add_dialogue(text: TextBuilder, messages: Sequence[Message], person: str, is_requester: bool) -> int:
    """Add what proves something about the person and the turns around it. Returns how many messages are theirs.

    Notes are about the requester only. What a customer quotes from an earlier mail is left out.
    """
    roles = [_role(message, person, is_requester) for message in messages]
    shown = [False] * len(messages)
    for index, role in enumerate(roles):
        if role in EVIDENCE_ROLES:
            first, last = max(0, index - TURNS_BEFORE), min(len(messages), index + 1 + TURNS_AFTER)
            shown[first:last] = [True] * (last - first)
    for message, role, is_shown in zip(messages, roles, shown, strict=True):
        if not is_shown:
            continue
        body, signature = message.text, ""
        if message.role is Role.SUBJECT:
            own = own_words(body)
            body, signature = own.text, own.signature
            text.quoted_left_out |= own.quoted_left_out
        text.text(body, role, message.native_id, message.name or None, message.at, label=message.name)
        if role is Role.SUBJECT:
            text.text(signature, Role.SIGNATURE, message.native_id, message.name or None, message.at)
    return sum(role in EVIDENCE_ROLES for role in roles)


def _role(message: Message, person: str, is_requester: bool) -> Role:
    if message.role is Role.SUBJECT and message.speaker != person:
        return Role.OTHER
    if message.role is Role.NOTE and not is_requester:
        return Role.STAFF
    return message.role

"""What ChatGPT's and Claude's exports have in common: the person is the account's owner, the assistant is context."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from ingest_pipeline.documents import Identifier, Person, Record, Role
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.charsets import one_line, sanitized
from ingest_pipeline.sources.chat_files import Part
from ingest_pipeline.sources.json_stream import NotJson, parse_json

MAX_CONTEXT_CHARS = 800
"""Of one answer of the assistant: the person's words are what counts, and answers are long."""

MAX_ACCOUNT_BYTES = 10_000_000
USER = "User"
ASSISTANT = "Assistant"

_ENDING = re.compile(r"(?:\.(?:json|zip))+\Z", re.IGNORECASE)
_AS_EXPORTED = re.compile(r"(?:\A|/)(?:conversations(?:-\d+)?|users?)\.json\Z")


class Account(Struct):
    """An entry of ``user.json`` (ChatGPT) or ``users.json`` (Claude)."""

    id: str = ""
    uuid: str = ""
    email: str | None = None
    address: str | None = msgspec.field(default=None, name="email_address")
    name: str | None = None
    full_name: str | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose account it is. ``role`` is STAFF for the company's own people."""

    person: Person
    name: str
    role: Role


def account_key(part: Part) -> str:
    """What stands for an account that no file names: the zip, the folder of files as exported, or the file."""
    name = part.file.name
    if not part.member and _AS_EXPORTED.search(name):
        return name.rpartition("/")[0]
    return _ENDING.sub("", name)


def owner_of(kind: str, key: str, account: Account | None, options: ReadOptions, also: Iterable[str] = ()) -> Owner:
    """The owner by the account's own id, else by ``key``; ``also`` are further ids of the same account."""
    email, name, native = "", "", ""
    if account is not None:
        email = sanitized(account.email or account.address or "").strip().lower()
        name = one_line(sanitized(account.full_name or account.name or ""))
        native = sanitized(account.id or account.uuid).strip()
    identifier = Identifier(kind, native or key)
    person = Person(
        key=identifier,
        namespace=kind,
        name=name or None,
        identifiers=(Identifier("email", email),) if "@" in email else (),
        same_as=tuple(Identifier(kind, other) for other in also if other != identifier.value),
    )
    staff = options.is_internal(email) if "@" in email else options.is_staff(native, name, key)
    return Owner(person, name or USER, Role.STAFF if staff else Role.OTHER)


def read_accounts(part: Part) -> list[Account]:
    """The accounts that a ``user.json`` or ``users.json`` describes. None when it cannot be read."""
    with part.opener() as stream:
        data = stream.read(MAX_ACCOUNT_BYTES)
    try:
        loaded = parse_json(data)
        return msgspec.convert(loaded if isinstance(loaded, list) else [loaded], list[Account])
    except (NotJson, msgspec.ValidationError):
        return []


def account_records(part: Part, kind: str, owners: Iterable[Owner]) -> Iterator[Record]:
    """Records without text that tell who the accounts are."""
    for number, owner in enumerate(owners, start=1):
        yield Record(
            origin=kind,
            kind="account",
            native_id=owner.person.key.value,
            subjects=(owner.person,),
            text="",
            file=part.file.name,
            position=part.at(f"account {number}"),
        )


def clipped(text: str) -> str:
    """The beginning and the end of an answer of the assistant."""
    if len(text) <= MAX_CONTEXT_CHARS:
        return text
    # Its end is where it asks back.
    return f"{text[: MAX_CONTEXT_CHARS // 4]}\n[…]\n{text[-3 * MAX_CONTEXT_CHARS // 4 :]}"

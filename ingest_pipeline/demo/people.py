"""The cast: people with everything they wrote and everything that was written about them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from importlib.resources import files

from ingest_pipeline.demo.answers import ExpectedMemory, ExpectedTrait, Forbidden
from ingest_pipeline.documents import Json

STAFF_DOMAIN = "northwind.example"
STORY_FILES = ("stories_1.toml", "stories_2.toml", "stories_3.toml")


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail of a person. ``quoted`` is what staff member ``by`` had written before, ``forwarded`` another mail.

    ``box`` is mbox, maildir or eml; ``style`` top or bottom: where the own words stand.
    """

    at: datetime
    subject: str
    text: str
    box: str = "mbox"
    sender: str = ""
    quoted: str = ""
    by: str = ""
    style: str = "top"
    forwarded: str = ""
    html: bool = False
    charset: str = "utf-8"
    list: bool = False


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation of one day. A line is (speaker, text); the speaker is ``me`` or a staff member."""

    at: datetime
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A CRM record about a person: task, event, case, note, lead_task or hubspot_note, by a staff member.

    A case holds the person's own words. ``merged`` entries hang on the id that was merged into the person's.
    """

    kind: str
    at: datetime
    text: str
    subject: str = ""
    by: str = ""
    merged: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """``homes`` say which systems have a record: salesforce, hubspot, lead, converted_lead, slack.

    ``also`` are further addresses; ``latin`` the name in Latin script; ``since`` the day of the CRM record.
    """

    slug: str
    name: str
    company: str
    title: str
    city: str
    country: str
    email: str
    homes: tuple[str, ...]
    since: datetime
    latin: str = ""
    also: tuple[str, ...] = ()
    phone: str = ""
    merged_from: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    mails: tuple[Mail, ...] = ()
    chats: tuple[Chat, ...] = ()
    entries: tuple[Entry, ...] = ()
    traits: tuple[ExpectedTrait, ...] = ()
    memories: tuple[ExpectedMemory, ...] = ()
    never: tuple[Forbidden, ...] = ()
    story: bool = False

    @property
    def latin_name(self) -> str:
        return self.latin or self.name

    @property
    def given(self) -> str:
        """The first name in Latin script."""
        return self.latin_name.split()[0]

    @property
    def family(self) -> str:
        """The last name in Latin script."""
        return self.latin_name.split()[-1]

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.email, *self.also)


@cache
def data(name: str) -> dict[str, Json]:
    """A TOML file of the package's data folder. Shared: not to be changed."""
    return tomllib.loads(files("ingest_pipeline.demo").joinpath("data", name).read_text(encoding="utf-8"))


def staff() -> dict[str, str]:
    """Staff by first name in lower case: the full name."""
    return dict(data("cast.toml")["staff"])


def staff_email(key: str) -> str:
    return f"{staff()[key].lower().replace(' ', '.')}@{STAFF_DOMAIN}"


def story_people() -> list[Person]:
    """The people whose stories are written out, in file order."""
    return [_person(row) for name in STORY_FILES for row in data(name)["person"]]


def _person(row: dict[str, Json]) -> Person:
    fields = {key: value for key, value in row.items() if key not in _NESTED}
    for key in ("homes", "also"):
        fields[key] = tuple(fields.get(key, ()))
    return replace(
        Person(**fields),
        mails=tuple(Mail(**_clean(mail)) for mail in row.get("mail", ())),
        chats=tuple(Chat(chat["at"], tuple(map(_line, chat["lines"]))) for chat in row.get("chat", ())),
        entries=tuple(Entry(**_clean(entry)) for entry in row.get("crm", ())),
        traits=(*_traits(row.get("traits", {}), True), *_traits(row.get("weak", {}), False)),
        memories=tuple(ExpectedMemory(*each) for each in row.get("memories", ())),
        never=tuple(Forbidden(key, value) for key, value in row.get("never", ())),
        story=True,
    )


_NESTED = {"mail", "chat", "crm", "traits", "weak", "memories", "never"}


def _traits(values: Mapping[str, Json], offline: bool) -> tuple[ExpectedTrait, ...]:
    return tuple(
        ExpectedTrait(key, tuple(value) if isinstance(value, list) else value, offline) for key, value in values.items()
    )


def _clean(row: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value.strip("\n") if isinstance(value, str) else value for key, value in row.items()}


def _line(line: str) -> tuple[str, str]:
    speaker, _, text = line.partition(": ")
    return speaker, text

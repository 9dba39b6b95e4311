"""The answer key: what a sync of the generated inbox must and must not find."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ingest_pipeline.documents import Json


@dataclass(frozen=True, slots=True)
class ExpectedTrait:
    """A trait that the profile holds once everything is read.

    ``offline`` is False when it takes more than patterns to see it.
    """

    key: str
    value: str | tuple[str, ...]
    offline: bool = True

    def held_by(self, stored: Json) -> bool:
        """True when the stored value contains the expected one, all of its elements for an array; case is ignored."""
        wanted = (self.value,) if isinstance(self.value, str) else self.value
        have = [str(element).casefold() for element in (stored if isinstance(stored, list | tuple) else [stored])]
        return all(any(element.casefold() in value for value in have) for element in wanted)


@dataclass(frozen=True, slots=True)
class ExpectedMemory:
    """A memory of this type (``offline`` as for traits) whose sentence contains ``words``, ignoring case."""

    type: str
    words: str
    offline: bool = True


@dataclass(frozen=True, slots=True)
class Forbidden:
    """What a profile must not say at the end. ``key`` is a trait key or ``memory``; earlier values may be history."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class PersonAnswer:
    """One profile. ``identifiers`` are ``kind:value``, e-mail addresses and telephone numbers (E.164)."""

    slug: str
    name: str
    identifiers: tuple[str, ...]
    traits: tuple[ExpectedTrait, ...]
    memories: tuple[ExpectedMemory, ...] = ()
    never: tuple[Forbidden, ...] = ()
    story: bool = False


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """What reading one file gives, in items: records about a person, rejected units, units left out by reason.

    ``records`` counts documents with text; a mail that stands in two files counts in both.
    """

    file: str
    records: int
    rejected: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """``documents`` per source count each document once. ``ambiguous`` identifiers are claimed by several people.

    ``nobody`` are addresses that must not get a profile: staff, automatic senders, people seen only on a list.
    """

    seed: int
    profiles: int
    documents: Mapping[str, int]
    people: tuple[PersonAnswer, ...]
    files: tuple[FileAnswer, ...]
    ambiguous: tuple[str, ...]
    nobody: tuple[str, ...]

    def file(self, name: str) -> FileAnswer:
        """The answer for the file of this name inside the inbox. Raises KeyError for another name."""
        for answer in self.files:
            if answer.file == name:
                return answer
        raise KeyError(name)

    def person(self, slug: str) -> PersonAnswer:
        """The answer for the person of this slug. Raises KeyError for another slug."""
        for answer in self.people:
            if answer.slug == slug:
                return answer
        raise KeyError(slug)

    def to_json(self) -> str:
        """The key as JSON, the same text for the same key."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"

"""Personal values that a provider is not to see: placeholders in what is asked, the values again in what is answered.

    documents ─Redactor.begin─▶ Redaction ─shown─▶ "Write to [EMAIL_1]" ─▶ provider ─▶ "[EMAIL_1]" ─restored─▶ value

A value that reaches over the edge of a stretch (a chunk, a turn) is replaced in both. Placeholders are numbered by the
documents first and the names in the header last, so that an answer still fits when a profile was renamed meanwhile.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from ingest_pipeline.documents import Document
from ingest_pipeline.errors import IngestError
from ingest_pipeline.extraction.personal import VERSION, Found, Personal, find_personal

_BRACKETED = re.compile(rf"\[({'|'.join(kind.name for kind in Personal)})_(\d{{1,6}})\]")
_BARE = re.compile(rf"(?<!\w)({'|'.join(kind.name for kind in Personal)})_(\d{{1,6}})(?!\w)")


class InventedPlaceholder(IngestError):
    """An answer names a placeholder that stands for nothing."""

    def __init__(self) -> None:
        super().__init__("the answer names a placeholder that was not in the request")


@dataclass(frozen=True)
class Redactor:
    """What is hidden: nothing without ``kinds``. ``region``: as INGEST_PHONE_REGION, for numbers without a +."""

    kinds: frozenset[Personal] = frozenset()
    region: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """Of all that decides what is hidden; empty when nothing is."""
        if not self.kinds:
            return ""
        decisive = (VERSION, sorted(self.kinds), self.region if Personal.PHONE in self.kinds else "")
        return hashlib.sha256(repr(decisive).encode()).hexdigest()[:12]

    def begin(self, documents: Iterable[Document] = ()) -> "Redaction":
        """For one request about these documents."""
        redaction = Redaction(self)
        if self.kinds:
            documents = list(documents)
            redaction.reserve(document.text for document in documents)
            for document in documents:
                redaction.shown(document.text)
                for segment in document.segments:
                    redaction.shown(segment.speaker or "")
        return redaction


@dataclass
class Redaction:
    """The placeholders of one request. The same value, but for case and white space, has the same one."""

    redactor: Redactor = field(default_factory=Redactor)
    _names: dict[tuple[Personal, str], str] = field(default_factory=dict)
    _values: dict[str, str] = field(default_factory=dict)
    _literal: set[str] = field(default_factory=set)
    _found: dict[str, list[Found]] = field(default_factory=dict)

    def reserve(self, texts: Iterable[str]) -> None:
        """Leave out the numbers of what looks like placeholders in the texts themselves."""
        self._literal |= {match[0] for text in texts for match in _BARE.finditer(text)}

    def shown(self, text: str, start: int = 0, end: int | None = None) -> str:
        """``text[start:end]`` with placeholders. Give the whole text: a value may reach over the edge."""
        end = len(text) if end is None else end
        if not self.redactor.kinds:
            return text[start:end]
        parts, at = [], start
        for found in self._find(text):
            if found.end > start and found.start < end:
                parts += [text[at : max(found.start, at)], f"[{self._name(found.kind, text[found.start : found.end])}]"]
                at = min(found.end, end)
        return "".join([*parts, text[at:end]])

    def restored(self, text: str) -> str:
        """The values in place of the placeholders. Raises InventedPlaceholder."""
        if not self.redactor.kinds:
            return text
        return _BARE.sub(self._bare, _BRACKETED.sub(self._bracketed, text))

    def _bracketed(self, match: re.Match[str]) -> str:
        name = f"{match[1]}_{match[2]}"
        if name in self._values:
            return self._values[name]
        if name in self._literal:
            return match[0]
        raise InventedPlaceholder

    def _bare(self, match: re.Match[str]) -> str:
        """Some models leave the brackets out. Unknown ones are ordinary words."""
        return self._values.get(match[0], match[0])

    def _find(self, text: str) -> list[Found]:
        if text not in self._found:
            self._found[text] = find_personal(text, self.redactor.kinds, self.redactor.region)
        return self._found[text]

    def _name(self, kind: Personal, value: str) -> str:
        key = (kind, " ".join(value.split()).casefold())
        if key not in self._names:
            number = 1 + sum(known is kind for known, _ in self._names)
            while f"{kind.name}_{number}" in self._literal or f"{kind.name}_{number}" in self._values:
                number += 1
            self._names[key] = f"{kind.name}_{number}"
            self._values[self._names[key]] = value
        return self._names[key]


def placeholder_rule(kinds: Iterable[Personal]) -> str:
    """What the prompt says of placeholders; empty when there are none."""
    names = ", ".join(f"[{kind.name}_1]" for kind in sorted(kinds))
    if not names:
        return ""
    return (
        f"Placeholders such as {names} stand for values that you do not see. The same placeholder is the same value. "
        "Copy them exactly as they are, brackets included, and use no others.\n"
    )

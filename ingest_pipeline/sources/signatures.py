"""Mail signatures as documents of their own: they prove name, title, company and phone.

Only those that say whose they are. What else stands below a mail, a proverb or a legal notice, is nobody's.

One document per person and signature, however many mails it stands under, dated by the first of them: that is when it
became true, as far as known; standing there again tells nothing new.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from ingest_pipeline.documents import SIGNATURE_KIND, Item, Person, Record, Role, Segment
from ingest_pipeline.sources import reply_patterns as patterns

MAX_REMEMBERED = 200_000
"""Signatures of one mailbox that are not yielded twice, some 20 MB; more are, and the store makes them one."""

MAX_PHRASE_CHARS = 60

_DELIMITERS = frozenset({"--", "---", "—-", "——"})
_WORD = re.compile(r"[^\W\d_]{2,}")
_PHONE = re.compile(r"(?<![\w-])\+?\(?\d[\d ()./-]{6,18}\d(?![\w-])")


def signature_record(text: str, mail: Record, address: str) -> Record | None:
    """The signature ``text`` under ``mail`` as a record about its sender.

    None when it names neither them nor a phone number or address of theirs, or holds no more than their name.
    """
    cleaned = clean_signature(text)
    if not _tells_who_and_more(cleaned, mail.subjects[0], address):
        return None
    digest = hashlib.sha256(f"{address}\n{cleaned}".encode()).hexdigest()
    known = ("message_id", "thread", "date_source", "list", "member")
    return Record(
        origin=mail.origin,
        kind=SIGNATURE_KIND,
        native_id=f"signature:{digest[:32]}",
        subjects=mail.subjects,
        text=cleaned,
        file=mail.file,
        position=mail.position,
        segments=(Segment(0, len(cleaned), Role.SIGNATURE, address),),
        occurred_at=mail.occurred_at,
        metadata={key: mail.metadata[key] for key in known if key in mail.metadata},
    )


def clean_signature(text: str) -> str:
    """The signature's lines without delimiter, closing phrase and device line; white space at line ends is cut off."""
    lines: list[str] = []
    lowered = text.lower()
    may_name_device = any(word in lowered for word in patterns.DEVICE_WORDS)
    for raw in text.split("\n"):
        line = raw.rstrip()
        bare = line.strip()
        if bare in _DELIMITERS or (len(bare) < MAX_PHRASE_CHARS and patterns.SIGN_OFF.match(bare)):
            continue
        if may_name_device and patterns.SENT_FROM.match(line):
            continue
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).strip("\n")


class Once:
    """Lets a signature pass once, and again only with an earlier date; everything else passes."""

    def __init__(self) -> None:
        self._first: dict[str, datetime | None] = {}

    def lets_pass(self, item: Item) -> bool:
        if not isinstance(item, Record) or item.kind != SIGNATURE_KIND:
            return True
        known = item.native_id in self._first
        if known and not _is_earlier(item.occurred_at, self._first[item.native_id]):
            return False
        if known or len(self._first) < MAX_REMEMBERED:
            self._first[item.native_id] = item.occurred_at
        return True


def once(items: Iterable[Item]) -> Iterator[Item]:
    """The items without signatures that came before, unless they now come with an earlier date."""
    return filter(Once().lets_pass, items)


def _is_earlier(moment: datetime | None, known: datetime | None) -> bool:
    return moment is not None and (known is None or moment < known)


def _tells_who_and_more(text: str, person: Person, address: str) -> bool:
    local, _, domain = address.partition("@")
    known = _words(f"{person.name or ''} {local}")
    first, *more = [line for line in text.split("\n") if line.strip()] or [""]
    if _PHONE.search(text) or f"@{domain}" in text.lower():
        return True
    return bool(more) and (_may_be_name(first, known) or any(len(_words(line) & known) > 1 for line in more))


def _may_be_name(line: str, known: set[str]) -> bool:
    """Their name, as known or written otherwise ("Sofia" for "Σοφία"): one word agrees, and all could be names."""
    names = _WORD.findall(line)
    return 1 <= len(names) <= 4 and bool(_words(line) & known) and all(name[0].isupper() for name in names)


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}

"""Edits: what a person decided about a profile. Input of the fold beside the observations, never changed or removed.

    edits + observations ── fold ──▶ traits, memories, summary

The latest edit of a target holds, by ``(at, id)``, in whatever order they arrive.

trait      set: the value holds until set again or cleared. clear: evidence decides again, ``set`` and ``confirm`` of
           the key are taken back. confirm: the value held at ``at``; only newer evidence may end it. reject: the value
           does not come back, from no evidence. unreject.
memory     set: written by hand. clear: takes ``set``, ``revise`` and ``confirm`` back. confirm: as sure as can be.
           reject: neither this sentence nor a near duplicate comes back. unreject. revise: other words, type or
           importance.
summary    set: this text stays. clear: made from the facts again.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from ingest_pipeline.documents import Json


class Action(StrEnum):
    SET = "set"
    CLEAR = "clear"
    CONFIRM = "confirm"
    REJECT = "reject"
    UNREJECT = "unreject"
    REVISE = "revise"
    MERGE = "merge"
    SPLIT = "split"


class Target(StrEnum):
    TRAIT = "trait"
    MEMORY = "memory"
    SUMMARY = "summary"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class Edit:
    """One decision. ``at`` is in UTC, ``actor`` who made it.

    ``key`` is the trait key, or the type of a memory that is set. ``target`` is the ``claim_key`` of the value or
    sentence that is meant: of one element for an array trait, of any sentence of a memory's cluster. ``value``: the
    trait's canonical value (the whole list for an array), the memory as ``{"content", "type", "importance"}`` with
    what is not to change left out, the summary's text. ``confidence`` (0–1) is what was given with a trait that is set.
    """

    id: str
    at: datetime
    actor: str
    action: Action
    kind: Target
    key: str
    target: str | None = None
    value: Json = None
    confidence: float | None = None

    def rank(self) -> tuple[datetime, str]:
        """The latest holds."""
        return (self.at, self.id)


def claim_key(value: Json) -> str:
    """What two spellings of one value or sentence share: case, spaces and final punctuation do not count."""
    return _text_key(value if isinstance(value, str) else repr(value))


@lru_cache(maxsize=32_768)
def _text_key(text: str) -> str:
    # A fold asks several times for each sentence and quote.
    return " ".join(text.casefold().split()).rstrip(".!… ")

"""What folding did, in counts: what runs record of it. No values, no texts."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

Origin: TypeAlias = tuple[str, str]
"""(source, origin) of a document: ``("crm", "salesforce")``."""


class TraitChange(NamedTuple):
    """``action`` is create, update or delete, from the stored state before and after."""

    key: str
    action: str


@dataclass(slots=True)
class Folded:
    """What folding a profile changed and what it has now.

    ``conflicts`` counts the traits with values that the evidence cannot choose between; ``documents`` those that prove
    something, ``quotes`` what they prove. Added up, it is of ``profiles`` profiles, and the ids are one's of them: so
    that a million folded profiles take the memory of their partitions.
    """

    profile_id: str
    partition_key: str
    traits: int
    memories: int
    evidence: int
    profiles: int = 1
    changed: int = 0
    trait_changes: Counter[TraitChange] = field(default_factory=Counter)
    memories_created: int = 0
    memories_deleted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    conflicts: int = 0
    documents: Counter[Origin] = field(default_factory=Counter)
    quotes: Counter[Origin] = field(default_factory=Counter)

    def __iadd__(self, other: "Folded") -> "Folded":
        for name in self.__slots__[2:]:
            count = getattr(self, name)
            count += getattr(other, name)
            setattr(self, name, count)
        return self

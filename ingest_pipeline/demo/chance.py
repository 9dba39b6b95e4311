"""Repeatable choices. Only ``Random.random`` is used: its sequence is the same in every Python version."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")

FIRST_DAY = datetime(2024, 1, 8, tzinfo=UTC)
DAYS = 700
"""Days from FIRST_DAY to the last day of the inbox, in December 2025."""

_SITES = ("Hall 2", "Eastgate", "the north depot", "Bay 7", "Riverside", "the cold store", "Unit 14", "Westfield")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


class Chance:
    """A seeded source of choices."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1."""
        return int(self._random.random() * limit)

    def maybe(self, probability: float) -> bool:
        return self._random.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """``count`` different options, or all when there are fewer."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]

    def slots(self) -> Mapping[str, str]:
        """Values for the slots of the sentences: numbers, a weekday, a site, a tour, an order."""
        return {
            "n": str(24 + self.below(400)),
            "m": str(3 + self.below(25)),
            "day": self.pick(_WEEKDAYS),
            "site": self.pick(_SITES),
            "tour": str(11 + self.below(80)),
            "order": f"{2024 + self.below(2)}-{1000 + self.below(8999)}",
        }

    def moment(self, day: int) -> datetime:
        """A working hour of a weekday, ``day`` days after FIRST_DAY or up to two days earlier."""
        moment = FIRST_DAY + timedelta(days=day, minutes=7 * 60 + self.below(600), seconds=self.below(60))
        return moment - timedelta(days=max(0, moment.weekday() - 4))


class Deck(Generic[T]):
    """Deals options in shuffled order and starts over when all are dealt, so that nothing repeats early."""

    def __init__(self, chance: Chance, options: Sequence[T]) -> None:
        self._chance = chance
        self._options = tuple(options)
        self._left: list[T] = []

    def deal(self) -> T:
        if not self._left:
            self._left = self._chance.some(self._options, len(self._options))
        return self._left.pop()

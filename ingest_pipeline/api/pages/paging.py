"""Long lists in pages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Paging:
    """Page ``number``, from 1, of ``total`` things. ``query``: what the address has besides."""

    number: int
    size: int
    total: int
    path: str
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.size))

    @property
    def first(self) -> int:
        """Of the things shown, counted from 1."""
        return min(self.total, (self.number - 1) * self.size + 1)

    @property
    def last(self) -> int:
        return min(self.total, self.number * self.size)

    def address(self, number: int) -> str:
        query = dict(self.query) | ({"page": str(number)} if number > 1 else {})
        return f"{self.path}?{urlencode(query)}" if query else self.path

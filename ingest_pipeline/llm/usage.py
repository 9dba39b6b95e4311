"""What calls took, from one request up to a whole partition."""

from dataclasses import dataclass


@dataclass(slots=True)
class Usage:
    """Counted up while a request is under way. Costs are US dollars, 0 for unknown prices and for no calls at all.

    ``calls`` counts what was sent, ``retries`` those after the first of a request, ``rate_limited`` the 429s,
    ``cache_hits`` the answers that were there already. ``cached_tokens`` is the part of the input tokens that the
    provider had in its prompt cache, ``waited_s`` the time between asking for a slot and sending.
    """

    calls: int = 0
    retries: int = 0
    rate_limited: int = 0
    cache_hits: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    waited_s: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

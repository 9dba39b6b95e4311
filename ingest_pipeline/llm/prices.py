"""Tokens and money: estimates before a call, costs after it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens. ``cached_input`` None: cached input costs as much as other input."""

    input: float
    output: float
    cached_input: float | None = None

    def cost(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """``cached_tokens`` is a part of ``input_tokens``."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = max(0, input_tokens - cached_tokens)
        return (fresh * self.input + cached_tokens * cached + output_tokens * self.output) / 1e6


CALL_OVERHEAD_TOKENS = 64
"""What a provider adds around the messages of one call, generously."""


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has: four characters each, more where UTF-8 needs more bytes.

    Within a fifth for English and German prose, generous for CJK; the limiter is corrected after each call.
    """
    extra_bytes = len(text.encode("utf-8", "replace")) - len(text)
    return int(len(text) / 4 + 0.4 * extra_bytes) + 1


def most_tokens(text: str) -> int:
    """More tokens than a text can have: a token of any byte-level tokenizer is at least one byte."""
    return len(text.encode("utf-8", "replace"))

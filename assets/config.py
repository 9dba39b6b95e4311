"""Run config: plain strings, because Dagster writes enum members by their Python names."""

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

import dagster as dg

E = TypeVar("E", bound=StrEnum)


def parsed(kind: type[E], values: Iterable[str]) -> list[E]:
    """The members that the strings name. Fails the step with the allowed ones when a string names none."""
    try:
        return [kind(value) for value in values]
    except ValueError:
        allowed = ", ".join(member.value for member in kind)
        raise dg.Failure(description=f"run config: use one of {allowed}", allow_retries=False) from None

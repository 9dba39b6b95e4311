"""Run config: plain strings, because Dagster writes enum members by their Python names."""

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

import dagster as dg

E = TypeVar("E", bound=StrEnum)


def parsed(kind: type[E], values: Iterable[str], allowed: Iterable[E] | None = None) -> list[E]:
    """The members that the strings name. Fails the step with the allowed ones when a string names none of them."""
    members = list(kind) if allowed is None else list(allowed)
    by_value = {member.value: member for member in members}
    values = list(values)
    if any(value not in by_value for value in values):
        raise dg.Failure(description=f"run config: use one of {', '.join(by_value)}", allow_retries=False)
    return [by_value[value] for value in values]

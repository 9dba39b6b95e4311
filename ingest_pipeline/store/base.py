"""The declarative base and the column types that SQLite and PostgreSQL share."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, Dialect, MetaData, TypeDecorator, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

JsonType = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""JSON text on SQLite, JSONB on PostgreSQL."""


class _Id(Uuid[str]):
    """Puts the hyphens back itself: by way of ``uuid.UUID`` it takes ten times as long, for every id read."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None] | None:
        # PostgreSQL has a type of its own for this one.
        return _hyphenated


def read_json(text: str) -> Any:
    """As ``json.loads``. Most values are plain strings, which need no decoder."""
    return text[1:-1] if text[:1] == '"' and "\\" not in text else json.loads(text)


def _hyphenated(h: str | None) -> str | None:
    return None if h is None else f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


Id = _Id(as_uuid=False)
"""A UUID as a string: 32 hexadecimal digits on SQLite, a native uuid on PostgreSQL."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in UTC. SQLite keeps no zone, so it is taken off and put back here.

    There the text is written and read in one step: by way of SQLAlchemy's own type it takes three times as long, for
    every time of every row.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime: the zone must be known here")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        return _to_text if dialect.name == "sqlite" else super().bind_processor(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        return _from_text if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _to_text(value: datetime | None) -> str | None:
    """As SQLAlchemy writes it: ``2024-05-01 08:30:00.000000``."""
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("naive datetime: the zone must be known here")
    return value.astimezone(UTC).isoformat(" ", "microseconds")[:-6]


def _from_text(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value + "+00:00")


class Base(DeclarativeBase):
    """All tables of the store. Constraint names are fixed so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: JsonType,
        list[Any]: JsonType,
    }

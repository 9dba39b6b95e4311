"""What all objects of one JSON or CSV export are read with, and the records made of them."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ingest_pipeline.documents import Identifier, Item, Json, Person, Record, Rejected, Skipped
from ingest_pipeline.sources.base import Export, ReadOptions
from ingest_pipeline.sources.crm_records import FUTURE_SLACK, NOBODY, Staff, is_nobody, read_moment, staff_of
from ingest_pipeline.sources.crm_tables import Lookup, TableFile, lookup, open_tables
from ingest_pipeline.sources.crm_text import TextBuilder
from ingest_pipeline.sources.crm_units import SUFFIXES, Batch, Unit, Values, load_units, read_units

NAMING_KEYS = (
    "name", "first_name", "last_name", "email", "emails", "email_work", "email_home", "phone", "phones", "phone_work",
    "phone_mobile",
)  # fmt: skip


@dataclass(slots=True)
class Desk:
    """What all objects of one export are read with. ``account`` is "" when the export does not name it.

    ``consumed``: how many messages of tables of their own were found again by what they belong to.
    """

    origin: str
    account: str
    options: ReadOptions
    staff: Staff
    joins: Lookup
    now: datetime
    consumed: int = 0
    _skipped: dict[tuple[str, str], int] = field(default_factory=dict)
    _parts: dict[str, int] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return f"{self.origin}:{self.account}"

    def native(self, native: str) -> str:
        return f"{self.account}/{native}" if self.account else native

    def identifier(self, native: str) -> Identifier:
        return Identifier(self.origin, self.native(native))

    def referred(self, native: str) -> Person:
        """Somebody whom the object only points at."""
        return Person(self.identifier(native), self.namespace, claims=False)

    def skip(self, file: str, reason: str, units: int = 1) -> None:
        """Count what holds nothing of a profile; told by ``leftovers``."""
        self._skipped[file, reason] = self._skipped.get((file, reason), 0) + units

    def part(self, file: str) -> None:
        """Count a message that stands in a table of its own."""
        self._parts[file] = self._parts.get(file, 0) + 1

    def part_counts(self, whole: str) -> Iterator[Skipped]:
        """What became of those messages: in the records of what they belong to, or left over without it."""
        left = self.consumed
        for file, units in sorted(self._parts.items()):
            joined = min(left, units)
            left -= joined
            if joined:
                yield Skipped(file, f"joined_to_{whole}", joined)
            if units > joined:
                yield Skipped(file, f"no_{whole}", units - joined)

    def leftovers(self) -> Iterator[Skipped]:
        for (file, reason), units in sorted(self._skipped.items()):
            yield Skipped(file, reason, units)
        self._skipped.clear()

    def moment(self, values: Values, metadata: dict[str, Json], *keys: str) -> datetime | None:
        """From the first of the keys that holds a time: ISO, or seconds or milliseconds since 1970."""
        for key in keys:
            value = values.get(key)
            if not value:
                continue
            moment, warning = read_time(value, self.now, self.options)
            if warning:
                metadata.setdefault("warnings", []).append(f"{key}: {warning}")
            if moment:
                metadata["date_source"] = key
                return moment
        return None

    def record(
        self,
        kind: str,
        native: str,
        people: tuple[Person, ...],
        text: TextBuilder,
        unit: Unit,
        file: TableFile,
        metadata: dict[str, Json],
        at: datetime | None,
        modified: datetime | None,
        units: int = 1,
    ) -> Item:
        """The record, a Skipped when it says nothing and only refers to people, a Rejected for a person's empty row."""
        content, segments = text.finish(metadata)
        naming = [] if self.options.exclude_columns else [unit.values[key] for key in NAMING_KEYS if key in unit.values]
        if not content and len(people) == 1 and is_nobody(people[0], content, naming):
            return Rejected(file.file, unit.position, NOBODY)
        if not content and not any(person.claims for person in people):
            return Skipped(file.file, "no_text")
        return Record(
            origin=self.origin,
            kind=kind,
            native_id=self.native(f"{kind}/{native}"),
            subjects=people,
            text=content,
            file=file.file,
            position=unit.position,
            segments=segments,
            occurred_at=at,
            modified_at=modified,
            metadata={"object": kind, "id": native, **unit.lineage, **metadata},
            units=units,
        )


def read_time(value: Json, now: datetime, options: ReadOptions) -> tuple[datetime | None, str | None]:
    """(moment, None), or (None, why not). Naive times are UTC: that is what these systems' interfaces give."""
    if isinstance(value, str):
        return read_moment(value, now, UTC, options.date_order)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, "unreadable"
    try:
        moment = datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    except (ValueError, OverflowError, OSError):
        return None, "unreadable"
    if moment.year <= 1970:
        return None, "1970_or_before"
    return (None, "in_the_future") if moment > now + FUTURE_SLACK else (moment, None)


@dataclass(frozen=True, slots=True)
class Objects:
    """How one system's objects are read: twice, first for what they tell of each other.

    ``lists``: keys of lists of objects; ``keep``: see ``load_units``; ``items``: what becomes of an object;
    ``parts_of``: what messages in tables of their own belong to; ``account_key``: where ``keep`` notes the account.
    """

    origin: str
    lists: Collection[str]
    keep: Callable[[Unit, Batch], bool]
    items: Callable[[Desk, TableFile, Unit], Iterable[Item]]
    parts_of: str = ""
    account_key: str = ""


def read_desk(export: Export, options: ReadOptions, objects: Objects) -> Iterator[Item]:
    """The items of an export. Raises UnreadableFile when none of its files can be opened."""
    with open_tables(export, options, SUFFIXES) as tables, lookup() as joins:
        load_units(tables, joins, options, objects.lists, objects.keep)
        account = ""
        if objects.account_key:
            accounts = joins.all("account", objects.account_key)
            account = accounts[0] if len(accounts) == 1 else options.workspace
        staff = staff_of(joins.all("staff", "addresses"), options)
        desk = Desk(objects.origin, account, options, staff, joins, datetime.now(UTC))
        yield from tables.skipped
        for file in tables.files:
            for unit in read_units(tables, file, options, objects.lists):
                yield from (unit,) if isinstance(unit, Rejected) else objects.items(desk, file, unit)
            yield from desk.leftovers()
        yield from desk.part_counts(objects.parts_of)
        tables.raise_if_nothing_was_readable(export)
        yield from tables.refused

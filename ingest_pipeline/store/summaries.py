"""Summaries of profiles: the template's with the fold, a model's after it, and whose is still to be written.

fold ──▶ template ──▶ due, when a model is to write it ── summarising ──▶ its text, or the reason that there is none
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, Select, Update, bindparam, func, select, update

from ingest_pipeline.documents import Json
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.states import ProfileState
from ingest_pipeline.store.definitions import profile_schemas
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.tables import Memory, Profile, TraitRow
from ingest_pipeline.store.upsert import LISTED, batches, select_in, select_listed
from ingest_pipeline.summary import TEMPLATE_VERSION, Remembered, template_summary

TEMPLATE, LLM, MANUAL = "template", "llm", "manual"

_NAMES = ("summary", "summary_source", "summary_inputs", "summary_attempts", "summary_failed")


def save_summaries(
    connection: Connection, states: Mapping[str, ProfileState], summary_by: str, now: datetime
) -> set[str]:
    """The one written by hand stays, and a model's while what it is made from does; else the template's takes its place
    at once, so that no summary says what the facts do not. ``states`` by profile. Returns whose changed."""
    new: list[dict[str, Any]] = []
    same: list[dict[str, Any]] = []
    for row in select_listed(connection, _stored(), states):
        values = _chosen(row, states[row.id], summary_by)
        if values == tuple(getattr(row, name) for name in _NAMES):
            continue
        change = {"b_id": row.id} | dict(zip(_NAMES, values, strict=True))
        if change["summary"] == row.summary:
            same.append(change)
        else:
            new.append(change | {"summary_version": row.summary_version + 1, "summary_updated_at": now})
    for changes in (new, same):
        if changes:
            connection.execute(_changed(changes is new), sorted(changes, key=itemgetter("b_id")))
    return {change["b_id"] for change in new}


def _chosen(
    row: Any, state: ProfileState, summary_by: str
) -> tuple[str | None, str | None, str | None, int | None, str | None]:
    """Text, source, digest of what it is made from, attempts of a model, why they failed."""
    if state.summary is not None:
        return state.summary, MANUAL, None, None, None
    inputs = state.about.named(row.display_name)
    digest = inputs.digest(summary_by)
    is_same = row.summary_inputs == digest
    if is_same and row.summary_source == LLM:
        return row.summary, LLM, digest, None, None
    text = template_summary(inputs)
    source = None if text is None else TEMPLATE
    if summary_by == TEMPLATE_VERSION or not inputs.worth_asking:
        return text, source, digest, None, None
    if is_same and row.summary_source == TEMPLATE:
        return text, source, digest, row.summary_attempts, row.summary_failed
    return text, source, digest, 0, None


@cache
def _stored() -> Select[Any]:
    p = Profile
    query = select(p.id, p.display_name, p.summary_version, *(getattr(p, name) for name in _NAMES))
    return query.where(p.id.in_(LISTED))


@cache
def _changed(is_new: bool) -> Update:
    names = (*_NAMES, "summary_version", "summary_updated_at") if is_new else _NAMES
    mine = update(Profile).where(Profile.__table__.c.id == bindparam("b_id"))
    return mine.values({name: bindparam(name) for name in names})


@dataclass(frozen=True, slots=True)
class Due:
    """A profile whose summary a model is to write. ``inputs`` is the digest of what it is to be made from; ``schema``
    has the traits that were given with its texts as well."""

    profile_id: str
    name: str | None
    inputs: str
    schema: TraitSchema
    traits: Mapping[str, Json]
    memories: tuple[Remembered, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it: the text, or why there is none. ``counts``: the attempt is one of those that are limited;
    ``final``: it is the last."""

    profile_id: str
    inputs: str
    text: str | None = None
    reason: str | None = None
    counts: bool = True
    final: bool = False


def load_due(
    engine: Engine, schema: TraitSchema, profiles: Sequence[str] | None = None, page: int = 200
) -> Iterator[list[Due]]:
    """Pages of the living profiles whose summary is due, or of those given. None comes twice."""
    due = Profile.summary_attempts.is_not(None)
    query = select(Profile.id, Profile.display_name, Profile.summary_inputs).where(due, Profile.merged_into.is_(None))
    if profiles is not None:
        for ids in batches(sorted(profiles), page):
            with reading(engine) as connection:
                rows = list(select_in(connection, query, Profile.id, ids))
            yield _load_page(engine, schema, rows)
        return
    after = ""
    while True:
        with reading(engine) as connection:
            bound = [Profile.id > after] if after else []
            rows = list(connection.execute(query.where(*bound).order_by(Profile.id).limit(page)))
        if not rows:
            return
        yield _load_page(engine, schema, rows)
        after = rows[-1].id


def _load_page(engine: Engine, schema: TraitSchema, rows: Sequence[Any]) -> list[Due]:
    with reading(engine) as connection:
        traits, memories = _load_facts(connection, [row.id for row in rows])
    own = profile_schemas(engine, [p for p, held in traits.items() if any(not schema.get(k) for k in held)], schema)
    return [
        Due(
            profile_id=row.id,
            name=row.display_name,
            inputs=row.summary_inputs,
            schema=own.get(row.id, schema),
            traits=traits[row.id],
            memories=tuple(memories[row.id]),
        )
        for row in rows
    ]


def _load_facts(
    connection: Connection, ids: Sequence[str]
) -> tuple[dict[str, dict[str, Json]], dict[str, list[Remembered]]]:
    traits: dict[str, dict[str, Json]] = defaultdict(dict)
    held = select(TraitRow.profile_id, TraitRow.key, TraitRow.value)
    for profile, key, value in select_in(connection, held, TraitRow.profile_id, ids):
        traits[profile][key] = value
    memories: dict[str, list[Remembered]] = defaultdict(list)
    said = select(Memory.profile_id, Memory.id, Memory.content, Memory.importance, Memory.occurred_at)
    for profile, *values in select_in(connection, said, Memory.profile_id, ids):
        memories[profile].append(Remembered(*values))
    return traits, memories


def save_written(engine: Engine, written: Sequence[Written], max_attempts: int) -> set[str]:
    """Store what models wrote, unless the profile has changed since. Returns the profiles whose summary is new."""
    now = datetime.now(UTC)

    def save(connection: Connection) -> set[str]:
        by_id = {one.profile_id: one for one in written}
        query = select(Profile.id, Profile.summary_inputs, Profile.summary_version, Profile.summary_attempts)
        held = query.where(Profile.summary_attempts.is_not(None)).order_by(Profile.id).with_for_update()
        rows = [
            row
            for row in select_in(connection, held, Profile.id, sorted(by_id))
            if row.summary_inputs == by_id[row.id].inputs
        ]
        texts = [_text_row(row, by_id[row.id], now) for row in rows if by_id[row.id].text is not None]
        failures = [_failure_row(row, by_id[row.id], max_attempts) for row in rows if by_id[row.id].text is None]
        mine = update(Profile).where(Profile.__table__.c.id == bindparam("b_id"))
        for values in (texts, failures):
            if values:
                names = [name for name in values[0] if name != "b_id"]
                connection.execute(mine.values({name: bindparam(name) for name in names}), values)
        return {str(row["b_id"]) for row in texts}

    return write(engine, save) if written else set()


def _text_row(row: Any, written: Written, now: datetime) -> dict[str, Any]:
    return {
        "b_id": row.id, "summary": written.text, "summary_source": LLM, "summary_version": row.summary_version + 1,
        "summary_updated_at": now, "summary_attempts": None, "summary_failed": None, "updated_at": now,
    }  # fmt: skip


def _failure_row(row: Any, written: Written, max_attempts: int) -> dict[str, Any]:
    attempts = row.summary_attempts + written.counts
    return {
        "b_id": row.id,
        "summary_attempts": None if written.final or attempts >= max_attempts else attempts,
        "summary_failed": written.reason,
    }


def count_due(engine: Engine) -> int:
    """How many summaries a model is still to write."""
    with reading(engine) as connection:
        due = (Profile.summary_attempts.is_not(None), Profile.merged_into.is_(None))
        return connection.execute(select(func.count()).select_from(Profile).where(*due)).scalar_one()


def count_summaries(engine: Engine) -> tuple[dict[str, int], dict[str, int]]:
    """(Summaries by source, failed attempts by reason: those profiles show the template's.)"""
    living = Profile.merged_into.is_(None)
    with reading(engine) as connection:
        columns = (Profile.summary_source, Profile.summary_failed)
        rows = list(connection.execute(select(*columns, func.count()).where(living).group_by(*columns)))
    sources: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for source, reason, n in rows:
        sources.update({source: n} if source else {})
        failed.update({reason: n} if reason else {})
    return dict(sources), dict(failed)


def ask_again(engine: Engine) -> None:
    """Let the summaries that were given up be due again."""
    failed = Profile.summary_failed.is_not(None)
    write(engine, lambda connection: connection.execute(update(Profile).where(failed).values(summary_attempts=0)))

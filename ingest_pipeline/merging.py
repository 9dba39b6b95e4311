"""Two profiles of one person, one profile of two: merging and splitting by hand.

    plan (what would happen) ─▶ a person says yes ─▶ edit + audit entry + identity, one transaction ─▶ fold

Whatever is read later, a merge holds until it is taken back, a split until the two are merged.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, or_, select

from ingest_pipeline.documents import Json
from ingest_pipeline.editing import Editor
from ingest_pipeline.edits import claim_key
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.store import merging as store
from ingest_pipeline.store.audit_log import Audited, append, check_actor
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.lookup import ProfileSummary, find_identifiers, find_profile, load_summaries, written
from ingest_pipeline.store.merging import Changed, StandingMerge
from ingest_pipeline.store.neighbourhood import ANCHOR, SHAREABLE
from ingest_pipeline.store.tables import DocumentRow, IdentifierRow, Profile, TraitRow
from ingest_pipeline.store.upsert import IN_LIST, batches


@dataclass(frozen=True, slots=True)
class Conflict:
    """A trait that both profiles have, with different values. The fold decides: the latest evidence, or an edit."""

    key: str
    value: Json
    other: Json


@dataclass(frozen=True, slots=True)
class MergePlan:
    """``other`` goes on as ``into``; or, where ``other`` is None, ``into`` gets the identifier that several claim.

    ``systems``: kinds of native ids that both have, systems that take them for two people.
    """

    into: ProfileSummary
    other: ProfileSummary | None
    identifier: str | None = None
    identifier_id: str | None = None
    conflicts: tuple[Conflict, ...] = ()
    systems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """``leaving`` become a new profile's, with their documents. ``followers``: those of them that were not named."""

    profile: ProfileSummary
    leaving: tuple[str, ...]
    followers: tuple[str, ...]
    staying: tuple[str, ...]
    documents: int
    identifier_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """The merge that would be taken back, with what the other profile gets back of identifiers and documents."""

    profile: ProfileSummary
    merge: StandingMerge
    name: str | None
    identifiers: tuple[str, ...]
    documents: int


@dataclass(frozen=True, slots=True)
class Done:
    """``profile`` stands as it is now. ``other``: the profile that is apart from it now, if there is one."""

    edit_id: str
    profile: str
    other: str | None


def plan_merge(engine: Engine, into: str, other: str) -> MergePlan:
    """What merging two profiles would do, given as people write them. ``other`` may be an identifier that is nobody's,
    because several people claim it: it becomes ``into``'s.

    Raises ProfileNotFound, InvalidInput: ``ambiguous_profile``, ``already_merged``.
    """
    into_id = find_profile(engine, into)
    if into.strip() == other.strip():
        raise InvalidInput("already_merged", "a profile cannot be merged with itself")
    with reading(engine) as connection:
        shared = next((row for row in find_identifiers(connection, other) if row.ambiguous), None)
        if shared:
            summary = load_summaries(connection, [into_id])[into_id]
            return MergePlan(summary, None, written(shared.kind, shared.value), shared.id)
    other_id = find_profile(engine, other)
    if into_id == other_id:
        raise InvalidInput("already_merged", f"these are one profile already, {into_id}")
    with reading(engine) as connection:
        found = load_summaries(connection, [into_id, other_id])
        conflicts = tuple(_conflicts(connection, into_id, other_id))
        return MergePlan(
            found[into_id], found[other_id], conflicts=conflicts, systems=_systems(connection, into_id, other_id)
        )


def merge_profiles(editor: Editor, plan: MergePlan) -> Done:
    """Merge as planned: identifiers, documents and edits of the other profile are the first one's, and its ids resolve
    to it. Raises InvalidInput (``already_merged``), ProfileNotFound when somebody was faster."""
    other = plan.other.id if plan.other else None
    given = frozenset({plan.identifier_id} if plan.identifier_id else ())

    def save(connection: Connection, actor: str) -> Changed:
        changed = store.merge(connection, plan.into.id, other, given, actor)
        _record(connection, editor, Audited.MERGE, changed, {"into": plan.into.id, "other": other})
        return changed

    return Done(_carry_out(editor, save).edit.id, plan.into.id, None)


def plan_split(engine: Engine, profile: str, identifiers: Sequence[str]) -> SplitPlan:
    """What it would do to say that some of a profile's identifiers are another person's.

    What only leaving records name goes along. Raises ProfileNotFound, InvalidInput: ``no_identifiers``,
    ``not_of_profile``, ``nothing_left``.
    """
    if not identifiers:
        raise InvalidInput("no_identifiers", "name the identifiers that are another person's")
    profile_id = find_profile(engine, profile)
    with reading(engine) as connection:
        rows = store.load_identifiers(connection, profile_id)
        named = frozenset(_own_identifier(connection, profile_id, reference) for reference in identifiers)
        followers = store.find_followers(connection, rows, named)
        leaving = named | followers
        names = {row.id: written(row.kind, row.value) for row in rows}
        staying = names.keys() - leaving
        if not staying and not store.has_something_of_its_own(connection, profile_id):
            raise store.nothing_left()
        hidden = {row.id for row in rows if row.kind == ANCHOR}
        return SplitPlan(
            profile=load_summaries(connection, [profile_id])[profile_id],
            leaving=tuple(sorted(names[i] for i in leaving)),
            followers=tuple(sorted(names[i] for i in followers)),
            staying=tuple(sorted(names[i] for i in staying - hidden)),
            documents=_count_documents(connection, leaving),
            identifier_ids=leaving,
        )


def split_profile(editor: Editor, plan: SplitPlan) -> Done:
    """Split as planned: what leaves, with its documents, is a new profile's, and stays apart from what does not.

    Raises InvalidInput (``not_of_profile``, ``nothing_left``), ProfileNotFound when somebody was faster.
    """
    new: list[str] = []

    def save(connection: Connection, actor: str) -> Changed:
        changed, into = store.split(connection, plan.profile.id, plan.identifier_ids, actor)
        _record(connection, editor, Audited.SPLIT, changed, {"from": plan.profile.id, "into": into})
        new[:] = [into]
        return changed

    return Done(_carry_out(editor, save).edit.id, plan.profile.id, new[0])


def plan_undo(engine: Engine, profile: str) -> UndoPlan:
    """What taking back the last merge would do. Raises ProfileNotFound, InvalidInput (``no_merge``)."""
    profile_id = find_profile(engine, profile)
    with reading(engine) as connection:
        merge = store.last_merge(connection, profile_id)
        summary = load_summaries(connection, [profile_id])[profile_id]
        if merge.other is None:
            return UndoPlan(summary, merge, None, (), 0)
        query = select(Profile.id, Profile.display_name, Profile.retired_into).where(Profile.id == merge.other)
        other = connection.execute(query).one()
        home = other.retired_into or other.id
        i = IdentifierRow
        rows = list(connection.execute(select(i.id, i.kind, i.value).where(i.home_id == home, i.kind != ANCHOR)))
        of_home = select(Profile.id).where(or_(Profile.id == home, Profile.retired_into == home))
        given = select(func.count()).select_from(DocumentRow).where(DocumentRow.given_to.in_(of_home))
        documents = _count_documents(connection, [row.id for row in rows]) + connection.execute(given).scalar_one()
        names = tuple(sorted(written(row.kind, row.value) for row in rows))
        return UndoPlan(summary, merge, other.display_name, names, documents)


def undo_merge(editor: Editor, plan: UndoPlan) -> Done:
    """Take the last merge back: everything is where it would be without it.

    Raises InvalidInput (``no_merge``, ``changed_meanwhile``), ProfileNotFound when somebody was faster.
    """

    def save(connection: Connection, actor: str) -> Changed:
        changed, undone = store.undo_merge(connection, plan.profile.id, actor)
        if undone.edit_id != plan.merge.edit_id:
            raise InvalidInput("changed_meanwhile", "somebody else merged or split this profile meanwhile; look again")
        detail = {"into": undone.into, "other": undone.other, "undone": undone.edit_id}
        _record(connection, editor, Audited.SPLIT, changed, detail)
        return changed

    done = _carry_out(editor, save)
    merge = plan.merge
    with reading(editor.engine) as connection:
        query = select(Profile.id, Profile.merged_into).where(
            Profile.id.in_([i for i in (merge.into, merge.other) if i])
        )
        living = {row.id: row.merged_into or row.id for row in connection.execute(query)}
    other = living.get(merge.other) if merge.other else None
    return Done(done.edit.id, living.get(merge.into, merge.into), None if other == living.get(merge.into) else other)


def _carry_out(editor: Editor, save: Callable[[Connection, str], Changed]) -> Changed:
    actor = check_actor(editor.actor)
    changed = write(editor.engine, lambda connection: save(connection, actor))
    # A process that ends here loses nothing: the next sync folds them.
    for _ in fold_profiles(editor.engine, editor.schema, sorted(changed.profiles), editor.rules):
        pass
    return changed


def _record(
    connection: Connection, editor: Editor, action: Audited, changed: Changed, detail: dict[str, str | None]
) -> None:
    """An entry for each profile, since either may be looked up alone."""
    edit = changed.edit
    for profile in sorted({i for name, i in detail.items() if i and name != "undone"}):
        append(connection, edit.actor, editor.via, action, profile, detail, edit.at)


def _own_identifier(connection: Connection, profile_id: str, reference: str) -> str:
    for row in find_identifiers(connection, reference):
        if row.profile_id == profile_id and row.kind != ANCHOR:
            return str(row.id)
    raise InvalidInput(
        "not_of_profile", "one of these is no identifier of the profile; `ingest show` lists those it has"
    )


def _conflicts(connection: Connection, into: str, other: str) -> Iterable[Conflict]:
    query = select(TraitRow.profile_id, TraitRow.key, TraitRow.value).where(
        TraitRow.profile_id.in_((into, other)), TraitRow.value_type != "array"
    )
    values = {(row.profile_id, row.key): row.value for row in connection.execute(query)}
    for key in sorted({key for _, key in values}):
        mine, theirs = values.get((into, key)), values.get((other, key))
        if mine is not None and theirs is not None and claim_key(mine) != claim_key(theirs):
            yield Conflict(key, mine, theirs)


def _systems(connection: Connection, into: str, other: str) -> tuple[str, ...]:
    query = select(IdentifierRow.kind).where(IdentifierRow.kind.not_in([*SHAREABLE, ANCHOR])).distinct()
    kinds = [
        set(connection.execute(query.where(IdentifierRow.profile_id == profile)).scalars()) for profile in (into, other)
    ]
    return tuple(sorted(kinds[0] & kinds[1]))


def _count_documents(connection: Connection, identifiers: Iterable[str]) -> int:
    query = select(func.count()).select_from(DocumentRow).where(DocumentRow.superseded_at.is_(None))
    return sum(
        connection.execute(query.where(DocumentRow.identifier_id.in_(batch))).scalar_one()
        for batch in batches(sorted(identifiers), IN_LIST)
    )

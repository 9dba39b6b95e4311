"""Edits in the store: appended in order, never lost, read with those of the profiles merged into it."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from threading import Barrier

import pytest
from sqlalchemy import Connection, Engine, delete, insert, update
from sqlalchemy.exc import IntegrityError

from ingest_pipeline.edits import Action, Edit, Target, claim_key
from ingest_pipeline.errors import ProfileNotFound
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.edits import Draft, hold_profile, load_edits, save_edits
from ingest_pipeline.store.engine import write
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import EditRow, Profile
from tests.builders import contact, record, rows, save, sender

A, B = "a@x.example", "b@x.example"


def set_to(value: object, key: str = "location") -> Draft:
    return Draft(Action.SET, Target.TRAIT, key, value=value)


def decide(engine: Engine, profile_id: str, *drafts: Draft, actor: str = "kim") -> list[Edit]:
    def work(connection: Connection) -> list[Edit]:
        return save_edits(connection, hold_profile(connection, profile_id), drafts, actor)

    return write(engine, work)


@pytest.fixture
def profile(engine: Engine) -> str:
    return create_profile(engine, "crm-1")


@pytest.mark.parametrize(
    "value", ["Lisbon", ["chess", "go"], 12, 1.5, True, False, {"content": "Ü", "importance": 0.5}]
)
def test_an_edit_comes_back_as_it_went_in(engine: Engine, profile: str, value: object) -> None:
    """Newest first."""
    before = datetime.now(UTC)
    drafts = (
        Draft(Action.SET, Target.TRAIT, "location", value=value, confidence=0.25),
        Draft(Action.REJECT, Target.MEMORY, "fact", claim_key("Owns two dogs."), value),
        Draft(Action.CLEAR, Target.SUMMARY, "summary"),
    )
    saved = decide(engine, profile, *drafts)
    assert load_edits(engine, profile) == saved[::-1]
    for edit, draft in zip(saved, drafts, strict=True):
        assert (edit.actor, edit.action, edit.kind, edit.key) == ("kim", draft.action, draft.kind, draft.key)
        assert (edit.target, edit.value, edit.confidence) == (draft.target, draft.value, draft.confidence)
        assert before <= edit.at <= datetime.now(UTC) + timedelta(milliseconds=1)
    with engine.connect() as connection:
        assert load_edits(connection, profile) == saved[::-1]


def test_an_edit_marks_its_profile_as_changed(engine: Engine, profile: str) -> None:
    """Nothing recorded, nothing marked."""
    (before,) = rows(engine, Profile)
    decide(engine, profile, set_to("Rome"), set_to("Lisbon"))
    (after,) = rows(engine, Profile)
    assert after.changes > before.changes
    assert decide(engine, profile) == []
    assert rows(engine, Profile) == [after]


def test_later_edits_have_later_times_whatever_the_clock_says(engine: Engine, profile: str) -> None:
    """Another machine's clock may be an hour ahead, and several edits come at the same moment."""
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with engine.begin() as connection:
        connection.execute(
            insert(EditRow),
            [{
                "id": str(uuid.uuid4()), "profile_id": profile, "at": ahead, "actor": "li", "action": "set",
                "kind": "trait", "key": "location", "target": None, "value": "Rome", "confidence": None,
            }],
        )  # fmt: skip
    decide(engine, profile, *(set_to(n) for n in range(5)))
    edits = load_edits(engine, profile)
    assert [edit.value for edit in edits] == [4, 3, 2, 1, 0, "Rome"]
    assert len({edit.at for edit in edits}) == 6


def test_edits_at_the_same_moment_are_all_kept_in_one_order(engine: Engine, profile: str) -> None:
    """Each marks the profile; no two have the same time."""
    (before,) = rows(engine, Profile)
    barrier = Barrier(4)

    def one(number: int) -> list[Edit]:
        barrier.wait()
        return decide(engine, profile, set_to(number), actor=f"actor {number}")

    with ThreadPoolExecutor(4) as pool:
        saved = [edit for edits in pool.map(one, range(4)) for edit in edits]
    loaded = load_edits(engine, profile)
    assert sorted(loaded, key=Edit.rank) == sorted(saved, key=Edit.rank)
    assert len({edit.at for edit in loaded}) == 4
    assert rows(engine, Profile)[0].changes == before.changes + 4


def test_nobody_can_be_decided_about_who_is_not_there(engine: Engine) -> None:
    with pytest.raises(ProfileNotFound):
        decide(engine, str(uuid.uuid4()), set_to("Rome"))
    assert rows(engine, EditRow) == []


def test_what_is_decided_about_a_merged_profile_is_the_others(engine: Engine) -> None:
    """Before and after the merge; so it stays when the profile is found by its old id."""
    save(engine, record(sender(A), native_id="1"), record(sender(B), native_id="2"))
    one, other = find_profile(engine, A), find_profile(engine, B)
    (before,) = decide(engine, one, set_to("Rome"))
    (of_other,) = decide(engine, other, set_to("Lisbon"))
    save(engine, record(contact(1, A, B), native_id="3"))
    living = find_profile(engine, A)
    (after,) = decide(engine, one, set_to("Paris"))
    assert load_edits(engine, living) == [after, of_other, before]
    assert {row.profile_id for row in rows(engine, EditRow, id=after.id)} == {living}
    assert {row.id for row in rows(engine, Profile) if row.changes != row.folded} >= {living}


def test_a_profile_with_edits_is_not_deleted_as_empty(engine: Engine) -> None:
    """One whose only address turns out to be claimed by two people goes, unless something was decided about it."""
    save(engine, record(sender(A), native_id="1"), record(sender(B), native_id="2"))
    decided, undecided = find_profile(engine, A), find_profile(engine, B)
    decide(engine, decided, set_to("Rome"))
    save(engine, *(record(contact(n, A, B), native_id=f"c{n}") for n in (1, 2)))
    left = {row.id for row in rows(engine, Profile)}
    assert (decided in left, undecided in left) == (True, False)
    assert [edit.value for edit in load_edits(engine, decided)] == ["Rome"]


def test_edits_cannot_outlive_their_profile(engine: Engine, profile: str) -> None:
    """Erasing a person has to take them along: the database insists."""
    decide(engine, profile, set_to("Rome"))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(delete(Profile).where(Profile.id == profile))


def test_a_chain_of_merges_is_followed(engine: Engine) -> None:
    """A merge may come while one waits for the lock."""
    ids = [create_profile(engine, f"crm-{n}") for n in range(3)]
    with engine.begin() as connection:
        for merged, heir in pairwise(ids):
            connection.execute(update(Profile).where(Profile.id == merged).values(merged_into=heir))
    decide(engine, ids[0], set_to("Rome"))
    assert [edit.value for edit in load_edits(engine, ids[2])] == ["Rome"]

"""The audit log: what an entry holds, that it stays as it is, and that nothing goes on without one."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, delete, event, text, update
from sqlalchemy.exc import DBAPIError

from ingest_pipeline.errors import InvalidInput, StoreUnavailable
from ingest_pipeline.store.audit_log import MAX_ACTOR, Audited, Via, append, load_audit_log
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.tables import AuditRow, Profile
from tests.builders import day, rows


def test_an_entry_says_who_did_what_when_and_by_what_way(engine: Engine) -> None:
    profile = create_profile(engine, "crm-1")
    append(engine, " kim ", Via.CLI, Audited.WHY, profile, {"key": "location"}, at=day(3))
    (entry,) = load_audit_log(engine)
    assert (entry.at, entry.actor, entry.via, entry.action) == (day(3), "kim", "cli", "why")
    assert (entry.profile_id, entry.detail) == (profile, {"key": "location"})


def test_a_recorded_read_costs_one_insert(engine: Engine) -> None:
    """And nothing else: no look-up of the profile, no second row."""
    profile = create_profile(engine, "crm-1")
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    append(engine, "kim", Via.CLI, Audited.SHOW, profile)
    assert [statement.split()[0] for statement in seen if not statement.startswith("BEGIN")] == ["INSERT"]


def test_the_newest_come_first_by_profile_and_since(engine: Engine) -> None:
    """Entries of profiles that were merged into one are that one's."""
    one, other = create_profile(engine, "crm-1"), create_profile(engine, "crm-2")
    for number, profile in enumerate((one, other, None, one), start=1):
        append(engine, "kim", Via.API, Audited.EXPORT, profile, {"n": number}, at=day(number))

    def numbers(**chosen: object) -> list[int]:
        return [entry.detail["n"] for entry in load_audit_log(engine, **chosen)]  # type: ignore[arg-type]

    assert numbers() == [4, 3, 2, 1]
    assert numbers(limit=2) == [4, 3]
    assert numbers(profile_id=one) == [4, 1]
    assert numbers(since=day(2) + timedelta(seconds=1)) == [4, 3]
    assert numbers(profile_id=other, since=day(3)) == []
    with engine.begin() as connection:
        connection.execute(update(Profile).where(Profile.id == other).values(merged_into=one))
    assert numbers(profile_id=one) == [4, 2, 1]


def test_entries_stay_as_they_are(engine: Engine) -> None:
    """Neither an update nor a delete gets through, on either database."""
    append(engine, "kim", Via.CLI, Audited.SHOW, None)
    before = rows(engine, AuditRow)
    for change in (update(AuditRow).values(actor="somebody else"), delete(AuditRow)):
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(change)
    assert rows(engine, AuditRow) == before


def test_an_entry_belongs_to_the_transaction_of_what_it_records(engine: Engine) -> None:
    """What is rolled back was not done."""
    with engine.connect() as connection:
        append(connection, "kim", Via.CLI, Audited.SET, None)
        connection.rollback()
    assert load_audit_log(engine) == []


@pytest.mark.parametrize("actor", ["", "  ", "x" * (MAX_ACTOR + 1), "a\nb", "a\x00", "\udc80", "\x1b[2J"])
def test_nobody_is_no_actor(engine: Engine, actor: str) -> None:
    """Nor is a name that would break a line of the log."""
    with pytest.raises(InvalidInput, match="name of who does this"):
        append(engine, actor, Via.CLI, Audited.SHOW, None)


def test_a_log_that_cannot_be_written_says_so(engine: Engine) -> None:
    """By an error that ends the read; it does not quote the entry."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_log RENAME TO elsewhere"))
    with pytest.raises(StoreUnavailable, match=r"the audit log cannot be written .*nothing is shown") as raised:
        append(engine, "kim", Via.CLI, Audited.SHOW, None)
    assert "kim" not in str(raised.value)
    assert "\n" not in str(raised.value)

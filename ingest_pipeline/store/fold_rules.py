"""By which rules the profiles in the store were folded: where they change, all profiles are to be folded again."""

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.tables import Profile, StateRow

FOLD = "fold"
"""The row of ``store_state`` that holds the rules' fingerprint."""


_STORED = select(StateRow.value).where(StateRow.name == FOLD)


def mark_outdated(where: Engine | Connection, fingerprint: str) -> bool:
    """Mark every profile as changed when they were folded by other rules than these, or nobody knows by which.

    Returns whether they were. Of several processes at once one does it.
    """
    with reading(where) as connection:
        if stored_fingerprint(connection) == fingerprint:
            return False

    def mark(connection: Connection) -> bool:
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = insert(StateRow).values(name=FOLD, value=fingerprint)
        changed = statement.on_conflict_do_update(
            index_elements=[StateRow.name],
            set_={"value": statement.excluded.value},
            where=StateRow.value != statement.excluded.value,
        )
        if connection.execute(changed.returning(StateRow.name)).first() is None:
            return False
        connection.execute(update(Profile).values(changes=Profile.changes + 1))
        return True

    return write(where, mark)


def stored_fingerprint(connection: Connection) -> str | None:
    return connection.execute(_STORED).scalar()

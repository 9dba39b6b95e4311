"""Texts given one by one: stored before anything else happens to them, recorded in Dagster at the next sync."""

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import IntegrityError

from ingest_pipeline.documents import Identifier, Person, Source
from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.extracting import KeyOutcome
from ingest_pipeline.extraction.base import Extraction, Status, Usage
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.erased import check_not_erased
from ingest_pipeline.store.extractions import PartitionKey
from ingest_pipeline.store.lookup import find_by_id, storable
from ingest_pipeline.store.people import (
    Described,
    identifier_id,
    lock_identities,
    mark_changed,
    new_profile,
    save_persons,
)
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow, IdentifierRow, Profile
from ingest_pipeline.store.texts import GivenText, save_texts
from ingest_pipeline.store.upsert import upsert

MAX_EXTERNAL_ID = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def save_given(connection: Connection, given: GivenText) -> str:
    """Store a text about a profile as ``save_texts`` does and return its document id. Raises ProfileNotFound."""
    (document_id,) = save_texts(connection, [given])
    if document_id is None:
        raise ProfileNotFound
    return document_id


def create_profile(engine: Engine, external_id: str) -> str:
    """The id of the profile with this external id, new if there is none.

    One that already is a profile's own id means that profile: nothing would find another by it.
    Spaces around it do not count. One that is an e-mail address also is an identifier: mail from there, read before or
    after, is the same person's. Raises InvalidInput for an empty or overlong one, or one with control characters, and
    for that of an erased person (``profile_erased``).
    """
    external_id = external_id.strip()
    if not 0 < len(external_id) <= MAX_EXTERNAL_ID or not storable(external_id) or _CONTROL.search(external_id):
        raise InvalidInput(
            "invalid_external_id",
            f"an external id has 1 to {MAX_EXTERNAL_ID} characters, none of them control characters",
            "externalId",
        )
    if "@" in external_id:
        return _create_by_email(engine, external_id)
    with reading(engine) as connection:
        check_not_erased(connection, external_id)
        owner = find_by_id(connection, external_id)
    if owner is not None:
        return owner
    known = select(Profile.id).where(Profile.external_id == external_id)
    row = new_profile(str(uuid.uuid4()), None, datetime.now(UTC)) | {"external_id": external_id}
    try:
        with engine.begin() as connection:
            found = connection.execute(known).scalar()
            if found is None:
                upsert(connection, Profile, [row])
    except IntegrityError:  # another process was faster
        with reading(engine) as connection:
            found = connection.execute(known).scalar_one()
    return str(found or row["id"])


def _create_by_email(engine: Engine, external_id: str) -> str:
    now = datetime.now(UTC)
    person = Person(Identifier("email", external_id.lower()), namespace="email")

    def create(connection: Connection) -> str | None:
        lock_identities(connection)
        check_not_erased(connection, external_id)
        save_persons(connection, [Described(person, None)], now)
        query = select(IdentifierRow.profile_id).where(IdentifierRow.id == identifier_id(person.key))
        profile_id = connection.execute(query).scalar_one()
        unnamed = (Profile.id == profile_id) & Profile.external_id.is_(None)
        connection.execute(update(Profile).where(unnamed).values(external_id=external_id))
        return profile_id

    profile_id = write(engine, create)
    if profile_id is None:
        raise InvalidInput(
            "ambiguous_profile", "this address is claimed by several people; use a profile id", "externalId"
        )
    return profile_id


def profile_of_document(engine: Engine, document_id: str) -> tuple[str, Source]:
    """The profile and source of a document. Raises InvalidInput when there is no such document with a profile."""
    try:
        key = str(uuid.UUID(document_id))
    except ValueError:
        raise InvalidInput("invalid_document", "document_id must be the id (UUID) of a stored document") from None
    query = select(DocumentRow.profile_id, DocumentRow.source).where(DocumentRow.id == key)
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    if row is None or row.profile_id is None:
        raise InvalidInput("document_not_found", "no document of a profile has this document_id")
    return row.profile_id, Source(row.source)


def adopt_unrecorded(engine: Engine, run_id: str) -> Iterator[KeyOutcome]:
    """Outcomes that came about outside of any run, by partition; from now on they belong to this run.

    Their profiles are marked for folding, so that the run records their tables as well.
    """
    query = (
        select(*ExtractionRow.__table__.columns, DocumentRow.profile_id, DocumentRow.source, Profile.partition_key)
        .join(DocumentRow, DocumentRow.id == ExtractionRow.document_id)
        .join(Profile, Profile.id == DocumentRow.profile_id)
        .where(ExtractionRow.run_id.is_(None), ExtractionRow.status != Status.FAILED.value)
        .order_by(DocumentRow.profile_id, DocumentRow.source)
    )
    outcomes: dict[PartitionKey, KeyOutcome] = {}
    with engine.begin() as connection:
        for row in connection.execute(query):
            key = PartitionKey(row.profile_id, Source(row.source), row.partition_key)
            outcomes.setdefault(key, KeyOutcome(key)).add(_extraction(row))
        if outcomes:
            unrecorded = ExtractionRow.run_id.is_(None) & (ExtractionRow.status != Status.FAILED.value)
            connection.execute(update(ExtractionRow).where(unrecorded).values(run_id=run_id))
            mark_changed(connection, {key.profile_id for key in outcomes})
    yield from outcomes.values()


def _extraction(row: Any) -> Extraction:
    usage = Usage(
        calls=row.calls, input_tokens=row.input_tokens, output_tokens=row.output_tokens, cost_usd=row.cost_usd
    )
    return Extraction(row.document_id, Status(row.status), (), row.dropped, row.reason, usage)

"""Erasing a person: nothing of them is left, nobody else loses anything, and no sync brings them back."""

import itertools
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace as replace_
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import SecretStr
from sqlalchemy import Engine, event, insert, select, update

from ingest_pipeline.documents import Identifier, Json, Person, Record, Rejected, Role, Segment, Source
from ingest_pipeline.edits import Action, Target
from ingest_pipeline.erased import BLANK, Traces
from ingest_pipeline.erasing import Forgotten, erase, forget, preview, prove_again
from ingest_pipeline.erasure_key import ErasureKey
from ingest_pipeline.errors import ConfigurationError, InvalidInput, ProfileNotFound
from ingest_pipeline.extraction.base import Extraction, Kind, Observation, Status
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.llm.cache import Entry, claim, fill
from ingest_pipeline.llm.database import Database
from ingest_pipeline.llm.exchange import ProviderReply
from ingest_pipeline.llm.tables import LlmBatchDocumentRow, LlmBatchItemRow, LlmBatchRow, LlmCacheRow, LlmCallRow
from ingest_pipeline.progress import LogProgress
from ingest_pipeline.proxy.said import read_said
from ingest_pipeline.remnants import Needles, strings
from ingest_pipeline.store import erasure
from ingest_pipeline.store.audit_log import Via, load_audit_log
from ingest_pipeline.store.audits import audit_evidence
from ingest_pipeline.store.base import Base
from ingest_pipeline.store.conversations import save_said
from ingest_pipeline.store.direct import create_profile, save_given
from ingest_pipeline.store.documents import save_records
from ingest_pipeline.store.edits import Draft, hold_profile, save_edits
from ingest_pipeline.store.engine import open_engine, write
from ingest_pipeline.store.erased import allow_return, watch_erased
from ingest_pipeline.store.extractions import save_extractions
from ingest_pipeline.store.files import file_id, load_files, save_rejections
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.proving import scan_files, scan_tables
from ingest_pipeline.store.tables import (
    DocumentRow,
    EditRow,
    ErasedRow,
    FileRow,
    IdentifierRow,
    Memory,
    ObservationRow,
    PersonIdentifier,
    PersonRow,
    Profile,
    Rejection,
    TraitRow,
)
from ingest_pipeline.store.texts import GivenText
from tests.builders import (
    add_file,
    contact,
    day,
    documents,
    empty,
    facts,
    people,
    record,
    rows,
    save,
    save_text,
    sender,
)
from tests.merging import shared_store, split, sync

ANA, BEN, CYD = "ana@x.example", "ben@x.example", "cyd@x.example"
SCHEMA = load_traits(None)
QUIET = LogProgress(lambda _line: None)
PHONE = Identifier("phone", "+4915112345678")


@pytest.fixture
def engine(engine: Engine, tmp_path: Path) -> Engine:
    """A store that knows where its key is."""
    watch_erased(engine, ErasureKey(None, tmp_path / "erasure.key"))
    return engine


def ana(number: int = 1) -> Person:
    person = contact(number, ANA, name="Ana Ferreira")
    return replace(person, identifiers=(*person.identifiers, PHONE))


def refold(engine: Engine) -> Callable[[Sequence[str]], Iterator[object]]:
    return lambda profiles: fold_profiles(engine, SCHEMA, profiles)


def remove(engine: Engine, who: str = ANA, folders: Sequence[Path] = ()) -> Forgotten:
    return forget(engine, find_profile(engine, who), refold(engine), "tester", Via.CLI, QUIET, folders)


def contents(engine: Engine) -> str:
    """Everything in the store, as text."""
    return "\n".join(repr(tuple(row)) for table in Base.metadata.sorted_tables for row in _all(engine, table))


def _all(engine: Engine, table: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(table)))


def llm_rows(engine: Engine, profile: str, ids: Sequence[str], key: str = "k", answer: str = "{}") -> None:
    """A call about some documents with its answer, and a batch that asks about the first of them."""
    with engine.begin() as connection:
        cached = {"state": "answered", "worker": "w", "model": "m", "created_at": day(1)}
        connection.execute(insert(LlmCacheRow).values(key=key, profile_id=profile, answer=answer, **cached))
        connection.execute(insert(LlmCallRow).values(
            id=ids[0], request_key=key, purpose="extract", profile_id=profile, document_id=ids[0],
            document_ids=list(ids) if len(ids) > 1 else None, model="m", attempt=1, outcome="ok", held_usd=0.0,
            worker="w", created_at=day(1), cost_usd=0.5,
        ))  # fmt: skip
        connection.execute(insert(LlmBatchRow).values(
            id=ids[0], model="m", fingerprint="f", state="submitted", worker="w", requests=1, documents=1,
            held_usd=0.0, created_at=day(1),
        ))  # fmt: skip
        connection.execute(insert(LlmBatchItemRow).values(
            batch_id=ids[0], key=key, position=0, call_id=ids[0], profile_id=profile, passages=[], follow_up=False
        ))  # fmt: skip
        connection.execute(insert(LlmBatchDocumentRow).values(document_id=ids[0], batch_id=ids[0]))


def test_everything_of_a_person_goes(engine: Engine) -> None:
    """From every table, with the profiles merged into theirs; accounts of calls stay, without whom they were about."""
    sync(
        engine,
        record(ana(), native_id="1", text="I live in Lisbon.", said=day(1)),
        record(ana(), native_id="1", text="I live in Porto.", said=day(2), modified=day(3)),
        record(sender(ANA), native_id="2", text="Please call me, I never read e-mail.", said=day(4)),
    )
    profile = find_profile(engine, ANA)
    save_text(engine, profile, "I work as a plumber at Bolt.", "call", {"by": ANA}, day(5))
    with engine.begin() as connection:
        hold_profile(connection, profile)
        save_edits(connection, profile, [Draft(Action.SET, Target.TRAIT, "company", value="Bolt")], "tester")
    sync(engine)
    ids = [row.id for row in rows(engine, DocumentRow)]
    llm_rows(engine, profile, ids, answer='{"facts": ["Lives in Lisbon"]}')
    with engine.begin() as connection:
        old = {"changes": 0, "folded": 0, "summary_version": 0, "created_at": day(1), "updated_at": day(1), "bucket": 1}
        merged = {"id": ids[0], "partition_key": "old", "external_id": "customer-1", "merged_into": profile}
        connection.execute(insert(Profile).values(**old, **merged))

    done = remove(engine)

    assert done.clean
    assert done.erased["documents"] == 4
    emptied = {DocumentRow, ObservationRow, Profile, IdentifierRow, PersonRow, PersonIdentifier, TraitRow, Memory,
               EditRow, LlmCacheRow, LlmBatchItemRow, LlmBatchDocumentRow}  # fmt: skip
    assert [table.__tablename__ for table in emptied if rows(engine, table)] == []
    (call,) = rows(engine, LlmCallRow)
    assert (call.profile_id, call.document_id, call.document_ids, call.cost_usd) == (None, None, None, 0.5)
    for value in (ANA, "Ferreira", "Lisbon", "Porto", "plumber", "12345678", "customer-1", "Bolt"):
        assert value not in contents(engine), value


def test_the_audit_log_says_that_it_happened_and_nothing_else(engine: Engine) -> None:
    sync(engine, record(ana(), text="I live in Lisbon."))
    profile = find_profile(engine, ANA)
    remove(engine)
    (entry,) = load_audit_log(engine)
    assert (entry.actor, entry.via, entry.action, entry.profile_id) == ("tester", "cli", "erase", profile)
    assert entry.detail["erased"]["documents"] == 1


def test_what_goes_is_shown_before(engine: Engine) -> None:
    sync(engine, record(ana(), text="I live in Lisbon."), record(contact(2, BEN, name="Ana Ferreira")))
    shown = preview(engine, find_profile(engine, ANA))
    assert shown.namesakes == 1
    done = erase(engine, find_profile(engine, ANA), refold(engine), "tester", Via.CLI, QUIET)[0]
    assert {table: n for table, n in done.erased.items() if n} == dict(shown.counts)


def test_a_person_of_many_documents_goes_in_pages(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a transaction of its own, so that others wait no longer than for one."""
    monkeypatch.setattr(erasure, "PAGE", 2)
    sync(engine, *(record(sender(ANA), native_id=str(n), text=f"I live in City{n}.") for n in range(7)))
    statements: list[str] = []
    event.listen(engine, "commit", lambda _connection: statements.append("commit"))
    done = remove(engine)
    assert done.erased["documents"] == 7
    assert rows(engine, DocumentRow) == []
    assert len(statements) >= 4


class _Killed(Exception):
    pass


class _KilledAt(LogProgress):
    """The process dies when a stage begins."""

    def __init__(self, stage: str) -> None:
        super().__init__(lambda _line: None)
        self.stage = stage

    def start(self, stage: str, total: int | None) -> None:
        if stage == self.stage:
            raise _Killed


@pytest.mark.parametrize("stage", ["looking at texts", "looking at files", "folding", "erasing"])
def test_what_was_broken_off_is_finished_by_the_same_command(engine: Engine, stage: str) -> None:
    """The profile goes last; meanwhile nothing of the person is stored any more."""
    sync(engine, *others(engine))
    with pytest.raises(_Killed):
        forget(engine, find_profile(engine, ANA), refold(engine), "tester", Via.CLI, _KilledAt(stage))
    save(engine, record(sender(ANA), native_id="9", text="I am back."))
    assert not rows(engine, DocumentRow, native_id="9")

    assert remove(engine).clean
    assert len({row.erasure_id for row in rows(engine, ErasedRow)}) == 1


def test_the_proof_can_be_repeated_when_the_person_is_gone(engine: Engine) -> None:
    sync(engine, record(ana()))
    with pytest.raises(_Killed):
        forget(engine, find_profile(engine, ANA), refold(engine), "tester", Via.CLI, _KilledAt("proving documents"))
    again = prove_again(engine, ANA, QUIET)
    assert again is not None
    assert again.clean
    assert prove_again(engine, BEN, QUIET) is None


SAID = "Ben: is Ana there?\nAna: yes, I moved to Lisbon\nBen: I live in Oslo"


def chat(native_id: str, who: Person, name: str) -> Record:
    """A conversation-day of Ben and Ana, as the one about ``name`` sees it."""
    spans = [("Ben", "is Ana there?"), ("Ana", "yes, I moved to Lisbon"), ("Ben", "I live in Oslo")]
    segments = tuple(
        Segment(SAID.index(said), SAID.index(said) + len(said), Role.SUBJECT if s == name else Role.OTHER, s, str(n))
        for n, (s, said) in enumerate(spans)
    )
    return replace(record(who, native_id=native_id, text=SAID), origin="slack", segments=segments, occurred_at=day(1))


def slack(user: str, name: str, *emails: str) -> Person:
    return Person(Identifier("slack", f"T1/{user}"), "slack:T1", name, tuple(Identifier("email", e) for e in emails))


def others(engine: Engine) -> list[Record]:
    return [
        record(ana(), native_id="1", text="I live in Lisbon."),
        chat("2", slack("U05000001", "Ana", ANA), "Ana"),
        chat("3", slack("U05000002", "Ben", BEN), "Ben"),
        replace(
            record(sender(CYD, "Cyd"), native_id="4", text="I work with Ana Ferreira at Bolt (ana@x.example)."),
            metadata={"to": ["Ana Ferreira <ANA@x.example>"], "subject": "0151 12345678", "n": 1},
            position=f"mail of {ANA}",
        ),
    ]


def test_what_they_said_to_others_and_what_others_say_of_them_is_blanked(engine: Engine) -> None:
    """In place: offsets stay, and every quote that is left is at its place."""
    sync(engine, *others(engine))
    before = {row.native_id: row for row in rows(engine, DocumentRow)}
    done = remove(engine)
    assert done.clean
    after = {row.native_id: row for row in rows(engine, DocumentRow)}
    assert after.keys() == {"3", "4"}
    assert all(len(row.text) == len(before[i].text) and row.id == before[i].id for i, row in after.items())
    assert after["3"].text == f"Ben: is Ana there?\n{BLANK * 27}\nBen: I live in Oslo"
    assert [s.get("speaker") for s in after["3"].segments] == ["Ben", BLANK * 3, "Ben"]
    assert after["4"].text == f"I work with {BLANK * 12} at Bolt ({BLANK * 13})."
    assert after["4"].metadata == {"to": [f"{BLANK * 12} <{BLANK * 13}>"], "subject": BLANK * 13, "n": 1}
    assert after["4"].position == f"mail of {BLANK * 13}"
    audit = audit_evidence(engine)
    assert (audit.without, audit.wrong) == (0, 0)
    assert {row.value for row in rows(engine, TraitRow, key="location")} == {"Oslo"}


def observed(document: Any, quote: str, value: str, kind: Kind = Kind.MEMORY, key: str = "fact") -> Extraction:
    start = document.text.index(quote)
    claim = Observation(
        kind, key, value, 0.9, 0.7, quote, start, start + len(quote), Role.SUBJECT, document.occurred_at, None
    )
    return Extraction(document.id, Status.OK, (claim,))


def test_data_that_is_nested_deep_does_not_keep_anybody(engine: Engine) -> None:
    """As deep as the databases' JSON is read at all, which is more than is taken today."""
    deep: Json = "Ana Ferreira <ANA@x.example>"
    for _ in range(600):
        deep = [deep]
    save(engine, record(ana()), replace(record(sender(BEN, "Ben"), native_id="2"), metadata={"deep": deep}))
    assert remove(engine).clean
    (left,) = rows(engine, DocumentRow)
    assert strings(left.metadata)[1:] == [BLANK * 12 + " <" + BLANK * 13 + ">"]


def test_facts_of_others_that_name_the_person_go(engine: Engine) -> None:
    """The observation is dropped and the profile folded again; answers that name the person go, others' facts stay."""
    sync(engine, *others(engine))
    documents_ = {row.native_id: row for row in rows(engine, DocumentRow)}
    cyd, ben = documents_["4"], documents_["3"]
    outcomes = [
        observed(cyd, "I work with Ana Ferreira", "Works with Ana Ferreira."),
        observed(ben, "I live in Oslo", "Lives in Oslo near Ana Ferreira."),
    ]
    save_extractions(engine, outcomes, "llm", "m", None)
    list(fold_profiles(engine, SCHEMA))
    llm_rows(engine, ben.profile_id, [ben.id], "about-ben", '{"v": "near Ana Ferreira"}')
    assert any("Ana Ferreira" in row.content for row in rows(engine, Memory))

    assert remove(engine).clean

    assert not [row for row in rows(engine, Memory) if "Ferreira" in row.content]
    assert rows(engine, LlmCacheRow) == []
    assert not [p for p in rows(engine, Profile) if p.changes != p.folded]


def test_answers_about_several_documents_go_with_one_of_them(engine: Engine) -> None:
    """Also when they were asked for another profile, which the document was in then."""
    sync(engine, record(ana(), native_id="1", text="I live in Lisbon."), record(contact(2, BEN), native_id="2"))
    mine, theirs = rows(engine, DocumentRow, native_id="1"), rows(engine, DocumentRow, native_id="2")
    llm_rows(engine, theirs[0].profile_id, [theirs[0].id, mine[0].id], "pack")
    remove(engine)
    assert rows(engine, LlmCacheRow) == []
    (call,) = rows(engine, LlmCallRow)
    assert call.document_ids is None


def test_decisions_about_others_that_name_the_person_are_blanked(engine: Engine) -> None:
    sync(engine, record(ana(), native_id="1"), record(contact(2, BEN), native_id="2", text="I live in Oslo."))
    ben = find_profile(engine, BEN)
    with engine.begin() as connection:
        hold_profile(connection, ben)
        save_edits(connection, ben, [Draft(Action.SET, Target.TRAIT, "company", value="Ana Ferreira Ltd")], "tester")
        connection.execute(update(Profile).where(Profile.id == ben).values(summary="Knows Ana Ferreira."))
    sync(engine)
    assert remove(engine).clean
    assert {row.value for row in rows(engine, TraitRow, profile_id=ben, key="company")} == {f"{BLANK * 12} Ltd"}


def test_a_name_that_others_have_stays_in_texts(engine: Engine) -> None:
    """Also within a longer one: nobody can say who is meant. Addresses and numbers go all the same."""
    longer = record(contact(2, BEN, name="Ana Ferreira Lopes"), native_id="2", text="Name: Ana Ferreira Lopes")
    sync(engine, record(ana(), native_id="1"), longer)
    done = remove(engine)
    assert done.namesakes == 1
    assert done.clean
    assert rows(engine, DocumentRow)[0].text == "Name: Ana Ferreira Lopes"


def test_a_shared_address_is_the_others_afterwards(engine: Engine) -> None:
    """As if the person had never been there."""
    sync(engine, record(contact(2, BEN, "info@x.example"), native_id="2"))
    alone = people(engine)
    sync(engine, record(contact(1, ANA, "info@x.example"), native_id="1", text="I live in Lisbon."))
    assert people(engine) != alone
    assert remove(engine).clean
    assert people(engine) == alone
    save(engine, record(sender("info@x.example"), native_id="3"))
    assert len(rows(engine, DocumentRow, native_id="3")) == 1


def test_who_was_split_from_somebody_goes_alone(engine: Engine) -> None:
    sync(
        engine,
        record(contact(1, ANA, BEN), native_id="1", text="I live in Lisbon."),
        record(sender(BEN), native_id="2", text="I live in Oslo."),
    )
    split(engine, ANA, BEN)
    sync(engine)
    assert remove(engine, ANA).clean
    assert [row.native_id for row in rows(engine, DocumentRow)] == ["2"]
    assert find_profile(engine, BEN)
    with pytest.raises(ProfileNotFound):
        find_profile(engine, ANA)


# What comes later


def snapshot(engine: Engine) -> list[str]:
    """All that a sync may change, but for times and counters."""
    found = []
    for table in (DocumentRow, ObservationRow, IdentifierRow, PersonRow, PersonIdentifier, TraitRow, Memory):
        names = [c.key for c in table.__table__.columns if c.key not in ("created_at", "updated_at", "run_id")]
        found += sorted(repr([getattr(row, name, None) for name in names]) for row in rows(engine, table))
    return found


def test_reading_the_same_again_changes_nothing(engine: Engine) -> None:
    """The person stays away, and others' texts are known as they were blanked."""
    sync(engine, *others(engine))
    remove(engine)
    before = snapshot(engine)
    saved = save(engine, *others(engine))
    assert saved.left_out == {0, 1}
    sync(engine)
    assert snapshot(engine) == before


@pytest.mark.parametrize(
    "person",
    [
        sender(ANA),
        contact(1, "other@x.example"),
        contact(7, ANA),
        contact(7, claims=False),
        Person(Identifier("x", "9"), "x", "Somebody", (PHONE,)),
        Person(Identifier("x", "9"), "x", same_as=(Identifier("hubspot", "h/1"),)),
    ],
    ids=["mail", "crm id", "address on a new contact", "reference", "phone", "merged record"],
)
def test_one_known_identifier_keeps_the_person_away(engine: Engine, person: Person) -> None:
    sync(engine, record(ana(), native_id="1", text="I live in Lisbon."))
    remove(engine)
    if person.key == Identifier("hubspot", "h/7") and not person.claims:
        # A task that refers to a contact; which person that is, is known once the contact is read.
        save(engine, record(person, native_id="6", text="Called Ana."))
        person = contact(7, ANA)
    save(engine, record(person, native_id="5", text="I am back."))
    sync(engine)
    assert rows(engine, DocumentRow) == []
    assert rows(engine, Profile) == []
    assert rows(engine, IdentifierRow) == []


def test_what_comes_with_a_known_identifier_is_known_from_then_on(engine: Engine) -> None:
    """A new contact with the old address: its tasks, which name the contact alone, and its new address are theirs."""
    sync(engine, record(ana(), native_id="1"))
    remove(engine)
    save(engine, record(contact(7, ANA, "second@x.example"), native_id="2"))
    save(engine, record(contact(7, claims=False), native_id="3"), record(sender("second@x.example"), native_id="4"))
    assert rows(engine, DocumentRow) == []


def test_a_living_person_is_not_drawn_in(engine: Engine) -> None:
    """A record that has both one's address and an erased one's is left out; the living one's own stay."""
    sync(engine, record(ana(), native_id="1"), record(sender(BEN), native_id="2"))
    remove(engine)
    save(engine, record(contact(7, ANA, BEN), native_id="3"), record(sender(BEN), native_id="4"))
    assert {row.native_id for row in rows(engine, DocumentRow)} == {"2", "4"}


def test_a_note_about_several_stays_with_the_others(engine: Engine) -> None:
    sync(engine, record(ana(), native_id="1"), record(contact(2, BEN), native_id="2"))
    remove(engine)
    saved = save(
        engine, record(contact(1, claims=False), contact(2, claims=False), native_id="3", text="Met Ana Ferreira.")
    )
    assert saved.new == 1
    assert [row.text for row in rows(engine, DocumentRow, native_id="3")] == [f"Met {BLANK * 12}."]


def test_texts_given_directly_are_refused(engine: Engine) -> None:
    """By external id and by address; others are made as ever."""
    profile = create_profile(engine, "customer-1")
    save_text(engine, profile, "I live in Lisbon.", None, None, day(1))
    sync(engine, record(ana()))
    remove(engine)
    forget(engine, profile, refold(engine), "tester", Via.CLI, QUIET)
    for external_id in (ANA, "Ana@X.example", "customer-1"):
        with pytest.raises(InvalidInput) as error:
            create_profile(engine, external_id)
        assert error.value.code == "profile_erased"
    assert create_profile(engine, "customer-2")


def test_texts_about_others_are_stored_without_the_erased(engine: Engine) -> None:
    """The same call as before the erasure brings nobody back, and is the same document; a new one comes blanked."""
    ben = create_profile(engine, "ben")
    given = GivenText(ben, SAID_OF_ANA, day(1), "mail of ana@x.example", {"cc": ["Ana Ferreira"]})
    before = write(engine, lambda connection: save_given(connection, given))
    sync(engine, record(ana()))
    remove(engine)
    blanked = SAID_OF_ANA.replace("Ana Ferreira", BLANK * 12).replace(ANA, BLANK * 13)
    for text in (given, replace_(given, text=f"{SAID_OF_ANA} Really.")):
        document = write(engine, lambda connection, text=text: save_given(connection, text))
        (row,) = rows(engine, DocumentRow, id=document)
        assert row.text.removesuffix(" Really.") == blanked
        assert row.metadata == {"source": f"mail of {BLANK * 13}", "metadata": {"cc": [BLANK * 12]}}
        assert (document == before) is (text is given)
    (said,) = read_said("ben", [{"role": "user", "content": SAID_OF_ANA}])
    save_said(engine, ben, [said], {"metadata": {"note": ANA}}, day(2))
    assert rows(engine, DocumentRow, id=said.id)[0].metadata == {"metadata": {"note": BLANK * 13}}
    assert len(rows(engine, DocumentRow)) == 3


def test_a_text_that_is_being_stored_when_somebody_goes_is_blanked_too(engine: Engine) -> None:
    ben = create_profile(engine, "ben")
    sync(engine, record(ana()))
    with ThreadPoolExecutor(1) as pool, engine.connect() as connection:
        document = save_given(connection, GivenText(ben, SAID_OF_ANA, day(1)))
        removing = pool.submit(remove, engine)
        while engine.dialect.name == "postgresql" and not removing.done() and not somebody_waits(engine):
            threading.Event().wait(0.01)
        connection.commit()
        removing.result(60)
    (row,) = rows(engine, DocumentRow, id=document)
    assert (ANA in row.text, BLANK in row.text) == (False, True)


@pytest.mark.parametrize("stage", ["folding", "erasing"])
def test_two_who_erase_the_same_person_at_once_are_one_erasure(engine: Engine, stage: str) -> None:
    """Whoever is slower is told that nobody is there; the audit log has one entry."""
    profile = create_profile(engine, ANA)
    save_text(engine, profile, "I live in Lisbon.", None, None, day(1))

    class Slower(LogProgress):
        def start(self, name: str, total: int | None) -> None:
            if name == stage:
                erase(engine, profile, refold(engine), "tester", Via.CLI, QUIET)

    with pytest.raises(ProfileNotFound):
        forget(engine, profile, refold(engine), "slower", Via.CLI, Slower(lambda _line: None))
    assert [(entry.action, entry.actor) for entry in load_audit_log(engine)] == [("erase", "tester")]
    assert ANA not in contents(engine)


def somebody_waits(engine: Engine) -> bool:
    with engine.connect() as connection:
        waiting = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        )
        return bool(waiting.scalar())


SAID_OF_ANA = "Ana Ferreira (ana@x.example) sent me. I live in Oslo."


def test_a_line_that_names_the_erased_profile_by_its_id_makes_no_other(engine: Engine) -> None:
    """As JSON Lines may: ``{"profile": "5b1f0b46-…", "text": …}``."""
    sync(engine, record(ana(), native_id="1"))
    profile = find_profile(engine, ANA)
    remove(engine)
    named = Person(Identifier("external", profile), "external")
    sync(engine, record(named, text="I live in Porto.", native_id="line 1"))
    assert not rows(engine, DocumentRow)
    assert not rows(engine, Profile)
    assert allow_return(engine, profile) > 1


def test_a_return_can_be_allowed_by_any_identifier(engine: Engine) -> None:
    """The person can be stored again, and all files count as unread, since some hold them."""
    sync(engine, record(ana(), native_id="1", text="I live in Lisbon."))
    alone = people(engine)
    remove(engine)
    with pytest.raises(InvalidInput, match="nobody"):
        allow_return(engine, BEN)
    assert allow_return(engine, "+49 151 12345678") > 3
    assert {row.read_with for row in rows(engine, FileRow)} == {""}
    sync(engine, record(ana(), native_id="1", text="I live in Lisbon."))
    assert people(engine) == alone
    assert rows(engine, ErasedRow) == []


def test_an_extraction_under_way_brings_nothing_back(engine: Engine) -> None:
    """It was begun with the text before it was blanked; or its document is gone."""
    sync(engine, *others(engine))
    documents_ = {row.native_id: row for row in rows(engine, DocumentRow)}
    late = [
        observed(documents_["1"], "I live in Lisbon", "Lives in Lisbon."),
        observed(documents_["4"], "I work with Ana Ferreira", "Works with somebody."),
        observed(documents_["4"], "at Bolt", "Works with Ana Ferreira."),
        observed(documents_["3"], "I live in Oslo", "Lives in Oslo."),
    ]
    remove(engine)
    for outcome in late:
        save_extractions(engine, [outcome], "llm", "m", None)
    assert {row.value for row in rows(engine, ObservationRow, fingerprint="llm")} == {"Lives in Oslo."}
    list(fold_profiles(engine, SCHEMA))
    assert not Needles.of(_traces()).count(contents(engine))


def _traces() -> Traces:
    return Traces(frozenset({Identifier("email", ANA), PHONE}), frozenset({"Ana Ferreira"}))


@pytest.mark.parametrize("asked_after", [False, True], ids=["asked before", "asked after"])
def test_an_answer_under_way_is_not_kept(engine: Engine, asked_after: bool) -> None:
    """The claim went with the person; or it was made by somebody who had the text in memory still."""
    sync(engine, record(ana(), native_id="1", text="I live in Lisbon."))
    entry = Entry("k", "m", "me", find_profile(engine, ANA))
    database = Database(engine)
    with database.write() as tx:
        if not asked_after:
            assert claim(tx, entry, day(1)) is None
    remove(engine)
    with database.write() as tx:
        if asked_after:
            assert claim(tx, entry, day(1)) is None
        fill(tx, entry, ProviderReply("Lives in Lisbon", "stop", 1, 1), day(1))
    assert rows(engine, LlmCacheRow) == []


def test_a_fold_under_way_is_done_again(engine: Engine) -> None:
    """The observations that it was made from are gone when it is stored."""
    sync(engine, *others(engine))
    ana_, cyd = find_profile(engine, ANA), find_profile(engine, CYD)
    (document,) = rows(engine, DocumentRow, native_id="4")
    save_extractions(engine, [observed(document, "I work with Ana Ferreira", "Works with her.")], "llm", "m", None)
    pending = [True]

    def meanwhile(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "FROM observations" in statement and pending and pending.pop():
            erase(engine, ana_, lambda _profiles: (), "tester", Via.CLI, QUIET)

    event.listen(engine, "after_cursor_execute", meanwhile)
    folded = list(fold_profiles(engine, SCHEMA, [cyd]))
    assert not pending
    assert [one.profile_id for one in folded] == [cyd]
    assert not [row for row in rows(engine, Memory) if row.profile_id == cyd and "her" in row.content]


def test_a_sync_may_go_on_meanwhile(engine: Engine) -> None:
    """What it stores of the person before is erased, what it would store after is left out; its other work stays."""
    sync(engine, *others(engine))
    begun, stopped = threading.Event(), threading.Event()
    stored: list[str] = []

    def go_on() -> None:
        for number in itertools.count():
            late = record(sender(ANA), native_id=f"a{number}", text=f"I am in town number {number}.")
            save(engine, late, record(sender(BEN), native_id=f"b{number}", text=f"Ana Ferreira is in town {number}."))
            list(fold_profiles(engine, SCHEMA))
            stored.append(f"b{number}")
            begun.set()
            if stopped.is_set():
                return

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(go_on)
        try:
            assert begun.wait(30)
            assert remove(engine).clean
        finally:
            stopped.set()
        working.result()
    assert not Needles.of(_traces()).count(contents(engine))
    kept = {row.native_id for row in rows(engine, DocumentRow)}
    assert kept == {"3", "4", *stored}


# Files


def test_file_names_lose_the_person(engine: Engine) -> None:
    """A full name or address everywhere; the first name, too, where a file holds nothing but theirs."""
    names = {
        "chat/WhatsApp Chat with Ana.txt": ana(), "email/ana.eml": ana(),
        "email/to ana@x.example.mbox": contact(2, BEN), "chat/Ana and Ben.txt": contact(2, BEN), "crm/a.csv": ana(),
    }  # fmt: skip
    for number, (name, who) in enumerate(names.items()):
        add_file(engine, name)
        save_records(engine, Source.CRM, [replace(record(who, native_id=str(number)), file=name)], None)
    remove(engine)
    stored = {row.id: row.name for row in rows(engine, FileRow)}

    def now(name: str) -> str:
        return re.sub(r" ~[0-9a-f]{8}$", "", stored[file_id(name)])

    assert now("chat/WhatsApp Chat with Ana.txt") == f"chat/WhatsApp Chat with {BLANK * 3}.txt"
    assert now("email/ana.eml") == f"email/{BLANK * 3}.eml"
    assert now("email/to ana@x.example.mbox") == f"email/to {BLANK * 13}.mbox"
    assert now("chat/Ana and Ben.txt") == "chat/Ana and Ben.txt"
    assert now("crm/a.csv") == "crm/a.csv"
    known = load_files(engine, Source.CRM)
    for name in names:
        add_file(engine, name)
        assert known[file_id(name)].name == stored[file_id(name)]
    assert {row.id: row.name for row in rows(engine, FileRow)} == stored


def test_new_files_named_after_the_person_are_stored_blanked(engine: Engine) -> None:
    sync(engine, record(ana()))
    remove(engine)
    name = "email/Ana Ferreira.mbox"
    add_file(engine, name)
    save_rejections(engine, [Rejected(name, f"mail of {ANA}", "no text")], None)
    assert all("Ferreira" not in row.name for row in rows(engine, FileRow))
    assert [row.position for row in rows(engine, Rejection)] == [f"mail of {BLANK * 13}"]


# The key


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    key = ErasureKey(None, tmp_path / "home" / "erasure.key")
    assert key.load() is None
    made = key.make()
    assert made == key.make() == key.load()
    assert len(made) == 64
    assert key.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key.path.parent.iterdir()] == ["erasure.key"]
    assert ErasureKey(SecretStr("a key of our own"), key.path).make() == b"a key of our own"


def test_without_the_right_key_nothing_is_stored(engine: Engine, tmp_path: Path) -> None:
    """Nor erased: two keys would let people return. An engine without any is refused as well."""
    sync(engine, record(ana(), native_id="1"), record(contact(2, BEN), native_id="2"))
    remove(engine)
    for key in (ErasureKey(None, tmp_path / "elsewhere"), ErasureKey(SecretStr("another key, also long"), tmp_path)):
        watch_erased(engine, key)
        with pytest.raises(ConfigurationError, match="INGEST_ERASURE_KEY"):
            save(engine, record(contact(3), native_id="3"))
        with pytest.raises(ConfigurationError, match="INGEST_ERASURE_KEY"):
            remove(engine, BEN)
    engine.update_execution_options(erased=None)
    with pytest.raises(ConfigurationError, match="key"):
        create_profile(engine, "customer-1")


def test_the_table_of_the_erased_tells_nothing(engine: Engine) -> None:
    """Hashes, a random id and a time."""
    sync(engine, record(ana()))
    remove(engine)
    for row in rows(engine, ErasedRow):
        assert re.fullmatch(r"[0-9a-f]{64}", row.digest)


# The proof


def test_the_proof_finds_what_is_left(engine: Engine, tmp_path: Path) -> None:
    """In any column of any table, and in any file of a folder."""
    sync(engine, record(ana(), text="My new office is on the third floor next to the river and the old harbour."))
    sync(engine, record(contact(2, BEN), native_id="2"))
    _, remnants = erase(engine, find_profile(engine, ANA), refold(engine), "tester", Via.CLI, QUIET)
    needles = Needles.of(remnants.traces)
    assert all(scan.clean for scan in scan_tables(engine, needles, remnants.samples, QUIET))

    sentence = "so the third floor next to the river and the old harbour, then"
    with engine.begin() as connection:
        connection.execute(update(DocumentRow).values(metadata_={"x": ["see Ana Ferreira"]}, text=sentence))
    found = {scan.place: scan for scan in scan_tables(engine, needles, remnants.samples, QUIET) if not scan.clean}
    assert list(found) == ["table documents"]
    assert found["table documents"].identifiers >= 1
    assert found["table documents"].texts >= 1

    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_bytes(b"\x00" * 1_048_560 + b"mail to ana@x.example failed")
    (scan,) = scan_files([tmp_path / "logs"], needles, remnants.samples, QUIET)
    assert (scan.identifiers, scan.clean) == (1, False)


def test_deleted_rows_do_not_stay_in_the_file(tmp_path: Path) -> None:
    """Rows deleted before, by a fold, are in no block of the file either."""
    path = tmp_path / "profiles.db"
    engine = open_engine(f"sqlite:///{path}")
    watch_erased(engine, ErasureKey(None, tmp_path / "erasure.key"))
    sync(engine, record(ana(), text="I live in Lisbon."), record(contact(2, BEN), native_id="2", text="Call me."))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("UPDATE documents SET text = text || ' It was raining in Lisbon.' WHERE native_id = '1'")
        connection.execute("DELETE FROM memories")
    connection.close()
    assert remove(engine, folders=[tmp_path]).clean
    engine.dispose()
    for file in tmp_path.glob("profiles.db*"):
        assert b"raining" not in file.read_bytes()
        assert b"Lisbon" not in file.read_bytes()


# Never added


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("store")
    for engine in shared_store_of(request, folder):
        watch_erased(engine, ErasureKey(None, folder / "erasure.key"))
        yield engine


def shared_store_of(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    with shared_store(request, folder) as engine:
        yield engine


ABOUT = ["I live in Oslo.", "I work as a plumber.", "Please call me.", "We met at the fair.", "I moved to Porto."]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Record], list[Record]]:
    """Records about others, and some of a person who shares an address with one of them, but no system's person."""
    theirs = []
    for number in range(draw(st.integers(1, 4))):
        who = draw(st.sampled_from([contact(2, BEN, "info@x.example"), contact(3, CYD), sender(BEN), sender(CYD)]))
        said = day(draw(st.integers(1, 9)))
        theirs.append(record(who, native_id=f"o{number}", text=draw(st.sampled_from(ABOUT)), said=said))
    mine = []
    for number in range(draw(st.integers(1, 4))):
        who = draw(st.sampled_from([contact(1, ANA, "info@x.example"), contact(1, ANA), sender(ANA)]))
        said = day(draw(st.integers(1, 9)))
        mine.append(record(who, native_id=f"m{number}", text=draw(st.sampled_from(ABOUT)), said=said))
    return theirs, mine


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(worlds(), st.booleans())
def test_a_person_added_and_erased_was_never_there(
    store: Engine, world: tuple[list[Record], list[Record]], before: bool
) -> None:
    """Whether others were stored before or after, and shared an address with them or not."""
    theirs, mine = world
    empty(store)
    sync(store, *theirs)
    never = (people(store), documents(store), facts(store))

    empty(store)
    for some in (theirs, mine) if before else (mine, theirs):
        sync(store, *some)
    erase(store, find_profile(store, mine[0].subjects[0].key.value if mine[0].subjects[0].key.kind == "email" else ANA),
          refold(store), "tester", Via.CLI, QUIET)  # fmt: skip
    sync(store)
    assert (people(store), documents(store), facts(store)) == never
    sync(store, *theirs, *mine)
    assert (people(store), documents(store), facts(store)) == never

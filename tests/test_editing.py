"""Deciding by hand: what each decision does to a fact, that it stays, that none is lost, and that it can be undone."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from ingest_pipeline import editing
from ingest_pipeline.direct import extract_stored
from ingest_pipeline.editing import Decided, Editor
from ingest_pipeline.editing.standing import standing
from ingest_pipeline.edits import Action, claim_key
from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits, parse_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.audit_log import Via, load_audit_log
from ingest_pipeline.store.audits import audit_evidence
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.edits import load_edits
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.extractions import Reextract, Selection
from ingest_pipeline.store.facts import Fact, load_facts
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.profiles import count_unfolded
from tests.builders import save_text
from tests.syncing import sync

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what the fold decides, with statements that other tests run on both databases."""

SCHEMA = load_traits(None)
NUMBERS = parse_traits(
    {"traits": [{"key": "seats", "valueType": "number"}, {"key": "vip", "valueType": "boolean"}]}, "numbers"
)
TEXTS = (
    "I live in Rome.",
    "I love chess and I manage a team of 12 people.",
    "I live in Lisbon. I love jazz.",
    "Please call me on the phone, do not email me. We are evaluating the enterprise plan.",
)


def tell(engine: Engine, profile_id: str, *texts: str, year: int = 2021, schema: Any = SCHEMA) -> None:
    """Texts that the person wrote, a year apart; decisions are of today, so that later ones are of years to come."""
    pipeline = Pipeline(load_settings(), engine, schema, OfflineExtractor(schema))
    for number, said in enumerate(texts):
        said_at = datetime(year + number, 6, 1, tzinfo=UTC)
        extract_stored(pipeline, profile_id, [save_text(engine, profile_id, said, None, None, said_at)])


def fresh(engine: Engine) -> str:
    """Another person who said all of TEXTS, stored at once and folded once."""
    profile = create_profile(engine, f"crm-{uuid4()}")
    for number, said in enumerate(TEXTS):
        save_text(engine, profile, said, None, None, datetime(2021 + number, 6, 1, tzinfo=UTC))
    extractor = OfflineExtractor(SCHEMA)
    list(extract_pending(engine, extractor, Selection(extractor.fingerprint, profiles=frozenset({profile}))))
    list(fold_profiles(engine, SCHEMA, [profile]))
    return profile


@pytest.fixture
def profile(engine: Engine) -> str:
    """Someone who said all of TEXTS: lives in Lisbon and lived in Rome, loves chess and jazz, has two memories."""
    return fresh(engine)


@pytest.fixture
def editor(engine: Engine) -> Editor:
    return Editor(engine, SCHEMA, "kim", Via.CLI)


def trait(engine: Engine, profile_id: str, key: str = "location") -> Fact | None:
    return next((t for t in load_facts(engine, profile_id).traits if t.key == key), None)


def value(engine: Engine, profile_id: str, key: str = "location") -> object:
    found = trait(engine, profile_id, key)
    return found.value if found else None


def memory(engine: Engine, profile_id: str, start: str) -> Fact:
    (found,) = [m for m in load_facts(engine, profile_id).memories if str(m.value).startswith(start)]
    return found


def memories(engine: Engine, profile_id: str) -> list[object]:
    return sorted(str(m.value) for m in load_facts(engine, profile_id).memories)


def shown(engine: Engine, profile_id: str) -> object:
    """What a reader sees of the facts, apart from who decided them."""
    facts = load_facts(engine, profile_id)
    return sorted(
        (
            f.kind,
            f.key,
            f.value,
            f.confidence,
            f.importance,
            f.source,
            f.alternatives,
            sorted(p.quote for p in f.proofs),
        )
        for f in (*facts.traits, *facts.memories)
    )


def actions(decided: Decided) -> list[str]:
    return [edit.action.value for edit in decided.edits]


# -- traits ------------------------------------------------------------------------------------------------------------


def test_a_value_that_is_set_stays_whatever_is_said(editor: Editor, engine: Engine, profile: str) -> None:
    """The evidence goes on accumulating behind it, and decides again once it is cleared."""
    done = editing.set_trait(editor, profile, "location", "Faro")
    assert done.before
    assert done.after
    assert (done.before.value, done.after.value) == ("Lisbon", "Faro")
    assert (done.after.source, done.after.edit) == ("manual", done.edits[0])
    assert done.after.edit.actor == "kim"
    tell(engine, profile, "I moved to Oslo.", year=2030)
    found = trait(engine, profile)
    assert found
    assert (found.value, found.source) == ("Faro", "manual")
    assert [[p.value for p in proofs] for proofs in found.opposing()] == [["Oslo"]]
    cleared = editing.clear(editor, profile, "location")
    assert cleared.after
    assert (cleared.after.value, cleared.after.source, cleared.after.edit) == ("Oslo", "extracted", None)


@ON_SQLITE
def test_a_set_value_is_in_the_schemas_words_and_as_sure_as_said(editor: Editor, engine: Engine, profile: str) -> None:
    done = editing.set_trait(editor, profile, "contact_preference", " Phone ", 0.5)
    assert done.after
    assert (done.after.value, done.after.confidence) == ("phone", 0.5)
    listed = editing.set_trait(editor, profile, "interests", ["Go", "chess", "go "])
    assert listed.after
    assert listed.after.value == ["Go", "chess"]
    assert (listed.after.source, listed.edits[0].value) == ("manual", ["Go", "chess"])


@ON_SQLITE
def test_numbers_and_booleans_are_set_as_what_they_are(engine: Engine, profile: str) -> None:
    """Whether a script gives a number or a person types one."""
    editor = Editor(engine, NUMBERS, "kim", Via.API)
    for given_value, stored in ((12, 12), ("12.5", 12.5), (0, 0)):
        done = editing.set_trait(editor, profile, "seats", given_value)
        assert done.after
        assert done.after.value == stored
    for given_value, answer in ((True, True), ("no", False)):
        done = editing.set_trait(editor, profile, "vip", given_value)
        assert done.after
        assert done.after.value is answer
    rejected = editing.reject(editor, profile, "vip")
    assert rejected.after is None
    assert editing.unreject(editor, profile, "vip", "no").edits[0].target == "false"


def test_a_rejected_value_falls_back_and_does_not_return(editor: Editor, engine: Engine, profile: str) -> None:
    """Neither from the same text nor from a new one; another value is taken, and un-rejecting brings it back."""
    done = editing.reject(editor, profile, "location")
    assert done.after
    assert done.after.value == "Rome"
    tell(engine, profile, "I live in Lisbon now.", year=2031)
    assert value(engine, profile) == "Rome"
    tell(engine, profile, "I moved to Oslo.", year=2032)
    assert value(engine, profile) == "Oslo"
    tell(engine, profile, "I live in Lisbon again.", year=2033)
    assert value(engine, profile) == "Oslo"
    back = editing.unreject(editor, profile, "location", "LISBON")
    assert back.after
    assert back.after.value == "Lisbon"


@ON_SQLITE
def test_one_element_of_many_is_rejected(editor: Editor, engine: Engine, profile: str) -> None:
    """The others stay; without --value all of them are meant."""
    done = editing.reject(editor, profile, "interests", "Chess")
    assert done.after
    assert done.after.value == ["jazz"]
    everything = editing.reject(editor, profile, "interests")
    assert (everything.after, [edit.target for edit in everything.edits]) == (None, ["jazz"])
    editing.unreject(editor, profile, "interests")
    assert value(engine, profile, "interests") == ["chess", "jazz"]


@ON_SQLITE
def test_a_value_can_be_rejected_before_anybody_says_it(editor: Editor, engine: Engine, profile: str) -> None:
    editing.reject(editor, profile, "location", "Oslo")
    tell(engine, profile, "I moved to Oslo.", year=2030)
    assert value(engine, profile) == "Lisbon"


@ON_SQLITE
def test_rejecting_what_was_set_ends_it(editor: Editor, engine: Engine, profile: str) -> None:
    """One value, or one element of a list, which keeps the others."""
    editing.set_trait(editor, profile, "location", "Faro")
    assert editing.reject(editor, profile, "location").after == replace(
        trait(engine, profile),
        value="Lisbon",  # type: ignore[type-var]
    )
    editing.set_trait(editor, profile, "interests", ["go", "tennis"])
    done = editing.reject(editor, profile, "interests", "tennis")
    assert done.after
    assert (done.after.value, done.after.source) == (["go"], "manual")
    done = editing.reject(editor, profile, "interests", "go")
    assert done.after
    assert (done.after.value, done.after.source) == (["chess", "jazz"], "extracted")


@ON_SQLITE
def test_a_rejected_value_may_be_set_and_rejected_again(editor: Editor, engine: Engine, profile: str) -> None:
    """What is set by hand goes before an older rejection."""
    editing.reject(editor, profile, "location")
    editing.set_trait(editor, profile, "location", "Lisbon")
    assert value(engine, profile) == "Lisbon"
    assert actions(editing.reject(editor, profile, "location")) == ["reject"]
    assert value(engine, profile) == "Rome"


def test_a_confirmed_value_yields_to_newer_evidence_only(editor: Editor, engine: Engine, profile: str) -> None:
    """What was said before the confirmation no longer changes it, even when it is read later."""
    done = editing.confirm(editor, profile, "location")
    assert done.after
    assert (done.after.value, done.after.source, done.after.edit) == ("Lisbon", "extracted", done.edits[0])
    assert done.before
    assert done.after.confidence >= done.before.confidence
    tell(engine, profile, "I moved to Oslo.", year=2025)
    assert value(engine, profile) == "Lisbon"
    tell(engine, profile, "I moved to Bergen.", year=2040)
    assert value(engine, profile) == "Bergen"
    cleared = editing.clear(editor, profile, "location")
    assert actions(cleared) == ["clear"]
    assert value(engine, profile) == "Bergen"


def test_a_conflict_is_decided_by_confirming_one_value(editor: Editor, engine: Engine, profile: str) -> None:
    """Both are kept until somebody says which; to confirm without saying which is refused."""
    tell(engine, profile, "I live in Oslo.", year=2025)
    tell(engine, profile, "I live in Bergen.", year=2025)
    found = trait(engine, profile)
    assert found
    assert {found.value, *found.alternatives} == {"Oslo", "Bergen"}
    assert [len(found.proofs_of(other)) for other in found.alternatives] == [1]
    with pytest.raises(InvalidInput, match="say which value is right"):
        editing.confirm(editor, profile, "location")
    (other,) = found.alternatives
    done = editing.confirm(editor, profile, "location", other)
    assert done.after
    assert (done.after.value, done.after.alternatives) == (other, ())
    editing.clear(editor, profile, "location")
    again = trait(engine, profile)
    assert again
    assert again.alternatives
    decided = editing.reject(editor, profile, "location", again.alternatives[0])
    assert decided.after
    assert (decided.after.value, decided.after.alternatives) == (again.value, ())


@ON_SQLITE
def test_elements_are_confirmed_one_by_one_or_all(editor: Editor, profile: str) -> None:
    assert [edit.value for edit in editing.confirm(editor, profile, "interests", "JAZZ").edits] == ["jazz"]
    assert [edit.value for edit in editing.confirm(editor, profile, "interests").edits] == ["chess", "jazz"]


def test_a_deleted_trait_does_not_come_back_from_the_same_evidence(
    editor: Editor, engine: Engine, profile: str
) -> None:
    """Neither what is shown nor what was true before; only a value that nobody claimed yet brings it back."""
    editing.set_trait(editor, profile, "location", "Faro")
    done = editing.delete_trait(editor, profile, "location")
    assert (done.after, actions(done)) == (None, ["clear", "reject", "reject", "reject"])
    assert {edit.value for edit in done.edits[1:]} == {"Faro", "Rome", "Lisbon"}
    list(fold_profiles(engine, SCHEMA, [profile]))
    assert value(engine, profile) is None
    with pytest.raises(InvalidInput, match="no such trait"):
        editing.delete_trait(editor, profile, "location")
    tell(engine, profile, "I moved to Oslo.", year=2030)
    assert value(engine, profile) == "Oslo"


def test_history_says_who_ended_a_value(editor: Editor, engine: Engine, profile: str) -> None:
    """By hand or by what was said."""
    first = editing.set_trait(editor, profile, "location", "Faro").edits[0]
    second = editing.clear(editor, profile, "location").edits[0]
    past = {p.value: p for p in load_facts(engine, profile).history if p.key == "location"}
    assert (past["Rome"].reason, past["Rome"].quote, past["Rome"].ending) == ("replaced", "I live in Lisbon.", None)
    assert (past["Faro"].reason, past["Faro"].edit, past["Faro"].ending) == ("cleared", first, second)
    rejected = editing.reject(editor, profile, "location").edits[0]
    past = {p.value: p for p in load_facts(engine, profile).history if p.key == "location"}
    assert (past["Lisbon"].reason, past["Lisbon"].ending) == ("rejected", rejected)


# -- memories ----------------------------------------------------------------------------------------------------------


def test_a_written_memory_is_there_without_evidence(editor: Editor, engine: Engine, profile: str) -> None:
    """Each type has an importance of its own; clearing takes it away; the audit of evidence has nothing to say."""
    done = editing.add_memory(editor, profile, " Owns   two dogs. ")
    assert done.after
    assert done.before is None
    assert (done.after.value, done.after.key, done.after.importance) == ("Owns two dogs.", "fact", 0.8)
    assert (done.after.source, done.after.edit, done.after.proofs) == ("manual", done.edits[0], ())
    other = editing.add_memory(editor, profile, "Prefers short calls.", "preference", 0.3)
    assert other.after
    assert (other.after.key, other.after.importance) == ("preference", 0.3)
    assert audit_evidence(engine).without == 0
    tell(engine, profile, "I live in Lisbon.", year=2031)
    assert {"Owns two dogs.", "Prefers short calls."} <= set(memories(engine, profile))
    assert editing.clear(editor, profile, done.after.id[:8]).after is None
    assert "Owns two dogs." not in memories(engine, profile)


@ON_SQLITE
def test_evidence_for_a_written_memory_adds_to_it(editor: Editor, engine: Engine, profile: str) -> None:
    before = len(memories(engine, profile))
    editing.add_memory(editor, profile, "Is evaluating the starter plan.", "context")
    tell(engine, profile, "We are evaluating the starter plan.", year=2031)
    found = memory(engine, profile, "Is evaluating the starter")
    assert len(memories(engine, profile)) == before + 1
    assert (len(found.proofs), found.source) == (1, "manual")


def test_a_revised_memory_keeps_its_id_and_evidence(editor: Editor, engine: Engine, profile: str) -> None:
    """What one revision changed the next one leaves, unless it says otherwise; clearing gives the old words back."""
    old = memory(engine, profile, "Manages a team")
    words = editing.revise_memory(editor, profile, old.id[:6], "Leads twelve people in sales.")
    assert words.after
    assert (words.after.id, words.after.value) == (old.id, "Leads twelve people in sales.")
    assert words.after.proofs == old.proofs
    weight = editing.revise_memory(editor, profile, old.id, None, "context", 0.9)
    assert weight.after
    assert (weight.after.value, weight.after.key, weight.after.importance) == (words.after.value, "context", 0.9)
    tell(engine, profile, "I manage a team of 12 people.", year=2031)
    assert memory(engine, profile, "Leads twelve").id == old.id
    cleared = editing.clear(editor, profile, old.id)
    assert cleared.after
    assert (cleared.after.value, cleared.after.key) == (old.value, old.key)


def test_a_rejected_memory_stays_away(editor: Editor, engine: Engine, profile: str) -> None:
    """Also when it is said again; un-rejecting by the id it had, that of the edit or its words brings it back."""
    old = memory(engine, profile, "Manages a team")
    for name in ("id", "edit", "words"):
        done = editing.reject(editor, profile, old.id[:8])
        assert (done.before, done.after) == (old, None)
        tell(engine, profile, "I manage a team of 12 people.", year=2031)
        assert not [m for m in memories(engine, profile) if str(m).startswith("Manages")]
        reference = {"id": old.id[:8], "edit": done.edits[0].id[:8], "words": "manages a team of 12 people"}[name]
        back = editing.unreject(editor, profile, reference)
        assert back.after
        assert back.after.id == old.id
        old = back.after


@ON_SQLITE
def test_deleting_a_memory_is_rejecting_it(editor: Editor, engine: Engine, profile: str) -> None:
    """A written one, too: writing it again brings it back."""
    written = editing.add_memory(editor, profile, "Owns two dogs.").after
    assert written
    done = editing.delete_memory(editor, profile, written.id)
    assert (actions(done), done.after) == (["reject"], None)
    again = editing.add_memory(editor, profile, "Owns two dogs.").after
    assert again
    assert again.value == "Owns two dogs."


@ON_SQLITE
def test_a_confirmed_memory_is_sure(editor: Editor, profile: str, engine: Engine) -> None:
    old = memory(engine, profile, "Manages a team")
    done = editing.confirm(editor, profile, old.id)
    assert done.after
    assert done.after.edit == done.edits[0]
    assert done.after.confidence > old.confidence
    assert (done.after.value, done.after.importance, done.after.proofs) == (old.value, old.importance, old.proofs)


# -- the summary -------------------------------------------------------------------------------------------------------


def test_a_summary_by_hand_stays_until_it_is_cleared(editor: Editor, engine: Engine, profile: str) -> None:
    """Whatever is read; its version counts up."""
    before = load_facts(engine, profile)
    done = editing.set_summary(editor, profile, " Our oldest customer. ")
    assert done.profile.summary == "Our oldest customer."
    assert done.profile.summary_version > before.summary_version
    tell(engine, profile, "I moved to Oslo.", year=2031)
    assert load_facts(engine, profile).summary == "Our oldest customer."
    cleared = editing.clear_summary(editor, profile)
    assert cleared.profile.summary != "Our oldest customer."
    with pytest.raises(InvalidInput, match="not written by hand"):
        editing.clear_summary(editor, profile)


# -- what is refused ---------------------------------------------------------------------------------------------------


Deed = Callable[[Editor, str], Decided]


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        (lambda e, p: editing.set_trait(e, p, "shoe_size", "46"), "trait_not_found"),
        (lambda e, p: editing.set_trait(e, p, "location", None), "missing_value"),
        (lambda e, p: editing.set_trait(e, p, "location", 7), "invalid_value_type"),
        (lambda e, p: editing.set_trait(e, p, "location", ["Rome"]), "invalid_value_type"),
        (lambda e, p: editing.set_trait(e, p, "location", " "), "invalid_value_type"),
        (lambda e, p: editing.set_trait(e, p, "location", "x" * 1_001), "invalid_value_type"),
        (lambda e, p: editing.set_trait(e, p, "location", "a\x00b"), "invalid_value_type"),
        (lambda e, p: editing.set_trait(e, p, "contact_preference", "fax"), "invalid_value_type"),
        (lambda e, p: editing.set_trait(e, p, "interests", "chess"), "invalid_value_type"),
        (lambda e, p: editing.set_trait(e, p, "interests", []), "invalid_value_type"),
        (lambda e, p: editing.set_trait(e, p, "interests", ["chess", 7]), "invalid_value_type"),
        (lambda e, p: editing.set_trait(e, p, "interests", ["x"] * 201), "invalid_value_type"),
        (lambda e, p: editing.set_trait(e, p, "location", "Rome", 1.1), "invalid_confidence"),
        (lambda e, p: editing.set_trait(e, p, "location", "Rome", True), "invalid_confidence"),
        (lambda e, p: editing.set_trait(e, p, "location", "Rome", "0.5"), "invalid_confidence"),
        (lambda e, p: editing.set_trait(e, p, "location", "Rome", float("nan")), "invalid_confidence"),
        (lambda e, p: editing.delete_trait(e, p, "timezone"), "trait_not_found"),
        (lambda e, p: editing.delete_trait(e, p, "shoe_size"), "trait_not_found"),
        (lambda e, p: editing.clear(e, p, "location"), "nothing_to_clear"),
        (lambda e, p: editing.clear(e, p, "ffffffff"), "memory_not_found"),
        (lambda e, p: editing.clear(e, p, "shoe_size"), "fact_not_found"),
        (lambda e, p: editing.confirm(e, p, "shoe_size"), "fact_not_found"),
        (lambda e, p: editing.confirm(e, p, "timezone"), "trait_not_found"),
        (lambda e, p: editing.confirm(e, p, "location", "Rome"), "value_not_found"),
        (lambda e, p: editing.confirm(e, p, "ffffffff"), "memory_not_found"),
        (lambda e, p: editing.confirm(e, p, "ffffffff", "x"), "invalid_value_type"),
        (lambda e, p: editing.reject(e, p, "timezone"), "trait_not_found"),
        (lambda e, p: editing.reject(e, p, "contact_preference", "fax"), "invalid_value_type"),
        (lambda e, p: editing.reject(e, p, "fff"), "memory_not_found"),
        (lambda e, p: editing.unreject(e, p, "location"), "not_rejected"),
        (lambda e, p: editing.unreject(e, p, "ffffffff"), "not_rejected"),
        (lambda e, p: editing.add_memory(e, p, " "), "invalid_content"),
        (lambda e, p: editing.add_memory(e, p, "…"), "invalid_content"),
        (lambda e, p: editing.add_memory(e, p, 7), "invalid_content"),
        (lambda e, p: editing.add_memory(e, p, "x" * 2_001), "invalid_content"),
        (lambda e, p: editing.add_memory(e, p, "Owns a dog.", "opinion"), "invalid_memory_type"),
        (lambda e, p: editing.add_memory(e, p, "Owns a dog.", None), "invalid_memory_type"),
        (lambda e, p: editing.add_memory(e, p, "Owns a dog.", "fact", 2), "invalid_importance"),
        (lambda e, p: editing.revise_memory(e, p, "ffffffff", "x y"), "memory_not_found"),
        (lambda e, p: editing.revise_memory(e, p, "ffffffff"), "invalid_content"),
        (lambda e, p: editing.delete_memory(e, p, "ffffffff"), "memory_not_found"),
        (lambda e, p: editing.set_summary(e, p, None), "missing_summary"),
        (lambda e, p: editing.set_summary(e, p, ""), "invalid_summary"),
        (lambda e, p: editing.set_summary(e, p, 7), "invalid_summary"),
        (lambda e, p: editing.set_summary(e, p, "x" * 10_001), "invalid_summary"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_leaves_no_trace(
    stranger: tuple[Editor, str], deed: Deed, code: str
) -> None:
    """With the API's code, and no value in the message."""
    editor, profile = stranger
    with pytest.raises(InvalidInput) as raised:
        deed(editor, profile)
    assert raised.value.code == code
    assert "fax" not in str(raised.value)
    assert load_edits(editor.engine, profile) == []
    assert load_audit_log(editor.engine) == []


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Editor, str]]:
    """A person of whom little is known; for being refused only, so one will do."""
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('refused') / 'profiles.db'}")
    profile = create_profile(engine, "crm-1")
    tell(engine, profile, "I live in Lisbon.")
    yield Editor(engine, SCHEMA, "kim", Via.CLI), profile
    engine.dispose()


@ON_SQLITE
def test_decisions_that_are_made_already_are_refused(editor: Editor, engine: Engine, profile: str) -> None:
    """A second reject would say nothing; what is set needs no confirmation."""
    editing.reject(editor, profile, "location", "Lisbon")
    with pytest.raises(InvalidInput) as raised:
        editing.reject(editor, profile, "location", "lisbon")
    assert raised.value.code == "already_rejected"
    editing.set_trait(editor, profile, "location", "Faro")
    with pytest.raises(InvalidInput) as raised:
        editing.confirm(editor, profile, "location")
    assert raised.value.code == "nothing_to_confirm"


@ON_SQLITE
def test_facts_of_another_person_are_out_of_reach(editor: Editor, engine: Engine, profile: str) -> None:
    """Even by their full id; and nobody is nobody."""
    stranger = create_profile(engine, "crm-2")
    with pytest.raises(InvalidInput, match="no such memory"):
        editing.delete_memory(editor, stranger, memory(engine, profile, "Manages").id)
    with pytest.raises(ProfileNotFound):
        editing.set_trait(editor, "5f8a4ab2-5a52-4c73-9d28-6f5ad5d6a1f1", "location", "Rome")
    with pytest.raises(InvalidInput, match="name of who"):
        editing.set_trait(replace(editor, actor=" "), profile, "location", "Rome")


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_a_decision_and_its_audit_entry_are_one(editor: Editor, engine: Engine, profile: str) -> None:
    """At the same time, by the same person, without a value; when the entry cannot be written, nothing is decided."""
    done = editing.reject(editor, profile, "interests")
    (entry,) = load_audit_log(engine)
    assert (entry.at, entry.actor, entry.via, entry.action) == (done.edits[0].at, "kim", "cli", "reject")
    assert (entry.profile_id, entry.detail) == (profile, {"kind": "trait", "key": "interests", "edits": 2})
    before = shown(engine, profile)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_log RENAME TO elsewhere"))
    with pytest.raises(Exception, match="audit_log"):
        editing.set_trait(editor, profile, "location", "Faro")
    assert shown(engine, profile) == before
    assert len(load_edits(engine, profile)) == 2


@ON_SQLITE
def test_no_audit_entry_holds_a_value(editor: Editor, engine: Engine, profile: str) -> None:
    """Whatever the decision."""
    editing.set_trait(editor, profile, "location", "Secretville")
    written = editing.add_memory(editor, profile, "Hides in Secretville.").after
    assert written
    editing.revise_memory(editor, profile, written.id, "Hides below Secretville.")
    editing.delete_memory(editor, profile, written.id)
    editing.set_summary(editor, profile, "Is of Secretville.")
    editing.delete_trait(editor, profile, "location")
    entries = load_audit_log(engine)
    assert len(entries) == 6
    assert "secretville" not in repr(entries).casefold()
    assert written.id not in repr(entries)


# -- that it stays -----------------------------------------------------------------------------------------------------


def decide_everything(editor: Editor, engine: Engine, profile: str) -> None:
    editing.set_trait(editor, profile, "contact_preference", "chat")
    editing.reject(editor, profile, "location")
    editing.confirm(editor, profile, "interests", "jazz")
    editing.add_memory(editor, profile, "Owns two dogs.")
    editing.reject(editor, profile, memory(engine, profile, "Is evaluating").id)
    editing.revise_memory(editor, profile, memory(engine, profile, "Manages").id, "Leads a dozen people.")
    editing.set_summary(editor, profile, "Our oldest customer.")


def test_decisions_survive_refolds_and_other_extractors(editor: Editor, engine: Engine, profile: str) -> None:
    """A new fingerprint extracts every text again, into new observations."""
    decide_everything(editor, engine, profile)
    before = (shown(engine, profile), load_facts(engine, profile).summary)
    list(fold_profiles(engine, SCHEMA, [profile]))
    assert (shown(engine, profile), load_facts(engine, profile).summary) == before
    other = _Renamed(OfflineExtractor(SCHEMA))
    outcomes = list(extract_pending(engine, other, Selection(other.fingerprint, Reextract.STALE)))
    assert sum(outcome.documents for outcome in outcomes) == len(TEXTS)
    list(fold_profiles(engine, SCHEMA))
    assert (shown(engine, profile), load_facts(engine, profile).summary) == before


class _Renamed:
    """The same patterns under another fingerprint."""

    def __init__(self, extractor: OfflineExtractor) -> None:
        self._extractor = extractor
        self.model, self.fingerprint = extractor.model, "offline:other"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)


def test_decisions_survive_a_second_sync(engine: Engine, editor: Editor, tmp_path: Path) -> None:
    """Of the same inbox with more in it."""
    folder = tmp_path / "email"
    folder.mkdir()
    (tmp_path / "crm").mkdir()
    (tmp_path / "chat").mkdir()
    _mail(folder / "1.eml", "I live in Lisbon. I love jazz.", 1)
    sync(engine, tmp_path)
    profile = find_profile(engine, "lena@x.example")
    editing.reject(editor, profile, "location")
    editing.set_trait(editor, profile, "contact_preference", "phone")
    before = shown(engine, profile)
    again = sync(engine, tmp_path)
    assert (again.folded, shown(engine, profile)) == ([], before)
    _mail(folder / "2.eml", "As I said, I live in Lisbon.", 2)
    _mail(folder / "3.eml", "Please email me, I prefer email.", 3)
    sync(engine, tmp_path)
    assert value(engine, profile) is None
    assert value(engine, profile, "contact_preference") == "phone"


def _mail(path: Path, body: str, day: int) -> None:
    path.write_text(
        f"From: Lena <lena@x.example>\nTo: us@northwind.example\nSubject: hi\nMessage-ID: <{day}@x.example>\n"
        f"Date: Mon, 0{day} Jan 2024 10:00:00 +0000\nContent-Type: text/plain; charset=utf-8\n\n{body}\n"
    )


def test_decisions_at_the_same_moment_all_count(engine: Engine, profile: str) -> None:
    """By several people about several facts, while a text comes in: nothing waits for the next sync either."""
    deeds: Sequence[Callable[[Editor], object]] = (
        lambda e: editing.set_trait(e, profile, "contact_preference", "chat"),
        lambda e: editing.reject(e, profile, "location", "Lisbon"),
        lambda e: editing.add_memory(e, profile, "Owns two dogs."),
        lambda e: tell(engine, profile, "I love tennis.", year=2031),
    )
    barrier = Barrier(len(deeds))

    def one(number: int) -> None:
        barrier.wait()
        deeds[number](Editor(engine, SCHEMA, f"actor {number}", Via.API))

    with ThreadPoolExecutor(len(deeds)) as pool:
        list(pool.map(one, range(len(deeds))))
    assert count_unfolded(engine) == 0
    assert value(engine, profile, "contact_preference") == "chat"
    assert value(engine, profile) == "Rome"
    assert "Owns two dogs." in memories(engine, profile)
    assert value(engine, profile, "interests") == ["chess", "jazz", "tennis"]
    assert len(load_edits(engine, profile)) == len(load_audit_log(engine)) == 3


# -- that it can be undone ---------------------------------------------------------------------------------------------

Undo = Callable[[], object]


class _Person:
    """Decisions about one person, each with the one that takes it back."""

    def __init__(self, editor: Editor, profile: str) -> None:
        self.editor, self.profile = editor, profile

    def set(self, key: str, new: Any) -> Undo:
        before = trait(self.editor.engine, self.profile, key)
        by_hand = before is not None and before.edit is not None and before.edit.action is Action.SET
        editing.set_trait(self.editor, self.profile, key, new)
        old = before.value if before else None
        if by_hand:
            return lambda: editing.set_trait(self.editor, self.profile, key, old)
        return lambda: editing.clear(self.editor, self.profile, key)

    def confirm(self, key: str, which: str | None) -> Undo:
        editing.confirm(self.editor, self.profile, key, which)
        return lambda: editing.clear(self.editor, self.profile, key)

    def reject(self, key: str, which: str) -> Undo:
        before = trait(self.editor.engine, self.profile, key)
        editing.reject(self.editor, self.profile, key, which)

        def undo() -> None:
            editing.unreject(self.editor, self.profile, key, which)
            if before and before.edit and before.edit.action is Action.SET and value_of(self, key) != before.value:
                editing.set_trait(self.editor, self.profile, key, before.value)

        return undo

    def unreject(self, key: str, which: str) -> Undo:
        editing.unreject(self.editor, self.profile, key, which)
        return lambda: editing.reject(self.editor, self.profile, key, which)

    def remember(self, sentence: str) -> Undo:
        stands = standing(load_edits(self.editor.engine, self.profile), SCHEMA)
        if stands.is_memory_decided(claim_key(sentence)):
            raise InvalidInput("known", "writing it again could not be told from the first time")
        done = editing.add_memory(self.editor, self.profile, sentence)
        assert done.after
        return lambda: editing.clear(self.editor, self.profile, done.after.id)

    def forget(self, start: str) -> Undo:
        found = self._memory(start)
        editing.delete_memory(self.editor, self.profile, found.id)
        return lambda: editing.unreject(self.editor, self.profile, found.id)

    def revise(self, start: str, sentence: str, importance: float) -> Undo:
        found = self._memory(start)
        editing.revise_memory(self.editor, self.profile, found.id, sentence, None, importance)
        if found.edit:
            return lambda: editing.revise_memory(
                self.editor, self.profile, found.id, found.value, found.key, found.importance
            )
        return lambda: editing.clear(self.editor, self.profile, found.id)

    def summarise(self, words: str) -> Undo:
        before = load_facts(self.editor.engine, self.profile).summary
        by_hand = self.by_hand = getattr(self, "by_hand", 0) + 1
        editing.set_summary(self.editor, self.profile, words)

        def undo() -> None:
            self.by_hand -= 1
            if by_hand == 1:
                editing.clear_summary(self.editor, self.profile)
            else:
                editing.set_summary(self.editor, self.profile, before)

        return undo

    def _memory(self, start: str) -> Fact:
        found = [m for m in load_facts(self.editor.engine, self.profile).memories if str(m.value).startswith(start)]
        if not found:
            raise InvalidInput("memory_not_found", "not there at the moment")
        return found[0]


def value_of(person: _Person, key: str) -> object:
    return value(person.editor.engine, person.profile, key)


PLACES = ("Rome", "Lisbon", "Faro")
PASTIMES = ("chess", "jazz", "tennis")
DEEDS = st.one_of(
    st.tuples(st.just("set"), st.just("location"), st.sampled_from(PLACES)),
    st.tuples(st.just("set"), st.just("interests"), st.lists(st.sampled_from(PASTIMES), min_size=1, unique=True)),
    st.tuples(st.sampled_from(["confirm"]), st.sampled_from(["location", "interests"]), st.none()),
    st.tuples(st.sampled_from(["confirm", "reject", "unreject"]), st.just("location"), st.sampled_from(PLACES)),
    st.tuples(st.sampled_from(["confirm", "reject", "unreject"]), st.just("interests"), st.sampled_from(PASTIMES)),
    st.tuples(st.just("remember"), st.sampled_from(["Owns two dogs.", "Plays the oboe."])),
    st.tuples(st.just("forget"), st.sampled_from(["Owns", "Manages", "Leads", "Is evaluating"])),
    st.tuples(
        st.just("revise"), st.sampled_from(["Owns", "Manages", "Leads"]), st.just("Leads a dozen people."),
        st.sampled_from([0.2, 0.9]),
    ),
    st.tuples(st.just("summarise"), st.sampled_from(["Our oldest customer.", "Somebody."])),
)  # fmt: skip


@ON_SQLITE
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=st.lists(DEEDS, max_size=6))
def test_any_decisions_undone_in_turn_leave_what_was_before(
    engine: Engine, editor: Editor, deeds: list[tuple[Any, ...]]
) -> None:
    """Step by step: each undoing shows again what was shown before that decision."""
    profile = fresh(engine)
    person = _Person(editor, profile)
    undos: list[tuple[Undo, object]] = []
    for name, *arguments in deeds:
        before = _all(engine, profile)
        if _is_confirmed(engine, profile, arguments[0]):
            continue  # a confirmation is only taken back together with what was decided since
        try:
            undos.append((getattr(person, name)(*arguments), before))
        except InvalidInput:
            assert _all(engine, profile) == before
    for undo, before in reversed(undos):
        undo()
        assert _all(engine, profile) == before


def _all(engine: Engine, profile: str) -> object:
    return (shown(engine, profile), load_facts(engine, profile).summary)


def _is_confirmed(engine: Engine, profile: str, key: str) -> bool:
    found = trait(engine, profile, key)
    return bool(found and found.edit and found.edit.action is Action.CONFIRM)

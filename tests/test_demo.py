"""The demo: a sync of the sample inbox finds what its answer key says, and nothing that the key forbids."""

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from ingest_pipeline.demo.answers import AnswerKey, ExpectedMemory, ExpectedTrait, Forbidden
from ingest_pipeline.demo.inbox import generate
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.reading import read_source
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.inbox import FOLDERS, open_inbox
from ingest_pipeline.store.audits import audit_evidence, count_invalid_values
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.facts import ProfileFacts, load_facts
from ingest_pipeline.store.lookup import find_profile, list_ambiguous, list_profiles
from ingest_pipeline.store.overview import load_overview

SCHEMA = load_traits(None)
EXTRACTOR = OfflineExtractor(SCHEMA)
INGEST = Path(sys.executable).with_name("ingest")


def sync(engine: Engine, inbox: Path) -> None:
    """The nightly sync without Dagster."""
    for source in FOLDERS:
        read_source(engine, open_inbox(str(inbox)), source, ReadOptions())
    for _ in extract_pending(engine, EXTRACTOR, Selection(EXTRACTOR.fingerprint)):
        pass
    for _ in fold_profiles(engine, SCHEMA):
        pass


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AnswerKey]:
    root = tmp_path_factory.mktemp("inbox")
    return root, generate(root)


@pytest.fixture(scope="module")
def key(inbox: tuple[Path, AnswerKey]) -> AnswerKey:
    return inbox[1]


@pytest.fixture(scope="module")
def synced(inbox: tuple[Path, AnswerKey], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The synced demo inbox on SQLite, for reading."""
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('store') / 'profiles.db'}")
    sync(engine, inbox[0])
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def facts(synced: Engine, key: AnswerKey) -> dict[str, ProfileFacts]:
    """Slug → what is known of the person. Everybody is found, under each identifier that is theirs alone."""
    return people(synced, key)


def people(engine: Engine, key: AnswerKey) -> dict[str, ProfileFacts]:
    found = {}
    for person in key.people:
        ids = {find_profile(engine, name) for name in person.identifiers if name not in key.ambiguous}
        assert len(ids) == 1, person.slug
        found[person.slug] = load_facts(engine, ids.pop())
    return found


def holds(facts: ProfileFacts, expected: ExpectedTrait) -> bool:
    return any(trait.key == expected.key and expected.held_by(trait.value) for trait in facts.traits)


def remembers(facts: ProfileFacts, expected: ExpectedMemory) -> bool:
    return any(
        memory.key == expected.type and expected.words.casefold() in str(memory.value).casefold()
        for memory in facts.memories
    )


def says(facts: ProfileFacts, forbidden: Forbidden) -> bool:
    held = facts.memories if forbidden.key == "memory" else [t for t in facts.traits if t.key == forbidden.key]
    return any(forbidden.value.casefold() in json.dumps(fact.value, ensure_ascii=False).casefold() for fact in held)


def problems(facts: dict[str, ProfileFacts], key: AnswerKey) -> list[tuple[str, object]]:
    """Where a sync and the answer key disagree."""
    found: list[tuple[str, object]] = []
    for person in key.people:
        known = facts[person.slug]
        found += [(person.slug, t) for t in person.traits if t.offline and not holds(known, t)]
        found += [(person.slug, m) for m in person.memories if m.offline and not remembers(known, m)]
        found += [(person.slug, n) for n in person.never if says(known, n)]
    return found


# -- on both databases -------------------------------------------------------------------------------------------------


def test_every_database_gives_what_the_key_says(inbox: tuple[Path, AnswerKey], engine: Engine) -> None:
    """Profiles, traits, memories, nothing forbidden; evidence proved by the database; a second sync does nothing."""
    root, key = inbox
    sync(engine, root)
    found = people(engine, key)
    assert problems(found, key) == []
    assert len({facts.id for facts in found.values()}) == key.profiles == load_overview(engine).profiles
    audit = audit_evidence(engine)
    assert (audit.without, audit.wrong) == (0, 0)
    assert audit.facts == sum(len(f.traits) + len(f.memories) for f in found.values())
    assert count_invalid_values(engine, SCHEMA) == {}
    before = stored(engine)
    sync(engine, root)
    assert stored(engine) == before


def stored(engine: Engine) -> dict[str, list[object]]:
    tables = ("profiles", "documents", "extractions", "observations", "traits", "memories", "evidence", "files")
    with engine.connect() as connection:
        return {table: sorted(map(str, connection.execute(text(f"SELECT * FROM {table}")))) for table in tables}


# -- what was read -----------------------------------------------------------------------------------------------------


def test_documents_of_people_are_as_many_as_the_key_says(synced: Engine, key: AnswerKey) -> None:
    """The others, list mail and mail from a shared address, are stored and nobody's."""
    sources = {source.source: source for source in load_overview(synced).sources}
    assert {name: s.documents - s.unassigned for name, s in sources.items()} == dict(key.documents)
    assert {name: s.unassigned for name, s in sources.items()} == {"crm": 0, "email": 5, "chat": 0}
    assert all((s.pending, s.failed) == (0, 0) for s in sources.values())


def test_broken_units_are_rejected_where_they_stand(synced: Engine, key: AnswerKey) -> None:
    """Per file as many as the key says, each with a position and a reason that quotes nothing."""
    rejected = load_overview(synced, rejected_limit=1000).rejected
    assert Counter(unit.file for unit in rejected) == {a.file: a.rejected for a in key.files if a.rejected}
    assert all(unit.position and unit.reason for unit in rejected)
    assert not any("@" in unit.reason or "Nobody" in unit.reason for unit in rejected)


def test_what_is_skipped_is_counted_by_reason(synced: Engine, key: AnswerKey) -> None:
    """Bots, automatic mail, deleted records: as the key says."""
    expected: dict[str, Counter[str]] = {source: Counter() for source in key.documents}
    for answer in key.files:
        expected[answer.file.partition("/")[0]].update(answer.skipped)
    assert {s.source: Counter(s.skipped) for s in load_overview(synced).sources} == expected


# -- who is who --------------------------------------------------------------------------------------------------------


def test_a_shared_address_is_reported_and_links_nobody(synced: Engine, key: AnswerKey) -> None:
    """Both who claim it are listed; it finds neither."""
    (shared,) = list_ambiguous(synced)
    owners = {find_profile(synced, person.identifiers[-1]) for person in key.people if "krause" in person.slug}
    assert (shared.identifier,) == key.ambiguous
    assert set(shared.profiles) == owners
    assert len(owners) == 2
    with pytest.raises(InvalidInput, match="several people"):
        find_profile(synced, shared.identifier)


def test_two_people_with_one_name_stay_two(facts: dict[str, ProfileFacts], synced: Engine) -> None:
    """And neither has what is the other's."""
    hamburg, munich = facts["daniel-schmidt-hamburg"], facts["daniel-schmidt-munich"]
    assert hamburg.name == munich.name == "Daniel Schmidt"
    assert hamburg.id != munich.id
    assert list_profiles(synced, "daniel schmidt")[1] == 2
    companies = [{t.value for t in each.traits if t.key == "company"} for each in (hamburg, munich)]
    assert companies == [{"Elbkai Spedition"}, {"Alpenfrisch Molkerei"}]


def test_three_addresses_are_one_person(facts: dict[str, ProfileFacts], key: AnswerKey) -> None:
    """What was written from each of them is in one profile."""
    charlotte = facts["charlotte-dubois"]
    addresses = {name for name in charlotte.identifiers if name.startswith("email:")}
    assert addresses == {name for name in key.person("charlotte-dubois").identifiers if name.startswith("email:")}
    assert len(addresses) == 3


def test_staff_bots_and_strangers_have_no_profile(synced: Engine, key: AnswerKey) -> None:
    """Nobody of those whom the key names as nobody."""
    for address in key.nobody:
        with pytest.raises(InvalidInput):
            find_profile(synced, address)


def test_profiles_have_the_names_of_their_people(facts: dict[str, ProfileFacts], key: AnswerKey) -> None:
    """As the CRM spells them."""
    assert {slug: known.name for slug, known in facts.items()} == {person.slug: person.name for person in key.people}


# -- what is known -----------------------------------------------------------------------------------------------------


def test_a_changed_mind_is_history(facts: dict[str, ProfileFacts]) -> None:
    """The latest value holds, the earlier one ended on the day the later one was said."""
    ana = facts["ana-ferreira"]
    (preference,) = [trait for trait in ana.traits if trait.key == "contact_preference"]
    (before,) = [past for past in ana.history if past.key == "contact_preference"]
    assert (preference.value, before.value) == ("phone", "email")
    assert before.valid_to == preference.since
    assert all(proof.source == "email" for proof in preference.proofs)


def test_every_trait_is_found_in_every_kind_of_source(facts: dict[str, ProfileFacts]) -> None:
    """The offline extractor covers all default traits and all types of memory; each source proves something."""
    held = [fact for known in facts.values() for fact in (*known.traits, *known.memories)]
    assert {fact.key for fact in held if fact.kind == "trait"} == {trait.key for trait in SCHEMA.traits}
    assert {fact.key for fact in held if fact.kind == "memory"} == {"fact", "preference", "event", "context"}
    proofs = [proof for fact in held for proof in fact.proofs]
    assert {proof.source for proof in proofs} == {"crm", "email", "chat"}
    assert {proof.role for proof in proofs} == {"subject", "field", "note", "signature"}


def test_few_expectations_are_too_weak_for_patterns(key: AnswerKey) -> None:
    """Those marked so are not a way out: at most one in twenty."""
    expected = [*(t for p in key.people for t in p.traits), *(m for p in key.people for m in p.memories)]
    assert sum(not each.offline for each in expected) <= len(expected) / 20


def test_another_inbox_agrees_with_its_key_as_well(tmp_path: Path) -> None:
    """The patterns are not fitted to the sample's 64 people."""
    key = generate(tmp_path / "inbox", seed=1, people=120)
    engine = open_engine(f"sqlite:///{tmp_path / 'profiles.db'}")
    sync(engine, tmp_path / "inbox")
    assert problems(people(engine, key), key) == []
    engine.dispose()


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_demo_command_finds_it_all(tmp_path: Path, key: AnswerKey) -> None:
    """In an empty home, whatever model is configured: exit code 0, the key's numbers, evidence proved in SQL."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("INGEST_", "DAGSTER_"))}
    environment |= {"INGEST_HOME": str(tmp_path), "INGEST_MODEL": "openai/none", "COLUMNS": "100"}
    done = subprocess.run([INGEST, "demo", "--json"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["run"]["success"]
    assert result["status"]["profiles"] == key.profiles
    sources = {source["source"]: source for source in result["status"]["sources"]}
    assert {name: s["documents"] - s["unassigned"] for name, s in sources.items()} == dict(key.documents)
    with sqlite3.connect(tmp_path / "profiles.db") as connection:
        right, total = connection.execute(
            "SELECT sum(substr(d.text, e.start_char + 1, e.end_char - e.start_char) = e.quote), count(*) "
            "FROM evidence e JOIN documents d ON d.id = e.document_id"
        ).fetchone()
    connection.close()
    assert right == total == result["status"]["evidence"] > 500
    engine = open_engine(f"sqlite:///{tmp_path / 'profiles.db'}")
    assert problems(people(engine, key), key) == []
    engine.dispose()

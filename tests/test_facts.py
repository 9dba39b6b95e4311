"""What is known of a profile, with its proofs; one fact of it by key or id."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, event

from ingest_pipeline.direct import TextRequest, ingest_text
from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.facts import Fact, ProfileFacts, load_fact, load_facts

SCHEMA = load_traits(None)
TEXTS = (
    "I live in Rome.",
    "I love chess and I manage a team of 12 people.",
    "I moved to Lisbon in May. I love jazz.",
    "I live in Lisbon. We are evaluating the enterprise plan.",
)


@pytest.fixture
def profile(engine: Engine) -> str:
    """Someone who said all of TEXTS, a text per year from 2021 on."""
    profile_id = create_profile(engine, "crm-1")
    tell(engine, profile_id, TEXTS)
    return profile_id


def tell(engine: Engine, profile_id: str, texts: Sequence[str]) -> None:
    pipeline = Pipeline(load_settings(), engine, SCHEMA, OfflineExtractor(SCHEMA))
    for number, said in enumerate(texts):
        at = datetime(2021 + number, 6, 1, tzinfo=UTC)
        ingest_text(pipeline, profile_id, TextRequest(said, "survey", {"n": number}, occurred_at=at))


def by_key(facts: ProfileFacts) -> dict[str, Fact]:
    return {fact.key: fact for fact in facts.traits}


def test_a_profile_with_everything(engine: Engine, profile: str) -> None:
    """Traits by key, memories by what is left of their importance, earlier values, documents by source."""
    facts = load_facts(engine, profile)
    assert (facts.id, facts.external_id, facts.name, facts.identifiers) == (profile, "crm-1", None, ())
    assert facts.documents == {"direct": 4}
    assert [trait.key for trait in facts.traits] == ["interests", "location"]
    assert by_key(facts)["interests"].value == ["chess", "jazz"]
    weights = [(memory.importance or 0) * memory.decay for memory in facts.memories]
    assert weights == sorted(weights, reverse=True)
    assert 0 < min(weights) < max(weights) < 1
    assert {memory.value for memory in facts.memories} == {
        "Manages a team of 12 people.",
        "Is evaluating the enterprise plan.",
        "Moved to Lisbon in May.",
    }
    assert [(past.key, past.value) for past in facts.history] == [("location", "Rome")]


def test_proofs_are_newest_first_and_say_where_they_stand(engine: Engine, profile: str) -> None:
    """Quote, offsets, source, extractor; of an array trait also which element."""
    facts = load_facts(engine, profile)
    location = by_key(facts)["location"]
    assert [proof.quote for proof in location.proofs] == ["I live in Lisbon.", "I moved to Lisbon in May."]
    assert [proof.value for proof in by_key(facts)["interests"].proofs] == ["jazz", "chess"]
    for proof in (p for fact in (*facts.traits, *facts.memories) for p in fact.proofs):
        said = TEXTS[proof.metadata["metadata"]["n"]]
        assert said[proof.start : proof.end] == proof.quote
        assert (proof.source, proof.kind, proof.role, proof.model) == ("direct", "text", "subject", "offline")
        assert proof.fingerprint.startswith("offline:")
        assert (proof.file, proof.run_id) == (None, None)


def test_reading_takes_the_same_queries_however_much_there_is(engine: Engine, profile: str) -> None:
    """No query per fact."""

    def queries(profile_id: str) -> int:
        seen: list[str] = []

        def count(_c: object, _cursor: object, statement: str, *_: object) -> None:
            seen.append(statement)

        event.listen(engine, "before_cursor_execute", count)
        load_facts(engine, profile_id)
        event.remove(engine, "before_cursor_execute", count)
        return sum(statement.startswith("SELECT") for statement in seen)

    empty = create_profile(engine, "crm-2")
    assert queries(profile) == queries(empty) <= 8


def test_what_is_read_is_of_one_moment(engine: Engine, profile: str) -> None:
    """What is folded between two of its queries is seen by none of them."""

    folded: list[str] = []

    def fold(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM evidence" in statement and not folded:
            folded.append(statement)
            tell(engine, profile, (*TEXTS, "I live in Oslo. I love sailing."))

    event.listen(engine, "after_cursor_execute", fold)
    before = load_facts(engine, profile)
    assert folded
    assert by_key(before)["location"].value == "Lisbon"
    assert all(fact.proofs for fact in (*before.traits, *before.memories))
    assert by_key(load_facts(engine, profile))["location"].value == "Oslo"


def test_a_profile_of_which_nothing_is_known(engine: Engine) -> None:
    """Empty, not an error."""
    facts = load_facts(engine, create_profile(engine, "crm-2"))
    assert (facts.traits, facts.memories, facts.history, facts.documents) == ((), (), (), {})


def test_an_unknown_profile(engine: Engine) -> None:
    """Is an error, not an empty profile."""
    with pytest.raises(ProfileNotFound):
        load_facts(engine, "0d7a4c1e-7a55-4a43-8f0b-b0d1a4a1a222")


def test_a_fact_is_found_by_key_by_id_and_by_the_start_of_one(engine: Engine, profile: str) -> None:
    """A trait with its earlier values, a memory without any."""
    facts = load_facts(engine, profile)
    location = by_key(facts)["location"]
    for reference in ("location", location.id, location.id[:8], location.id[:8].upper()):
        found, history = load_fact(engine, profile, reference)
        assert found == location
        assert [past.value for past in history] == ["Rome"]
    memory = facts.memories[0]
    assert load_fact(engine, profile, memory.id[:8]) == (memory, ())


def test_an_unknown_fact_names_what_there_is(engine: Engine, profile: str) -> None:
    """One line that says how to go on; a memory's type is no reference to it."""
    for reference in ("company", "", "0", "%%%%", "fact"):
        with pytest.raises(InvalidInput, match="its traits: interests, location") as unknown:
            load_fact(engine, profile, reference)
        assert unknown.value.code == "fact_not_found"


def test_a_trait_that_ended_says_so(engine: Engine) -> None:
    """Its earlier values are history."""
    profile = create_profile(engine, "crm-2")
    tell(engine, profile, ("I live in Rome.", "I no longer live in Rome."))
    with pytest.raises(InvalidInput, match="it had values before"):
        load_fact(engine, profile, "location")


def test_facts_of_another_person_are_not_found(engine: Engine, profile: str) -> None:
    """Not even by their full id."""
    stranger = create_profile(engine, "crm-2")
    fact = load_facts(engine, profile).traits[0]
    with pytest.raises(InvalidInput):
        load_fact(engine, stranger, fact.id)

"""Traits that are given with a text: checked as the schema's are, asked for in it, folded as long as it is there."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from ingest_pipeline.direct import TextRequest, TextResult, ingest_text, store_text
from ingest_pipeline.documents import Document, Role, Segment, Source, stable_id
from ingest_pipeline.editing import Editor, clear, confirm, delete_trait, reject, set_trait, unreject
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.base import Candidate, Extraction, Kind, Status
from ingest_pipeline.extraction.definitions import MAX_BYTES, MAX_GIVEN, extended, given_definitions, merged, overlaid
from ingest_pipeline.extraction.grounding import ground
from ingest_pipeline.extraction.llm import ExtractionOptions, LlmExtractor
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import TraitSchema, load_traits, parse_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.audits import count_invalid_values
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.documents import load_documents
from ingest_pipeline.store.extractions import Reextract, Selection
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.tables import DocumentRow, Profile
from tests.provider import documents_of
from tests.scripted import Clients, Scripted, opened, reply

SCHEMA = load_traits(None)
SAID = datetime(2024, 5, 15, 9, tzinfo=UTC)
SEAT: dict[str, Any] = {"key": "seat", "valueType": "enum", "enumValues": ["window", "aisle"]}
MEAL: dict[str, Any] = {"key": "meal", "valueType": "enum", "enumValues": ["vegan", "halal"]}


def defined(*traits: dict[str, Any]) -> str:
    text = given_definitions(list(traits), SCHEMA)
    assert text
    return text


@pytest.mark.parametrize(
    ("traits", "told"),
    [
        ({}, "must be a list"),
        ("seat", "must be a list"),
        ([], "give 1 to"),
        ([SEAT] * (MAX_GIVEN + 1), "must be a list of 1 to"),
        ([SEAT, SEAT], "is used twice"),
        (["seat"], "traits[0]"),
        ([{"valueType": "string"}], "key: missing"),
        ([SEAT | {"key": "Seat"}], "key: must be lower-case"),
        ([SEAT | {"enumValues": []}], "enumValues must list"),
        ([SEAT | {"colour": 1}], "unknown field"),
        ([SEAT | {"sensitiveCategory": "health"}], "not switched on"),
        ([SEAT | {"extraction": {"confidenceThreshold": 2}}], "confidenceThreshold"),
        ([SEAT | {"halfLifeDays": float("inf")}], "JSON"),
        ([SEAT | {"description": "\0"}], "NUL"),
        ([SEAT | {"description": "\ud800"}], ""),
        ([SEAT | {"description": "x" * MAX_BYTES}], "exceeds"),
    ],
)
def test_bad_definitions_are_refused_with_what_is_wrong(traits: Any, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        given_definitions(traits, SCHEMA)
    assert (refused.value.code, refused.value.param) == ("invalid_trait_schema", "traits")
    assert told in str(refused.value)


def test_the_same_definitions_are_written_the_same() -> None:
    assert given_definitions(None, SCHEMA) is None
    assert defined(SEAT, MEAL) == defined(MEAL, SEAT | {"label": ""})


NAMES = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)
TEXTS = NAMES.map(lambda keys: defined(*({"key": key, "valueType": "string"} for key in keys)))


@given(TEXTS, TEXTS)
def test_what_two_calls_define_together(one: str, two: str) -> None:
    """Nothing is taken back, the same again changes nothing, and of one key the later definition holds."""
    both = merged(one, two)
    assert both is not None
    keys = [{entry["key"] for entry in json.loads(text)} for text in (one, two, both)]
    assert keys[2] == keys[0] | keys[1]
    assert merged(both, two) == merged(both, both) == both
    assert merged(one, None) == merged(None, one) == one
    number = defined({"key": "a", "valueType": "number"})
    assert merged(merged(one, number), number) == merged(one, number)
    assert overlaid(SCHEMA, merged(one, number)).get("a").value_type == "number"  # type: ignore[union-attr]


def test_of_one_key_the_texts_own_definition_is_asked_for_and_the_schemas_is_folded() -> None:
    text = defined({"key": "location", "valueType": "number"}, SEAT)
    asked, folded = overlaid(SCHEMA, text), extended(SCHEMA, [text, defined(SEAT | {"enumValues": ["aisle"]})])
    assert asked.get("location").value_type == "number"  # type: ignore[union-attr]
    assert folded.get("location").value_type == "string"  # type: ignore[union-attr]
    assert folded.get("seat").enum_values == ("aisle",)  # type: ignore[union-attr]
    assert overlaid(SCHEMA, None) is extended(SCHEMA, []) is SCHEMA


def test_what_is_sensitive_goes_when_the_schemas_file_says_so() -> None:
    health = parse_traits({"sensitive": ["health"], "traits": [{"key": "name", "valueType": "string"}]})
    text = given_definitions([SEAT | {"sensitiveCategory": "health"}], health)
    assert overlaid(health, text).get("seat")
    assert overlaid(SCHEMA, text).get("seat") is extended(SCHEMA, [text or ""]).get("seat") is None


@dataclass
class Spotting:
    """Finds a value of an enum trait wherever the word stands; counts the documents it is given."""

    schema: TraitSchema = SCHEMA
    seen: list[str] = field(default_factory=list)
    model = "spotting"
    fingerprint = "spotting:1"

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        for document in documents:
            self.seen.append(document.id)
            schema = overlaid(self.schema, document.definitions)
            values = [(trait.key, value) for trait in schema.traits for value in trait.enum_values]
            found = [Candidate(Kind.TRAIT, key, v, v, 0.95) for key, v in values if v in document.text]
            yield Extraction(document.id, Status.OK, ground(document, found, schema).observations)

    def check(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def extractor() -> Spotting:
    return Spotting()


@pytest.fixture
def pipeline(engine: Engine, extractor: Spotting) -> Pipeline:
    return Pipeline(load_settings(), engine, SCHEMA, extractor)


@pytest.fixture
def ana(engine: Engine) -> str:
    return create_profile(engine, "ana")


def ingest(pipeline: Pipeline, profile: str, text: str, *traits: dict[str, Any], day: int = 0) -> TextResult:
    request = TextRequest(text, occurred_at=SAID + timedelta(days=day), traits=list(traits) or None)
    return ingest_text(pipeline, profile, request)


def shown(pipeline: Pipeline, profile: str) -> dict[str, Any]:
    return {fact.key: fact.value for fact in load_facts(pipeline.engine, profile).traits}


def test_a_trait_of_the_text_is_found_and_stays(pipeline: Pipeline, extractor: Spotting, ana: str) -> None:
    """After other texts without it, and when everything is extracted and folded again."""
    result = ingest(pipeline, ana, "I take the window.", SEAT | {"category": "travel"})
    (change,) = result.traits
    assert (change.fact.key, change.fact.value, change.fact.category) == ("seat", "window", "travel")
    ingest(pipeline, ana, "Thank you.", day=1)
    again = Selection(extractor.fingerprint, Reextract.ALL)
    assert sum(outcome.ok for outcome in extract_pending(pipeline.engine, extractor, again)) == 2
    with pipeline.engine.begin() as connection:
        connection.execute(update(Profile).values(changes=Profile.changes + 1))
    assert all(not folded.changed for folded in fold_profiles(pipeline.engine, SCHEMA))
    assert shown(pipeline, ana) == {"seat": "window"}
    assert count_invalid_values(pipeline.engine, SCHEMA) == {}


def test_without_the_definition_there_is_no_such_trait(pipeline: Pipeline, ana: str) -> None:
    ingest(pipeline, ana, "I take the window.")
    assert shown(pipeline, ana) == {}


def test_the_same_text_is_asked_again_only_for_other_traits(pipeline: Pipeline, extractor: Spotting, ana: str) -> None:
    """What an earlier call asked for stays."""
    text = "A window, and a vegan meal."
    expected = [
        ((), 1, {}),
        ((SEAT,), 2, {"seat": "window"}),
        ((SEAT,), 2, {"seat": "window"}),
        ((), 2, {"seat": "window"}),
        ((MEAL,), 3, {"seat": "window", "meal": "vegan"}),
        ((SEAT, MEAL), 3, {"seat": "window", "meal": "vegan"}),
    ]
    for traits, calls, values in expected:
        ingest(pipeline, ana, text, *traits)
        assert (len(extractor.seen), shown(pipeline, ana)) == (calls, values)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_definitions_that_of_the_latest_text_holds(pipeline: Pipeline, ana: str, order: tuple[int, int]) -> None:
    """Whichever arrives first."""
    texts = [("The window.", SEAT, 0), ("The aisle.", SEAT | {"enumValues": ["aisle"]}, 1)]
    for number in order:
        text, trait, day = texts[number]
        ingest(pipeline, ana, text, trait, day=day)
    assert shown(pipeline, ana) == {"seat": "aisle"}
    # The earlier value is no value any more, so it is no history either.
    assert load_facts(pipeline.engine, ana).history == ()


def test_the_trait_goes_with_its_text(pipeline: Pipeline, ana: str) -> None:
    result = ingest(pipeline, ana, "I take the window.", SEAT)
    with pipeline.engine.begin() as connection:
        mine = DocumentRow.id == result.document_id
        connection.execute(update(DocumentRow).where(mine).values(superseded_at=SAID))
    list(fold_profiles(pipeline.engine, SCHEMA, [ana]))
    assert shown(pipeline, ana) == {}


def test_people_decide_about_such_traits_too(pipeline: Pipeline, ana: str) -> None:
    editor = Editor(pipeline.engine, SCHEMA, "kim", Via.CLI)
    with pytest.raises(InvalidInput, match="no such trait"):
        set_trait(editor, ana, "seat", "aisle")
    ingest(pipeline, ana, "I take the window.", SEAT)
    with pytest.raises(InvalidInput, match="seat takes one of window, aisle"):
        set_trait(editor, ana, "seat", "floor")
    set_trait(editor, ana, "seat", "Aisle")
    assert shown(pipeline, ana) == {"seat": "aisle"}
    clear(editor, ana, "seat")
    confirm(editor, ana, "seat")
    reject(editor, ana, "seat")
    assert shown(pipeline, ana) == {}
    unreject(editor, ana, "seat")
    assert shown(pipeline, ana) == {"seat": "window"}
    delete_trait(editor, ana, "seat")
    assert shown(pipeline, ana) == {}


def test_a_text_that_is_only_stored_keeps_them_for_whoever_extracts_it(pipeline: Pipeline, ana: str) -> None:
    document = store_text(pipeline, ana, TextRequest("I take the window.", occurred_at=SAID, traits=[SEAT]))
    with pipeline.engine.connect() as connection:
        state = connection.execute(select(DocumentRow.state, DocumentRow.definitions)).one()
        (loaded,) = load_documents(connection, [document])
    assert state == ("pending", defined(SEAT))
    assert loaded.definitions == defined(SEAT)


def test_the_offline_extractor_spells_values_by_them() -> None:
    place = {"key": "location", "valueType": "enum", "enumValues": ["LIS"], "synonyms": {"LIS": ["Lisbon"]}}
    text = "I live in Lisbon."
    request = TextRequest(text)
    assert request.traits is None
    base = _document(text)
    (plain,) = OfflineExtractor(SCHEMA).extract([base])
    (own,) = OfflineExtractor(SCHEMA).extract([_document(text, defined(place))])
    assert [o.value for o in plain.observations if o.key == "location"] == ["Lisbon"]
    assert [o.value for o in own.observations if o.key == "location"] == ["LIS"]


def _document(text: str, definitions: str | None = None, n: int = 0) -> Document:
    segments = (Segment(0, len(text), Role.SUBJECT),)
    at = SAID + timedelta(days=n)
    profile = stable_id("profile")
    return Document(stable_id(f"d{n}"), Source.DIRECT, "api", "text", text, segments, at, profile, None, definitions)


@pytest.fixture
def clients(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Clients]:
    yield from opened(engine, database_url, tmp_path)


def test_a_model_is_asked_about_documents_of_the_same_traits_together(clients: Clients) -> None:
    """And about their traits only; an item about another trait is dropped."""

    def answer(call: Any) -> Any:
        shown = documents_of({"messages": [{"role": m.role, "content": m.content} for m in call.messages]})
        common = {"about": "subject", "confidence": 0.9, "retracted": False, "date_phrase": None, "sensitive": None}
        seat = {"key": "seat", "value": "window", "quote": "window"} | common
        return reply(json.dumps({"documents": [{"document": d, "traits": [seat], "memories": []} for d in shown]}))

    transport = Scripted([answer])
    extractor = LlmExtractor(SCHEMA, clients(transport), ExtractionOptions(), threads=1)
    documents = [_document(f"A window {n}.", defined(SEAT) if n % 2 else None, n) for n in range(4)]
    found = {each.document_id: each for each in extractor.extract(documents)}
    extractor.close()
    assert [len(found[stable_id(f"d{n}")].observations) for n in range(4)] == [0, 1, 0, 1]
    assert found[stable_id("d0")].dropped == {"unknown_trait": 1}
    asked = {"seat" in call.messages[0].content: call for call in transport.calls}
    assert (len(transport.calls), set(asked)) == (2, {True, False})
    assert "seat" in json.dumps(asked[True].format.schema)
    assert "seat" not in json.dumps(asked[False].format.schema)

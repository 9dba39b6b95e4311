"""One text at once: what is stored, what is found, what changed, what is refused."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text

from ingest_pipeline.direct import (
    MAX_DATA_BYTES,
    MAX_METADATA_BYTES,
    TextRequest,
    TextResult,
    check_request,
    ingest_text,
)
from ingest_pipeline.documents import Document, Json
from ingest_pipeline.errors import ConfigurationError, ExtractionError, InvalidInput, ProfileNotFound
from ingest_pipeline.extraction.base import Extraction, Extractor, Status
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.llm.errors import BudgetExhausted, ProviderUnavailable
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.audits import audit_evidence
from ingest_pipeline.store.direct import (
    MAX_EXTERNAL_ID,
    adopt_unrecorded,
    create_profile,
    profile_of_document,
)
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow, Profile

SCHEMA = load_traits(None)
MOVED = "I moved to Lisbon last month. I love chess."
SAID = datetime(2024, 5, 15, 9, tzinfo=UTC)


@dataclass
class Counting:
    """The offline extractor, counting the documents it is given; fails or stops as long as it is told to."""

    extractor: Extractor = field(default_factory=lambda: OfflineExtractor(SCHEMA))
    seen: list[str] = field(default_factory=list)
    failing: str | None = None
    stopped: ConfigurationError | None = None

    @property
    def model(self) -> str:
        return self.extractor.model

    @property
    def fingerprint(self) -> str:
        return self.extractor.fingerprint

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        self.seen += [document.id for document in documents]
        if self.stopped:
            raise self.stopped
        if self.failing:
            yield from (Extraction(document.id, Status.FAILED, reason=self.failing) for document in documents)
        else:
            yield from self.extractor.extract(documents)

    def check(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def extractor() -> Counting:
    return Counting()


@pytest.fixture
def pipeline(engine: Engine, extractor: Counting) -> Pipeline:
    return Pipeline(load_settings(), engine, SCHEMA, extractor)


@pytest.fixture
def person(engine: Engine) -> str:
    return create_profile(engine, "crm-1")


def said(data: str, **options: Json) -> TextRequest:
    return TextRequest(data, occurred_at=SAID, **options)


def changes(result: TextResult) -> set[tuple[str, str, str]]:
    """(key, value, action) of what the tables did not say before."""
    return {(c.fact.key, str(c.fact.value), c.action) for c in (*result.traits, *result.memories) if c.stored}


def rows(engine: Engine, table: type) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


# -- what a text does --------------------------------------------------------------------------------------------------


def test_a_text_becomes_facts_with_evidence(pipeline: Pipeline, person: str) -> None:
    """Each fact with its quote, at its offsets, said when the text was written."""
    result = ingest_text(pipeline, person, said(MOVED, source="survey", metadata={"form": 7}))
    assert changes(result) == {
        ("location", "Lisbon", "create"),
        ("interests", "['chess']", "create"),
        ("event", "Moved to Lisbon.", "create"),
    }
    assert result.profile.id == person
    for change in (*result.traits, *result.memories):
        (proof,) = change.fact.proofs
        assert (proof.document_id, proof.occurred_at) == (result.document_id, SAID)
        assert proof.quote == MOVED[proof.start : proof.end]
        assert proof.metadata == {"source": "survey", "metadata": {"form": 7}}
        assert (proof.source, proof.origin, proof.run_id) == ("direct", "api", None)
    audit = audit_evidence(pipeline.engine)
    assert (audit.facts, audit.without, audit.wrong) == (3, 0, 0)


def test_the_same_text_again_gives_the_same_facts_and_no_extraction(
    pipeline: Pipeline, person: str, extractor: Counting
) -> None:
    """Nothing is stored, nothing changed; the facts are still in the answer."""
    first = ingest_text(pipeline, person, said(MOVED))
    again = ingest_text(pipeline, person, replace(said(MOVED), occurred_at=None, source="elsewhere"))
    assert len(extractor.seen) == 1
    assert again.document_id == first.document_id
    assert [(c.fact.id, c.fact.value) for c in again.traits] == [(c.fact.id, c.fact.value) for c in first.traits]
    assert [(c.fact.id, c.fact.value) for c in again.memories] == [(c.fact.id, c.fact.value) for c in first.memories]
    assert {p.metadata["source"] for c in again.traits for p in c.fact.proofs} == {"elsewhere"}
    assert changes(again) == set()
    assert rows(pipeline.engine, DocumentRow) == rows(pipeline.engine, ExtractionRow) == 1


def test_the_same_text_about_another_person_is_another_document(pipeline: Pipeline, person: str) -> None:
    """Facts of one never become facts of the other."""
    other = create_profile(pipeline.engine, "crm-2")
    ids = {ingest_text(pipeline, profile, said(MOVED)).document_id for profile in (person, other)}
    assert len(ids) == 2
    assert rows(pipeline.engine, DocumentRow) == 2


def test_a_later_text_updates_and_an_earlier_one_does_not(pipeline: Pipeline, person: str) -> None:
    """The value effective latest holds, in whichever order the texts arrive."""
    ingest_text(pipeline, person, said("I live in Rome."))
    later = ingest_text(pipeline, person, TextRequest("I live in Oslo.", occurred_at=datetime(2025, 1, 1, tzinfo=UTC)))
    earlier = ingest_text(
        pipeline, person, TextRequest("I live in Bern.", occurred_at=datetime(2020, 1, 1, tzinfo=UTC))
    )
    assert changes(later) == {("location", "Oslo", "update")}
    assert changes(earlier) == set()
    assert earlier.traits == ()
    assert [past.value for past in load_facts(pipeline.engine, person).history] == ["Rome", "Bern"]


def test_a_retraction_deletes(pipeline: Pipeline, person: str) -> None:
    """The action comes from the tables, before and after."""
    ingest_text(pipeline, person, said("I live in Rome."))
    gone = ingest_text(
        pipeline, person, TextRequest("I no longer live in Rome.", occurred_at=datetime(2025, 1, 1, tzinfo=UTC))
    )
    assert changes(gone) == {("location", "Rome", "delete")}
    assert [[proof.quote for proof in c.fact.proofs] for c in gone.traits] == [["I live in Rome."]]
    assert load_facts(pipeline.engine, person).traits == ()


def test_a_text_without_facts_is_an_answer_too(pipeline: Pipeline, person: str, extractor: Counting) -> None:
    """Empty is an outcome, recorded as such and not tried again."""
    for _ in range(2):
        result = ingest_text(pipeline, person, said("Thanks, see you tomorrow!"))
        assert (result.traits, result.memories) == ((), ())
    assert len(extractor.seen) == 1


@pytest.mark.parametrize(
    ("traits", "memories", "expected"),
    [(True, False, {"location", "interests"}), (False, True, {"event"}), (False, False, set())],
)
def test_only_what_is_asked_for_is_kept(
    pipeline: Pipeline, person: str, extractor: Counting, traits: bool, memories: bool, expected: set[str]
) -> None:
    """Twice the same without a second extraction; asked for everything later, the text gives the rest."""
    request = said(MOVED, extract_traits=traits, extract_memories=memories)
    for _ in range(2):
        result = ingest_text(pipeline, person, request)
        assert {c.fact.key for c in (*result.traits, *result.memories)} == expected
        facts = load_facts(pipeline.engine, person)
        assert {f.key for f in (*facts.traits, *facts.memories)} == expected
    assert len(extractor.seen) == bool(expected)
    everything = ingest_text(pipeline, person, said(MOVED))
    assert {key for key, _, _ in changes(everything)} == {"location", "interests", "event"} - expected


def test_asking_for_less_takes_nothing_back(pipeline: Pipeline, person: str, extractor: Counting) -> None:
    """The answer is about what was asked for, the profile keeps the rest."""
    ingest_text(pipeline, person, said(MOVED))
    result = ingest_text(pipeline, person, said(MOVED, extract_traits=False))
    assert (result.traits, changes(result), len(extractor.seen)) == ((), set(), 1)
    assert [c.fact.key for c in result.memories] == ["event"]
    assert {trait.key for trait in load_facts(pipeline.engine, person).traits} == {"location", "interests"}


def test_texts_at_once_report_each_change_once(pipeline: Pipeline, person: str) -> None:
    """Of texts about one person that are ingested at the same time, each tells what it changed itself: together, what
    the tables have."""
    towns = ("Rome", "Oslo", "Bern", "Lisbon", "Paris", "Madrid")
    games = ("chess", "tennis", "football", "cricket", "golf", "rugby")
    texts = [
        TextRequest(f"I live in {town}. I love {game}.", occurred_at=datetime(2020 + n, 1, 1, tzinfo=UTC))
        for n, (town, game) in enumerate(zip(towns, games, strict=True))
    ]
    with ThreadPoolExecutor(len(texts)) as pool:
        results = list(pool.map(lambda text: ingest_text(pipeline, person, text), texts))
    facts = load_facts(pipeline.engine, person)
    assert {t.key: t.value for t in facts.traits} == {"location": "Madrid", "interests": list(games)}
    assert len(facts.history) == len(towns) - 1
    created = Counter(c.fact.id for r in results for c in (*r.traits, *r.memories) if c.stored and c.action == "create")
    assert created.keys() >= {fact.id for fact in (*facts.traits, *facts.memories)}
    assert set(created.values()) == {1}
    for result in results:
        changed = {c.fact.key for c in result.traits if c.stored}
        assert {"interests"} <= changed <= {"location", "interests"}
        proven = {p.document_id for c in result.traits if c.fact.key == "interests" for p in c.fact.proofs}
        assert result.document_id in proven
    assert audit_evidence(pipeline.engine).without == 0


def test_two_at_once_agree(pipeline: Pipeline, person: str) -> None:
    """The same text from several threads is one document with one set of facts."""
    results: list[TextResult] = []
    threads = [
        threading.Thread(target=lambda: results.append(ingest_text(pipeline, person, said(MOVED)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.document_id for result in results}) == 1
    assert len(results) == 4
    assert {f.key for f in load_facts(pipeline.engine, person).traits} == {"location", "interests"}
    audit = audit_evidence(pipeline.engine)
    assert (audit.facts, audit.evidence, audit.without, audit.wrong) == (3, 3, 0, 0)


# -- failure -----------------------------------------------------------------------------------------------------------


def test_a_failed_text_is_kept_and_the_same_call_finishes_it(
    pipeline: Pipeline, person: str, extractor: Counting
) -> None:
    """Never an empty answer because a call failed."""
    extractor.failing = "truncated"
    with pytest.raises(ExtractionError, match="ingest retry") as failed:
        ingest_text(pipeline, person, said(MOVED))
    assert failed.value.reason == "truncated"
    assert profile_of_document(pipeline.engine, str(failed.value.document_id)) == (person, "direct")
    extractor.failing = None
    result = ingest_text(pipeline, person, said(MOVED))
    assert result.document_id == failed.value.document_id
    assert len(changes(result)) == 3


def test_a_stop_of_all_calls_keeps_the_text_pending(pipeline: Pipeline, person: str, extractor: Counting) -> None:
    """A spent budget is no failure of the text: the next run takes it up."""
    extractor.stopped = BudgetExhausted("m", 1.0, 1.0, 0.1)
    with pytest.raises(ExtractionError, match="INGEST_BUDGET_USD") as failed:
        ingest_text(pipeline, person, said(MOVED))
    assert failed.value.reason == "budget"
    with pipeline.engine.connect() as connection:
        assert connection.execute(text("SELECT state FROM documents")).scalars().all() == ["pending"]


def test_who_calls_is_not_told_where_the_provider_is(pipeline: Pipeline, person: str, extractor: Counting) -> None:
    """Only who runs the server reads it, in its log."""
    extractor.stopped = ProviderUnavailable("m", 30.0, "m at http://llm.internal:9")
    assert "llm.internal" in str(extractor.stopped)
    with pytest.raises(ExtractionError, match="of m has given no answer, or errors, for 30 s") as failed:
        ingest_text(pipeline, person, said(MOVED))
    assert "llm.internal" not in str(failed.value)


# -- what is refused ---------------------------------------------------------------------------------------------------

TOO_LARGE = "é" * (MAX_DATA_BYTES // 2) + "x"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (TextRequest(""), "invalid_data"),
        (TextRequest(" \n\t "), "invalid_data"),
        (TextRequest(None), "invalid_data"),  # type: ignore[arg-type]
        (TextRequest("nul \x00"), "invalid_data"),
        (TextRequest("half a pair \ud83d"), "invalid_data"),
        (TextRequest(TOO_LARGE), "data_too_large"),
        (TextRequest("x", source=3), "invalid_source"),  # type: ignore[arg-type]
        (TextRequest("x", source="\x00"), "invalid_source"),
        (TextRequest("x", metadata=[1]), "invalid_metadata"),  # type: ignore[arg-type]
        (TextRequest("x", metadata={"a": float("nan")}), "invalid_metadata"),
        (TextRequest("x", metadata={"a": ["\x00"]}), "invalid_metadata"),
        (TextRequest("x", metadata={"\ud83d": 1}), "invalid_metadata"),
        (TextRequest("x", metadata={"a": object()}), "invalid_metadata"),
        (TextRequest("x", metadata={"a": "x" * MAX_METADATA_BYTES}), "invalid_metadata"),
    ],
)
def test_bad_requests_have_the_codes_of_the_api(request_: TextRequest, code: str) -> None:
    """Those that existing clients know."""
    with pytest.raises(InvalidInput) as refused:
        check_request(request_)
    assert refused.value.code == code


def test_nothing_of_a_bad_request_is_stored(pipeline: Pipeline, person: str) -> None:
    """It is refused before anything else happens."""
    with pytest.raises(InvalidInput):
        ingest_text(pipeline, person, TextRequest(TOO_LARGE))
    assert rows(pipeline.engine, DocumentRow) == 0


def test_what_the_api_allows_is_stored_as_it_is(pipeline: Pipeline, person: str) -> None:
    """The largest text, metadata with every kind of JSON, any character."""
    for request in (
        TextRequest("é" * (MAX_DATA_BYTES // 2)),
        TextRequest("x", metadata={"a": r"\u0000", "b": "\\", "c": None, "d": [1.5, {"e": True}]}),
        TextRequest("y", metadata={"a": "x" * (MAX_METADATA_BYTES - len('{"a": ""}'))}),
        TextRequest("😀 <script>", source=""),
    ):
        document = ingest_text(pipeline, person, request).document_id
        with pipeline.engine.connect() as connection:
            row = connection.execute(select(DocumentRow.__table__).where(DocumentRow.id == document)).one()
        assert (row.text, row.metadata) == (request.data, {"source": request.source, "metadata": request.metadata})


def test_unknown_profiles_are_refused(pipeline: Pipeline) -> None:
    """Before anything is stored."""
    with pytest.raises(ProfileNotFound):
        ingest_text(pipeline, "0d7a4c1e-7a55-4a43-8f0b-b0d1a4a1a222", said(MOVED))
    assert rows(pipeline.engine, DocumentRow) == 0


@given(
    st.text(max_size=20),
    st.recursive(
        st.none() | st.text(max_size=5) | st.floats(), lambda s: st.lists(s) | st.dictionaries(st.text(max_size=3), s)
    ),
)
def test_every_request_is_either_refused_or_fit_for_utf8_and_json(data: str, value: Json) -> None:
    """What passes can be stored by both databases."""
    try:
        check_request(TextRequest(data, metadata={"v": value}))
    except InvalidInput:
        return
    assert "\x00" not in data.encode().decode()
    assert "\x00" not in str(value)


# -- profiles by external id -------------------------------------------------------------------------------------------


def test_a_profile_is_created_once(engine: Engine) -> None:
    """Also by several at the same moment; spaces around the id do not count."""
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(create_profile(engine, " crm-9 "))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {find_profile(engine, "crm-9")}
    assert len(found) == 4
    assert rows(engine, Profile) == 1


def test_bad_external_ids_are_refused(engine: Engine) -> None:
    """With the API's code."""
    for external_id in ("", "  ", "a\x00b", "a\nb", "\ud83d", "x" * (MAX_EXTERNAL_ID + 1)):
        with pytest.raises(InvalidInput) as refused:
            create_profile(engine, external_id)
        assert refused.value.code == "invalid_external_id"


# -- the next run ------------------------------------------------------------------------------------------------------


def test_the_next_run_adopts_what_was_done_outside_of_any(pipeline: Pipeline, person: str) -> None:
    """Once, by partition, with its counts; the profile is folded again so that the run records its tables."""
    ingest_text(pipeline, person, said(MOVED))
    ingest_text(pipeline, person, said("Thanks!"))
    (outcome,) = adopt_unrecorded(pipeline.engine, "run-1")
    assert (outcome.key.profile_id, outcome.key.source) == (person, "direct")
    assert (outcome.documents, outcome.ok, outcome.empty) == (2, 1, 1)
    assert list(adopt_unrecorded(pipeline.engine, "run-2")) == []
    with pipeline.engine.connect() as connection:
        assert connection.execute(select(ExtractionRow.run_id).distinct()).scalars().all() == ["run-1"]
        assert connection.execute(select(Profile.changes != Profile.folded)).scalar_one()


def test_a_document_id_in_a_run_must_be_one(engine: Engine) -> None:
    """Dagster takes any string in run config."""
    for document_id in ("nonsense", "0d7a4c1e-7a55-4a43-8f0b-b0d1a4a1a222"):
        with pytest.raises(InvalidInput):
            profile_of_document(engine, document_id)

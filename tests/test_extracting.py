"""Extracting: every pending document once, each partition's outcome when all of it is stored, whatever goes wrong."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Engine, delete

from ingest_pipeline import extracting
from ingest_pipeline.documents import Document, Role, Source
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extracting import SAVE_AT, SLICE, KeyOutcome, extract_pending
from ingest_pipeline.extraction.base import Extraction, Kind, Observation, Status, Usage
from ingest_pipeline.llm.errors import PERMANENT, TRANSIENT
from ingest_pipeline.store.audits import count_failed
from ingest_pipeline.store.extractions import Reextract, Selection, count_pending
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow, ObservationRow
from tests.builders import contact, record, rows, save

NOTHING, PAID = Usage(), Usage(calls=1, cost_usd=0.01)


def outcome(document: Document, **other: object) -> Extraction:
    """As a model might answer: the whole text is the claim. The text itself says how it ends."""
    if document.text == "fail":
        return Extraction(document.id, Status.FAILED, reason="refused", **other)  # type: ignore[arg-type]
    if document.text == "nothing":
        return Extraction(document.id, Status.EMPTY, dropped={"quote_not_found": 2}, **other)  # type: ignore[arg-type]
    end = len(document.text)
    claim = Observation(
        Kind.TRAIT, "location", document.text, 0.9, None, document.text, 0, end, Role.SUBJECT, None, None
    )  # fmt: skip
    return Extraction(document.id, Status.OK, (claim,), **other)  # type: ignore[arg-type]


@dataclass
class Fake:
    """An extractor that tells what it was given. ``before`` may wait or raise ahead of a document's outcome."""

    fingerprint: str = "fake 1"
    model: str = "fake"
    usage: Usage = field(default_factory=Usage)
    before: Callable[[Document], None] = lambda document: None
    given: list[tuple[str, ...]] = field(default_factory=list)

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        self.given.append(tuple(document.text for document in documents))
        for document in documents:
            self.before(document)
            yield outcome(document, usage=self.usage)

    def check(self) -> None: ...

    def close(self) -> None: ...

    @property
    def texts(self) -> list[str]:
        return sorted(text for piece in self.given for text in piece)


def fill(engine: Engine, *texts: str, person: int = 1, source: Source = Source.CRM) -> None:
    save(
        engine,
        *(record(contact(person), text=text, native_id=f"{source}{person}/{n}") for n, text in enumerate(texts)),
        source=source,
    )


def extract(engine: Engine, extractor: Fake, threads: int = 1, **selection: object) -> list[KeyOutcome]:
    return list(extract_pending(engine, extractor, Selection(extractor.fingerprint, **selection), threads))  # type: ignore[arg-type]


def in_force(engine: Engine) -> list[str]:
    return sorted(row.value for row in rows(engine, ObservationRow) if not row.superseded)


def states(engine: Engine) -> dict[str, str]:
    return {row.text: row.state for row in rows(engine, DocumentRow)}


@pytest.mark.parametrize("threads", [1, 4])
def test_each_partition_is_told_of_once_all_of_it_is_stored(engine: Engine, threads: int) -> None:
    fill(engine, "Lisbon", "nothing", "fail")
    fill(engine, "Porto", person=2)
    fill(engine, "Faro", source=Source.EMAIL)
    found = {(o.key.source, o.ok, o.empty): o for o in extract(engine, Fake(usage=PAID), threads)}
    mixed = found[Source.CRM, 1, 1]
    assert (mixed.documents, mixed.failed, mixed.dropped, mixed.observations) == (
        3,
        {"refused": 1},
        {"quote_not_found": 2},
        1,
    )
    assert (mixed.usage.calls, mixed.bad) == (3, True)
    assert not found[Source.EMAIL, 1, 0].bad
    assert len(found) == 3
    assert states(engine) == dict.fromkeys(("Lisbon", "nothing", "Porto", "Faro"), "done") | {"fail": "failed"}


def test_an_outcome_that_is_told_of_is_stored(engine: Engine) -> None:
    for person in range(1, 4):
        fill(engine, f"City {person}", person=person)
    for told, _ in enumerate(extract_pending(engine, Fake(usage=PAID), Selection("fake 1")), 1):
        assert len(rows(engine, ExtractionRow)) >= told


def test_a_failed_document_is_tried_again_by_the_next_run_and_no_other(engine: Engine) -> None:
    fill(engine, "Lisbon", "fail")
    (first,) = extract(engine, Fake())
    assert (first.ok, first.failed) == (1, {"refused": 1})
    fake = Fake()
    (again,) = extract(engine, fake)
    assert (again.documents, again.failed) == (1, {"refused": 1})
    assert fake.texts == ["fail"]
    assert in_force(engine) == ["Lisbon"]


@dataclass
class Hesitant(Fake):
    """Fails each document for ``reason``, or the one its text begins with.

    As often as the number in its text says, or at every try.
    """

    reason: str = "server_error"
    tries: Counter[str] = field(default_factory=Counter)

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        self.given.append(tuple(document.text for document in documents))
        for document in documents:
            self.tries[document.text] += 1
            if "never" in document.text or self.tries[document.text] <= int(document.text.split()[-1]):
                reason = self.reason or document.text.split()[0]
                yield Extraction(document.id, Status.FAILED, reason=reason, usage=self.usage)
            else:
                yield outcome(document, usage=self.usage)


@pytest.mark.parametrize("threads", [1, 4])
def test_what_failed_for_a_passing_reason_is_tried_once_more_at_the_end(engine: Engine, threads: int) -> None:
    """After all others, in the same run; its partition is told of once, with what both tries took."""
    fill(engine, "Lisbon 1", "Porto 0")
    fill(engine, "Faro 0", person=2)
    fill(engine, "Braga 2", "Evora never", person=3)
    hesitant = Hesitant(usage=PAID)
    found = extract(engine, hesitant, threads)
    assert hesitant.tries == {"Lisbon 1": 2, "Porto 0": 1, "Faro 0": 1, "Braga 2": 2, "Evora never": 2}
    assert sorted(text for piece in hesitant.given[-2:] for text in piece) == ["Braga 2", "Evora never", "Lisbon 1"]
    told = sorted((o.documents, o.ok, dict(o.failed), o.usage.calls) for o in found)
    assert told == [(1, 1, {}, 1), (2, 0, {"server_error": 2}, 4), (2, 2, {}, 3)]
    assert not found[0].bad
    assert in_force(engine) == ["Faro 0", "Lisbon 1", "Porto 0"]
    assert sorted(row.attempts for row in rows(engine, ExtractionRow)) == [1, 1, 2, 2, 2]


def test_what_would_fail_again_is_not_tried_twice(engine: Engine) -> None:
    """Which reasons pass by themselves, and which do not."""
    others = [*sorted(PERMANENT), "in_batch", "something_else"]
    fill(engine, *(f"{reason} 1" for reason in (*TRANSIENT, *others)))
    hesitant = Hesitant(reason="")
    (found,) = extract(engine, hesitant)
    assert hesitant.tries == {f"{reason} 1": 2 for reason in TRANSIENT} | {f"{reason} 1": 1 for reason in others}
    assert (found.ok, dict(found.failed)) == (len(TRANSIENT), dict.fromkeys(others, 1))


def test_a_stop_during_the_second_try_tells_of_everything(engine: Engine) -> None:
    """The budget is spent just then: what was done stays done and told of, then the error comes."""
    fill(engine, "Lisbon 1")
    fill(engine, "Porto 0", person=2)
    hesitant = Hesitant()
    told = []
    outcomes = extract_pending(engine, hesitant, Selection(hesitant.fingerprint))
    told.append(next(outcomes))
    hesitant.fingerprint = "fake 1"
    hesitant.extract = stopping  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match="spent"):
        told.extend(outcomes)
    assert sorted((o.ok, dict(o.failed)) for o in told) == [(0, {"server_error": 1}), (1, {})]
    assert states(engine) == {"Lisbon 1": "failed", "Porto 0": "done"}


def stopping(documents: Sequence[Document]) -> Iterator[Extraction]:
    raise ConfigurationError("the budget is spent")
    yield


@pytest.mark.parametrize(("reason", "tried"), [("refused", 3), ("in_batch", 5)])
def test_what_is_refused_again_and_again_is_given_up(engine: Engine, reason: str, tried: int) -> None:
    """By runs that have a limit of attempts. Without one, for all documents, or by another extractor it is tried."""
    fill(engine, "Lisbon never")
    hesitant = Hesitant(reason=reason)
    for _ in range(5):
        extract(engine, hesitant, max_attempts=3)
    assert hesitant.tries["Lisbon never"] == tried
    assert count_failed(engine) == {reason: 1}
    assert count_failed(engine, max_attempts=3) == ({} if reason == "in_batch" else {reason: 1})
    for selection in ({}, {"reextract": Reextract.ALL, "max_attempts": 3}):
        extract(engine, hesitant, **selection)
    other = Hesitant(fingerprint="fake 2", reason=reason)
    extract(engine, other, max_attempts=3)
    assert (hesitant.tries["Lisbon never"], other.tries["Lisbon never"]) == (tried + 2, 1)


def test_a_failure_of_a_newer_extractor_leaves_the_old_observations(engine: Engine) -> None:
    fill(engine, "Lisbon")
    extract(engine, Fake())

    @dataclass
    class Broken(Fake):
        fingerprint: str = "fake 2"

        def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
            for document in documents:
                yield Extraction(document.id, Status.FAILED, reason="timeout")

    (told,) = extract(engine, Broken(), reextract=Reextract.STALE)
    assert told.bad
    assert in_force(engine) == ["Lisbon"]
    assert count_pending(engine, Selection("fake 2")) == (1, 1)


@pytest.mark.parametrize(
    ("reextract", "given"),
    [(Reextract.MISSING, ["new"]), (Reextract.STALE, ["Lisbon", "new"]), (Reextract.ALL, ["Faro", "Lisbon", "new"])],
)
def test_missing_stale_all(engine: Engine, reextract: Reextract, given: list[str]) -> None:
    fill(engine, "Lisbon")
    extract(engine, Fake("fake 0"))
    fill(engine, "Faro", person=2)
    extract(engine, Fake())
    fill(engine, "new", person=3)
    fake = Fake()
    extract(engine, fake, reextract=reextract)
    assert fake.texts == given
    assert in_force(engine) == sorted({"Faro", "Lisbon", "new"})


def test_nothing_pending_calls_nobody(engine: Engine) -> None:
    fill(engine, "Lisbon")
    extract(engine, Fake())
    fake = Fake()
    assert extract(engine, fake) == []
    assert fake.given == []


@pytest.mark.parametrize("threads", [1, 3])
def test_a_large_partition_comes_in_slices_and_is_told_of_once(engine: Engine, threads: int) -> None:
    size = 2 * SLICE + 7
    fill(engine, *(f"City {n}" for n in range(size)))
    fill(engine, "Porto", person=2)
    fake = Fake()
    told = extract(engine, fake, threads)
    assert sorted(o.documents for o in told) == [1, size]
    assert sorted(len(piece) for piece in fake.given) == [1, 7, SLICE, SLICE]
    assert len(set(fake.texts)) == size + 1


def test_threads_work_at_the_same_time(engine: Engine) -> None:
    """Each waits for the other three: alone they would never end."""
    barrier = threading.Barrier(4, timeout=120)
    for person in range(8):
        fill(engine, f"City {person}", person=person)
    told = extract(engine, Fake(before=lambda document: void(barrier.wait())), threads=4)
    assert len(told) == 8


def void(_: object) -> None: ...


def test_no_more_than_a_few_slices_are_loaded_ahead(engine: Engine) -> None:
    """Documents come from the database as they are needed: memory does not grow with what is pending."""
    people = 30
    loaded_ahead: list[int] = []
    save(
        engine,
        *(record(contact(p), text=f"{p}/{n}", native_id=f"{p}/{n}") for p in range(people) for n in range(SLICE)),
    )
    fake = Fake()
    outcomes = extract_pending(engine, fake, Selection("fake 1"))
    for told, _ in enumerate(outcomes, 1):
        loaded_ahead.append(len(fake.given) - told)
    assert len(fake.given) == people
    assert max(loaded_ahead) <= SAVE_AT // SLICE


@pytest.mark.parametrize("threads", [1, 2])
def test_when_going_on_makes_no_sense_what_was_finished_is_kept(engine: Engine, threads: int) -> None:
    def spend(document: Document) -> None:
        with lock:
            left[0] -= 1
            if left[0] < 0:
                raise ConfigurationError("the budget is spent")

    lock, left = threading.Lock(), [4]
    for person in range(20):
        fill(engine, f"{person} a", f"{person} b", f"{person} c", person=person)
    fake, told = Fake(usage=PAID, before=spend), list[KeyOutcome]()
    with pytest.raises(ConfigurationError, match="budget"):
        told.extend(extract_pending(engine, fake, Selection("fake 1"), threads))
    assert list(states(engine).values()).count("done") == 4, "also those of the slice in which it happened"
    assert all(one.documents == 3 for one in told), "a partition that is half done is not told of"
    assert len(fake.given) <= 2 * threads + 1, "no further slice was begun"
    left[0] = 1000
    extract(engine, Fake(usage=PAID))
    assert count_pending(engine, Selection("fake 1")) == (0, 0)


def test_when_the_consumer_stops_what_was_finished_is_kept(engine: Engine) -> None:
    for person in range(3):
        fill(engine, *(f"{person}/{n}" for n in range(SAVE_AT // 2)), person=person)
    outcomes = extract_pending(engine, Fake(), Selection("fake 1"))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert list(states(engine).values()).count("done") >= SAVE_AT


def test_a_broken_extractor_is_not_hidden_and_the_other_threads_work_is_kept(engine: Engine) -> None:
    for person in range(6):
        fill(engine, "bad" if person == 3 else f"City {person}", person=person)

    def trip(document: Document) -> None:
        if document.text == "bad":
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            extract(engine, Fake(usage=PAID, before=trip), threads=2)
    assert states(engine)["bad"] == "pending"


def test_a_document_that_was_deleted_meanwhile_takes_nothing_with_it(engine: Engine) -> None:
    """Neither before it is loaded nor while the extractor has it."""
    fill(engine, "Lisbon", "gone")
    fill(engine, "Porto", person=2)

    def delete_it(document: Document) -> None:
        with engine.begin() as connection:
            connection.execute(delete(DocumentRow).where(DocumentRow.text == "gone"))

    extract(engine, Fake(before=delete_it))
    assert in_force(engine) == ["Lisbon", "Porto"]
    assert states(engine) == {"Lisbon": "done", "Porto": "done"}


def test_what_another_process_extracted_meanwhile_is_not_asked_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it was pending when the run began; its partition is told of all the same."""
    monkeypatch.setattr(extracting, "SAVE_AT", 1)
    fill(engine, "Lisbon")
    fill(engine, "Porto", person=2)
    other = Fake()

    def meanwhile(_document: Document) -> None:
        extract(engine, other)

    mine = Fake(before=meanwhile)
    found = extract(engine, mine)
    assert len(mine.texts) == 1
    assert other.texts == ["Lisbon", "Porto"]
    assert sorted(outcome.documents for outcome in found) == [0, 1]
    assert in_force(engine) == ["Lisbon", "Porto"]

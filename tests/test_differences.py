"""What a re-extraction changed, claim by claim; what a document contributed, and what became of each claim."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from ingest_pipeline.documents import Role
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.base import Extraction, Kind, Observation, Status
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.store import differences
from ingest_pipeline.store.contributions import Fate, load_document_facts
from ingest_pipeline.store.differences import load_difference, load_document_differences
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.extractions import save_extractions
from ingest_pipeline.store.facts import load_facts
from tests.builders import save_text

AT = datetime(2024, 6, 1, tzinfo=UTC)
TEXT = "I live in Rome. I love chess and jazz. Call me Al."
SCHEMA = load_traits(None)
Said = tuple[str, str, str]


def claim(key: str, value: str, quote: str, retracted: bool = False, text: str = TEXT) -> Observation:
    memory = key in ("fact", "context")
    start = text.index(quote)
    return Observation(
        Kind.MEMORY if memory else Kind.TRAIT, key, value, 0.9, 0.5 if memory else None, quote, start,
        start + len(quote), Role.SUBJECT, AT, None, retracted=retracted,
    )  # fmt: skip


def extracted(engine: Engine, document: str, by: str, *claims: Observation, failed: bool = False) -> None:
    status = Status.FAILED if failed else Status.OK if claims else Status.EMPTY
    extraction = Extraction(document, status, claims, reason="timeout" if failed else None)
    save_extractions(engine, [extraction], by, by, None)


def tell(engine: Engine, profile: str, text: str = TEXT, days: int = 0) -> str:
    return save_text(engine, profile, text, None, None, AT + timedelta(days))


@pytest.fixture
def profile(engine: Engine) -> str:
    return create_profile(engine, "crm-1")


ROME, CHESS, JAZZ = (
    claim("location", "Rome", "Rome"),
    claim("interests", "chess", "chess"),
    claim("interests", "jazz", "jazz"),
)
AL = claim("name", "Al", "Al")
FACT = claim("fact", "Loves chess.", "love chess")


def described(claims: Iterable[differences.Claim]) -> list[tuple[str, object]]:
    return sorted((claim.key, claim.value) for claim in claims)


CASES = {
    "the same": ((ROME,), (ROME,), [("location", "Rome")], [], [], []),
    "another spelling is the same": ((ROME,), (claim("location", "rome", "Rome"),), [("location", "rome")], [], [], []),
    "more": ((ROME,), (ROME, CHESS), [("location", "Rome")], [("interests", "chess")], [], []),
    "less": ((ROME, AL), (ROME,), [("location", "Rome")], [], [("name", "Al")], []),
    "nothing any more": ((ROME,), (), [], [], [("location", "Rome")], []),
    "another value": ((ROME,), (claim("location", "Roma", "Rome"),), [], [], [], [("Rome", "Roma")]),
    "no order among elements": (
        (CHESS, JAZZ), (claim("interests", "go", "chess"),), [], [("interests", "go")],
        [("interests", "chess"), ("interests", "jazz")], [],
    ),
    "a memory is never another": (
        (FACT,), (claim("fact", "Plays chess.", "chess"),), [], [("fact", "Plays chess.")],
        [("fact", "Loves chess.")], [],
    ),
    "a retraction is another claim": (
        (ROME,), (claim("location", "Rome", "Rome", retracted=True),), [], [], [], [("Rome", "Rome")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "kept", "added", "removed", "changed"), CASES.values(), ids=CASES)
def test_claims_before_and_after(
    engine: Engine,
    profile: str,
    before: tuple[Observation, ...],
    after: tuple[Observation, ...],
    kept: list[tuple[str, object]],
    added: list[tuple[str, object]],
    removed: list[tuple[str, object]],
    changed: list[tuple[object, object]],
) -> None:
    document = tell(engine, profile)
    extracted(engine, document, "v1", *before)
    extracted(engine, document, "v2", *after)
    (found,) = load_document_differences(engine)
    assert (found.document_id, found.before, found.after) == (document, "v1", "v2")
    assert (described(found.kept), described(found.added), described(found.removed)) == (kept, added, removed)
    assert [(a.value, b.value) for a, b in found.changed] == changed
    assert found.differs is bool(added or removed or changed)


def test_the_two_latest_that_finished_are_compared(engine: Engine, profile: str) -> None:
    """A failed attempt said nothing, and what only one extractor did cannot be compared."""
    once, often, failed = (
        tell(engine, profile),
        tell(engine, profile, TEXT + " A."),
        tell(engine, profile, TEXT + " B."),
    )
    extracted(engine, once, "v2", ROME)
    for by, claims in (("v1", (AL,)), ("v2", (ROME,)), ("v3", (ROME, CHESS))):
        extracted(engine, often, by, *claims)
    extracted(engine, failed, "v1", ROME)
    extracted(engine, failed, "v2", failed=True)
    (found,) = load_document_differences(engine)
    assert (found.document_id, found.before, found.after) == (often, "v2", "v3")
    assert described(found.added) == [("interests", "chess")]


def test_the_sum_is_by_trait_and_of_one_profile_if_asked(
    engine: Engine, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_profile(engine, "crm-2")
    for number in range(5):
        document = tell(engine, profile, f"{TEXT} {number}", number)
        extracted(engine, document, "v1", ROME, AL)
        extracted(engine, document, "v2", claim("location", "Roma", "Rome"), AL, FACT)
    document = tell(engine, other)
    extracted(engine, document, "v1", ROME)
    extracted(engine, document, "v2", ROME)
    monkeypatch.setattr(differences, "PAGE", 2)
    total = load_difference(engine)
    assert (total.documents, total.differing, total.extractors) == (6, 5, {("v1", "v2"): 6})
    counts = [(k.kind, k.key, k.kept, k.added, k.removed, k.changed) for k in total.keys]
    assert counts == [("trait", "location", 1, 0, 0, 5), ("trait", "name", 5, 0, 0, 0), ("memory", "fact", 0, 5, 0, 0)]
    assert load_difference(engine, other).documents == 1
    assert load_difference(engine, profile).differing == 5


def fates(engine: Engine, document: str) -> dict[tuple[str, object], Fate]:
    return {(c.key, c.value): c.fate for c in load_document_facts(engine, document).contributions}


def test_what_became_of_each_claim(engine: Engine, profile: str) -> None:
    """It proves what holds, proved what held, ended something, was refused, was overtaken, or was too unsure."""
    first, second = tell(engine, profile), tell(engine, profile, "I moved to Oslo. No more jazz.", 9)
    oslo = claim("location", "Oslo", "Oslo", text="I moved to Oslo. No more jazz.")
    no_jazz = claim("interests", "jazz", "jazz", True, text="I moved to Oslo. No more jazz.")
    bad = claim("communication_style", "shouting", "Call me")
    later = timedelta(9)
    extracted(engine, first, "v1", ROME, CHESS, JAZZ, bad, FACT)
    extracted(engine, second, "v1", *(Observation(**{name: getattr(o, name) for name in Observation.__slots__} | {
        "said_at": AT + later}) for o in (oslo, no_jazz)))  # fmt: skip
    list(fold_profiles(engine, SCHEMA))
    assert fates(engine, first) == {
        ("location", "Rome"): Fate.PAST,
        ("interests", "chess"): Fate.SUPPORTS,
        ("interests", "jazz"): Fate.PAST,
        ("communication_style", "shouting"): Fate.REJECTED,
        ("fact", "Loves chess."): Fate.SUPPORTS,
    }
    assert fates(engine, second) == {("location", "Oslo"): Fate.SUPPORTS, ("interests", "jazz"): Fate.ENDED}
    facts = {fact.id: fact for fact in (*load_facts(engine, profile).traits, *load_facts(engine, profile).memories)}
    found = load_document_facts(engine, first[:13])
    assert {facts[c.fact_id].key for c in found.contributions if c.fact_id} == {"interests", "fact"}
    assert all(found.text[c.start : c.end] == c.quote for c in found.contributions)
    extracted(engine, first, "v2", CHESS)
    list(fold_profiles(engine, SCHEMA))
    assert fates(engine, first)["location", "Rome"] is Fate.OUTDATED
    found = load_document_facts(engine, first)
    assert [(a.fingerprint, a.status, a.observations) for a in found.attempts] == [("v1", "ok", 5), ("v2", "ok", 1)]
    assert [c.reason for c in found.contributions if c.fingerprint == "v1"] == ["newer_extraction"] * 5


@pytest.mark.parametrize("reference", ["", "abc", "not an id", "00000000-0000-4000-8000-000000000000", "0" * 40])
def test_a_document_that_is_not_there(engine: Engine, reference: str) -> None:
    with pytest.raises(InvalidInput, match=r"a document id is|no document has this id"):
        load_document_facts(engine, reference)

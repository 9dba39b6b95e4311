"""The LLM extractor: one outcome per document, whatever the model makes of it."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import Engine

from ingest_pipeline.documents import Document, Role, Segment, Source, stable_id
from ingest_pipeline.extraction import packing
from ingest_pipeline.extraction.base import Extraction, Status, Usage
from ingest_pipeline.extraction.llm import ExtractionOptions, LlmExtractor
from ingest_pipeline.extraction.personal import Personal
from ingest_pipeline.extraction.redaction import Redactor
from ingest_pipeline.extraction.schema import Answer, answer_format, read_answer
from ingest_pipeline.extraction.traits import load_traits, parse_traits
from ingest_pipeline.llm.errors import STOP_ERRORS, BudgetExhausted
from ingest_pipeline.llm.exchange import InvalidAnswer, ProviderReply
from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.settings import ModelSettings
from ingest_pipeline.llm.transport import FailureKind, LitellmTransport, ProviderCall, ProviderFailure
from tests.provider import Behaviour, Provider, documents_of, find_something
from tests.scripted import PRICES, Clients, Scripted, opened, reply

MAY = datetime(2024, 5, 3, 9, 30, tzinfo=UTC)
SCHEMA = load_traits(None)
DEFAULT_TRAITS = [json.loads(trait.model_dump_json(by_alias=True)) for trait in SCHEMA.traits]
NOTHING_HIDDEN = Redactor()
MODEL = ModelSettings("m/one")


@pytest.fixture
def clients(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Clients]:
    yield from opened(engine, database_url, tmp_path)


def document(text: str, *segments: Segment, n: int = 0, **fields: Any) -> Document:
    base = Document(
        id=stable_id("document", text, str(n)),
        source=Source.EMAIL,
        origin="mbox",
        kind="mail",
        text=text,
        segments=segments or (Segment(0, len(text), Role.SUBJECT, "Ann Lee"),),
        occurred_at=MAY + timedelta(days=n),
        profile_id=stable_id("profile"),
        subject_name="Ann Lee",
    )
    return replace(base, **fields)


def body_of(call: ProviderCall) -> dict[str, Any]:
    return {"messages": [{"role": each.role, "content": each.content} for each in call.messages]}


def model(answer: Callable[[dict[str, str]], str | BaseException | ProviderReply]) -> Scripted:
    """A transport whose answer is made from the documents it was shown (reference -> marked text)."""

    def send(call: ProviderCall) -> ProviderReply:
        made = answer(documents_of(body_of(call)))
        if isinstance(made, BaseException):
            raise made
        return reply(made) if isinstance(made, str) else made

    return Scripted([send])


def item(**fields: Any) -> dict[str, Any]:
    common = {"about": "subject", "confidence": 0.9, "retracted": False, "date_phrase": None, "sensitive": None}
    return common | fields


def trait(key: str, value: Any, quote: str, **fields: Any) -> dict[str, Any]:
    return item(key=key, value=value, quote=quote, **fields)


def memory(content: str, quote: str, **fields: Any) -> dict[str, Any]:
    return item(type="fact", content=content, quote=quote, importance=0.7, **fields)


def answer(**documents: list[dict[str, Any]]) -> str:
    """D1=[items …]: those with a key are traits."""
    listed = [
        {
            "document": name,
            "traits": [each for each in items if "key" in each],
            "memories": [each for each in items if "content" in each],
        }
        for name, items in documents.items()
    ]
    return json.dumps({"documents": listed})


def extractor(clients: Clients, transport: Any, **fields: Any) -> LlmExtractor:
    options = {name: fields.pop(name) for name in ("pack_tokens", "timezone", "redactor") if name in fields}
    threads = fields.pop("threads", 16)
    return LlmExtractor(SCHEMA, clients(transport, **fields), ExtractionOptions(**options), threads=threads)


def outcomes(extractor: LlmExtractor, *documents: Document) -> dict[str, Extraction]:
    found = list(extractor.extract(documents))
    assert sorted(each.document_id for each in found) == sorted(each.id for each in documents)
    extractor.close()
    return {each.document_id: each for each in found}


def seen_in(call: ProviderCall) -> int:
    return len(documents_of(body_of(call)))


# From answers to observations.


def test_items_become_observations_with_their_evidence(clients: Clients) -> None:
    """Value, confidence, quote with its offsets, the date phrase resolved in code."""
    mail = document("Hello!\nI joined Initech last month. We are moving billing to Postgres.")
    transport = model(
        lambda _: answer(
            D1=[
                trait("company", "Initech", "I joined Initech last month", date_phrase="last month"),
                memory("Is moving billing to Postgres.", "We are moving billing to Postgres"),
            ]
        )
    )
    result = outcomes(extractor(clients, transport), mail)[mail.id]
    assert (result.status, result.reason, result.dropped) == (Status.OK, None, {})
    company, moving = result.observations
    assert (company.key, company.value, company.confidence) == ("company", "Initech", 0.9)
    assert mail.text[company.start : company.end] == company.quote == "I joined Initech last month"
    assert company.effective_at is not None
    assert (company.effective_at.year, company.effective_at.month) == (2024, 4)
    assert (moving.key, moving.importance) == ("fact", 0.7)


def test_what_is_not_proved_is_dropped_and_counted(clients: Clients) -> None:
    """Invented quotes, other people, traits that nobody asked for, items of a wrong shape."""
    mail = document("I like tea. Bo likes coffee.")
    bad_shape = trait("location", "Rome", "I like tea") | {"confidence": "very"}
    transport = model(
        lambda _: answer(
            D1=[
                memory("Likes tea.", "I like tea"),
                memory("Likes gin.", "I like gin"),
                memory("Bo likes coffee.", "Bo likes coffee", about="other"),
                trait("shoe_size", "44", "I like tea"),
                bad_shape,
            ]
        )
    )
    result = outcomes(extractor(clients, transport), mail)[mail.id]
    assert [each.value for each in result.observations] == ["Likes tea."]
    assert result.dropped == {"quote_not_found": 1, "other_subject": 1, "unknown_trait": 1, "invalid_item": 1}


def test_a_quote_in_someone_elses_words_is_dropped(clients: Clients) -> None:
    text = "I like tea.\nI like rum."
    chat = document(text, Segment(0, 11, Role.SUBJECT, "Ann"), Segment(12, 23, Role.OTHER, "Bo"))
    transport = model(lambda _: answer(D1=[memory("Likes rum.", "I like rum")]))
    result = outcomes(extractor(clients, transport), chat)[chat.id]
    assert (result.status, result.dropped) == (Status.EMPTY, {"not_the_subject": 1})


def test_a_list_is_one_candidate_per_element(clients: Clients) -> None:
    mail = document("I enjoy climbing and chess.")
    transport = model(lambda _: answer(D1=[trait("interests", ["climbing", "chess"], "I enjoy climbing and chess")]))
    result = outcomes(extractor(clients, transport), mail)[mail.id]
    assert [each.value for each in result.observations] == ["climbing", "chess"]


def test_nothing_found_is_empty_and_a_text_without_evidence_costs_nothing(clients: Clients) -> None:
    """A chat in which the person said nothing is not sent at all."""
    mute = document("Bo: hi", Segment(0, 6, Role.OTHER, "Bo"))
    blank = document("   ", n=1)
    plain = document("Thanks!", n=2)
    transport = model(lambda _: answer(D1=[]))
    found = outcomes(extractor(clients, transport), mute, blank, plain)
    assert {each.status for each in found.values()} == {Status.EMPTY}
    assert len(transport.calls) == 1
    assert found[mute.id].usage == Usage()


# Packs.


def test_small_documents_share_a_prompt_and_keep_their_own_evidence(clients: Clients) -> None:
    """Twenty mails in one call; each item is cited under the document that holds its quote."""
    mails = [document(f"I own boat number {n} and like it.", n=n) for n in range(20)]
    transport = Scripted([lambda call: reply(find_something(body_of(call)))])
    found = outcomes(extractor(clients, transport), *mails)
    assert len(transport.calls) == 1
    for mail in mails:
        (only,) = found[mail.id].observations
        assert only.quote == mail.text
    assert sum(each.usage.calls for each in found.values()) == 1


def test_an_item_cited_under_the_wrong_document_is_dropped(clients: Clients) -> None:
    tea, rum = document("I like tea.", n=0), document("I like rum.", n=1)
    transport = model(lambda _: answer(D1=[memory("Likes rum.", "I like rum")], D2=[]))
    found = outcomes(extractor(clients, transport), tea, rum)
    assert found[tea.id].dropped == {"quote_not_found": 1}
    assert found[rum.id].observations == ()


def test_a_document_that_the_model_overlooked_is_asked_about_again(clients: Clients) -> None:
    """Not listed is not empty."""
    mails = [document(f"I like tea number {n}.", n=n) for n in range(4)]

    def overlook(shown: dict[str, str]) -> str:
        kept = {name: [] for name in list(shown)[: max(1, len(shown) - 2)]}
        return answer(**kept)

    transport = model(overlook)
    found = outcomes(extractor(clients, transport), *mails)
    assert {each.status for each in found.values()} == {Status.EMPTY}
    assert [seen_in(call) for call in transport.calls] == [4, 2, 1]


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("no JSON at all", "invalid_answer"),
        (reply('{"documents": [{"document": "D1"', "length"), "truncated"),
        (reply("", "content_filter"), "refused"),
        (ProviderFailure(FailureKind.BAD_REQUEST, 400), "bad_request"),
        (ProviderFailure(FailureKind.TOO_LONG, 400), "too_long"),
    ],
)
def test_a_pack_is_split_until_the_bad_document_stands_alone(
    clients: Clients, trouble: str | BaseException | ProviderReply, reason: str
) -> None:
    """Seven of eight are extracted; the eighth is failed with the reason, never empty."""
    mails = [document(f"I like tea number {n}.", n=n) for n in range(8)]
    transport = model(
        lambda shown: trouble if any("number 5" in text for text in shown.values()) else find_something_in(shown)
    )
    found = outcomes(extractor(clients, transport), *mails)
    failed = [each for each in found.values() if each.status is Status.FAILED]
    assert [(each.document_id, each.reason, each.observations) for each in failed] == [(mails[5].id, reason, ())]
    assert Counter(each.status for each in found.values())[Status.OK] == 7


def find_something_in(shown: dict[str, str]) -> str:
    found = {}
    for name, text in shown.items():
        line = text.splitlines()[-1]
        found[name] = [memory(f"The person said: {line}", line)]
    return answer(**found)


def test_when_the_provider_is_down_splitting_is_no_use(clients: Clients) -> None:
    mails = [document(f"I like tea number {n}.", n=n) for n in range(4)]
    transport = Scripted([ProviderFailure(FailureKind.SERVER_ERROR, 503)])
    found = outcomes(extractor(clients, transport, max_attempts=2), *mails)
    assert {(each.status, each.reason) for each in found.values()} == {(Status.FAILED, "server_error")}
    assert len(transport.calls) == 2


def test_a_failed_document_can_be_retried(clients: Clients) -> None:
    mail = document("I like tea.")
    transport = Scripted(["nonsense", "nonsense", "nonsense", answer(D1=[memory("Likes tea.", "I like tea")])])
    assert outcomes(extractor(clients, transport), mail)[mail.id].status is Status.FAILED
    assert outcomes(extractor(clients, transport), mail)[mail.id].status is Status.OK


@pytest.mark.parametrize("kind", [FailureKind.AUTH, FailureKind.QUOTA])
def test_what_stops_everything_is_raised(clients: Clients, kind: FailureKind) -> None:
    """Not recorded as a failure of each document: they stay pending."""
    mails = [document("I like tea. " * 900, n=n) for n in range(6)]
    each = extractor(clients, Scripted([ProviderFailure(kind, 401)]), threads=2)
    with pytest.raises(STOP_ERRORS[kind.value]):
        list(each.extract(mails))
    each.close()


def test_a_spent_budget_is_raised(clients: Clients) -> None:
    dear = ModelSettings("m/one", prices=PRICES, max_output_tokens=1_000_000)
    each = extractor(clients, Scripted(), models=(dear,), budget_usd=1.0)
    with pytest.raises(BudgetExhausted):
        list(each.extract([document("I like tea.")]))
    each.close()


def test_what_was_answered_before_a_crash_is_not_paid_again(clients: Clients) -> None:
    """The packs that were not stored yet are packed the same way again."""
    mails = [document(f"I own boat number {n}. " + "It sails. " * (20 + n % 7 * 12), n=n) for n in range(60)]
    transport = Scripted([lambda call: reply(find_something(body_of(call)))])
    each = extractor(clients, transport, pack_tokens=600, threads=1)
    stored = [result.document_id for result in each.extract(mails)]
    paid = len(transport.calls)
    assert paid > 5
    packs = list(packing.packs(mails, 600))
    lost = {passage.document.id for pack in packs[1::2] for passage in pack}
    assert set(stored) > lost
    list(each.extract([mail for mail in reversed(mails) if mail.id in lost]))
    assert len(transport.calls) == paid
    each.close()


# Long documents.


def test_a_long_document_is_asked_about_in_chunks(clients: Clients) -> None:
    """Its offsets are the document's, also in the last chunk; the overlap gives nothing twice."""
    lines = [
        f"On day {n} I bought {n} boats and sold none of them again, as far as I remember.\n" for n in range(1_500)
    ]
    text = "".join(lines)
    long = document(text)
    transport = Scripted([lambda call: reply(everything(documents_of(body_of(call))))])
    result = outcomes(extractor(clients, transport), long)[long.id]
    assert len(transport.calls) > 3
    quotes = [each.quote for each in result.observations]
    assert len(quotes) == len(set(quotes)) == 1_500
    assert all(text[each.start : each.end] == each.quote for each in result.observations)
    assert [each.start for each in result.observations] == sorted(each.start for each in result.observations)


def everything(shown: dict[str, str]) -> str:
    """One memory per whole line."""
    found = {}
    for name, text in shown.items():
        lines = [line for line in text.splitlines() if line.startswith("On day") and line.endswith("remember.")]
        found[name] = [memory(f"Remembers: {line}", line) for line in lines]
    return answer(**found)


def test_a_truncated_answer_halves_the_text(clients: Clients) -> None:
    """More facts than an answer can hold: smaller parts until each fits, everything found."""
    text = "".join(f"On day {n} I bought {n} boats, as far as I remember.\n" for n in range(64))
    long = document(text)

    def at_most_twenty(shown: dict[str, str]) -> str | ProviderReply:
        made = everything(shown)
        return made if made.count('"quote"') <= 20 else reply(made[:500], "length")

    transport = model(at_most_twenty)
    result = outcomes(extractor(clients, transport), long)[long.id]
    assert result.status is Status.OK
    assert len({each.quote for each in result.observations}) == 64


def test_one_failed_chunk_fails_the_document(clients: Clients) -> None:
    """Half of the facts of a document must not pass for all of them."""
    long = document("I like tea, as said.\n" * 3_000 + "I like poison.\n" + "I like tea, as said.\n" * 3_000)
    transport = model(lambda shown: "nonsense" if "poison" in shown["D1"] else answer(D1=[]))
    result = outcomes(extractor(clients, transport), long)[long.id]
    assert (result.status, result.reason) == (Status.FAILED, "invalid_answer")


texts = st.lists(st.integers(0, 3_000), min_size=1, max_size=12)


@given(texts, st.integers(50, 5_000))
@settings(deadline=None, max_examples=50)
def test_packing_covers_every_code_point_of_every_document(sizes: list[int], pack_tokens: int) -> None:
    """Each document is whole in one passage, or in passages that leave no gap; packs keep to the target."""
    mails = [document("word " * size, n=n) for n, size in enumerate(sizes)]
    packs = list(packing.packs(mails, pack_tokens))
    for mail in mails:
        spans = sorted((p.span.start, p.span.end) for pack in packs for p in pack if p.document.id == mail.id)
        assert spans[0][0] == 0
        assert spans[-1][1] == len(mail.text)
        assert all(before[1] >= after[0] for before, after in pairwise(spans))
    for pack in packs:
        assert len(pack) == 1 or sum(len(passage.span) for passage in pack) / 4 < 2 * pack_tokens + len(pack)
        assert len(pack) <= packing.MAX_PACK_DOCUMENTS


def test_a_short_passage_is_not_torn_apart_but_asked_about_for_less() -> None:
    """Once; a long one is halved."""
    (whole,) = packing.passages(document("I like tea."))
    (brief,) = packing.split(whole)
    assert (brief.span, brief.brief) == (whole.span, True)
    assert packing.split(brief) == []
    (long,) = packing.passages(document("I like tea. " * 80))
    assert len(packing.split(long)) == 2


def test_a_short_text_with_a_truncated_answer_gets_a_brief_one(clients: Clients) -> None:
    mail = document("I like tea.")
    transport = Scripted([reply("{", "length"), answer(D1=[memory("Likes tea.", "I like tea")])])
    assert outcomes(extractor(clients, transport), mail)[mail.id].status is Status.OK
    assert "At most" in transport.calls[1].messages[1].content


# Reading answers.

GOOD = trait("company", "Initech", "I joined Initech")


@pytest.mark.parametrize(
    "text",
    [
        answer(D1=[GOOD]),
        "```json\n" + answer(D1=[GOOD]) + "\n```",
        "Here is the result:\n" + answer(D1=[GOOD]) + "\nAnything else?",
        answer(D1=[GOOD]).replace("}]", "},]"),
        answer(D1=[GOOD]).replace('"I joined Initech"', '"I joined\nInitech"'),
        answer(d1=[GOOD]),
        answer(Document1=[GOOD]),
        answer(D1=[{name: value for name, value in GOOD.items() if not name.startswith("date")}]),
    ],
    ids=["plain", "fenced", "chatty", "trailing comma", "newline", "lower case", "other name", "no dates"],
)
def test_answers_that_can_be_used(text: str) -> None:
    read = read_answer(text, ["D1"])
    assert [(each.key, each.value) for each in read.documents["D1"].traits] == [("company", "Initech")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I am sorry, I cannot do that.",
        "{}",
        "[]",
        "null",
        '["a", 1]',
        '{"documents": {}}',
        '{"documents": []}',
        '{"documents": [1, 2]}',
        '{"documents": [{"document": "D1", "traits": [{"key": 1}], "memories": []}]}',
        '{"documents": [{"document": "D1", "traits": "none", "memories": []}]}',
        answer(D1=[GOOD])[:-20],
        answer(D1=[GOOD])[:120],
        "[" * 100_000,
    ],
)
def test_answers_that_cannot_be_used(text: str) -> None:
    """They are asked for again: to repair them would be to guess, or to take nothing for an answer."""
    with pytest.raises(InvalidAnswer):
        read_answer(text, ["D1"])


def test_missing_documents_are_named() -> None:
    read: Answer = read_answer(answer(D1=[GOOD], D3=[], D9=[GOOD]), ["D1", "D2", "D3"])
    assert read.missing == ("D2",)
    assert set(read.documents) == {"D1", "D3"}


leaves = st.none() | st.booleans() | st.floats() | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(values, values)
def test_no_json_breaks_the_reader(one: object, other: object) -> None:
    """Whatever is in place of a document, its lists or its items: an Answer or InvalidAnswer."""
    listed = {"document": "D1", "traits": [one, other], "memories": other}
    for answered in (one, {"documents": one}, {"documents": [one, listed]}):
        try:
            read_answer(json.dumps(answered), ["D1"])
        except InvalidAnswer:
            continue


@given(st.integers(1, 400))
def test_no_cut_answer_is_taken_for_a_whole_one(length: int) -> None:
    """Wherever the provider stopped: a repaired half would lose facts silently."""
    whole = answer(D1=[GOOD, memory("Joined Initech.", "I joined Initech")], D2=[])
    with pytest.raises(InvalidAnswer):
        read_answer(whole[: min(length, len(whole) - 2)], ["D1", "D2"])


def test_the_output_schema_suits_strict_modes() -> None:
    """Every property required, nothing beyond them, the enabled trait keys and no others."""
    schema = parse_traits(
        [
            {"key": "mood", "valueType": "string"},
            {"key": "off", "valueType": "string", "extraction": {"enabled": False}},
        ]
    )

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object":
                assert node["additionalProperties"] is False
                assert sorted(node["required"]) == sorted(node["properties"])
            for value in node.values():
                check(value)

    made = answer_format(schema)
    check(made.schema)
    assert '"enum": ["mood"]' in json.dumps(made.schema)


# As a whole.


def test_the_fingerprint_changes_with_what_decides_the_outcome(clients: Clients) -> None:
    """Not with packing, limits or fallback models: changing those must not make everything be paid for again."""

    def fingerprint(
        schema: Any = SCHEMA,
        pack_tokens: int = 3_000,
        timezone: str = "UTC",
        redactor: Redactor = NOTHING_HIDDEN,
        **fields: Any,
    ) -> str:
        options = ExtractionOptions(pack_tokens, timezone, redactor=redactor)
        return LlmExtractor(schema, clients(Scripted(), **fields), options).fingerprint

    base = fingerprint()
    assert fingerprint() == fingerprint(pack_tokens=500) == base
    assert fingerprint(models=(ModelSettings("m/one", Rates(requests=5)), ModelSettings("m/two"))) == base
    others = {
        fingerprint(models=(ModelSettings("m/two"),)),
        fingerprint(models=(ModelSettings("m/one", temperature=1.0),)),
        fingerprint(parse_traits([{"key": "mood", "valueType": "string"}])),
        fingerprint(timezone="Europe/Berlin"),
        fingerprint(redactor=Redactor(frozenset({Personal.EMAIL}))),
        fingerprint(redactor=Redactor(frozenset({Personal.EMAIL, Personal.PHONE}))),
        fingerprint(redactor=Redactor(frozenset({Personal.EMAIL, Personal.PHONE}), "DE")),
        fingerprint(parse_traits({"sensitive": ["health"], "traits": DEFAULT_TRAITS})),
    }
    assert len(others | {base}) == 9


def test_an_estimate_calls_nothing(clients: Clients) -> None:
    """Calls, dollars and the time that the rate allows; nothing is sent."""
    mails = [document(f"I own boat number {n}. " + "It sails very well indeed. " * 40, n=n) for n in range(40)]
    transport = Scripted([lambda call: reply(find_something(body_of(call)))])
    slow = ModelSettings("m/one", Rates(requests=60), prices=PRICES)
    each = extractor(clients, transport, models=(slow,))
    estimate = each.estimate([mails])
    assert transport.calls == []
    assert estimate.calls == len(list(packing.packs(mails, 3_000))) > 1
    assert estimate.cost_usd == pytest.approx(PRICES.cost(estimate.input_tokens, 0, estimate.output_tokens))
    assert estimate.seconds == pytest.approx(estimate.calls, rel=0.05)
    each.close()


def test_a_bad_provider_loses_nothing(clients: Clients) -> None:
    """Errors, malformed and truncated answers over HTTP: every document ends with its fact."""
    mails = [document(f"I own boat number {n}. " + "It sails. " * 100, n=n) for n in range(40)]
    with Provider(Behaviour(errors=0.15, malformed=0.15, truncated=0.1, seed=3)) as provider:
        # One after the other, so that the same requests always meet the same faults.
        http = ModelSettings("openai/test", Rates(concurrency=1), provider.base_url, SecretStr("k"))
        each = extractor(clients, LitellmTransport(), models=(http,), threads=1, pack_tokens=600)
        found = outcomes(each, *mails)
        faults = Counter(seen.fault for seen in provider.seen)
    assert faults["error"]
    assert faults["malformed"]
    assert {each.status for each in found.values()} == {Status.OK}
    assert all(len(found[mail.id].observations) == 1 for mail in mails)
    usage = sum((each.usage for each in found.values()), start=Usage())
    assert usage.calls == len(provider.seen)
    assert usage.input_tokens == sum(seen.input_tokens for seen in provider.seen)

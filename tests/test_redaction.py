"""What is hidden from providers: every value found, restored exactly, and never in a request."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import Engine

from ingest_pipeline.chunking import Span
from ingest_pipeline.documents import Document, Role, Segment, Source, stable_id
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extraction.base import Extraction, Status
from ingest_pipeline.extraction.batch import BatchExtractor
from ingest_pipeline.extraction.llm import ExtractionOptions, LlmExtractor
from ingest_pipeline.extraction.personal import Personal, find_personal
from ingest_pipeline.extraction.prompt import Passage, user_message
from ingest_pipeline.extraction.redaction import InventedPlaceholder, Redaction, Redactor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.limits import open_limits
from ingest_pipeline.llm.settings import LlmSettings, ModelSettings
from ingest_pipeline.llm.stored import StoredAnswers
from ingest_pipeline.llm.transport import LitellmTransport
from ingest_pipeline.settings import load_settings
from tests.provider import Behaviour, Body, Provider, documents_of
from tests.scripted import Clients, Scripted, opened, reply

ALL = frozenset(Personal)
SCHEMA = load_traits(None)

VALUES = [
    (Personal.EMAIL, "ana@acme.example"),
    (Personal.EMAIL, "Ana.Ferreira+crm@mail.acme.co.uk"),
    (Personal.EMAIL, "o'neil@acme.com"),
    (Personal.EMAIL, "andré@café.fr"),
    (Personal.EMAIL, "ana\u200b@acme.com"),
    (Personal.EMAIL, "ana＠acme.com"),
    (Personal.EMAIL, "root@localhost"),
    (Personal.PHONE, "+351 912 345 678"),
    (Personal.PHONE, "+1 (415) 555-0199"),
    (Personal.PHONE, "+49151\u00a023456789"),
    (Personal.PHONE, "(415) 555-2671"),
    (Personal.PHONE, "415-555-2671"),
    (Personal.PHONE, "0151 23456789"),
    (Personal.PHONE, "06 12 34 56 78"),
    (Personal.PHONE, "020 7946 0958"),
    (Personal.PHONE, "07700900123"),
    (Personal.PHONE, "912 345 678"),
    (Personal.CARD, "4111111111111111"),
    (Personal.CARD, "4111 1111 1111 1111"),
    (Personal.CARD, "5500-0000-0000-0004"),
    (Personal.CARD, "3782 822463 10005"),
    (Personal.IBAN, "DE89 3704 0044 0532 0130 00"),
    (Personal.IBAN, "GB82WEST12345698765432"),
    (Personal.IBAN, "pt50 0002 0123 1234 5678 9015 4"),
    (Personal.ID, "123-45-6789"),
    (Personal.ID, "AB 12 34 56 C"),
    (Personal.ID, "54362315K"),
    (Personal.ID, "X-2482300-W"),
    (Personal.ID, "RCCMNL83S18D969H"),
    (Personal.ID, "2 55 08 14 168 025 38"),
    (Personal.ID, "36574261809"),
    (Personal.ID, "390.533.447-05"),
    (Personal.ID, "756.9217.0769.85"),
    (Personal.ID, "880320-0016"),
    (Personal.ID, "2341 2341 2346"),
]


@pytest.mark.parametrize(("kind", "value"), VALUES)
@pytest.mark.parametrize(
    "around",
    ["{}", "It is {}.", "({}), 12/26 and so on", "a: {}\nBIC COBADEFFXXX", "Thanks {}", "{} GB82WEST12345698765432"],
)
def test_values_are_found_whatever_stands_around_them(kind: Personal, value: str, around: str) -> None:
    """Whole, with its own kind switched on alone; and with all kinds nothing of it is left."""
    text = around.format(value)
    assert value in [text[found.start : found.end] for found in find_personal(text, frozenset({kind}))]
    shown = Redactor(ALL).begin().shown(text)
    assert value not in shown
    assert "GB82" not in shown
    assert re.match(re.escape(around.partition("{}")[0]) + r"\[[A-Z]+_\d\]", shown)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("my passport no. is C01X00T47", "C01X00T47"),
        ("Reisepass Nr.: C01X 00T47", "C01X 00T47"),
        ("NIF: 123 456 789", "123 456 789"),
        ("SSN 123456789", "123456789"),
        ("my driver's license number is D1234-5678", "D1234-5678"),
        ("call me at 555 1234", "555 1234"),
        ("Tel.: 3456789", "3456789"),
        ("Telefon 089/123456", "089/123456"),
        ("0151 23456789 12 26 40000 7", "0151 23456789 12"),
    ],
)
def test_a_number_is_what_it_is_called(text: str, value: str) -> None:
    """Without check digits and without a country."""
    assert value in [text[found.start : found.end] for found in find_personal(text, ALL)]


@pytest.mark.parametrize(
    "text",
    [
        "We meet on 2024-05-03 at 10:30.",
        "We had a call on 2023-06-08 23:15, call 2023-06-08 23 again",
        "We meet on 03.05.2024 10:30 or 01/02/2024.",
        "The budget is 120,000 for 2025 and 1.250.000 for 2026.",
        "Order 12345678, version 10.4.2, build 20240503.",
        "Our host 192.168.10.120 answered in 1714729200123 ms.",
        "Ticket ABC-123456, rev 5.0.1, @acme on Twitter, foo@2.3",
        "Salesforce 0035g00000XyZabAAA, page 12-34",
        "4111 1111 1111 1112 is no card, DE89370400440532013002 no account",
        "meet @ 5, a @ b",
        "#123 456",
    ],
)
def test_ordinary_numbers_are_shown(text: str) -> None:
    """Dates, amounts, versions, order numbers, addresses of machines: the model needs them."""
    assert Redactor(ALL).begin().shown(text) == text


def test_a_region_makes_its_national_numbers_known() -> None:
    """As INGEST_PHONE_REGION has it."""
    text = "maybe 32 12 34 56 then"
    assert find_personal(text, frozenset({Personal.PHONE})) == []
    (found,) = find_personal(text, frozenset({Personal.PHONE}), "DK")
    assert text[found.start : found.end] == "32 12 34 56"


def test_only_what_is_switched_on_is_hidden() -> None:
    text = "ana@acme.com, +351 912 345 678"
    assert Redactor(frozenset({Personal.PHONE})).begin().shown(text) == "ana@acme.com, [PHONE_1]"
    assert Redactor().begin().shown(text) == text
    assert Redactor().begin().restored("[EMAIL_1]") == "[EMAIL_1]"


def test_the_same_value_is_the_same_placeholder() -> None:
    """Whatever its case; other values have other numbers; each kind counts for itself."""
    redaction = Redactor(ALL).begin()
    shown = redaction.shown("ana@acme.com, Ana@ACME.com, bo@acme.com, +351 912 345 678, +351  912 345 678")
    assert shown == "[EMAIL_1], [EMAIL_1], [EMAIL_2], [PHONE_1], [PHONE_1]"


def test_a_value_on_the_edge_of_a_stretch_is_hidden_in_both() -> None:
    """A chunk may cut through it; neither side shows a part."""
    text = "write to ana@acme.com please"
    redaction = Redactor(ALL).begin()
    for cut in range(len(text)):
        left, right = redaction.shown(text, 0, cut), redaction.shown(text, cut)
        assert not re.search(r"ana|@|acme|com\b", left + "|" + right), cut
        assert left.count("[EMAIL_1]") + right.count("[EMAIL_1]") == (2 if 9 < cut < 21 else 1)


@pytest.mark.parametrize(
    ("answer", "restored"),
    [
        ("Can be reached at [EMAIL_1].", "Can be reached at ana@acme.com."),
        ("at EMAIL_1", "at ana@acme.com"),
        ("[EMAIL_2] as written", "[EMAIL_2] as written"),
        ("EMAIL_7 is a column", "EMAIL_7 is a column"),
        ("[EMAIL_12]", None),
        ("[PHONE_1]", None),
        ("[CARD_1] and [EMAIL_1]", None),
    ],
)
def test_placeholders_are_restored_and_invented_ones_noticed(answer: str, restored: str | None) -> None:
    """One that the text itself holds stays as it is and is nobody's number."""
    text = "ana@acme.com knows [EMAIL_2], bo@acme.com"
    document = Document("d", Source.EMAIL, "mbox", "mail", text, (Segment(0, len(text), Role.SUBJECT),), None)
    redaction = Redactor(ALL).begin([document])
    assert redaction.shown(text) == "[EMAIL_1] knows [EMAIL_2], [EMAIL_3]"
    if restored is None:
        with pytest.raises(InventedPlaceholder):
            redaction.restored(answer)
    else:
        assert redaction.restored(answer) == restored


def test_a_new_name_in_the_header_renumbers_nothing() -> None:
    """An answer to a batch is read days later, when the profile may be called otherwise."""
    text = "I am ana@acme.com."

    def shown(name: str) -> str:
        segments = (Segment(0, len(text), Role.SUBJECT, "bo@acme.com"),)
        document = Document("d", Source.EMAIL, "mbox", "mail", text, segments, None, subject_name=name)
        redaction = Redactor(ALL).begin([document])
        return user_message([Passage(document, Span(0, len(text)))], (), redaction).content.partition("\n\n")[2]

    assert shown("zoe@acme.com") == shown("Ana") == shown("ana@acme.com")
    assert "[EMAIL_1]." in shown("zoe@acme.com")
    assert 'speaker="[EMAIL_2]"' in shown("zoe@acme.com")


def test_the_setting_names_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an unknown one is a clear error."""
    monkeypatch.setenv("INGEST_REDACT", "email, Phone")
    assert load_settings().redact == {Personal.EMAIL, Personal.PHONE}
    monkeypatch.setenv("INGEST_REDACT", "")
    assert load_settings().redact == frozenset()
    monkeypatch.setenv("INGEST_REDACT", "email,fax")
    with pytest.raises(ConfigurationError, match=r"INGEST_REDACT: 'fax' is no kind .* email, phone, card, iban, id"):
        load_settings()


_PIECES = st.lists(
    st.sampled_from([value for _, value in VALUES])
    | st.text(st.sampled_from("ab @.-_[]12\n\u200bé里EMAIL"), max_size=12),
    max_size=8,
)


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


@given(_PIECES, st.lists(st.integers(0, 200), max_size=3))
def test_whatever_is_hidden_can_be_restored(pieces: list[str], cuts: list[int]) -> None:
    """Any text, whole: hidden and restored it is what it was, but for the case and spaces of a value said before."""
    text = " ".join(pieces)
    document = Document("d", Source.EMAIL, "mbox", "mail", text, (), None)
    redaction = Redactor(ALL).begin([document])
    shown = redaction.shown(text)
    assert _fold(redaction.restored(shown)) == _fold(text)
    hidden = [text[found.start : found.end] for found in find_personal(text, ALL)]
    for stretch in zip([0, *sorted(cuts)], [*sorted(cuts), len(text)], strict=True):
        assert not any(value in redaction.shown(text, *stretch) for value in hidden)


# As a whole.

PEOPLE = {
    "mail": "ana.ferreira@velalogistics.example",
    "phone": "+351 912 345 678",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "id": "123-45-6789",
    "speaker": "private.speaker@velalogistics.example",
    "alias": "another.alias@velalogistics.example",
}


def _mail(number: int, said: str) -> Document:
    return Document(
        id=stable_id("document", str(number)),
        source=Source.EMAIL,
        origin="mbox",
        kind="mail",
        text=said,
        segments=(Segment(0, len(said), Role.SUBJECT, f"Ana {PEOPLE['speaker']}"),),
        occurred_at=None,
        profile_id="00000000-0000-0000-0000-000000000001",
        subject_name=f"Ana Ferreira ({PEOPLE['mail']})",
    )


MAILS = [
    _mail(1, f"You can reach me at {PEOPLE['mail']} from now on."),
    _mail(2, f"My mobile is {PEOPLE['phone']} and I like tea."),
    _mail(3, f"Charge my card {PEOPLE['card']} 12/26."),
    _mail(4, f"My account is {PEOPLE['iban']}."),
    _mail(5, f"My SSN is {PEOPLE['id']}. Nothing else."),
]


def _memories(body: Body) -> str:
    """One memory per document, of its first line as shown."""
    found = []
    for reference, marked in documents_of(body).items():
        line = next(line for line in marked.splitlines() if line and not line.startswith("<"))
        item = {"type": "fact", "content": f"Said: {line}", "quote": line, "about": "subject", "confidence": 0.9}
        found.append({"document": reference, "traits": [], "memories": [{**item, "importance": 0.5}]})
    return json.dumps({"documents": found})


@pytest.fixture
def clients(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Clients]:
    yield from opened(engine, database_url, tmp_path)


def _options(pack_tokens: int = 3_000) -> ExtractionOptions:
    aliases = {"00000000-0000-0000-0000-000000000001": (f"Annie {PEOPLE['alias']}",)}
    return ExtractionOptions(pack_tokens, aliases=aliases, redactor=Redactor(ALL))


def _assert_clean(sent: str) -> None:
    digits = re.sub(r"\D", "", sent)
    for value in PEOPLE.values():
        assert value not in sent
        assert value.casefold() not in sent.casefold()
    for value in ("912345678", "4111111111111111", "370400440532013000"):
        assert value not in digits


def test_no_value_reaches_the_provider(clients: Clients) -> None:
    """All request bodies, with re-asks after malformed answers and splits after cut-off ones; all facts found."""
    with Provider(Behaviour(malformed=0.3, truncated=0.3, seed=93), answer=_memories) as provider:
        http = ModelSettings("openai/test", Rates(concurrency=4), provider.base_url, SecretStr("key"))
        extractor = LlmExtractor(SCHEMA, clients(LitellmTransport(), models=(http,)), _options(), threads=4)
        found = {each.document_id: each for each in extractor.extract(MAILS)}
        extractor.close()
        bodies = [seen.body for seen in provider.seen]
        faults = {seen.fault for seen in provider.seen}
    assert {"malformed", "truncated"} <= faults
    assert any(len(json.loads(body)["messages"]) > 2 for body in bodies)
    assert "[EMAIL_1]" in "".join(bodies)
    for body in bodies:
        _assert_clean(json.dumps(json.loads(body), ensure_ascii=False))
    for mail in MAILS:
        _assert_proved(mail, found[mail.id])


def _assert_proved(mail: Document, extraction: Extraction) -> None:
    """The fact is there, in the document's own words."""
    assert extraction.status is Status.OK, (extraction.reason, extraction.dropped)
    (only,) = extraction.observations
    assert only.quote == mail.text[only.start : only.end] == mail.text
    assert only.value == f"Said: {mail.text}"


def test_what_the_cache_keeps_is_hidden_too(clients: Clients) -> None:
    """The answer stands there as the provider gave it; read from the cache it is restored as well."""
    transport = Scripted([lambda call: reply(_memories(_body(call)))])
    for _ in range(2):
        extractor = LlmExtractor(SCHEMA, clients(transport), _options())
        for extraction in extractor.extract(MAILS):
            _assert_proved(next(mail for mail in MAILS if mail.id == extraction.document_id), extraction)
        extractor.close()
    assert len(transport.calls) == 1
    for (answer,) in clients.rows("answer", "llm_cache"):
        _assert_clean(answer)


def _body(call: Any) -> Body:
    return {"messages": [{"role": each.role, "content": each.content} for each in call.messages]}


def test_an_item_with_an_invented_placeholder_is_dropped(clients: Clients) -> None:
    """With its reason; the others of the document are kept."""

    def invents(call: Any) -> Any:
        made = json.loads(_memories(_body(call)))
        item = made["documents"][0]["memories"][0]
        made["documents"][0]["memories"].append({**item, "content": "Can be reached at [EMAIL_9]."})
        return reply(json.dumps(made))

    extractor = LlmExtractor(SCHEMA, clients(Scripted([invents])), _options())
    (extraction,) = extractor.extract(MAILS[:1])
    extractor.close()
    assert len(extraction.observations) == 1
    assert extraction.dropped == {"invented_placeholder": 1}


def test_batches_hide_the_same(engine: Engine, database_url: str, tmp_path: Path) -> None:
    """The lines of the file that would be uploaded."""
    model = ModelSettings("openai/test", api_base="http://127.0.0.1:9/v1")
    limits = f"sqlite:///{tmp_path / 'limits.db'}" if database_url.startswith("sqlite") else database_url
    client = StoredAnswers(LlmSettings((model,)), engine, open_limits(limits))
    extractor = BatchExtractor(SCHEMA, client, _options(pack_tokens=1))
    extractor.check()
    questions = extractor.plan(MAILS).questions
    extractor.close()
    assert len(questions) == len(MAILS)
    for question in questions:
        _assert_clean(json.dumps(json.loads(question.line), ensure_ascii=False))


def test_the_kinds_decide_the_fingerprint_and_the_region_only_with_phones() -> None:
    assert Redactor().fingerprint == Redactor(region="DE").fingerprint == ""
    email = frozenset({Personal.EMAIL})
    assert Redactor(email).fingerprint == Redactor(email, "DE").fingerprint
    assert len({Redactor(kinds, region).fingerprint for kinds in (email, ALL) for region in ("", "DE")}) == 3
    assert isinstance(Redactor(ALL).begin(), Redaction)

"""What cells of CRM rows say: labels, values worth a line, identifiers, moments."""

import random
from datetime import UTC, datetime
from itertools import product
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Identifier, Person, Rejected, Role
from ingest_pipeline.sources import registry
from ingest_pipeline.sources.crm_records import (
    clean_name,
    email_addresses,
    is_meaningful,
    is_nobody,
    read_moment,
    readable_label,
    says_something,
)
from ingest_pipeline.sources.crm_text import TextBuilder
from ingest_pipeline.sources.phones import certain_phone
from tests.format_samples import read

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "label"),
    [
        ("Current_Employer__c", "Current employer"),
        ("PreferredContactMethod__c", "Preferred contact method"),
        ("SLAViolation__c", "SLA violation"),
        ("acme__Renewal_Month__c", "Renewal month"),
        ("CURRENT_EMPLOYER__C", "Current employer"),
        ("Loyalty__pc", "Loyalty"),
        ("favourite_colour", "Favourite colour"),
    ],
)
def test_a_columns_name_becomes_a_readable_label(column: str, label: str) -> None:
    assert readable_label(column) == label


MEANINGFUL = [
    "Current employer",
    "Designation",
    "Preferred contact",
    "License type",
    "Key account",
    "Pets",
    "Annual income",
]
MEANINGLESS = [
    "Driving license number", "Passport", "Passport no", "SSN", "National id", "Tax number", "IBAN", "Bank account",
    "Credit card", "Card number", "CVV", "External id", "Branch id", "LinkedIn URL", "Photo", "Created date",
    "Closedate", "Last sync", "Mailing latitude", "Postal code", "Password", "",
]  # fmt: skip


@pytest.mark.parametrize(("label", "expected"), [*((m, True) for m in MEANINGFUL), *((m, False) for m in MEANINGLESS)])
def test_numbers_of_papers_and_bookkeeping_are_never_rendered(label: str, expected: bool) -> None:
    assert is_meaningful(label) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Firefighter", True),
        ("93505", True),
        ("none", True),
        ("A {curly} remark", True),
        ("", False),
        ("N/A", False),
        ("[not provided]", False),
        ("https://example.com/x", False),
        ("www.example.com", False),
        ("/services/images/photo/003Ec00000CyOT7IAN", False),
        ('{"city":"London"}', False),
        ("a00Ec000009WFutIAG", False),
        ("6f1c9a52-0a0e-4d0b-9b61-3f5b1d6d7c11", False),
        ("4111 1111 1111 1111", False),
        ("4111 1111 1111 1112", True),
        ("DE89 3704 0044 0532 0130 00", False),
        ("078-05-1120", False),
        ("jo@example.com", False),
        ('<a href="x">y</a>', False),
    ],
)
def test_values_that_only_identify_or_link_say_nothing(value: str, expected: bool) -> None:
    assert says_something(value) is expected


def test_a_long_number_is_a_phone_only_under_a_phones_label() -> None:
    assert says_something("9667318696", "Annual spend")
    assert not says_something("9667318696", "Home phone")


@pytest.mark.parametrize(
    ("cell", "region", "expected"),
    [
        ("+44 7911 123456", "", "+447911123456"),
        ("07911 123456", "GB", "+447911123456"),
        ("07911 123456", "", None),
        ("+44 7911 123456 x12", "", None),
        ("+44 79", "", None),
        ("ask reception", "GB", None),
        ("", "GB", None),
    ],
)
def test_a_phone_identifies_only_when_it_is_certain(cell: str, region: str, expected: str | None) -> None:
    assert certain_phone(cell, region) == (Identifier("phone", expected) if expected else None)


def judged(cell: str) -> Identifier | None:
    """What ``phonenumbers`` says of it by itself."""
    try:
        number = phonenumbers.parse(cell, None)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return Identifier("phone", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


@pytest.mark.parametrize("code", sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
def test_the_short_way_to_a_number_gives_what_the_library_gives(code: int) -> None:
    """Numbers of every kind of every country, and those that lie beside them."""
    chance = random.Random(code)
    numbers = [f"+{code}{chance.randrange(10 ** chance.randint(1, 13))}" for _ in range(3)]
    for region, kind in product(phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code], phonenumbers.PhoneNumberType.values()):
        example = phonenumbers.example_number_for_type(region, kind) if region != "001" else None
        if example:
            written = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
            place = chance.randrange(2, len(written))
            numbers += [written, written[:-1], written + "0", written[:place] + "7" + written[place + 1 :]]
    assert [certain_phone(number, "") for number in numbers] == [judged(number) for number in numbers]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("Jo@Example.COM",), ["jo@example.com"]),
        (("a@x.org; b@x.org, a@x.org", "c@x.org"), ["a@x.org", "b@x.org", "c@x.org"]),
        (("Jo <jo@x.org>",), ["jo@x.org"]),
        (("fcb67ef339b691956cc85fa12be6490c", "jo@", "@x.org", "jo@x"), []),
    ],
)
def test_addresses_are_lower_case_and_come_once(cells: tuple[str, ...], expected: list[str]) -> None:
    assert email_addresses(*cells) == tuple(Identifier("email", address) for address in expected)


def test_names_lose_direction_marks_and_extra_spaces() -> None:
    assert clean_name(" \u202eAnna ", "", "Lee\u200f ") == "Anna Lee"
    assert clean_name("", " ") is None


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2024-01-23T17:50:51.000+0000", datetime(2024, 1, 23, 17, 50, 51, tzinfo=UTC)),
        ("2024-01-23T17:50:51.000Z", datetime(2024, 1, 23, 17, 50, 51, tzinfo=UTC)),
        ("2024-01-23T17:50:51+02:00", datetime(2024, 1, 23, 15, 50, 51, tzinfo=UTC)),
        ("2012-12-27 23:17:53", datetime(2012, 12, 27, 23, 17, 53, tzinfo=UTC)),
        ("2022-04-14 4:30:42", datetime(2022, 4, 14, 4, 30, 42, tzinfo=UTC)),
        ("2023-12-25", datetime(2023, 12, 25, 12, tzinfo=UTC)),
        ("1661707291575", datetime(2022, 8, 28, 17, 21, 31, 575000, tzinfo=UTC)),
    ],
)
def test_moments_are_read_in_the_forms_that_crms_write(cell: str, expected: datetime) -> None:
    assert read_moment(cell, NOW) == (expected, None)


@pytest.mark.parametrize(
    ("cell", "warning"),
    [
        ("", None),
        ("1970-01-01T00:00:00.000Z", "1970_or_before"),
        ("1900-01-01", "1970_or_before"),
        ("2026-06-03", "in_the_future"),
        ("03/04/2024", "unreadable"),
        ("soon", "unreadable"),
        ("99999999999999999999", "unreadable"),
    ],
)
def test_a_moment_that_cannot_be_is_none_with_the_reason(cell: str, warning: str | None) -> None:
    assert read_moment(cell, NOW) == (None, warning)


def test_a_naive_moment_is_in_the_given_zone() -> None:
    assert read_moment("2024-01-23 17:50", NOW, ZoneInfo("Europe/Berlin"))[0] == datetime(
        2024, 1, 23, 16, 50, tzinfo=UTC
    )


def test_a_text_keeps_lines_apart_and_says_whose_words_they_are() -> None:
    builder = TextBuilder()
    builder.field("City", "London", "MailingCity")
    builder.field("Likes", "tea\r\ncake", "Likes__c")
    builder.text(" Met at the fair.\r\n", Role.NOTE, "Description")
    builder.text("  ", Role.NOTE, "Body")
    text, segments = builder.build()
    assert text == "City: London\nLikes: tea\ncake\n\nMet at the fair."
    assert [text[s.start : s.end] for s in segments] == ["City: London", "Likes: tea\ncake", "Met at the fair."]
    assert [s.role for s in segments] == [Role.FIELD, Role.FIELD, Role.NOTE]


def test_a_row_is_a_persons_when_anything_tells_of_them() -> None:
    """A name, an address, a number that identifies nobody, a text; an id alone where the table has no such columns."""
    key = Identifier("hubspot", "7")
    empty = Person(key, "hubspot:")
    assert is_nobody(empty, "", ["", None, [], [{"label": "work", "value": ""}]])
    assert not is_nobody(empty, "", [])
    assert not is_nobody(empty, "Title: CTO", [""])
    for cell in ("Kim", "030 123", [{"value": "a@x.org"}], ["a@x.org"]):
        assert not is_nobody(empty, "", ["", cell])
    for person in (Person(key, "", "Kim"), Person(key, "", same_as=(key,)), Person(key, "", claims=False)):
        assert not is_nobody(person, "", [""])


EMPTY_ROWS = {
    "salesforce": ("Contact.csv", "003A00000000001", "Id,LastName,Email,OwnerId\n%s,,,\n"),
    "hubspot": ("contacts.csv", "101", "Record ID,First Name,Email,Create Date\n%s,,,2024-01-10 09:00\n"),
    "zendesk": ("users.csv", "7", "id,name,email,role,restricted_agent\n%s,,,end-user,\n"),
    "intercom": (
        "a.json",
        "7",
        '{"type": "list", "data": [{"type": "contact", "id": "%s", "role": "user", "email": ""}]}',
    ),
    "pipedrive": ("a.json", "7", '{"success": true, "data": [{"id": "%s", "name": "", "email": [{"value": ""}]}]}'),
    "mapped": ("people.csv", "7", "nr,mail\n%s,\n"),
}


@pytest.mark.parametrize("has_id", [True, False])
@pytest.mark.parametrize("name", EMPTY_ROWS)
def test_an_empty_row_is_rejected_and_makes_no_profile(name: str, has_id: bool) -> None:
    """With its place and the reason, with an id of its own and without."""
    file, native, content = EMPTY_ROWS[name]
    files = {file: (content % (native if has_id else "")).encode()}
    files |= {"mapping.yaml": b"files:\n  - {file: people.csv, id: nr, email: mail}\n"} if name == "mapped" else {}
    (item,) = read(registry.BY_FORMAT[name], files)
    assert isinstance(item, Rejected)
    assert ("row is empty" in item.reason) == has_id
    assert item.position


@given(st.text(max_size=40))
def test_any_cell_is_judged_without_an_error(cell: str) -> None:
    moment, _ = read_moment(cell, NOW)
    assert moment is None or moment.utcoffset() is not None
    assert isinstance(says_something(cell, cell), bool)
    certain_phone(cell, "US")
    readable_label(cell)

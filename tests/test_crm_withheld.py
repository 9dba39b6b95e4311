"""Numbers of papers, cards and accounts are never rendered, wherever they stand, and are counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Role
from ingest_pipeline.sources.columns import Layout
from ingest_pipeline.sources.crm_text import Fields, TextBuilder
from ingest_pipeline.sources.crm_withheld import holds_numbers, is_card, is_iban, is_withheld, without_numbers

CARD, IBAN, SSN = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "078-05-1120"


@pytest.mark.parametrize("value", [CARD, "5500-0000-0000-0004", "340000000000009", IBAN, "GB29NWBK60161331926819", SSN])
def test_a_cell_with_such_a_number_is_withheld(value: str) -> None:
    assert is_withheld(value)


@pytest.mark.parametrize(
    "value", ["4111 1111 1111 1112", "DE89 3704 0044 0532 0130 01", "+49 170 1234567", "2024-01-10", "078-05-11201", ""]
)
def test_other_numbers_are_not(value: str) -> None:
    assert not is_withheld(value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Card {CARD}, please.", "Card [card number withheld], please."),
        (f"IBAN: {IBAN}.", "IBAN: [account number withheld]."),
        (f"SSN {SSN}", "SSN [social security number withheld]"),
        (f"{CARD}\n{SSN}", "[card number withheld]\n[social security number withheld]"),
        ("Order 4111 1111 1111 1112 is late.", None),
        ("Order 1234567890123452 is late.", None),  # passes the check, is no issuer's
        ("Call +41 11 11 11 11 11 11 11 1 now", None),
        ("Part AB-078-05-1120-X", None),
        ("On 2024-01-10 at 10:00, 12 of 13", None),
    ],
)
def test_a_text_keeps_everything_but_the_number(text: str, shown: str | None) -> None:
    assert without_numbers(text)[0] == (shown or text)
    assert bool(without_numbers(text)[1]) is (shown is not None)


@pytest.mark.parametrize("label", ["Passport no", "SSN", "IBAN", "Driving license number", "Card number", "Tax ID"])
def test_a_column_is_known_by_its_name(label: str) -> None:
    assert holds_numbers(label)


def test_what_is_withheld_is_counted() -> None:
    columns = ["Tea", "Passport number", "Favourite"]
    fields = Fields(columns, Layout({}, {}), {c.lower(): c for c in columns})
    text = TextBuilder()
    fields.add(text, ["Oolong", "X123", CARD])
    text.text(f"Pays with {CARD}", Role.NOTE, "Note")
    metadata: dict[str, object] = {}
    assert text.finish(metadata)[0] == "Tea: Oolong\n\nPays with [card number withheld]"
    assert metadata == {"withheld": 3}


@given(st.text())
def test_any_text_is_judged_without_an_error_and_only_numbers_go(text: str) -> None:
    shown, withheld = without_numbers(text)
    assert withheld or shown == text


@given(st.from_regex(r"\A4[0-9]{14}\Z"), st.text("abc .,\n", max_size=20))
def test_a_card_number_never_stays(start: str, around: str) -> None:
    number = next(start + digit for digit in "0123456789" if is_card(start + digit))
    assert number not in without_numbers(f"{around} {number} {around}")[0]


@given(st.from_regex(r"\A[0-9A-Z]{11,20}\Z"))
def test_ibans_are_checked(rest: str) -> None:
    assert sum(is_iban(f"DE{check:02}{rest}") for check in range(2, 99)) == 1

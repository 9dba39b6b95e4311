"""Numbers of identity papers, cards and bank accounts: found by column name and by value, never rendered.

Cards: 13 to 19 digits with the Luhn check digit (ISO/IEC 7812). Accounts: IBAN with its checksum (ISO 13616). In
running text a card must also begin and be as long as the large issuers' are: every tenth number passes the check.
"""

import re

from ingest_pipeline.sources.columns import NEVER

WITHHELD = "[{} withheld]"
"""What stands in a text in place of such a number."""

_CARD = re.compile(r"\d(?:[ -]?\d){12,18}\Z")
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}\Z")
_SSN = re.compile(r"\d{3}-\d{2}-\d{4}\Z")
# Every one of these numbers holds nine digits in a row, apart from separators. Looked for in bytes with all digits
# alike and the separators deleted, which takes a fifth of the time of a pattern.
_DIGITS_ALIKE = bytes(ord("0") if 48 <= code <= 57 else ord("x") for code in range(256))
_NO_DIGITS = bytes(code for code in range(256) if not 48 <= code <= 57)
_NINE_DIGITS = b"0" * 9
_IN_TEXT = re.compile(
    r"(?P<iban>\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b)"
    r"|(?P<ssn>(?<![\w-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![\w-]))"
    r"|(?P<card>(?<![\w+.-])[2-6](?:[ -]?[0-9]){12,18}(?![\w-]))"
)
_ISSUERS = re.compile(
    r"(?:4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|(?:6011|65\d\d|64[4-9]\d|35[2-8]\d|62\d\d)\d{12,15})\Z"
)
_NAMES = {"iban": "account number", "ssn": "social security number", "card": "card number"}


def holds_numbers(label: str) -> bool:
    """Whether a column of this name holds numbers of papers, cards or accounts, or secrets."""
    return bool(NEVER.search(label.lower()))


def is_withheld(value: str) -> bool:
    """Whether a cell holds nothing but such a number."""
    if not may_hold_number(value):
        return False
    return bool(_SSN.match(value)) or is_iban(value.replace(" ", "")) or is_card(value)


def without_numbers(text: str) -> tuple[str, int]:
    """A text with such numbers replaced by what they were, and how many there were."""
    if not may_hold_number(text):
        return text, 0
    found = 0

    def replaced(match: re.Match[str]) -> str:
        nonlocal found
        kind = match.lastgroup or ""
        number = re.sub(r"[ -]", "", match[0])
        if kind == "card" and not (_ISSUERS.match(number) and is_card(number)):
            return match[0]
        if kind == "iban" and not is_iban(number):
            return match[0]
        found += 1
        return WITHHELD.format(_NAMES[kind])

    return _IN_TEXT.sub(replaced, text), found


def may_hold_number(text: str) -> bool:
    """Quickly: False is certain."""
    if len(text) < len(_NINE_DIGITS):
        return False
    data = text.encode("utf-8", "surrogatepass")
    if len(data.translate(None, _NO_DIGITS)) < len(_NINE_DIGITS):
        return False
    return _NINE_DIGITS in data.translate(_DIGITS_ALIKE, b" -")


def is_card(value: str) -> bool:
    """13 to 19 digits, perhaps in groups, that pass the Luhn check."""
    if not _CARD.match(value):
        return False
    digits = [int(char) for char in value if char.isdigit()][::-1]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


def is_iban(value: str) -> bool:
    """An IBAN without spaces whose check digits fit."""
    if not _IBAN.match(value):
        return False
    return int("".join(str(int(char, 36)) for char in value[4:] + value[:4])) % 97 == 1

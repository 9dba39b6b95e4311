"""Salesforce record ids: 15 case-sensitive characters, or 18 with a checksum of the capitals among them.

The first three characters name the object. Never change their case: ``003…a`` and ``003…A`` are two people.
"""

from functools import lru_cache

PREFIXES = {
    "001": "account",
    "002": "note",
    "003": "contact",
    "005": "user",
    "00D": "organization",
    "00Q": "lead",
    "00T": "task",
    "00U": "event",
    "00a": "casecomment",
    "02s": "emailmessage",
    "068": "contentversion",
    "069": "contentnote",
    "06A": "contentdocumentlink",
    "0RE": "eventrelation",
    "0RT": "taskrelation",
    "500": "case",
}
PEOPLE = {"003": "contact", "00Q": "lead"}
NULL_ID = "000000000000000AAA"

_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_CAPITALS = bytes(ord("1") if 65 <= code <= 90 else ord("0") for code in range(256))
_CHECK_OF = {f"{bits:05b}"[::-1].encode(): character for bits, character in enumerate(_CHECK)}


def checksum(id15: str) -> str:
    """Three characters, one per five of the id: bit n is set when character n of the five is a capital."""
    bits = id15.encode("ascii").translate(_CAPITALS)
    return _CHECK_OF[bits[:5]] + _CHECK_OF[bits[5:10]] + _CHECK_OF[bits[10:]]


def own_id18(text: str) -> str | None:
    """``id18`` of a row's own id, which is not met twice."""
    text = text.strip()
    if not text:
        return None
    if len(text) not in (15, 18) or not (text.isalnum() and text.isascii()):
        raise ValueError("is not a Salesforce id of 15 or 18 characters")
    full = text[:15] + checksum(text[:15])
    if len(text) == 18 and text != full:
        raise ValueError("has a wrong checksum: its letters were changed or their case was lost")
    return None if full == NULL_ID else full


@lru_cache(maxsize=65_536)
def id18(text: str) -> str | None:
    """The id with its checksum; None for an empty cell and for the null id.

    Raises ValueError, without the text, when it is no id or the checksum does not fit, as after a change of case.
    """
    return own_id18(text)

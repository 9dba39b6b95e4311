"""Salesforce record ids: 15 case-sensitive characters, or 18 with a checksum of the capitals among them.

The first three characters name the object. Never change their case: ``003…a`` and ``003…A`` are two people.
"""

import re
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
_CAPITALS = {code: "1" if 65 <= code <= 90 else "0" for code in range(128)}
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?\Z")


def checksum(id15: str) -> str:
    """Three characters, one per five of the id: bit n is set when character n of the five is a capital."""
    bits = id15.translate(_CAPITALS)
    return _CHECK[int(bits[4::-1], 2)] + _CHECK[int(bits[9:4:-1], 2)] + _CHECK[int(bits[14:9:-1], 2)]


@lru_cache(maxsize=65_536)
def id18(text: str) -> str | None:
    """The id with its checksum; None for an empty cell and for the null id.

    Raises ValueError, without the text, when it is no id or the checksum does not fit, as after a change of case.
    """
    text = text.strip()
    if not text:
        return None
    if not _ID.match(text):
        raise ValueError("is not a Salesforce id of 15 or 18 characters")
    full = text[:15] + checksum(text[:15])
    if len(text) == 18 and text != full:
        raise ValueError("has a wrong checksum: its letters were changed or their case was lost")
    return None if full == NULL_ID else full

"""Phone numbers as identifiers: E.164, and only when it is certain which number is meant."""

import re
from collections.abc import Iterator
from functools import lru_cache

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

from ingest_pipeline.documents import Identifier

_PLAIN = re.compile(r"\+[1-9][0-9]*(?:[ ()./-]{1,2}[0-9]+)*\Z")
_SEPARATORS = str.maketrans("", "", " ()./-")
_DIGITS_OF_CODES = 3
_KINDS = (
    "premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail", "fixed_line",
    "mobile",
)  # fmt: skip


def certain_phone(cell: str, region: str) -> Identifier | None:
    """A personal number as E.164, or None unless it is certain: valid, its country known, and no extension.

    region: ISO country code, or "": then only numbers with a leading ``+`` are certain.
    """
    if not cell or not (cell.lstrip("( ").startswith("+") or region):
        return None
    if _PLAIN.match(cell) and (found := _international(cell.translate(_SEPARATORS))) is not None:
        return found if isinstance(found, Identifier) else None
    try:
        number = phonenumbers.parse(cell, region or None)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return Identifier("phone", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _international(digits: str) -> Identifier | str | None:
    """What ``phonenumbers`` says of ``+`` and digits, in a tenth of its time; "" for not valid, None for ask it.

    It tries the patterns of ten kinds of numbers, each in a few calls; here those of one length are one pattern.
    """
    code = next((code for end in range(2, 2 + _DIGITS_OF_CODES) if (code := digits[1:end]) in _codes()), None)
    if code is None:
        return None
    national = digits[1 + len(code) :]
    valid, national_prefix = _patterns(int(code), len(national))
    # A leading zero may belong to the number (Italy) or be the prefix within the country, which is taken off.
    if national.startswith("0") or not 2 < len(national) < 16 or (national_prefix and national_prefix.match(national)):
        return None
    for leading, pattern in valid:
        if leading is None or leading.match(national):
            if pattern is not None and pattern.match(national):
                return Identifier("phone", digits)
            if leading is not None:
                return ""
    return ""


@lru_cache(maxsize=1)
def _codes() -> frozenset[str]:
    return frozenset(str(code) for code, regions in COUNTRY_CODE_TO_REGION_CODE.items() if regions != ("001",))


_Regions = list[tuple[re.Pattern[str] | None, re.Pattern[str] | None]]


@lru_cache(maxsize=2_048)
def _patterns(code: int, length: int) -> tuple[_Regions, re.Pattern[str] | None]:
    """For each region with the calling code its leading digits and what is valid there; what is taken off before."""
    regions: _Regions = []
    prefix = None
    for number, region in enumerate(COUNTRY_CODE_TO_REGION_CODE[code]):
        metadata = PhoneMetadata.metadata_for_region(region, None)
        if metadata is None:
            continue
        if number == 0 and metadata.national_prefix_for_parsing:
            prefix = re.compile(metadata.national_prefix_for_parsing)
        general = next(_matching(metadata, ("general_desc",), length), None)
        kinds = "|".join(f"(?:{pattern})" for pattern in _matching(metadata, _KINDS, length))
        pattern = re.compile(rf"(?=(?:{general})\Z)(?:{kinds})\Z") if general and kinds else None
        regions.append((re.compile(metadata.leading_digits) if metadata.leading_digits else None, pattern))
    return regions, prefix


def _matching(metadata: PhoneMetadata, kinds: tuple[str, ...], length: int) -> Iterator[str]:
    for kind in kinds:
        description = getattr(metadata, kind)
        if description is None or not description.national_number_pattern:
            continue
        if not description.possible_length or length in description.possible_length:
            yield description.national_number_pattern

"""``_source.yaml`` in a folder of the inbox: settings that hold for that folder only.

internal_domains: [northwind.example]   # added to INGEST_INTERNAL_DOMAINS
timezone: Europe/Berlin                 # instead of INGEST_TIMEZONE
phone_region: DE                        # instead of INGEST_PHONE_REGION
date_order: dmy                         # dmy, mdy or ymd: for dates that a file leaves open, such as 03/04/24
workspace: northwind                    # names the account where a chat export does not
exclude_columns: [Birthdate, Fax]       # labels of CRM columns that are never read
staff: [Sam Roe, user123456]            # names or ids of your own people in chats that hold no e-mail addresses
"""

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.sources.base import ReadOptions, staff_key

NAME = "_source.yaml"
_MAX_BYTES = 100_000
_KEYS = ("internal_domains", "timezone", "phone_region", "date_order", "workspace", "exclude_columns", "staff")
_DATE_ORDERS = ("dmy", "mdy", "ymd")


def apply_folder_options(options: ReadOptions, content: bytes, name: str) -> ReadOptions:
    """The options with the file's settings. Raises ConfigurationError naming the file and the field."""
    values = _load(content, name)
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise ConfigurationError(f"{name}: unknown setting {unknown[0]!r}; known are {', '.join(_KEYS)}")
    domains = _texts(values, "internal_domains", "domains", name)
    columns = _texts(values, "exclude_columns", "column labels", name)
    staff = _texts(values, "staff", "names or ids", name)
    return replace(
        options,
        internal_domains=options.internal_domains | {domain.lower().removeprefix("@") for domain in domains},
        exclude_columns=options.exclude_columns | {" ".join(column.lower().split()) for column in columns},
        staff=options.staff | {staff_key(person) for person in staff},
        timezone=_timezone(values.get("timezone", options.timezone), name),
        phone_region=_region(values.get("phone_region", options.phone_region), name),
        date_order=_date_order(values.get("date_order", options.date_order), name),
        workspace=_workspace(values.get("workspace", options.workspace), name),
    )


def _texts(values: dict[str, Any], key: str, what: str, name: str) -> list[str]:
    texts = values.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(f"{name}: {key} must be a list of {what}")
    return texts


def _load(content: bytes, name: str) -> dict[str, Any]:
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"{name}: larger than {_MAX_BYTES:,} bytes; it holds only a few settings")
    try:
        # Texts only: Norway is no "no", a Discord id no number, and a wrong date no error of YAML's.
        values = yaml.load(content, yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        raise ConfigurationError(f"{name}: not YAML" + (f" at line {where.line + 1}" if where else "")) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{name}: expected lines such as `timezone: Europe/Berlin`")
    return values


def _timezone(value: object, name: str) -> str:
    try:
        return ZoneInfo(str(value)).key
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of zones, "Europe"
        raise ConfigurationError(f"{name}: timezone must be an IANA zone such as Europe/Berlin") from None


def _region(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) not in (0, 2):
        raise ConfigurationError(f"{name}: phone_region must be a two-letter country code such as DE")
    return value.upper()


def _date_order(value: object, name: str) -> str:
    if value and value not in _DATE_ORDERS:
        raise ConfigurationError(f"{name}: date_order must be one of {', '.join(_DATE_ORDERS)}")
    return str(value or "")


def _workspace(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: workspace must be a name")
    return value.strip()

"""``_source.yaml`` in a folder of the inbox: settings that hold for that folder only.

internal_domains: [northwind.example]   # added to INGEST_INTERNAL_DOMAINS
timezone: Europe/Berlin                 # instead of INGEST_TIMEZONE
phone_region: DE                        # instead of INGEST_PHONE_REGION
"""

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.sources.base import ReadOptions

NAME = "_source.yaml"
_MAX_BYTES = 100_000
_KEYS = ("internal_domains", "timezone", "phone_region")


def apply_folder_options(options: ReadOptions, content: bytes, name: str) -> ReadOptions:
    """The options with the file's settings. Raises ConfigurationError naming the file and the field."""
    values = _load(content, name)
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise ConfigurationError(f"{name}: unknown setting {unknown[0]!r}; known are {', '.join(_KEYS)}")
    domains = values.get("internal_domains", [])
    if not isinstance(domains, list) or not all(isinstance(domain, str) for domain in domains):
        raise ConfigurationError(f"{name}: internal_domains must be a list of domains")
    return replace(
        options,
        internal_domains=options.internal_domains | {domain.lower().removeprefix("@") for domain in domains},
        timezone=_timezone(values.get("timezone", options.timezone), name),
        phone_region=_region(values.get("phone_region", options.phone_region), name),
    )


def _load(content: bytes, name: str) -> dict[str, Any]:
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"{name}: larger than {_MAX_BYTES:,} bytes; it holds only a few settings")
    try:
        values = yaml.safe_load(content)
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

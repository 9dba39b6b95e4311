"""The trait schema: which traits exist, what a value of each may be, how they are asked for and injected.

    traits file (JSON) ─load_traits─▶ TraitSchema ─normalise(key, value)─▶ canonical value | ValueRejected

The file's shape is GetProfile's (``{"traits": [{"key", "valueType", "extraction": {…}, …}]}``) with ``synonyms`` and
``halfLifeDays`` of our own. ``{"sensitive": ["health"], "traits": […]}`` asks for facts of a sensitive category; a
trait of one says so by ``sensitiveCategory``.
"""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from ingest_pipeline.documents import Json
from ingest_pipeline.errors import IngestError, TraitSchemaError
from ingest_pipeline.extraction.sensitive import LEXICON_VERSION, Sensitive

Reason: TypeAlias = Literal["unknown_trait", "trait_disabled", "wrong_type", "not_in_enum", "empty_value"]

MAX_TRAITS = 200
"""More would not fit one prompt."""


class ValueRejected(IngestError):
    """A value that the trait schema does not allow. ``reason`` is kept with the rejected observation."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, strict=True)


class TraitExtraction(_Model):
    """``confidence_threshold``: observations below it are kept and not folded in."""

    enabled: bool = True
    prompt_snippet: str = ""
    confidence_threshold: float = Field(default=0.6, ge=0, le=1)


class TraitInjection(_Model):
    """``template`` holds ``{{value}}``; a higher ``priority`` is injected first."""

    enabled: bool = True
    template: str = ""
    priority: int = 0

    @model_validator(mode="after")
    def _has_value(self) -> "TraitInjection":
        if self.template and "{{value}}" not in self.template:
            raise ValueError("template must contain {{value}}")
        return self


class Trait(_Model):
    """One entry of the schema. ``synonyms`` maps a canonical value to other spellings of it."""

    key: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    label: str = ""
    description: str = ""
    value_type: Literal["string", "number", "boolean", "array", "enum"]
    enum_values: tuple[str, ...] = ()
    category: str = "general"
    extraction: TraitExtraction = TraitExtraction()
    injection: TraitInjection = TraitInjection()
    synonyms: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    half_life_days: float | None = Field(default=None, gt=0)
    sensitive_category: Sensitive | None = None

    @model_validator(mode="after")
    def _values_make_sense(self) -> "Trait":
        if self.value_type == "enum" and not self.enum_values:
            raise ValueError("enumValues must list at least one value when valueType is enum")
        if self.value_type != "enum" and self.enum_values:
            raise ValueError("enumValues is only for valueType enum; remove it or change valueType")
        if len({_fold(value) for value in self.enum_values}) < len(self.enum_values):
            raise ValueError("enumValues must differ by more than case")
        if any(not _fold(value) for value in self.enum_values):
            raise ValueError("enumValues must not be empty")
        self._check_synonyms()
        return self

    def _check_synonyms(self) -> None:
        if self.synonyms and self.value_type in ("number", "boolean"):
            raise ValueError("synonyms is only for string, array and enum")
        unknown = [value for value in self.synonyms if self.enum_values and value not in self.enum_values]
        if unknown:
            raise ValueError(f"synonyms names {unknown[0]!r}, which is not one of enumValues")
        meaning = {_fold(value): value for value in (*self.enum_values, *self.synonyms)}
        for canonical, others in self.synonyms.items():
            for other in others:
                if meaning.setdefault(_fold(other), canonical) != canonical:
                    raise ValueError(f"synonyms has {other!r} for two values; keep it under one")

    @cached_property
    def spellings(self) -> Mapping[str, str]:
        """Case-folded spelling -> canonical value, for every declared value and synonym."""
        known = {_fold(value): value for value in (*self.enum_values, *self.synonyms)}
        return {_fold(other): value for value, others in self.synonyms.items() for other in others} | known


@dataclass(frozen=True)
class TraitSchema:
    """The traits in the order of the file. ``sensitive``: the categories that are extracted, none by default."""

    traits: tuple[Trait, ...]
    sensitive: frozenset[Sensitive] = frozenset()
    _by_key: dict[str, Trait] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_key", {trait.key: trait for trait in self.traits})

    def get(self, key: str) -> Trait | None:
        return self._by_key.get(key)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over what decides extraction.

        Labels, thresholds, templates, half-lives and synonyms act on observations that are already there, so
        changing them makes no extraction stale. The order of the traits does not count either.
        """
        guard = [LEXICON_VERSION, sorted(self.sensitive)]
        decisive = [
            [t.key, t.description, t.value_type, list(t.enum_values), t.extraction.prompt_snippet]
            for t in sorted(self.traits, key=lambda trait: trait.key)
            if t.extraction.enabled
        ]
        text = json.dumps([guard, decisive], ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def normalise(self, key: str, value: Json) -> Json:
        """The canonical value: exact, then case-folded, then by declared synonym. Idempotent.

        For an array trait ``value`` is one element. Raises ValueRejected.
        """
        trait = self._by_key.get(key)
        if trait is None:
            raise ValueRejected("unknown_trait")
        if not trait.extraction.enabled:
            raise ValueRejected("trait_disabled")
        return normalise_value(trait, value)


def normalise_value(trait: Trait, value: Json) -> Json:
    """As ``TraitSchema.normalise``, also for a trait whose extraction is off: a manual value is checked as well."""
    if value is None:
        raise ValueRejected("empty_value")
    if trait.value_type == "number":
        return _number(value)
    if trait.value_type == "boolean":
        return _boolean(value)
    if not isinstance(value, str):
        raise ValueRejected("wrong_type")
    text = " ".join(value.split())
    if not text:
        raise ValueRejected("empty_value")
    known = trait.spellings.get(_fold(text))
    if known is None and trait.value_type == "enum":
        raise ValueRejected("not_in_enum")
    return text if known is None else known


def load_traits(path: Path | None) -> TraitSchema:
    """The schema in a JSON file, or the packaged default for None. Raises TraitSchemaError."""
    if path is None:
        text = resources.files(__package__).joinpath("default_traits.json").read_text(encoding="utf-8")
        return parse_traits(json.loads(text), "default_traits.json")
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise TraitSchemaError(f"{path}: {error.strerror}; set INGEST_TRAITS to a readable JSON file") from error
    except UnicodeDecodeError as error:
        raise TraitSchemaError(f"{path}: not UTF-8; save the file as UTF-8 JSON") from error
    except json.JSONDecodeError as error:
        raise TraitSchemaError(f"{path}: not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise TraitSchemaError(f"{path}: nested too deeply; expected a list of traits") from error
    return parse_traits(data, str(path))


def parse_traits(data: object, where: str = "traits") -> TraitSchema:
    """The schema in decoded JSON: ``{"sensitive": [...], "traits": [...]}`` or the list of traits itself.

    Raises TraitSchemaError.
    """
    entries = data.get("traits") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise TraitSchemaError(f'{where}: expected {{"traits": [...]}}; put the list of traits under "traits"')
    if not 0 < len(entries) <= MAX_TRAITS:
        raise TraitSchemaError(f"{where}: {len(entries)} traits; give 1 to {MAX_TRAITS}")
    traits = tuple(_parse_entry(entry, f"{where}: traits[{n}]") for n, entry in enumerate(entries))
    _no_duplicates((trait.key for trait in traits), where)
    sensitive = _parse_sensitive(data.get("sensitive", []) if isinstance(data, dict) else [], where)
    for n, trait in enumerate(traits):
        category = trait.sensitive_category
        if category and trait.extraction.enabled and category not in sensitive:
            name, place = category.value, f"{where}: traits[{n}] ({trait.key})"
            raise TraitSchemaError(
                f"{place}: sensitiveCategory: {name} is not switched on; write at the top of the file "
                f'{{"sensitive": ["{name}"], "traits": [...]}}, or remove the trait'
            )
    return TraitSchema(traits, sensitive)


def _parse_sensitive(given: object, where: str) -> frozenset[Sensitive]:
    known = {each.value: each for each in Sensitive}
    names = given if isinstance(given, list) else [given]
    found = {known.get(name) if isinstance(name, str) else None for name in names}
    if None in found:
        raise TraitSchemaError(f"{where}: sensitive: give a list of these: {', '.join(known)}")
    return frozenset(each for each in found if each)


def _parse_entry(entry: object, where: str) -> Trait:
    name = entry.get("key") if isinstance(entry, dict) else None
    where = f"{where} ({name.encode('ascii', 'backslashreplace').decode()})" if isinstance(name, str) else where
    try:
        # Through JSON text, because pydantic's strict mode takes a list for a tuple only there.
        return Trait.model_validate_json(json.dumps(entry))
    except ValidationError as error:
        raise TraitSchemaError(f"{where}: {_one_line(error)}") from error


def _one_line(error: ValidationError) -> str:
    """The first problem: the field as written in the file, and pydantic's message, which says what is expected."""
    first: Any = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown field; check its spelling or remove it"
    elif first["type"] == "missing":
        message = "missing; add it"
    elif first["type"] == "string_pattern_mismatch":
        message = "must be lower-case letters, digits and _, starting with a letter"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {message}{more}" if place else f"{message}{more}"


def _no_duplicates(keys: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for n, key in enumerate(keys):
        if key in seen:
            raise TraitSchemaError(f"{where}: traits[{n}] ({key}): key: is used twice; rename or remove one")
        seen.add(key)


def _fold(text: str) -> str:
    """Spellings that differ in case, width, spacing or the kind of hyphen are one."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\s_‐-―-]+", " ", plain).strip()


_NUMERIC = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?")
_BOOLEANS = {"yes": True, "true": True, "y": True, "no": False, "false": False, "n": False}


def _number(value: Json) -> int | float:
    if isinstance(value, str):
        text = value.strip()
        if not text:
            raise ValueRejected("empty_value")
        if not (text.isascii() and _NUMERIC.fullmatch(text)):
            raise ValueRejected("wrong_type")
        value = float(text) if "." in text else int(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueRejected("wrong_type")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueRejected("wrong_type")
        return int(value) if value.is_integer() else value
    return value


def _boolean(value: Json) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ValueRejected("wrong_type")
    text = value.strip().casefold()
    if not text:
        raise ValueRejected("empty_value")
    if text not in _BOOLEANS:
        raise ValueRejected("wrong_type")
    return _BOOLEANS[text]

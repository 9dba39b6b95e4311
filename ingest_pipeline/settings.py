"""Settings: environment variables named ``INGEST_…``, read once by ``Settings()``. All have working defaults."""

import json
import logging
import multiprocessing
import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ingest_pipeline.documents import EVIDENCE_ROLES, Role, Source
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extraction.personal import Personal
from ingest_pipeline.record_links import RecordUrls, web_address
from ingest_pipeline.retention import KeepDays
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.imap_account import ImapAccount, parse_imap_url
from ingest_pipeline.states import SOURCE_RANK, Rules
from ingest_pipeline.summary_prompt import PROMPT_VERSION

_log = logging.getLogger(__name__)


class PartitionBy(StrEnum):
    PROFILE = "profile"
    BUCKET = "bucket"


class SummaryBy(StrEnum):
    TEMPLATE = "template"
    LLM = "llm"


class ModelPrices(BaseModel):
    """US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    cached_input: float | None = Field(None, ge=0, allow_inf_nan=False)


class ModelLimits(BaseModel):
    """What a model's provider allows; what is not given is as for all models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rpm: int | None = Field(None, gt=0)
    tpm: int | None = Field(None, gt=0)
    max_concurrency: int | None = Field(None, gt=0, le=1024)


class Settings(BaseSettings):
    """One instance per process, made by ``load_settings`` at an entry point and passed along."""

    model_config = SettingsConfigDict(env_prefix="INGEST_", frozen=True, env_ignore_empty=True)

    home: Path = Path(".ingest")
    database_url: str = ""
    inbox: str = ""
    model: str = "offline"
    api_base: str | None = None
    llm_api_key: SecretStr | None = None
    fallback_models: Annotated[tuple[str, ...], NoDecode] = ()
    rpm: int = Field(500, gt=0)
    tpm: int = Field(200_000, gt=0)
    max_concurrency: int = Field(16, gt=0, le=1024)
    budget_usd: float | None = Field(None, gt=0)
    prices: Annotated[dict[str, ModelPrices], NoDecode] = {}
    model_limits: Annotated[dict[str, ModelLimits], NoDecode] = {}
    pack_tokens: int = Field(3_000, gt=0)
    max_attempts: int = Field(5, gt=0)
    outage_seconds: float = Field(300, ge=0, allow_inf_nan=False)
    redact: Annotated[frozenset[Personal], NoDecode] = frozenset()
    traits: Path | None = None
    embedding_model: str | None = None
    summary: SummaryBy = SummaryBy.TEMPLATE
    fold_processes: int = Field(default_factory=lambda: min(4, os.cpu_count() or 1), gt=0, le=64)
    source_rank: Annotated[tuple[Role, ...], NoDecode] = SOURCE_RANK
    internal_domains: Annotated[frozenset[str], NoDecode] = frozenset()
    timezone: str = "UTC"
    phone_region: str = ""
    exclude_columns: Annotated[frozenset[str], NoDecode] = frozenset()
    imap_url: str = ""
    imap_password: SecretStr | None = None
    imap_folders: Annotated[tuple[str, ...], NoDecode] = ("INBOX",)
    partition_by: PartitionBy = PartitionBy.PROFILE
    retention_days_crm: int | None = Field(None, gt=0)
    retention_days_email: int | None = Field(None, gt=0)
    retention_days_chat: int | None = Field(None, gt=0)
    retention_days_direct: int | None = Field(None, gt=0)
    erasure_key: SecretStr | None = Field(None, min_length=16)
    api_key: SecretStr | None = None
    api_rpm: int = Field(600, gt=0)
    proxy_rpm: int = Field(600, gt=0)
    proxy_models: Annotated[tuple[str, ...], NoDecode] = ()
    upstream_provider: str = ""
    upstream_base_url: str | None = None
    upstream_key: SecretStr | None = None
    upstream_base_urls: Annotated[frozenset[str], NoDecode] = frozenset()
    trusted_proxies: Annotated[frozenset[str], NoDecode] = frozenset()
    record_urls: Annotated[RecordUrls, NoDecode] = RecordUrls()
    dagster_url: Annotated[str | None, AfterValidator(web_address)] = None

    @field_validator(
        "internal_domains", "fallback_models", "imap_folders", "trusted_proxies", "proxy_models", "upstream_base_urls",
        "exclude_columns", "source_rank", mode="before",
    )  # fmt: skip
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("redact", mode="before")
    @classmethod
    def _known_kinds(cls, value: object) -> object:
        names = [part.strip().lower() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        known = [kind.value for kind in Personal]
        for name in names if isinstance(names, list) else ():
            if name not in known:
                raise ValueError(f"{name!r} is no kind of value that can be hidden; list some of {', '.join(known)}")
        return names

    @field_validator("prices", "model_limits", "record_urls", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            raise ValueError("write a JSON object of model names, as the README shows") from None

    @field_validator("internal_domains")
    @classmethod
    def _lower(cls, value: frozenset[str]) -> frozenset[str]:
        return frozenset(domain.lower().removeprefix("@") for domain in value)

    @field_validator("exclude_columns")
    @classmethod
    def _labels(cls, value: frozenset[str]) -> frozenset[str]:
        return frozenset(" ".join(label.lower().split()) for label in value)

    @field_validator("imap_url")
    @classmethod
    def _is_account(cls, value: str) -> str:
        if value:
            parse_imap_url(value)
        return value

    @field_validator("source_rank")
    @classmethod
    def _ranks_each_once(cls, value: tuple[Role, ...]) -> tuple[Role, ...]:
        if len(set(value)) < len(value) or set(value) != EVIDENCE_ROLES:
            raise ValueError("name each of field, signature, subject, note once, the most trusted first")
        return value

    @field_validator("upstream_base_url", "upstream_base_urls")
    @classmethod
    def _are_urls(cls, value: str | frozenset[str] | None) -> object:
        for url in [value] if isinstance(value, str) else value or ():
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("write addresses such as https://api.example.com/v1")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones, "Europe"
            raise ValueError(f"{value!r} is no IANA time zone; write one like Europe/Berlin") from error
        return value

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: dict[str, object]) -> dict[str, object]:
        home = Path(str(values.get("home") or ".ingest")).expanduser().resolve()
        values["home"] = home
        values["database_url"] = values.get("database_url") or f"sqlite:///{home / 'profiles.db'}"
        values["inbox"] = values.get("inbox") or str(home / "inbox")
        return values

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def limits_url(self) -> str:
        """Where the limiter's state lives: a file of its own on one machine, else the shared PostgreSQL."""
        if self.database_url.startswith("sqlite"):
            return f"sqlite:///{self.home / 'limits.db'}"
        return self.database_url

    @property
    def keep_days(self) -> KeepDays:
        """The sources with a limit, and their days."""
        days = ((source.value, getattr(self, f"retention_days_{source.value}")) for source in Source)
        return tuple((source, n) for source, n in days if n is not None)

    def imap_account(self) -> ImapAccount | None:
        """The account to pull mail from, if one is set. Raises ConfigurationError when its password is missing."""
        if not self.imap_url:
            return None
        if self.imap_password is None:
            raise ConfigurationError("INGEST_IMAP_URL is set, INGEST_IMAP_PASSWORD is not; set both or none")
        return ImapAccount(parse_imap_url(self.imap_url), self.imap_password, self.imap_folders or ("INBOX",))

    def while_someone_waits(self) -> Self:
        """For single texts, whose sender waits for the answer: a provider that is down is waited for half a minute."""
        return self.model_copy(update={"outage_seconds": min(self.outage_seconds, 30.0)})

    def fold_rules(self) -> Rules:
        """Raises ConfigurationError when summaries are to be written by a model and there is none."""
        if self.summary is SummaryBy.TEMPLATE:
            return Rules(self.source_rank, self.embedding_model)
        if self.model == "offline":
            raise ConfigurationError("INGEST_SUMMARY=llm needs a model; set INGEST_MODEL, or INGEST_SUMMARY=template")
        return Rules(self.source_rank, self.embedding_model, f"llm:{PROMPT_VERSION}:{self.model}")

    def read_options(self) -> ReadOptions:
        return ReadOptions(
            internal_domains=self.internal_domains,
            phone_region=self.phone_region.upper(),
            exclude_columns=self.exclude_columns,
            timezone=self.timezone,
            keep_days=self.keep_days,
        )


_OF_KUBERNETES = re.compile(r"INGEST_(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+)")
"""What it sets in every container for a service whose name begins with ``ingest``."""


@cache
def _known_variables() -> tuple[str, ...]:
    names = (f"INGEST_{name.upper()}" for name in Settings.model_fields)
    return (*names, "INGEST_REAL_FIXTURES")  # the tests' own


def unknown_variables(environment: Iterable[str] | None = None) -> list[str]:
    """A line per variable that looks like a setting and is none: its name and the nearest one, never its value."""
    known, lines = _known_variables(), []
    for name in sorted(os.environ if environment is None else environment):
        if not name.upper().startswith("INGEST_") or name.upper() in known or _OF_KUBERNETES.fullmatch(name):
            continue
        endings = [one.removeprefix("INGEST_") for one in known]
        near = get_close_matches(name.upper().removeprefix("INGEST_"), endings, 1)
        hint = f"did you mean INGEST_{near[0]}?" if near else "docs/reference.md lists the settings"
        lines.append(f"{name} is no setting and has no effect; {hint}")
    return lines


def warn_of_unknown_variables() -> None:
    """On the log, once per process that somebody started; not again in the processes that it starts."""
    if multiprocessing.parent_process() is None:
        _warn_once(tuple(unknown_variables()))


@cache
def _warn_once(lines: tuple[str, ...]) -> None:
    for line in lines:
        _log.warning("%s", line)


def load_settings(**overrides: object) -> Settings:
    """The settings from the environment. Raises ConfigurationError naming each wrong variable."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(
            f"INGEST_{'.'.join(_variable(item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise ConfigurationError(f"wrong setting: {problems}") from None


def _variable(place: tuple[int | str, ...]) -> list[str]:
    """The variable's name without its prefix, and where in its JSON."""
    return [str(place[0]).upper(), *(str(part) for part in place[1:])] if place else ["…"]

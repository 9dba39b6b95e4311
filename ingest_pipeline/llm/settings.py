"""What the LLM client is configured with. Built once, at an entry point."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import SecretStr

from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.prices import Prices


class AnswerMode(StrEnum):
    """How a model is told the shape of its answer; the client steps down when a provider rejects one."""

    SCHEMA = "schema"
    OBJECT = "object"
    PROMPT = "prompt"


class BudgetPeriod(StrEnum):
    """What a budget is for: everything ever spent, a calendar month or a day (UTC)."""

    TOTAL = "total"
    MONTH = "month"
    DAY = "day"

    def key(self, moment: datetime) -> str:
        """The period that holds the moment, as stored."""
        return {"total": "total", "month": f"{moment:%Y-%m}", "day": f"{moment:%Y-%m-%d}"}[self.value]


_SECRET = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)
"""Of an address: user and password, parameters."""


@dataclass(frozen=True)
class ModelSettings:
    """One model of one provider.

    ``name`` is a litellm model name. ``prices`` None: litellm's list. ``temperature`` None: the provider's default.
    ``limit_name``: models that share a provider's limit share this name; default: model and address.
    """

    name: str
    rates: Rates = field(default_factory=Rates)
    api_base: str | None = None
    api_key: SecretStr | None = None
    prices: Prices | None = None
    answer_mode: AnswerMode = AnswerMode.SCHEMA
    max_output_tokens: int = 4_096
    temperature: float | None = 0.0
    timeout_s: float = 120.0
    limit_name: str | None = None

    @property
    def limiter_name(self) -> str:
        return self.limit_name or self.place

    @property
    def place(self) -> str:
        """The model and its address as people may read them: without a password or parameters."""
        if not self.api_base:
            return self.name
        return f"{self.name} at {_SECRET.sub('', self.api_base)}"


@dataclass(frozen=True)
class LlmSettings:
    """``models``: the first is asked, the others only when those before are down. Times are seconds.

    max_attempts: calls per model that may end in server errors or time-outs before the request fails.
    max_refusals: 429s that one request takes before it fails.
    max_reasks: further questions after an answer that does not fit the schema.
    outage_s: how long a provider that is down is waited for; with a fallback model it is not waited for.
    lease_s: after how long a process that died is known to be dead.
    """

    models: tuple[ModelSettings, ...]
    budget_usd: float | None = None
    budget_period: BudgetPeriod = BudgetPeriod.TOTAL
    max_attempts: int = 8
    max_refusals: int = 20
    max_reasks: int = 2
    outage_s: float = 300.0
    lease_s: float = 30.0

    @property
    def primary(self) -> ModelSettings:
        return self.models[0]

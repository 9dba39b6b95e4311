"""What ends a request, and what ends a run.

    IngestError
    ├── ConfigurationError
    │   └── LlmStopped              no further call makes sense; ``code`` says why
    │       ├── CredentialsRejected     the provider refuses the key, or there is none
    │       ├── ModelNotFound           the provider, or litellm, does not know the model
    │       ├── QuotaExhausted          the account has no credit left
    │       ├── BudgetExhausted         the spent budget leaves no room for the next call
    │       ├── PricesMissing           a budget is set and a model's price is unknown
    │       ├── ProviderUnavailable     server errors for longer than the client waits
    │       ├── BatchUnsupported        the provider, or litellm, has no batch API for the model
    │       └── BatchRefused            the provider does not take the batch
    ├── CallFailed                  one request has no usable answer; ``reason`` is stored with its documents
    │   └── RateWaitTooLong             its slot is further away than the caller may wait
    └── ClientClosed                the client was closed while the request waited

Messages hold no text of a request or an answer, and no key.
"""

from collections.abc import Iterable

from ingest_pipeline.errors import ConfigurationError, IngestError
from ingest_pipeline.llm.usage import Usage

TRANSIENT = frozenset({"invalid_answer", "server_error", "timeout", "rate_limited"})
"""Reasons of failed documents that may be gone in a minute: tried once more at the end of the same run."""
PERMANENT = frozenset({"too_long", "refused", "bad_request", "unsupported", "truncated"})
"""Reasons that stay while document, model and prompt do: given up by syncs after INGEST_MAX_ATTEMPTS."""
IN_BATCH = "in_batch"
"""Reason of a CallFailed: a batch under way asks the same."""


class LlmStopped(ConfigurationError):
    """No further call makes sense until someone acts. ``model`` is the model that was asked."""

    code = "stopped"

    def __init__(self, model: str, message: str) -> None:
        super().__init__(message)
        self.model = model

    @property
    def for_callers(self) -> str:
        """For those who call over HTTP: without addresses inside."""
        return str(self)


class CredentialsRejected(LlmStopped):
    """HTTP 401 or 403, or no key to ask with."""

    code = "auth"

    def __init__(self, model: str) -> None:
        super().__init__(
            model, f"the provider of {model} rejects the key, or there is none; set INGEST_LLM_API_KEY to a valid one"
        )


class ModelNotFound(LlmStopped):
    """HTTP 404, or a model name that litellm cannot assign to a provider."""

    code = "not_found"

    def __init__(self, model: str) -> None:
        super().__init__(
            model,
            f"model {model} is unknown; set INGEST_MODEL to a litellm name such as openai/gpt-4o-mini, and check "
            "INGEST_API_BASE",
        )


class QuotaExhausted(LlmStopped):
    """A 429 that says the account is out of credit."""

    code = "quota"

    def __init__(self, model: str) -> None:
        super().__init__(model, f"the account for {model} has no credit left; top it up, then run again")


class BudgetExhausted(LlmStopped):
    """``spent_usd`` + what the next call may cost is more than ``budget_usd``."""

    code = "budget"

    def __init__(self, model: str, spent_usd: float, budget_usd: float, needed_usd: float) -> None:
        super().__init__(
            model,
            f"{spent_usd:.4f} of the budget of {budget_usd:.4f} US dollars are spent and the next call may cost "
            f"{needed_usd:.4f}; raise INGEST_BUDGET_USD to go on",
        )
        self.spent_usd, self.budget_usd, self.needed_usd = spent_usd, budget_usd, needed_usd


class PricesMissing(LlmStopped):
    """A budget cannot be kept without prices."""

    code = "prices"

    def __init__(self, model: str) -> None:
        super().__init__(
            model,
            f"a budget is set and the price of {model} is not known; set INGEST_PRICES to US dollars per million "
            f'tokens, such as {{"{model}": {{"input": 0.15, "output": 0.6}}}}, or unset INGEST_BUDGET_USD',
        )


class ProviderUnavailable(LlmStopped):
    """The circuit stayed open for ``seconds``, or every model of the chain is down.

    ``place``: the model and its address, without what is secret.
    """

    code = "unavailable"

    def __init__(self, model: str, seconds: float, place: str | None = None) -> None:
        lasted = f", for {seconds:.0f} s" if seconds >= 1 else ""
        check = ", and check INGEST_API_BASE" if place and place != model else ""
        super().__init__(
            model, f"the provider of {place or model} has given no answer, or errors{lasted}; run again later{check}"
        )
        self.seconds = seconds

    @property
    def for_callers(self) -> str:
        return str(ProviderUnavailable(self.model, self.seconds))


class BatchUnsupported(LlmStopped):
    """``model`` cannot be asked by batch."""

    code = "batch_unsupported"

    def __init__(self, model: str, providers: Iterable[str]) -> None:
        super().__init__(
            model,
            f"model {model} has no batch API that is known here (only those of {', '.join(providers)}); run without "
            "--batch, or set INGEST_MODEL",
        )


class BatchRefused(LlmStopped):
    """HTTP 4xx when a batch is handed in. Nothing of it is paid."""

    code = "batch_refused"

    def __init__(self, model: str, status_code: int | None) -> None:
        super().__init__(
            model,
            f"the provider of {model} does not take the batch (HTTP {status_code}); its documents are pending again, "
            "run without --batch",
        )


STOP_ERRORS: dict[str, type[CredentialsRejected] | type[ModelNotFound] | type[QuotaExhausted]] = {
    error.code: error for error in (CredentialsRejected, ModelNotFound, QuotaExhausted)
}
"""Those that the provider tells us; they raise the shared stop flag under their code."""


class CallFailed(IngestError):
    """One request failed. ``reason`` is a short stable code; ``smaller_may_work``: a part of it may succeed.

    ``usage``: what it took nevertheless.
    """

    def __init__(self, reason: str, message: str, *, smaller_may_work: bool = False) -> None:
        super().__init__(message)
        self.usage = Usage()
        self.reason = reason
        self.smaller_may_work = smaller_may_work


class RateWaitTooLong(CallFailed):
    """``retry_after_s``: when the slot would have been due. Nothing was booked."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("rate_limited", f"the rate limit leaves no slot for {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class ClientClosed(IngestError):
    """The client was closed while this request waited."""

"""Which models are asked, at what price and within which limits: the settings as the LLM client takes them."""

from collections.abc import Mapping

from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.prices import Prices
from ingest_pipeline.llm.settings import LlmSettings, ModelSettings
from ingest_pipeline.settings import ModelLimits, Settings


def llm_settings(settings: Settings, prices: Mapping[str, Prices] | None = None) -> LlmSettings:
    """Of INGEST_MODEL and INGEST_FALLBACK_MODELS. Each model has the limits for itself: its own, else those for all.

    ``prices`` by model go before those of the settings.
    """
    names = (settings.model, *settings.fallback_models)
    models = tuple(model_settings(name, settings, (prices or {}).get(name)) for name in dict.fromkeys(names))
    return LlmSettings(models, settings.budget_usd, outage_s=settings.outage_seconds)


def model_settings(name: str, settings: Settings, prices: Prices | None = None) -> ModelSettings:
    """One model with its limits and prices."""
    limits = settings.model_limits.get(name, ModelLimits())
    rates = Rates(
        limits.rpm or settings.rpm,
        limits.tpm or settings.tpm,
        limits.max_concurrency or settings.max_concurrency,
    )
    given = settings.prices.get(name)
    if prices is None and given is not None:
        prices = Prices(given.input, given.output, given.cached_input)
    return ModelSettings(name, rates, settings.api_base, settings.llm_api_key, prices=prices)

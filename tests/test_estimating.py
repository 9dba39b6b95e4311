"""What pending work will take is known before it is spent."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from ingest_pipeline.estimating import estimate_pending, load_last_minute
from ingest_pipeline.extraction.base import Extraction, Status
from ingest_pipeline.extraction.models import llm_settings
from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.prices import Prices
from ingest_pipeline.settings import ModelLimits, ModelPrices, Settings
from ingest_pipeline.store.extractions import save_extractions
from ingest_pipeline.store.tables import DocumentRow
from tests.builders import contact, record, rows, save

MODEL = "openai/gpt-test"
PRICE = {MODEL: ModelPrices(input=1.0, output=10.0)}


def settings(database_url: str, folder: Path, **fields: object) -> Settings:
    fields = {"model": MODEL, "home": folder, "database_url": database_url, "pack_tokens": 1} | fields
    return Settings(**fields)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict class:UserWarning")
def test_pending_work_is_estimated_whole_or_by_a_sample(engine: Engine, database_url: str, tmp_path: Path) -> None:
    """Of many documents some are looked at and the figures scaled up, which is said."""
    save(engine, *(record(contact(n), native_id=str(n)) for n in range(20)))
    whole = estimate_pending(engine, settings(database_url, tmp_path, prices=PRICE))
    assert (whole.documents, whole.sampled, whole.calls) == (20, 20, 20)
    assert whole.cost_usd == pytest.approx((whole.input_tokens + 10 * whole.output_tokens) / 1e6)
    sampled = estimate_pending(engine, settings(database_url, tmp_path, prices=PRICE), sample=5)
    assert (sampled.documents, sampled.sampled, sampled.calls) == (20, 5, 20)
    assert sampled.cost_usd == pytest.approx(whole.cost_usd, rel=0.01)
    assert estimate_pending(engine, settings(database_url, tmp_path)).cost_usd is None
    offline = estimate_pending(engine, settings(database_url, tmp_path, model="offline"))
    assert (offline.documents, offline.cost_usd, offline.seconds) == (20, 0.0, None)
    assert load_last_minute(engine).calls == 0


def test_it_is_said_how_much_is_stale(engine: Engine, database_url: str, tmp_path: Path) -> None:
    save(engine, *(record(contact(n), native_id=str(n)) for n in range(3)))
    done = rows(engine, DocumentRow)[0].id
    offline = settings(database_url, tmp_path, model="offline")
    assert estimate_pending(engine, offline).stale == 0
    save_extractions(engine, [Extraction(done, Status.EMPTY)], "another", "m", None)
    assert (estimate_pending(engine, offline).documents, estimate_pending(engine, offline).stale) == (2, 1)


def test_a_model_has_its_own_price_and_limits(tmp_path: Path) -> None:
    """What is not given for it is as for all."""
    own = {MODEL: ModelLimits(rpm=7)}
    chosen = settings("sqlite://", tmp_path, prices=PRICE, model_limits=own, fallback_models=("openai/b",), rpm=60)
    first, second = llm_settings(chosen).models
    assert (first.rates, first.prices) == (Rates(7, 200_000, 16), Prices(1.0, 10.0))
    assert (second.rates, second.prices) == (Rates(60, 200_000, 16), None)

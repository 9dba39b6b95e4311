"""Batches: half the price, nothing asked or paid twice, whatever dies in between."""

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from ingest_pipeline.batching import (
    Submission,
    collect,
    is_due,
    open_batches,
    refresh,
    submit,
)
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extracting import KeyOutcome, extract_pending
from ingest_pipeline.extraction.batch import BatchExtractor, open_batch_extractor
from ingest_pipeline.extraction.llm import open_llm_extractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.llm.batch_api import read_line
from ingest_pipeline.llm.errors import (
    BatchRefused,
    BatchUnsupported,
    BudgetExhausted,
    CredentialsRejected,
    ProviderUnavailable,
)
from ingest_pipeline.llm.tables import LlmBatchDocumentRow, LlmBatchRow, LlmBudgetRow, LlmCacheRow, LlmCallRow
from ingest_pipeline.llm.transport import FailureKind
from ingest_pipeline.settings import ModelPrices, Settings
from ingest_pipeline.store.extractions import Reextract, Selection, count_pending
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow, ObservationRow, Profile
from tests.builders import contact, record, save
from tests.provider_batch import BatchProvider

ROOT = Path(__file__).parent.parent
MODEL = "openai/gpt-test"
SCHEMA = load_traits(None)

pytestmark = [
    # litellm's own models.
    pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict class:UserWarning"),
    # litellm leaves the connections of its batch functions to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Setup:
    """A store with a provider. Each extractor is a process of its own to the others."""

    def __init__(self, engine: Engine, database_url: str, folder: Path, provider: BatchProvider) -> None:
        self.engine, self.provider = engine, provider
        self.settings = Settings(
            home=folder,
            database_url=database_url,
            model=MODEL,
            api_base=provider.base_url,
            llm_api_key="key",  # type: ignore[arg-type]
            prices={MODEL: ModelPrices(input=1.0, output=10.0)},
            pack_tokens=1,
        )
        self._open: list[Any] = []

    def extractor(self, **changes: object) -> BatchExtractor:
        settings = self.settings.model_copy(update=changes)
        extractor = open_batch_extractor(settings, SCHEMA, self.engine)
        self._open.append(extractor)
        return extractor

    def fill(self, *texts: str, person: int = 1) -> None:
        said = (record(contact(person, name="Ann"), text=text, native_id=f"{person}/{text[:40]}") for text in texts)
        save(self.engine, *said)

    def submit(self, extractor: BatchExtractor | None = None, **selection: Any) -> Submission:
        extractor = extractor or self.extractor()
        return submit(self.engine, extractor, Selection(extractor.fingerprint, **selection), "run")

    def poll(self, extractor: BatchExtractor | None = None) -> list[KeyOutcome]:
        """Until the provider is done."""
        extractor = extractor or self.extractor()
        while not any(is_due(polled) for polled in refresh(extractor)):
            pass
        return list(collect(self.engine, extractor, "run"))

    def direct(self) -> list[KeyOutcome]:
        extractor = open_llm_extractor(self.settings, SCHEMA, self.engine)
        self._open.append(extractor)
        return list(extract_pending(self.engine, extractor, Selection(extractor.fingerprint)))

    def column(self, column: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return sorted(connection.execute(select(column)).scalars(), key=str)

    def failed(self) -> dict[str, str]:
        query = select(DocumentRow.text, ExtractionRow.reason).join(
            ExtractionRow, ExtractionRow.document_id == DocumentRow.id
        )
        with self.engine.connect() as connection:
            return {text: reason for text, reason in connection.execute(query) if reason}

    def close(self) -> None:
        for extractor in self._open:
            extractor.close()


@pytest.fixture
def setup(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Setup]:
    with BatchProvider() as provider:
        made = Setup(engine, database_url, tmp_path, provider)
        yield made
        made.close()
        gc.collect()


def by_text(faults: dict[str, str | int]) -> Callable[[dict[str, Any]], str | int]:
    def fault(body: dict[str, Any]) -> str | int:
        asked = body["messages"][1]["content"]
        return next((value for text, value in faults.items() if text in asked), "")

    return fault


TEXTS = ("I live in Lisbon.", "I moved to Porto.", "I like trains.")


def test_a_batch_gives_what_direct_calls_give(setup: Setup) -> None:
    """Observations with their quotes; one request per pack; nothing asked directly."""
    setup.fill(*TEXTS)
    submitted = setup.submit()
    assert (submitted.requests, submitted.documents, dict(submitted.left)) == (3, 3, {})
    assert count_pending(setup.engine, Selection(setup.extractor().fingerprint)) == (0, 0)
    (outcome,) = setup.poll()
    assert (outcome.ok, outcome.bad, outcome.usage.calls) == (3, False, 3)
    assert setup.column(DocumentRow.state) == ["done"] * 3
    assert setup.column(ObservationRow.quote) == sorted(TEXTS)
    assert setup.provider.seen == []
    assert open_batches(setup.engine) == []
    assert setup.column(LlmBatchDocumentRow.document_id) == []


def test_the_requests_are_those_of_direct_calls(setup: Setup) -> None:
    """The same body, so the same answer; and the direct call finds the answer in the cache."""
    setup.fill(TEXTS[0])
    setup.submit()
    setup.poll()
    (batched,) = setup.provider.asked()
    with setup.engine.begin() as connection:
        connection.execute(update(DocumentRow).values(state="pending"))
    (outcome,) = setup.direct()
    assert (outcome.ok, outcome.usage.calls, outcome.usage.cache_hits) == (1, 0, 1)
    with setup.engine.begin() as connection:
        connection.execute(LlmCacheRow.__table__.delete())  # type: ignore[attr-defined]
        connection.execute(update(DocumentRow).values(state="pending"))
    (outcome,) = setup.direct()
    assert (outcome.ok, dict(outcome.failed)) == (1, {})
    assert json.loads(setup.provider.seen[0].body) == batched


def test_half_the_price_is_accounted(setup: Setup) -> None:
    """In the calls, the budget, the batch and the documents' extractions alike."""
    setup.fill(*TEXTS)
    setup.submit()
    assert setup.column(LlmCallRow.outcome) == ["pending"] * 3
    assert min(setup.column(LlmCallRow.held_usd)) > 0
    setup.poll()
    with setup.engine.connect() as connection:
        rows = connection.execute(select(LlmCallRow.input_tokens, LlmCallRow.output_tokens, LlmCallRow.cost_usd)).all()
    for asked, answered, cost in rows:
        assert cost == pytest.approx((asked * 1.0 + answered * 10.0) / 1e6 / 2)
    total = sum(row[2] for row in rows)
    assert setup.column(LlmCallRow.outcome) == ["ok"] * 3
    assert setup.column(LlmCallRow.purpose) == ["batch"] * 3
    for column in (LlmBudgetRow.spent_usd, LlmBatchRow.cost_usd):
        assert setup.column(column) == [pytest.approx(total)]
    assert sum(setup.column(ExtractionRow.cost_usd)) == pytest.approx(total)


def test_a_document_in_a_batch_is_left_alone(setup: Setup) -> None:
    """By direct runs, whatever they are told to do again, and by another batch; others are extracted meanwhile."""
    setup.fill(*TEXTS)
    setup.submit()
    setup.fill("I play chess.")
    again = setup.submit()
    assert again.documents == 1
    assert setup.direct() == []
    extractor = setup.extractor()
    assert count_pending(setup.engine, Selection(extractor.fingerprint, Reextract.ALL)) == (0, 0)
    assert setup.provider.seen == []
    assert len(setup.provider.asked()) == 4


def test_a_direct_run_does_not_ask_what_a_batch_asks(setup: Setup) -> None:
    """Even when it took up the document before the batch did: it fails there, and the batch's outcome replaces that."""
    setup.fill(TEXTS[0])
    setup.submit()
    with setup.engine.begin() as connection:
        claim = connection.execute(select(LlmBatchDocumentRow.document_id, LlmBatchDocumentRow.batch_id)).one()
        connection.execute(LlmBatchDocumentRow.__table__.delete())  # type: ignore[attr-defined]
    (outcome,) = setup.direct()
    assert (dict(outcome.failed), setup.provider.seen) == ({"in_batch": 1}, [])
    with setup.engine.begin() as connection:
        values = {"document_id": claim.document_id, "batch_id": claim.batch_id}
        connection.execute(LlmBatchDocumentRow.__table__.insert().values(values))  # type: ignore[attr-defined]
    (outcome,) = setup.poll()
    assert (outcome.ok, setup.column(DocumentRow.state)) == (1, ["done"])


def test_what_cannot_be_used_is_tried_again(setup: Setup) -> None:
    """Each with its reason: refused requests, invalid and cut-off answers, lines that are missing."""
    setup.provider.fault = by_text({"Porto": 500, "trains": "malformed", "chess": "missing", "tea": 413})
    setup.fill(*TEXTS, "I play chess.", "I drink tea.")
    setup.submit()
    (outcome,) = setup.poll()
    assert outcome.ok == 1
    assert setup.failed() == {
        "I moved to Porto.": "server_error",
        "I like trains.": "invalid_answer",
        "I play chess.": "batch_failed",
        "I drink tea.": "too_long",
    }
    paid = len(setup.provider.asked())
    setup.provider.fault = lambda body: ""
    second = setup.submit()
    assert (second.documents, sum(second.left.values())) == (3, 1)
    (outcome,) = setup.poll()
    assert (outcome.ok, setup.failed()) == (3, {"I drink tea.": "too_long"})
    follow_ups = [body for body in setup.provider.asked()[paid:] if len(body["messages"]) > 2]
    assert len(follow_ups) == 1
    (outcome,) = setup.direct()
    assert (outcome.ok, len(setup.provider.seen)) == (1, 1)


def test_a_cut_off_answer_is_split_in_the_next_batch(setup: Setup) -> None:
    """The pack's halves are asked, the pack not again; nothing of it is lost."""
    setup.settings = setup.settings.model_copy(update={"pack_tokens": 3_000})
    setup.fill(*TEXTS, "I play chess.")
    setup.provider.fault = lambda body: "truncated"
    assert setup.submit().requests == 1
    (outcome,) = setup.poll()
    assert dict(outcome.failed) == {"truncated": 4}
    setup.provider.fault = lambda body: ""
    assert setup.submit().requests == 2
    (outcome,) = setup.poll()
    assert (outcome.ok, setup.column(DocumentRow.state)) == (4, ["done"] * 4)
    assert setup.column(LlmCallRow.outcome) == ["ok", "ok", "truncated"]


def test_a_long_document_is_put_together_from_two_batches(setup: Setup) -> None:
    """When one chunk failed, only that is asked again, and all chunks' facts are kept."""
    text = "\n\n".join(f"Line {n}: {'word ' * 200}end." for n in range(60))
    setup.fill(text)
    setup.provider.fault = by_text({"Line 59:": 500})
    requests = setup.submit().requests
    assert requests > 1
    setup.poll()
    setup.provider.fault = lambda body: ""
    assert setup.submit().requests == 1
    (outcome,) = setup.poll()
    assert (outcome.ok, outcome.observations) == (1, requests)


@pytest.mark.parametrize(
    ("end", "reason"), [("expired", "batch_expired"), ("cancelled", "batch_cancelled"), ("failed", "batch_failed")]
)
def test_a_batch_that_ended_early_gives_its_documents_back(setup: Setup, end: str, reason: str) -> None:
    """Failed with the reason and nothing charged for what was not answered; what was answered is kept."""
    setup.fill(*TEXTS)
    setup.provider.end = end
    setup.provider.fault = by_text({"Porto": "missing", "trains": "expired" if end == "expired" else "missing"})
    setup.submit()
    (outcome,) = setup.poll()
    answered = 0 if end == "failed" else 1
    assert (outcome.ok, dict(outcome.failed)) == (answered, {reason: 3 - answered})
    assert sum(cost > 0 for cost in setup.column(LlmCallRow.cost_usd)) == answered
    assert setup.column(LlmCacheRow.state) == ["answered"] * answered
    setup.provider.end, setup.provider.fault = "completed", lambda body: ""
    setup.submit()
    assert sum(outcome.ok for outcome in setup.poll()) == 3 - answered


def test_two_pollers_at_once_pay_and_store_once(setup: Setup) -> None:
    setup.fill(*TEXTS)
    setup.submit()
    pollers = [setup.extractor(), setup.extractor()]
    for _ in range(2):
        refresh(pollers[0])
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda poller: list(collect(setup.engine, poller)), pollers)
        outcomes = [outcome for several in found for outcome in several]
    outcomes += list(collect(setup.engine, setup.extractor()))
    assert sum(outcome.ok for outcome in outcomes) == 3
    assert setup.column(ExtractionRow.attempts) == [1] * 3
    assert setup.column(LlmBudgetRow.spent_usd) == [pytest.approx(sum(setup.column(LlmCallRow.cost_usd)))]


def test_collecting_again_changes_nothing(setup: Setup) -> None:
    setup.fill(*TEXTS)
    setup.submit()
    setup.poll()
    before = setup.column(LlmBudgetRow.spent_usd), setup.column(ExtractionRow.cost_usd)
    assert list(collect(setup.engine, setup.extractor())) == []
    assert (setup.column(LlmBudgetRow.spent_usd), setup.column(ExtractionRow.cost_usd)) == before


# What dies in between.


def test_a_batch_whose_answer_was_lost_is_found_again(setup: Setup) -> None:
    """The provider took it, its answer did not arrive: it is not handed in a second time."""
    setup.fill(*TEXTS)
    setup.provider.lose_create = True
    extractor = setup.extractor()
    with pytest.raises(ProviderUnavailable):
        setup.submit(extractor)
    assert setup.column(LlmBatchRow.state) == ["uploaded"]
    extractor.close()
    setup.provider.lose_create = False
    (outcome,) = collect_until_done(setup)
    assert (outcome.ok, len(setup.provider.batches)) == (3, 1)


def test_a_batch_that_never_reached_the_provider_is_handed_in(setup: Setup) -> None:
    """Killed after the upload: from the same file, once."""
    setup.fill(*TEXTS)
    setup.provider.lose_create = True
    extractor = setup.extractor()
    with pytest.raises(ProviderUnavailable):
        setup.submit(extractor)
    setup.provider.batches.clear()
    extractor.close()
    setup.provider.lose_create = False
    (outcome,) = collect_until_done(setup)
    assert (outcome.ok, len(setup.provider.batches)) == (3, 1)


def test_what_was_not_uploaded_is_free_again(setup: Setup) -> None:
    setup.fill(*TEXTS)
    extractor = setup.extractor()
    extractor.check()
    plan = extractor.plan(documents_of(setup))
    assert extractor.client.batches.prepare(MODEL, extractor.fingerprint, plan.questions) is not None
    assert setup.submit().documents == 0
    extractor.close()
    assert setup.submit().documents == 3
    assert setup.column(LlmBatchRow.state) == ["abandoned", "submitted"]
    assert setup.column(LlmCallRow.outcome) == ["pending"] * 3 + ["unsent"] * 3


def test_a_submitter_that_is_killed_loses_nothing(setup: Setup, tmp_path: Path) -> None:
    """kill -9 right after handing in; another process collects. And kill -9 of that one while it stores outcomes."""
    setup.fill(*TEXTS)
    _run_and_kill(setup, "submit(engine, extractor, Selection(extractor.fingerprint)); die()")
    assert [batch.state for batch in open_batches(setup.engine)] == ["submitted"]
    _age_workers(setup)
    _run_and_kill(
        setup,
        "[refresh(extractor), refresh(extractor)]; extractor.read = lambda *a: die(); list(collect(engine, extractor))",
    )
    assert [batch.state for batch in open_batches(setup.engine)] == ["collected"]
    _age_workers(setup)
    (outcome,) = list(collect(setup.engine, setup.extractor()))
    assert (outcome.ok, outcome.usage.calls) == (3, 3)
    assert setup.provider.downloads == 1
    assert setup.column(LlmCallRow.outcome) == ["ok"] * 3


def _run_and_kill(setup: Setup, work: str) -> None:
    script = (
        "import os, signal, sys\n"
        "from ingest_pipeline.batching import *\n"
        "from ingest_pipeline.settings import load_settings\n"
        "from ingest_pipeline.extraction.batch import open_batch_extractor\n"
        "from ingest_pipeline.extraction.traits import load_traits\n"
        "from ingest_pipeline.store.engine import open_engine\n"
        "from ingest_pipeline.store.extractions import Selection\n"
        "settings = load_settings()\n"
        "engine = open_engine(settings.database_url)\n"
        "extractor = open_batch_extractor(settings, load_traits(None), engine)\n"
        "die = lambda: os.kill(os.getpid(), signal.SIGKILL)\n" + work
    )
    prices = {MODEL: setup.settings.prices[MODEL].model_dump()}
    environment = {
        **os.environ,
        "INGEST_HOME": str(setup.settings.home),
        "INGEST_DATABASE_URL": setup.settings.database_url,
        "INGEST_MODEL": MODEL,
        "INGEST_API_BASE": setup.provider.base_url,
        "INGEST_LLM_API_KEY": "key",
        "INGEST_PRICES": json.dumps(prices),
        "INGEST_PACK_TOKENS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def _age_workers(setup: Setup) -> None:
    """Let the leases of the dead run out now."""
    client = setup.extractor().client
    with client.batches._limits.write() as transaction:
        from ingest_pipeline.llm.tables import workers_table

        transaction.run(workers_table.delete())


def collect_until_done(setup: Setup) -> list[KeyOutcome]:
    extractor = setup.extractor()
    outcomes = list(collect(setup.engine, extractor))
    return outcomes or setup.poll(extractor)


def documents_of(setup: Setup) -> list[Any]:
    from ingest_pipeline.store.documents import load_documents

    with setup.engine.connect() as connection:
        return load_documents(connection, setup.column(DocumentRow.id))


# Money and refusals.


def test_the_budget_is_held_and_never_exceeded(setup: Setup) -> None:
    """What has no room is left for later; with no room at all there is one clear error."""
    setup.fill(*TEXTS)
    extractor = setup.extractor()
    extractor.check()
    (first, *_) = extractor.plan(documents_of(setup)).questions
    tight = {"budget_usd": first.held_usd * 2.5}
    submitted = setup.submit(setup.extractor(**tight))
    assert (submitted.documents, sum(submitted.left.values())) == (2, 1)
    held = setup.column(LlmCallRow.held_usd)
    assert sum(held) <= tight["budget_usd"]
    assert sum(setup.submit(setup.extractor(**tight)).left.values()) == 1
    setup.poll(setup.extractor(**tight))
    assert setup.submit(setup.extractor(**tight)).documents == 1
    setup.fill("I drink tea.")
    with pytest.raises(BudgetExhausted):
        setup.submit(setup.extractor(budget_usd=first.held_usd / 10))


def test_answers_without_token_counts_are_charged_at_the_most(setup: Setup) -> None:
    setup.fill(TEXTS[0])
    setup.provider.without_usage = True
    setup.submit()
    setup.poll()
    assert setup.column(LlmCallRow.cost_usd) == setup.column(LlmCallRow.held_usd)
    assert setup.column(LlmCallRow.cost_estimated) == [True]


def test_a_refused_batch_leaves_its_documents_pending(setup: Setup) -> None:
    setup.fill(*TEXTS)
    setup.provider.refuse = 400
    with pytest.raises(BatchRefused, match="HTTP 400"):
        setup.submit()
    setup.provider.refuse = 401
    with pytest.raises(CredentialsRejected):
        setup.submit()
    assert setup.column(LlmBatchDocumentRow.document_id) == []
    assert setup.column(LlmCallRow.outcome) == ["unsent"] * 6
    setup.provider.refuse = 0
    assert setup.submit().documents == 3


def test_no_batch_api_is_a_clear_error(setup: Setup) -> None:
    with pytest.raises(BatchUnsupported, match="no batch API"):
        setup.submit(setup.extractor(model="groq/llama-3.1-8b-instant", api_base=None))
    with pytest.raises(ConfigurationError, match="INGEST_MODEL"):
        open_batch_extractor(setup.settings.model_copy(update={"model": "offline"}), SCHEMA, setup.engine)


def test_another_model_leaves_a_batch_where_it_is(setup: Setup) -> None:
    """It says which setting collects it."""
    setup.fill(*TEXTS)
    setup.submit()
    other = setup.extractor(model="openai/other")
    (polled,) = refresh(other)
    assert polled.note == f"set INGEST_MODEL={MODEL} to collect it"
    assert list(collect(setup.engine, other)) == []
    assert setup.poll()[0].ok == 3


def test_a_batch_of_other_settings_is_settled_and_asked_anew(setup: Setup) -> None:
    """Its answers are paid and kept; they do not answer what the new settings ask."""
    setup.fill(*TEXTS)
    setup.submit()
    assert setup.poll(setup.extractor(timezone="Europe/Lisbon")) == []
    assert setup.column(LlmBatchRow.state) == ["done"]
    assert setup.column(DocumentRow.state) == ["pending"] * 3
    (outcome,) = setup.direct()
    assert (outcome.ok, outcome.usage.cache_hits, setup.provider.seen) == (3, 3, [])


def test_a_profile_renamed_meanwhile_keeps_its_answers(setup: Setup) -> None:
    """The header of the prompt would read otherwise now; what was asked then is answered all the same."""
    setup.fill(*TEXTS)
    setup.submit()
    with setup.engine.begin() as connection:
        connection.execute(update(Profile).values(display_name="Ann Lee"))
    (outcome,) = setup.poll()
    assert outcome.ok == 3


def test_a_batch_that_the_provider_forgot_is_waited_for(setup: Setup) -> None:
    """For two days: the key may be wrong; then it is given up and charged at the most."""
    setup.fill(*TEXTS)
    setup.submit()
    setup.provider.batches.clear()
    (polled,) = refresh(setup.extractor())
    assert (polled.status, is_due(polled)) == (None, False)
    assert "INGEST_LLM_API_KEY" in (polled.note or "")
    with setup.engine.begin() as connection:
        long_ago = replace_year(open_batches(setup.engine)[0].submitted_at)
        connection.execute(update(LlmBatchRow).values(submitted_at=long_ago))
    (outcome,) = list(collect(setup.engine, setup.extractor()))
    assert dict(outcome.failed) == {"lost": 3}
    assert setup.column(LlmCallRow.cost_usd) == setup.column(LlmCallRow.held_usd)


def replace_year(moment: Any) -> Any:
    return moment.replace(year=moment.year - 1)


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", '"x"', '{"custom_id": 1}', "[" * 100_000],
)
def test_lines_that_name_no_request_are_passed_over(line: str) -> None:
    assert read_line(line) is None


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        ({"response": {"status_code": 200, "body": {"choices": []}}}, FailureKind.SERVER_ERROR),
        ({"response": {"status_code": 200, "body": {}}}, FailureKind.SERVER_ERROR),
        ({"response": {"status_code": 200, "body": None}}, FailureKind.SERVER_ERROR),
        ({"response": {"status_code": 429, "body": {}}}, FailureKind.RATE_LIMITED),
        ({"response": {"status_code": 400, "body": {"error": {"message": "no"}}}}, FailureKind.BAD_REQUEST),
        ({"response": None, "error": {"code": "batch_expired"}}, FailureKind.TIMEOUT),
        ({}, FailureKind.SERVER_ERROR),
    ],
)
def test_a_request_that_failed_says_how(line: dict[str, Any], failure: FailureKind) -> None:
    answer = read_line(json.dumps({"custom_id": "k", **line}))
    assert answer is not None
    assert (answer.key, answer.reply, answer.failure) == ("k", None, failure)

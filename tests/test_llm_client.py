"""The LLM client: nothing lost, nothing paid twice, and a clear end when it makes no sense to go on."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from ingest_pipeline.llm.errors import (
    CallFailed,
    ClientClosed,
    CredentialsRejected,
    LlmStopped,
    ModelNotFound,
    ProviderUnavailable,
    QuotaExhausted,
    RateWaitTooLong,
)
from ingest_pipeline.llm.exchange import AnswerFormat, ProviderReply
from ingest_pipeline.llm.gcra import OPEN_AFTER, OPEN_WHEN_ABSENT, Rates
from ingest_pipeline.llm.settings import AnswerMode, ModelSettings
from ingest_pipeline.llm.transport import (
    FailureKind,
    LitellmTransport,
    ProviderCall,
    ProviderFailure,
    classify,
    retry_after,
)
from tests.provider import Behaviour, Provider
from tests.scripted import Clients, FakeClock, Scripted, opened, question, reply

ROOT = Path(__file__).parent.parent
DOWN = ProviderFailure(FailureKind.SERVER_ERROR, 503)
ONE, TWO = ModelSettings("m/one"), ModelSettings("m/two")


@pytest.fixture
def clients(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Clients]:
    yield from opened(engine, database_url, tmp_path)


# Asking.


def test_an_answer_is_paid_once(clients: Clients) -> None:
    """The second time, and in another process, it comes from the cache."""
    transport = Scripted(["forty-two"])
    first = clients(transport).complete(question())
    again = clients(transport).complete(question())
    assert (first.value, again.value) == ("forty-two", "forty-two")
    assert len(transport.calls) == 1
    assert (first.usage.calls, first.usage.cache_hits) == (1, 0)
    assert (again.usage.calls, again.usage.cache_hits, again.usage.cost_usd) == (0, 1, 0.0)


def test_every_call_is_accounted(clients: Clients) -> None:
    """Model, tokens, cost, attempt, outcome and the documents it was about."""
    clients(Scripted([DOWN, reply("yes", used=(1_000, 50))])).complete(question())
    columns = "outcome, attempt, status_code, input_tokens, output_tokens, cost_usd, model"
    failed, answered = clients.rows(columns)
    assert failed == ("server_error", 1, 503, 0, 0, 0.0, "m/one")
    assert answered == ("ok", 2, 200, 1_000, 50, pytest.approx(0.0015), "m/one")
    assert clients.rows("spent_usd, period AS created_at", "llm_budget")[0][0] == pytest.approx(0.0015)


def test_a_pack_is_accounted_with_all_its_documents(clients: Clients) -> None:
    ids = ("0d7a4c1e-7a55-4a43-8f0b-b0d1a4a1a222", "1d7a4c1e-7a55-4a43-8f0b-b0d1a4a1a333")
    clients(Scripted()).complete(question(document_ids=ids))
    ((first, documents),) = clients.rows("document_id, document_ids")
    assert str(first).replace("-", "") == ids[0].replace("-", "")
    assert (json.loads(documents) if isinstance(documents, str) else documents) == list(ids)


def test_requests_that_differ_have_their_own_answers(clients: Clients) -> None:
    transport = Scripted([lambda call: reply(call.messages[-1].content.upper())])
    client = clients(transport)
    assert [client.complete(question(words)).value for words in ("a", "b", "a")] == ["A", "B", "A"]
    assert len(transport.calls) == 2


def test_the_same_request_of_many_threads_is_sent_once(clients: Clients) -> None:
    """Whoever comes while it is under way waits for the one answer."""
    released = threading.Event()

    def slow(call: ProviderCall) -> object:
        released.wait(10)
        return reply("one")

    transport = Scripted([slow])  # type: ignore[list-item]
    makers = [clients(transport, sleep=time.sleep) for _ in range(2)]
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(makers[n % 2].complete, question()) for n in range(6)]
        while not transport.calls:
            time.sleep(0.005)
        released.set()
        assert {future.result(20).value for future in futures} == {"one"}
    assert len(transport.calls) == 1


# Trouble.


def test_server_errors_are_retried_with_growing_pauses(clients: Clients) -> None:
    answer = clients(Scripted([DOWN, DOWN, DOWN, "yes"])).complete(question())
    assert answer.value == "yes"
    assert (answer.usage.calls, answer.usage.retries) == (4, 3)
    assert [0 <= pause <= 0.5 * 2**n for n, pause in enumerate(clients.slept)] == [True] * 3


def test_a_request_fails_after_so_many_server_errors(clients: Clients) -> None:
    """With the reason that is stored, and free for another try later."""
    transport = Scripted([DOWN, DOWN, DOWN, "yes"])
    client = clients(transport, max_attempts=3)
    with pytest.raises(CallFailed) as failure:
        client.complete(question())
    assert (failure.value.reason, failure.value.smaller_may_work) == ("server_error", False)
    assert failure.value.usage.calls == 3
    assert client.complete(question()).value == "yes"


def test_a_refusal_pauses_everybody_and_is_no_failure(clients: Clients) -> None:
    """429: the slot moves by Retry-After; the call is repeated however few attempts are allowed."""
    refused = ProviderFailure(FailureKind.RATE_LIMITED, 429, retry_after_s=0.2)
    client = clients(Scripted([refused, refused, "yes"]), max_attempts=1, sleep=time.sleep)
    began = time.monotonic()
    answer = client.complete(question())
    assert answer.value == "yes"
    assert (answer.usage.rate_limited, answer.usage.retries) == (2, 2)
    assert time.monotonic() - began >= 0.4
    assert clients.outcomes() == ["rate_limited", "rate_limited", "ok"]


def test_a_request_that_is_always_refused_fails(clients: Clients) -> None:
    refused = ProviderFailure(FailureKind.RATE_LIMITED, 429, retry_after_s=0.0)
    with pytest.raises(CallFailed) as failure:
        clients(Scripted([refused]), max_refusals=3, sleep=time.sleep).complete(question())
    assert failure.value.reason == "rate_limited"
    assert len(clients.outcomes()) == 4


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        (FailureKind.AUTH, 401, CredentialsRejected),
        (FailureKind.AUTH, 403, CredentialsRejected),
        (FailureKind.NOT_FOUND, 404, ModelNotFound),
        (FailureKind.QUOTA, 429, QuotaExhausted),
    ],
)
def test_a_refused_key_model_or_account_stops_all_clients(
    clients: Clients, kind: FailureKind, status: int, error: type[LlmStopped]
) -> None:
    """Other processes that run already send nothing more; the message says what to do."""
    transport = Scripted([ProviderFailure(kind, status)])
    here, there = clients(transport), clients(transport)
    for client in (here, there):
        client.check()
        client._callers["m/one"].limiter.state()
    with pytest.raises(error, match=r"set|top it up"):
        here.complete(question())
    for client in (here, there):
        with pytest.raises(error):
            client.complete(question("another"))
    assert len(transport.calls) == 1
    assert clients.outcomes()[0] == kind.value


def test_threads_under_way_are_the_only_ones_that_learn_of_a_bad_key_themselves(clients: Clients) -> None:
    """Eighty requests, eight at once: at most eight are sent."""
    transport = Scripted([ProviderFailure(FailureKind.AUTH, 401)])
    client = clients(transport, models=(ModelSettings("m/one", Rates(concurrency=8)),), sleep=time.sleep)

    def ask(n: int) -> None:
        with pytest.raises(CredentialsRejected):
            client.complete(question(str(n)))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(80)))
    assert len(transport.calls) <= 8


def test_after_the_key_is_mended_a_new_start_works(clients: Clients) -> None:
    transport = Scripted([ProviderFailure(FailureKind.AUTH, 401), "yes"])
    with pytest.raises(CredentialsRejected):
        clients(transport).complete(question())
    time.sleep(0.01)
    assert clients(transport).complete(question()).value == "yes"


@pytest.mark.parametrize("kind", [FailureKind.TOO_LONG, FailureKind.REFUSED, FailureKind.BAD_REQUEST])
def test_other_refusals_are_the_requests_own(clients: Clients, kind: FailureKind) -> None:
    """Nothing is repeated, a smaller request may do, and the next request goes on."""
    client = clients(Scripted([ProviderFailure(kind, 400), "yes"]))
    with pytest.raises(CallFailed) as failure:
        client.complete(question())
    assert (failure.value.reason, failure.value.smaller_may_work) == (kind.value, True)
    assert client.complete(question("another")).value == "yes"


def test_a_caller_with_a_deadline_is_told_to_come_back(clients: Clients) -> None:
    client = clients(Scripted(), models=(ModelSettings("m/one", Rates(requests=6)),))
    client.complete(question())
    with pytest.raises(RateWaitTooLong) as failure:
        client.complete(question("another", max_wait_s=1.0))
    assert failure.value.retry_after_s > 5
    assert clients.outcomes() == ["ok", "unsent"]


def test_closing_ends_waits(clients: Clients) -> None:
    client = clients(Scripted(), models=(ModelSettings("m/one", Rates(requests=1)),), sleep=time.sleep)
    client.complete(question())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.complete, question("another"))
        while "pending" not in clients.outcomes():
            time.sleep(0.005)
        client.close()
        with pytest.raises(ClientClosed):
            waiting.result(10)
    assert clients.outcomes() == ["ok", "unsent"]


# Fallback models.


def test_a_fallback_model_answers_when_the_first_is_down(clients: Clients) -> None:
    """And is not asked again by a later run: its answer is in the cache."""

    def by_model(call: ProviderCall) -> object:
        if call.model.name == "m/one":
            raise DOWN
        return reply("from two")

    transport = Scripted([by_model])  # type: ignore[list-item]
    client = clients(transport, models=(ONE, TWO), max_attempts=2)
    answers = [client.complete(question(str(n))) for n in range(6)]
    assert {(answer.value, answer.model) for answer in answers} == {("from two", "m/two")}
    asked_first = sum(call.model.name == "m/one" for call in transport.calls)
    assert OPEN_AFTER <= asked_first <= OPEN_AFTER + 2, "an open circuit is not waited for"
    before = len(transport.calls)
    assert clients(transport, models=(ONE, TWO)).complete(question("0")).model == "m/two"
    assert len(transport.calls) == before


def test_a_bad_key_does_not_fall_back(clients: Clients) -> None:
    """Spending on the dearer model because of a typing error would be no service."""
    transport = Scripted([ProviderFailure(FailureKind.AUTH, 401), "yes"])
    with pytest.raises(CredentialsRejected):
        clients(transport, models=(ONE, TWO)).complete(question())


def test_a_long_outage_ends_the_run(clients: Clients) -> None:
    client = clients(Scripted([DOWN]), max_attempts=OPEN_AFTER, outage_s=0.0)
    with pytest.raises(CallFailed):
        client.complete(question())
    with pytest.raises(ProviderUnavailable):
        client.complete(question("another"))


ABSENT = ProviderFailure(FailureKind.UNREACHABLE)
AT = ModelSettings("m/one", api_base="http://user:secret@llm.example:9/v1?key=secret")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (AT.api_base, "m/one at http://llm.example:9/v1"),
        ("http://me:p@ss@llm.example", "m/one at http://llm.example"),
        ("http://llm.example/a@b/v1#x", "m/one at http://llm.example/a@b/v1"),
        ("llm.example:9", "m/one at llm.example:9"),
        ("http://[x", "m/one at http://[x"),
    ],
)
def test_an_address_is_kept_and_told_without_its_secrets(address: str, shown: str) -> None:
    """In logs and errors, and as the name of the model's limits in their database."""
    model = replace(AT, api_base=address)
    assert (model.place, model.limiter_name) == (shown, shown)


def test_who_cannot_be_reached_is_told_of_once_and_waited_for(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    """With the address and how long it is waited; that nothing could be sent is no failure of the request."""
    clock = FakeClock()
    with pytest.raises(ProviderUnavailable, match=r"of m/one at http://llm\.example:9/v1 .* check INGEST_API_BASE"):
        clients(Scripted([ABSENT]), models=(AT,), clock=clock, sleep=clock.sleep).complete(question())
    assert 300 <= clock.now - FakeClock().now < 335
    assert set(clients.rows("outcome, cost_usd")) - {("unsent", 0.0)} == {("unreachable", 0.0)}
    assert caplog.messages == [
        "the provider of m/one at http://llm.example:9/v1 cannot be reached: no connection; "
        "trying again for up to 5 minutes; check INGEST_API_BASE"
    ]


def test_it_is_told_when_the_provider_answers_again(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    transport = Scripted([ABSENT] * 12 + ["yes"])
    client = clients(transport, clock=clock, sleep=clock.sleep, max_attempts=2)
    assert client.complete(question()).value == "yes"
    assert len(transport.calls) == 13
    (down, up) = caplog.messages
    assert down == "the provider of m/one cannot be reached: no connection; trying again for up to 5 minutes"
    assert up.startswith("the provider of m/one answers again, after ")


def test_passing_errors_are_not_told_of(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    client = clients(Scripted([DOWN, DOWN, "yes", ABSENT, "yes"]))
    for words in "ab":
        client.complete(question(words))
    assert caplog.messages == []


def test_with_a_fallback_who_cannot_be_reached_is_not_waited_for(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    def by_model(call: ProviderCall) -> ProviderReply:
        if call.model.name == "m/one":
            raise ABSENT
        return reply("from two")

    transport = Scripted([by_model])
    client = clients(transport, models=(ONE, TWO))
    assert [client.complete(question(str(n))).model for n in range(4)] == ["m/two"] * 4
    assert sum(call.model.name == "m/one" for call in transport.calls) <= OPEN_WHEN_ABSENT + 1
    assert caplog.messages == ["the provider of m/one cannot be reached: no connection; not waiting for it"]


def test_an_unknown_model_stops_at_the_start(clients: Clients) -> None:
    with pytest.raises(ModelNotFound, match="INGEST_MODEL"):
        clients(Scripted(unknown_models=frozenset({"m/one"}))).check()


# Answers that do not fit.


def test_an_invalid_answer_is_asked_again_with_what_is_wrong(clients: Clients) -> None:
    transport = Scripted(["bad 1", "bad 2", "good"])
    answer = clients(transport).complete(question())
    assert answer.value == "good"
    assert [len(call.messages) for call in transport.calls] == [2, 4, 6]
    assert transport.calls[1].messages[-1].content == "it is bad"
    assert clients.outcomes() == ["invalid", "invalid", "ok"]


def test_after_two_more_questions_it_fails_and_can_be_retried(clients: Clients) -> None:
    """The bad answers are not kept: a later try asks the provider again."""
    transport = Scripted(["bad", "bad", "bad", "good"])
    client = clients(transport)
    with pytest.raises(CallFailed) as failure:
        client.complete(question())
    assert failure.value.reason == "invalid_answer"
    assert client.complete(question()).value == "good"


def test_a_run_killed_between_two_questions_pays_for_neither_again(clients: Clients) -> None:
    """The invalid answer had arrived, so the next run begins with the follow-up."""
    transport = Scripted(["bad", KeyboardInterrupt(), "good"])
    with pytest.raises(KeyboardInterrupt):
        clients(transport).complete(question())
    answer = clients(transport).complete(question())
    assert answer.value == "good"
    assert (answer.usage.calls, answer.usage.cache_hits) == (1, 1)
    assert clients.outcomes() == ["invalid", "lost", "ok"]


def test_a_cut_off_answer_fails_before_anyone_reads_it(clients: Clients) -> None:
    with pytest.raises(CallFailed) as failure:
        clients(Scripted([reply("half an ans", "length")])).complete(question())
    assert (failure.value.reason, failure.value.smaller_may_work) == ("truncated", True)
    assert clients.outcomes() == ["truncated"]


def test_the_ladder_steps_down_for_good(clients: Clients) -> None:
    """A model that takes no schema is told the shape as a JSON object, then only in words; later calls know."""

    def picky(call: ProviderCall) -> object:
        if call.mode is not AnswerMode.PROMPT:
            raise ProviderFailure(FailureKind.UNSUPPORTED, 400, parameter="response_format")
        return reply("yes")

    transport = Scripted([picky])  # type: ignore[list-item]
    client = clients(transport)
    client.complete(question("a"))
    client.complete(question("b"))
    assert [call.mode for call in transport.calls] == ["schema", "object", "prompt", "prompt"]


def test_a_parameter_that_the_model_does_not_take_is_left_out(clients: Clients) -> None:
    refusal = ProviderFailure(FailureKind.UNSUPPORTED, 400, parameter="temperature")
    transport = Scripted([refusal, "yes"])
    clients(transport).complete(question())
    assert [sorted(call.omit) for call in transport.calls] == [[], ["temperature"]]


# Over HTTP, with litellm.


@pytest.mark.parametrize(
    ("status", "message", "kind", "parameter"),
    [
        (401, "invalid key", FailureKind.AUTH, None),
        (403, "no access", FailureKind.AUTH, None),
        (404, "no such model", FailureKind.NOT_FOUND, None),
        (408, "", FailureKind.TIMEOUT, None),
        (429, "slow down", FailureKind.RATE_LIMITED, None),
        (429, "You exceeded your current quota, please check", FailureKind.QUOTA, None),
        (429, "{'code': 'insufficient_quota'}", FailureKind.QUOTA, None),
        (400, "Your credit balance is too low", FailureKind.QUOTA, None),
        (500, "oops", FailureKind.SERVER_ERROR, None),
        (529, "overloaded", FailureKind.SERVER_ERROR, None),
        (500, "OpenAIException - Missing credentials. Please pass an `api_key`", FailureKind.AUTH, None),
        (500, "The api_key client option must be set", FailureKind.AUTH, None),
        (413, "", FailureKind.TOO_LONG, None),
        (400, "This model's maximum context length is 8192 tokens", FailureKind.TOO_LONG, None),
        (400, "content management policy", FailureKind.REFUSED, None),
        (400, "'response_format' of type json_schema is not supported", FailureKind.UNSUPPORTED, "response_format"),
        (400, "temperature does not support 0.0", FailureKind.UNSUPPORTED, "temperature"),
        (422, "something else", FailureKind.BAD_REQUEST, None),
    ],
)
def test_what_a_status_and_its_text_mean(status: int, message: str, kind: FailureKind, parameter: str | None) -> None:
    failure = classify(status, message, {"Retry-After": "2"})
    assert (failure.kind, failure.parameter, failure.status_code) == (kind, parameter, status)
    assert failure.retry_after_s == 2
    assert message == "" or message not in str(failure), "a provider's message may quote the request"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@pytest.fixture
def transport() -> Iterator[LitellmTransport]:
    transport = LitellmTransport()
    yield transport
    transport.close()


def call_to(provider: Provider, **fields: object) -> ProviderCall:
    settings = {"api_base": provider.base_url, "api_key": SecretStr("sk-very-secret"), "timeout_s": 2.0} | fields
    model = ModelSettings("openai/test", **settings)  # type: ignore[arg-type]
    return ProviderCall(model, question().messages, AnswerFormat("answer", {"type": "object"}), AnswerMode.SCHEMA)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, "invalid_api_key", FailureKind.AUTH),
        (403, "forbidden", FailureKind.AUTH),
        (404, "model_not_found", FailureKind.NOT_FOUND),
        (429, "rate_limit_exceeded", FailureKind.RATE_LIMITED),
        (429, "insufficient_quota", FailureKind.QUOTA),
        (500, "server_error", FailureKind.SERVER_ERROR),
        (503, "overloaded", FailureKind.SERVER_ERROR),
        (529, "overloaded", FailureKind.SERVER_ERROR),
        (400, "context_length_exceeded", FailureKind.TOO_LONG),
    ],
)
def test_litellm_sends_one_request_whatever_comes_back(
    transport: LitellmTransport, status: int, error: str, kind: FailureKind
) -> None:
    """No retries behind our back: they would pass the limiter by."""
    with Provider(Behaviour(status=status, error=error)) as provider:
        with pytest.raises(ProviderFailure) as failure:
            transport.send(call_to(provider))
        assert failure.value.kind is kind
        assert len(provider.seen) == 1


def test_litellm_sends_what_was_asked(transport: LitellmTransport) -> None:
    with Provider(answer=lambda body: "{}") as provider:
        answer = transport.send(call_to(provider))
        (seen,) = provider.seen
    body = json.loads(seen.body)
    assert seen.auth == "Bearer sk-very-secret"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (body["temperature"], body["max_tokens"]) == (0.0, 4_096)
    assert (answer.text, answer.finish_reason) == ("{}", "stop")
    assert answer.input_tokens > 0


def test_a_silent_and_an_absent_provider(transport: LitellmTransport) -> None:
    """A time-out is a time-out; where there is no connection nothing was sent."""
    with Provider(Behaviour(latency_s=5)) as provider, pytest.raises(ProviderFailure) as silent:
        transport.send(call_to(provider, timeout_s=0.3))
    assert silent.value.kind is FailureKind.TIMEOUT
    with pytest.raises(ProviderFailure) as absent:
        transport.send(call_to(provider))
    assert (absent.value.kind, absent.value.status_code) == (FailureKind.UNREACHABLE, None)


def test_without_a_key_nothing_is_sent_and_nothing_is_waited_for(
    transport: LitellmTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """litellm calls it an error of the server, which would be waited out for minutes."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    with Provider() as provider:
        model = ModelSettings("openai/test", api_base=provider.base_url)
        with pytest.raises(ProviderFailure) as failure:
            transport.send(ProviderCall(model, question().messages, None, AnswerMode.PROMPT))
        assert failure.value.kind is FailureKind.AUTH
        assert provider.seen == []


def test_what_cannot_be_stored_is_replaced(transport: LitellmTransport) -> None:
    """NUL and lone surrogates in an answer would end in a database error."""
    with Provider(answer=lambda body: "a\x00b\ud800c") as provider:
        assert transport.send(call_to(provider)).text == "a\ufffdb\ufffdc"


def test_models_and_prices_are_looked_up(transport: LitellmTransport) -> None:
    assert transport.prices(ModelSettings("openai/gpt-4o-mini")) == transport.prices(ModelSettings("gpt-4o-mini"))
    assert transport.prices(ModelSettings("openai/no-such-model")) is None
    with pytest.raises(ModelNotFound):
        transport.check(ModelSettings("no-such-model"))


def test_the_key_is_nowhere(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the settings' repr, the errors, the logs or any row."""
    secret = "sk-very-secret"
    with Provider(Behaviour(status=401, error=f"Incorrect API key provided: {secret}")) as provider:
        model = ModelSettings("openai/test", api_base=provider.base_url, api_key=SecretStr(secret))
        client = clients(LitellmTransport(), models=(model,))
        with caplog.at_level(0), pytest.raises(CredentialsRejected) as stopped:
            client.complete(question())
    rows = []
    for table in ("llm_calls", "llm_cache", "llm_budget"):
        with clients.engine.connect() as connection:
            rows += connection.execute(text(f"SELECT * FROM {table}")).all()
    shown = repr((client.settings, stopped.value, stopped.value.__cause__, rows))
    assert secret not in shown
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("ingest_pipeline")]
    assert secret not in repr(ours)


# Several processes.

WORKER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pydantic import SecretStr
from ingest_pipeline.llm.client import LlmClient
from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.limits import open_limits
from ingest_pipeline.llm.settings import LlmSettings, ModelSettings
from ingest_pipeline.store.engine import open_engine
from tests.scripted import question
database, limits, base, lease = sys.argv[1:]
model = ModelSettings("openai/test", Rates(concurrency=8), base, SecretStr("k"))
client = LlmClient(LlmSettings((model,), lease_s=float(lease)), open_engine(database), open_limits(limits))
client.check()
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(4) as pool:
    answers = list(pool.map(lambda n: client.complete(question(str(n))).value, range(24)))
client.close()
print(len(answers), flush=True)
"""


def start_worker(
    clients: Clients, database_url: str, provider: Provider, lease_s: float = 30.0
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WORKER, database_url, clients.limits_url, provider.base_url, str(lease_s)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def finish(worker: "subprocess.Popen[str]") -> str:
    output, _ = worker.communicate("\n", timeout=60)
    return output.strip()


def test_two_processes_never_pay_for_the_same_call(clients: Clients, database_url: str) -> None:
    """Both get all 24 answers; the provider sees 24 requests."""
    with Provider(Behaviour(latency_s=0.05), answer=lambda body: "fine") as provider:
        workers = [start_worker(clients, database_url, provider) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(finish, workers)) == ["24", "24"]
        assert len(provider.seen) == 24
    assert clients.outcomes() == ["ok"] * 24


def test_a_killed_process_leaves_nothing_stuck(clients: Clients, database_url: str) -> None:
    """Its claims are taken over once its lease is out; what it had paid for is not asked again."""
    with Provider(Behaviour(latency_s=0.1), answer=lambda body: "fine") as provider:
        killed = start_worker(clients, database_url, provider, lease_s=2.0)
        assert killed.stdin is not None
        killed.stdin.write("\n")
        killed.stdin.flush()
        while clients.outcomes().count("ok") < 6:
            time.sleep(0.01)
        killed.kill()
        killed.communicate()
        kept = clients.outcomes().count("ok")
        assert finish(start_worker(clients, database_url, provider, lease_s=2.0)) == "24"
        assert provider.answered_twice() <= 4, "at most what its four threads had under way"
    outcomes = clients.outcomes()
    assert (outcomes.count("ok"), outcomes.count("pending")) == (24, 0)
    assert outcomes.count("lost") <= 4
    assert 6 <= kept < 24

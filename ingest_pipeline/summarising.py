"""Summaries written by a model, for the profiles whose facts changed since theirs was written.

    due profiles ─▶ facts, nothing sensitive ─▶ placeholders ─▶ LLM client ─▶ checked text, values again ─▶ store

A step of its own after the fold, which needs no model: until it is done, and wherever there is no good answer, the
template's summary stands. Facts that were asked about before are answered from the client's cache.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from ingest_pipeline.extraction.models import llm_settings
from ingest_pipeline.extraction.redaction import InventedPlaceholder, Redaction, Redactor, placeholder_rule
from ingest_pipeline.extraction.sensitive import find_sensitive
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.llm.client import LlmClient
from ingest_pipeline.llm.errors import PERMANENT, CallFailed, LlmStopped
from ingest_pipeline.llm.exchange import InvalidAnswer, LlmRequest
from ingest_pipeline.llm.limits import open_limits
from ingest_pipeline.llm.usage import Usage
from ingest_pipeline.settings import Settings, SummaryBy
from ingest_pipeline.store.summaries import Due, Written, count_due, load_due, save_written
from ingest_pipeline.summary import SummaryInputs, choose_inputs, told
from ingest_pipeline.summary_prompt import FORMAT, messages, parse, reask

MAX_OUTPUT_TOKENS = 2_048
"""A summary has some 150; models that think before they write need room for that."""

EXPECTED_OUTPUT_TOKENS = 150

WITHHELD = "withheld"
"""Reason: all that there is to tell is sensitive."""

LIMITED = PERMANENT | {"invalid_answer"}
"""Reasons that say something about the question: such a one is asked INGEST_MAX_ATTEMPTS times, then no more until the
facts change. Others pass by themselves."""


@dataclass
class SummaryReport:
    """``failed``: by reason; they are tried again next time. ``left``: still to be written in all, by the code of what
    ``stopped`` it. Holds no text."""

    written: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    stopped: LlmStopped | None = None
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What came of one profile; nothing when it was not asked about."""

    written: Written | None = None
    usage: Usage = field(default_factory=Usage)
    stopped: LlmStopped | None = None


@dataclass
class Summariser:
    """Safe to use from several threads. ``close`` it at the end."""

    client: LlmClient
    schema: TraitSchema
    summary_by: str
    redactor: Redactor = field(default_factory=Redactor)
    threads: int = 1
    max_attempts: int = 5

    def refresh(
        self,
        engine: Engine,
        profiles: Sequence[str] | None = None,
        advance: Callable[[int], None] = lambda _n: None,
    ) -> SummaryReport:
        """Write what is due, of all or of the given profiles. What stops the client is reported, not raised: nothing
        is lost by it, and the next call goes on."""
        report, stop = SummaryReport(), threading.Event()

        def ask(due: Due) -> _Asked:
            if stop.is_set():
                return _Asked()
            asked = self._ask(due)
            if asked.stopped:
                stop.set()
            return asked

        with ThreadPoolExecutor(max(1, self.threads)) as pool:
            for page in load_due(engine, self.schema, profiles):
                asked = list(pool.map(ask, page))
                self._save(engine, asked, report)
                advance(len(page))
                if stop.is_set():
                    break
        if report.stopped:
            report.left[report.stopped.code] = count_due(engine)
        return report

    def close(self) -> None:
        self.client.close()

    def _save(self, engine: Engine, asked: Sequence["_Asked"], report: SummaryReport) -> None:
        written = [one.written for one in asked if one.written]
        report.written += len(save_written(engine, written, self.max_attempts))
        report.failed.update(one.reason for one in written if one.reason)
        report.usage = sum((one.usage for one in asked), report.usage)
        report.stopped = next((one.stopped for one in asked if one.stopped), None)

    def _ask(self, due: Due) -> "_Asked":
        if self._inputs(due).digest(self.summary_by) != due.inputs:
            return _Asked()  # the facts are others by now: the fold decides first
        sent, redaction = self._sent(due)
        if not sent.worth_asking:
            return _Asked(Written(due.profile_id, due.inputs, reason=WITHHELD, final=True))
        request = LlmRequest(
            messages(sent, placeholder_rule(self.redactor.kinds)),
            lambda answer: self._read(answer, sent, redaction),
            reask,
            FORMAT,
            purpose="summary",
            profile_id=due.profile_id,
            expected_output_tokens=EXPECTED_OUTPUT_TOKENS,
        )
        try:
            answer = self.client.complete(request)
        except CallFailed as failed:
            counts = failed.reason in LIMITED
            return _Asked(Written(due.profile_id, due.inputs, reason=failed.reason, counts=counts), failed.usage)
        except LlmStopped as stopped:
            return _Asked(stopped=stopped)
        return _Asked(Written(due.profile_id, due.inputs, answer.value), answer.usage)

    def _inputs(self, due: Due) -> SummaryInputs:
        return choose_inputs(due.traits, due.memories, due.schema).named(due.name)

    def _sent(self, due: Due) -> tuple[SummaryInputs, Redaction]:
        """What the provider gets to see: nothing sensitive that the trait schema does not ask for, whoever wrote it."""
        name = due.name or ""
        traits = {k: v for k, v in due.traits.items() if not self._is_withheld([f"{k}: {told(v)}"], name)}
        memories = [m for m in due.memories if not self._is_withheld([m.content], name)]
        inputs = choose_inputs(traits, memories, due.schema).named(due.name)
        redaction = Redaction(self.redactor)
        redaction.reserve([*inputs.who.values(), *(value for _, value in inputs.traits), *inputs.memories])
        shown = replace(
            inputs,
            who={key: redaction.shown(value) for key, value in inputs.who.items()},
            traits=tuple((label, redaction.shown(value)) for label, value in inputs.traits),
            memories=tuple(redaction.shown(memory) for memory in inputs.memories),
        )
        return shown, redaction

    def _is_withheld(self, texts: Iterable[str], name: str) -> bool:
        return bool(find_sensitive(texts, name) - self.schema.sensitive)

    def _read(self, answer: str, sent: SummaryInputs, redaction: Redaction) -> str:
        text = parse(answer, sent)
        try:
            text = redaction.restored(text)
        except InventedPlaceholder as invented:
            raise InvalidAnswer(str(invented)) from None
        if self._is_withheld([text], sent.who.get("name", "")):
            raise InvalidAnswer("it has a sensitive matter that the facts do not have")
        return text


def open_summariser(settings: Settings, schema: TraitSchema, engine: Engine) -> Summariser | None:
    """The one that INGEST_SUMMARY asks for; None where the template will do. Raises ConfigurationError."""
    if settings.summary is SummaryBy.TEMPLATE:
        return None
    rules, configured = settings.fold_rules(), llm_settings(settings)
    models = tuple(replace(model, max_output_tokens=MAX_OUTPUT_TOKENS) for model in configured.models)
    client = LlmClient(replace(configured, models=models), engine, open_limits(settings.limits_url))
    client.check()
    redactor = Redactor(settings.redact, settings.phone_region.upper())
    threads = settings.max_concurrency
    return Summariser(client, schema, rules.summary_by, redactor, threads, settings.max_attempts)

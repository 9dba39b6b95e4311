"""A small inbox with a Dagster instance beside it, and an extractor that stumbles over chosen texts."""

import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import Engine

from ingest_pipeline.definitions import build_definitions
from ingest_pipeline.documents import Document
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extraction.base import Extraction, Extractor, Status
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.engine import open_engine
from resources.llm import LlmResource
from resources.store import StoreResource

ANA, BEN, CYD = "ana@acme.example", "ben@bolt.example", "cyd@core.example"

Outcome = dg.ExecuteInProcessResult
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Stumbling:
    """The extractor inside, but for documents that hold a word of ``$INGEST_HOME/stumble``, a line ``what:word`` each.

    ``fail`` makes the document fail, ``refuse`` makes it fail for a reason that stays, ``stop`` raises
    ConfigurationError, ``crash`` raises RuntimeError, once.
    """

    inside: Extractor

    @property
    def model(self) -> str:
        return self.inside.model

    @property
    def fingerprint(self) -> str:
        return self.inside.fingerprint

    def check(self) -> None:
        self.inside.check()

    def close(self) -> None:
        self.inside.close()

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        script = Path(os.environ["INGEST_HOME"]) / "stumble"
        words = dict(line.split(":")[::-1] for line in script.read_text().split()) if script.exists() else {}
        for document in documents:
            what = next((what for word, what in words.items() if word in document.text), None)
            if what in ("fail", "refuse"):
                reason = "no_answer" if what == "fail" else "refused"
                yield Extraction(document.id, Status.FAILED, reason=reason)
                continue
            if what == "stop":
                raise ConfigurationError("the budget of 1 USD is spent; raise INGEST_BUDGET_USD")
            if what == "crash":
                script.unlink()
                raise RuntimeError("connection lost")
            yield from self.inside.extract([document])


class StumblingLlm(LlmResource):
    @property
    def extractor(self) -> Extractor:
        return Stumbling(super().extractor)


@dataclass(frozen=True)
class Workplace:
    """Jobs and assets of the current environment, run in this process."""

    home: Path
    instance: dg.DagsterInstance

    @property
    def definitions(self) -> dg.Definitions:
        return build_definitions(load_settings())

    @property
    def resources(self) -> dict[str, Any]:
        return {"llm": StumblingLlm(store=StoreResource())}

    @property
    def engine(self) -> Engine:
        return open_engine(load_settings().database_url)

    def stumble(self, *lines: str) -> None:
        (self.home / "stumble").write_text("\n".join(lines))

    def mail(self, name: str, sender: str, text: str, number: int = 1) -> None:
        folder = self.home / "inbox" / "email"
        folder.mkdir(parents=True, exist_ok=True)
        head = f"From: {sender}\nTo: help@northwind.example\nSubject: a word\nMessage-ID: <{name}@x.example>\n"
        head += f"Date: Mon, {number:02} Jan 2024 10:00:00 +0000\nContent-Type: text/plain; charset=utf-8\n"
        (folder / f"{name}.eml").write_text(f"{head}\n{text}\n", encoding="utf-8")

    def run(self, job: str = "nightly_sync", ops: Mapping[str, Any] | None = None, **resources: Any) -> Outcome:
        config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        if ops:
            config["ops"] = {op: {"config": values} for op, values in ops.items()}
        return self.definitions.resolve_job_def(job).execute_in_process(
            run_config=config, instance=self.instance, raise_on_error=False, resources=self.resources | resources
        )

    def materialize(self, first: str, last: str, *assets: str) -> Outcome:
        """A run over a range of partitions, as a backfill starts it."""
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        return self._materialize(assets, tags)

    def materialize_all(self, *assets: str) -> Outcome:
        """A run over assets without partitions."""
        return self._materialize(assets, {})

    def _materialize(self, assets: Sequence[str], tags: Mapping[str, str]) -> Outcome:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.get_subset(asset_selection={dg.AssetKey(name) for name in assets}).execute_in_process(
            instance=self.instance, raise_on_error=False, resources=self.resources, tags=tags
        )

    def profiles(self) -> dict[str, tuple[str, str]]:
        """E-mail address → (profile id, partition key)."""
        query = (
            "SELECT i.value, p.id, p.partition_key FROM identifiers i JOIN profiles p ON p.id = i.profile_id "
            "WHERE i.kind = 'email'"
        )
        with self.engine.connect() as connection:
            return {row[0]: (str(uuid.UUID(row[1])), row[2]) for row in connection.exec_driver_sql(query)}

    def status(self, asset: str) -> dict[str, str]:
        """Partition → MATERIALIZED or FAILED, as the UI shows it; those never touched are left out."""
        node = self.definitions.resolve_asset_graph().get(dg.AssetKey(asset))
        assert node.partitions_def is not None
        with dg.partition_loading_context(dynamic_partitions_store=self.instance):
            keys = node.partitions_def.get_partition_keys()
            found = self.instance.get_status_by_partition(node.key, keys, node.partitions_def)
        return {str(key): status.value for key, status in (found or {}).items() if status}


def recorded(place: Workplace, result: Outcome, asset: str) -> set[str]:
    """As ``partitions``, from the event log: the result leaves out the events of an asset's step that failed."""
    logs = place.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = [log.dagster_event for log in logs if log.dagster_event]
    return {str(e.partition) for e in events if e.asset_key == dg.AssetKey(asset)}


def materialized(result: Outcome) -> Counter[str]:
    """How many partitions of each asset a run recorded."""
    return Counter(e.asset_key.to_user_string() for e in result.all_events if e.is_step_materialization and e.asset_key)


def partitions(result: Outcome, asset: str) -> set[str]:
    return {
        str(e.partition)
        for e in result.all_events
        if e.is_step_materialization and e.asset_key == dg.AssetKey(asset) and e.partition
    }


def metadata(result: Outcome, asset: str, partition: str | None = None) -> dict[str, Any]:
    """The last materialisation's metadata."""
    found = [
        e.materialization.metadata
        for e in result.all_events
        if e.is_step_materialization and e.asset_key == dg.AssetKey(asset) and e.partition == partition
    ]
    return {name: value.value for name, value in found[-1].items()}


def failure(result: Outcome) -> tuple[str, str] | None:
    """(step, the one line) of a run that failed on purpose."""
    for event in result.all_events:
        if event.is_step_failure:
            told = event.step_failure_data.user_failure_data
            return (str(event.step_key), told.description or "") if told else (str(event.step_key), "CRASHED")
    return None

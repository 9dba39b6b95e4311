"""The steps that assets and op jobs share: each runs core functions and records the partitions it finished."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import dagster as dg

from assets.events import Context, log_partition
from assets.metadata import Metadata, extraction_metadata, read_metadata, summary_metadata, table_metadata
from assets.partitions import register_profiles
from ingest_pipeline.core_log import warnings_to
from ingest_pipeline.documents import Source
from ingest_pipeline.errors import IngestError
from ingest_pipeline.extracting import KeyOutcome, extract_pending
from ingest_pipeline.folding import fold_profiles, mark_outdated_folds
from ingest_pipeline.partitions import Partitioning, load_partition_keys
from ingest_pipeline.progress import Progress
from ingest_pipeline.pulling import pull_mail
from ingest_pipeline.reading import read_source
from ingest_pipeline.settings import PartitionBy
from ingest_pipeline.store.counts import Holdings, count_holdings
from ingest_pipeline.store.expiring import erase_expired
from ingest_pipeline.store.extractions import Selection, count_pending
from ingest_pipeline.store.fold_outcomes import Folded
from ingest_pipeline.store.profiles import count_unfolded
from ingest_pipeline.store.summaries import count_due
from resources.failures import reported
from resources.inbox import InboxResource
from resources.llm import LlmResource
from resources.store import StoreResource

EXTRACTIONS = "extractions"
TABLES = ("profiles", "traits", "memories", "lineage")

RETRY = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL)
"""For what passes by itself, such as a lost connection. A step that runs again goes on where it stopped."""

T = TypeVar("T", KeyOutcome, Folded)


def read(
    context: Context,
    source: Source,
    store: StoreResource,
    inbox: InboxResource,
    partitioning: Partitioning,
    progress: Progress,
) -> Metadata:
    """Read what is new of one source and register the profiles that came with it.

    Mail comes from the inbox first, then from the IMAP account, so that a refused login loses none of it.
    """
    box, options = inbox.open()
    account = inbox.mail_account() if source is Source.EMAIL else None
    progress.start(f"reading {source.value}", None)

    def advance(_file: str, units: int) -> None:
        progress.advance(units)

    with reported():
        report = read_source(
            store.engine,
            box,
            source,
            options,
            context.run.run_id,
            progress=advance,
        )
        if account is not None and not report.stopped:
            folder_options = box.options(source, options)
            pull_mail(store.engine, account, folder_options, report, context.run.run_id, advance)
    if report.stopped:
        context.log.warning(report.stopped)
    new = register_profiles(context.instance, partitioning, partial(load_partition_keys, store.engine))
    return read_metadata(report) | {"profiles_new": dg.MetadataValue.int(new)}


def expire(store: StoreResource, progress: Progress) -> dict[Source, int]:
    """Erase what is past its source's retention; returns documents by source."""
    keep_days = store.settings.keep_days
    if not keep_days:
        return {}
    progress.start("expiring", None)
    return erase_expired(store.engine, keep_days, datetime.now(UTC))


def extract(
    context: Context,
    selection: Selection,
    store: StoreResource,
    llm: LlmResource,
    partitioning: Partitioning,
    progress: Progress,
    on_bad: Callable[[str], None] = lambda _key: None,
) -> tuple[set[str], list[str]]:
    """Extract the selection. Returns the partitions materialised and the bad ones, which hold a failed document.

    ``on_bad`` is told of each bad one at once, since an error may end the step before it returns.
    """
    documents, _ = count_pending(store.engine, selection)
    progress.start("extracting", documents)
    good, bad = set[str](), list[str]()
    with warnings_to(context.log.warning), reported():
        outcomes = extract_pending(store.engine, llm.extractor, selection, llm.threads, context.run.run_id)
        for key, group in _grouped(_watched(outcomes, progress), partitioning, _extraction_partition):
            if any(outcome.bad for outcome in group):
                bad.append(key)
                on_bad(key)
                reasons = sum((outcome.failed for outcome in group), type(group[0].failed)())
                context.log.warning(f"{key}: failed documents by reason: {dict(reasons)}")
            else:
                record_extractions(context, store, partitioning, {key: group})
                good.add(key)
    return good, bad


def record_extractions(
    context: Context, store: StoreResource, partitioning: Partitioning, outcomes: dict[str, list[KeyOutcome]]
) -> None:
    """Record partitions of ``extractions``, by ``profile|source``. Those without outcomes had nothing to do: they are
    recorded too, since a silent partition makes a backfill end as failed."""
    names: dict[Source, set[str]] = {}
    for key in outcomes:
        name, source = split_key(key)
        names.setdefault(source, set()).add(name)
    holdings = {
        f"{name}|{source.value}": held
        for source, wanted in names.items()
        for name, held in _holdings(store, partitioning, wanted, source).items()
    }
    for key, group in outcomes.items():
        log_partition(context, EXTRACTIONS, key, extraction_metadata(group, holdings.get(key, Holdings())))


def by_partition(outcomes: Iterable[KeyOutcome], partitioning: Partitioning) -> dict[str, list[KeyOutcome]]:
    """Outcomes by the partition of ``extractions`` that they belong to."""
    groups: dict[str, list[KeyOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault(_extraction_partition(partitioning, outcome), []).append(outcome)
    return groups


def split_key(key: str) -> tuple[str, Source]:
    """``profile|source`` as partition name and source."""
    name, _, source = key.rpartition("|")
    return name, Source(source)


def _holdings(
    store: StoreResource, partitioning: Partitioning, names: Iterable[str], source: Source
) -> dict[str, Holdings]:
    """What each partition has of a source in all."""
    profiles = partitioning.load_profiles(store.engine, names)
    held: dict[str, Holdings] = {}
    for profile, one in count_holdings(store.engine, profiles, source).items():
        held[profiles[profile]] = held.get(profiles[profile], Holdings()) + one
    return held


def fold(
    context: Context,
    profiles: Sequence[str] | None,
    store: StoreResource,
    partitioning: Partitioning,
    progress: Progress,
) -> set[str]:
    """Fold the given profiles, or all that changed. Returns the partitions materialised."""
    if profiles is None:
        mark_outdated_folds(store.engine, store.trait_schema, store.fold_rules)
    progress.start("folding", count_unfolded(store.engine) if profiles is None else len(profiles))
    done = set[str]()
    folded = fold_profiles(
        store.engine,
        store.trait_schema,
        profiles,
        store.fold_rules,
        embed=store.embed,
        processes=store.settings.fold_processes,
    )
    with warnings_to(context.log.warning):  # embeddings may be asked for
        for key, group in _grouped(_counted(folded, progress), partitioning, lambda p, f: p.name(f.partition_key)):
            record_tables(context, key, group)
            done.add(key)
    return done


def summarise(
    context: Context, store: StoreResource, progress: Progress, profiles: Sequence[str] | None = None
) -> None:
    """Let a model write the summaries whose facts changed, when it is to. The template's stand where it cannot."""
    summariser = store.summariser
    if summariser is None:
        return
    progress.start("summarising", count_due(store.engine))
    with warnings_to(context.log.warning):
        report = summariser.refresh(store.engine, profiles, progress.advance)
    if report.stopped:
        context.log.warning(f"summaries: {report.stopped}; the others are the template's until the next run")
    context.log_event(dg.AssetObservation(TABLES[0], metadata=summary_metadata(report)))


def record_tables(context: Context, partition: str, folded: Sequence[Folded]) -> None:
    """Record one partition of every profile table; without ``folded`` there are no profiles in it."""
    for asset in TABLES:
        log_partition(context, asset, partition, table_metadata(asset, folded))


def _extraction_partition(partitioning: Partitioning, outcome: KeyOutcome) -> str:
    return f"{partitioning.name(outcome.key.partition_key)}|{outcome.key.source.value}"


def _grouped(
    items: Iterable[T], partitioning: Partitioning, key: Callable[[Partitioning, T], str]
) -> Iterator[tuple[str, list[T]]]:
    """Items by partition: one by one as they come, or, when a partition holds many profiles, added up once all are
    there.

    Items that came before an error still are: they are stored, and so to be recorded.
    """
    if partitioning.by is PartitionBy.PROFILE:
        for item in items:
            yield key(partitioning, item), [item]
        return
    groups: dict[str, T] = {}
    stopped: IngestError | None = None
    try:
        for item in items:
            name = key(partitioning, item)
            if name in groups:
                groups[name] += item
            else:
                groups[name] = item
    except IngestError as error:
        stopped = error
    for name in sorted(groups):
        yield name, [groups[name]]
    if stopped:
        raise stopped


def _watched(outcomes: Iterable[KeyOutcome], progress: Progress) -> Iterator[KeyOutcome]:
    for outcome in outcomes:
        progress.advance(outcome.documents)
        yield outcome


def _counted(folded: Iterable[Folded], progress: Progress) -> Iterator[Folded]:
    for one in folded:
        progress.advance()
        yield one

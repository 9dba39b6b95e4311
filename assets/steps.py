"""The steps that assets and op jobs share: each runs core functions and records the partitions it finished."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

import dagster as dg

from assets.events import Context, log_partition
from assets.metadata import Metadata, extraction_metadata, read_metadata, table_metadata
from assets.partitions import register_profiles
from ingest_pipeline.documents import Source
from ingest_pipeline.extracting import KeyOutcome, extract_pending
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.partitions import Partitioning, load_partition_keys
from ingest_pipeline.progress import Progress
from ingest_pipeline.reading import read_source
from ingest_pipeline.settings import PartitionBy
from ingest_pipeline.store.extractions import Selection, count_pending
from ingest_pipeline.store.profiles import Folded, count_unfolded
from resources.failures import reported
from resources.inbox import InboxResource
from resources.llm import LlmResource
from resources.store import StoreResource

TABLES = ("profiles", "traits", "memories", "lineage")

T = TypeVar("T")


def read(
    context: Context,
    source: Source,
    store: StoreResource,
    inbox: InboxResource,
    partitioning: Partitioning,
    progress: Progress,
) -> Metadata:
    """Read what is new of one source and register the profiles that came with it."""
    box, options = inbox.open()
    progress.start(f"reading {source.value}", None)
    report = read_source(
        store.engine, box, source, options, context.run_id, progress=lambda _file, units: progress.advance(units)
    )
    new = register_profiles(context.instance, partitioning, load_partition_keys(store.engine))
    return read_metadata(report) | {"profiles_new": dg.MetadataValue.int(new)}


def extract(
    context: Context,
    selection: Selection,
    store: StoreResource,
    llm: LlmResource,
    partitioning: Partitioning,
    progress: Progress,
) -> tuple[set[str], list[str]]:
    """Extract the selection. Returns the partitions materialised and the bad ones, which hold a failed document."""
    documents, _ = count_pending(store.engine, selection)
    progress.start("extracting", documents)
    good, bad = set[str](), list[str]()
    with reported():
        outcomes = extract_pending(store.engine, llm.extractor, selection, llm.threads, context.run_id)
        for key, group in _grouped(_watched(outcomes, progress), partitioning, _extraction_partition):
            if any(outcome.bad for outcome in group):
                bad.append(key)
            else:
                log_partition(context, "extractions", key, extraction_metadata(group))
                good.add(key)
    return good, bad


def fold(
    context: Context,
    profiles: Sequence[str] | None,
    store: StoreResource,
    partitioning: Partitioning,
    progress: Progress,
) -> set[str]:
    """Fold the given profiles, or all that changed. Returns the partitions materialised."""
    progress.start("folding", count_unfolded(store.engine) if profiles is None else len(profiles))
    done = set[str]()
    folded = fold_profiles(store.engine, store.trait_schema, profiles)
    for key, group in _grouped(_counted(folded, progress), partitioning, lambda p, f: p.name(f.partition_key)):
        for asset in TABLES:
            log_partition(context, asset, key, table_metadata(asset, group))
        done.add(key)
    return done


def _extraction_partition(partitioning: Partitioning, outcome: KeyOutcome) -> str:
    return f"{partitioning.name(outcome.key.partition_key)}|{outcome.key.source.value}"


def _grouped(
    items: Iterable[T], partitioning: Partitioning, key: Callable[[Partitioning, T], str]
) -> Iterator[tuple[str, list[T]]]:
    """Items by partition: one by one as they come, or, when a partition holds many profiles, once all are there."""
    if partitioning.by is PartitionBy.PROFILE:
        for item in items:
            yield key(partitioning, item), [item]
        return
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(key(partitioning, item), []).append(item)
    yield from sorted(groups.items(), key=lambda group: group[0])


def _watched(outcomes: Iterable[KeyOutcome], progress: Progress) -> Iterator[KeyOutcome]:
    for outcome in outcomes:
        progress.advance(outcome.documents)
        yield outcome


def _counted(folded: Iterable[Folded], progress: Progress) -> Iterator[Folded]:
    for one in folded:
        progress.advance()
        yield one


def nothing_to_do(context: Context, asset: str, partitions: Iterable[str]) -> None:
    """Record partitions that had no work: a silent one makes a backfill end as failed."""
    empty = table_metadata(asset, ()) if asset in TABLES else extraction_metadata(())
    for partition in chain(partitions):
        log_partition(context, asset, partition, empty)

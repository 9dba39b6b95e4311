"""The source assets: raw text of the inbox as documents."""

from collections.abc import Sequence

import dagster as dg

from assets import steps
from ingest_pipeline.documents import Source
from ingest_pipeline.partitions import Partitioning
from ingest_pipeline.progress import Progress
from ingest_pipeline.sources.inbox import FOLDERS
from resources.inbox import InboxResource
from resources.store import StoreResource

DIRECT = dg.AssetSpec(
    "direct_documents",
    description="Texts given one by one: `ingest text`, the ingest endpoint, the LLM proxy. Not materialised here; "
    "what they gave shows in `extractions`, source `direct`, after the next sync.",
    group_name="sources",
    kinds={"text"},
)
_READ = """

Reads new and changed files of the inbox's folder `%s/`, finds out whose text it is, and adds new profiles as
partitions. A file read before is not opened again. What could not be read is counted as rejected; `ingest status`
lists file, position and reason."""
_FORMATS = {
    Source.CRM: "CRM exports: contacts, leads and what was noted about them.",
    Source.EMAIL: "Mailboxes: the unquoted part of each mail.",
    Source.CHAT: "Chat archives: one person's part of a conversation-day.",
}
_KINDS = {Source.CRM: {"csv", "table"}, Source.EMAIL: {"email", "text"}, Source.CHAT: {"slack", "text"}}


def documents_asset(source: Source) -> str:
    return f"{source.value}_documents"


def build_source_assets(partitioning: Partitioning) -> Sequence[dg.AssetsDefinition]:
    return [_build(source, partitioning) for source in FOLDERS]


def _build(source: Source, partitioning: Partitioning) -> dg.AssetsDefinition:
    @dg.asset(
        name=documents_asset(source),
        description=_FORMATS[source] + _READ % source.value,
        group_name="sources",
        kinds=_KINDS[source],
        retry_policy=steps.RETRY,
    )
    def documents(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        inbox: InboxResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult(metadata=steps.read(context, source, store, inbox, partitioning, progress))

    return documents

"""What people see of a materialisation: counts and small tables, never text of a document or a value."""

from collections import Counter
from collections.abc import Iterable, Mapping

import dagster as dg

from ingest_pipeline.extracting import KeyOutcome
from ingest_pipeline.reading import ReadReport
from ingest_pipeline.store.profiles import Folded

Metadata = dict[str, dg.MetadataValue]


def read_metadata(report: ReadReport) -> Metadata:
    rows: list[tuple[str, str, int]] = [("read", kind, n) for kind, n in sorted(report.counts.units.items())]
    rows += [("skipped", reason, n) for reason, n in sorted(report.counts.skipped.items())]
    return _numbers(
        files_read=report.files,
        files_unchanged=report.unchanged,
        files_unrecognised=report.unrecognised,
        documents_new=report.saved.new,
        documents_replaced=report.saved.replaced,
        documents_unchanged=report.saved.unchanged,
        rejected=report.counts.rejected,
        skipped=report.counts.skipped.total(),
    ) | {"units": dg.MetadataValue.md(markdown_table(("", "what", "count"), rows))}


def extraction_metadata(outcomes: Iterable[KeyOutcome], profiles: int = 1) -> Metadata:
    """One partition's extraction. Several outcomes when a partition is a bucket of profiles."""
    outcomes = list(outcomes)
    failed: Counter[str] = sum((outcome.failed for outcome in outcomes), Counter())
    dropped: Counter[str] = sum((outcome.dropped for outcome in outcomes), Counter())
    usage = [outcome.usage for outcome in outcomes]
    metadata = _numbers(
        n_documents=sum(outcome.documents for outcome in outcomes),
        ok=sum(outcome.ok for outcome in outcomes),
        empty=sum(outcome.empty for outcome in outcomes),
        failed=failed.total(),
        observations=sum(outcome.observations for outcome in outcomes),
        dropped=dropped.total(),
        llm_calls=sum(u.calls for u in usage),
        retries=sum(u.retries for u in usage),
        rate_limited=sum(u.rate_limited for u in usage),
        cache_hits=sum(u.cache_hits for u in usage),
        input_tokens=sum(u.input_tokens for u in usage),
        output_tokens=sum(u.output_tokens for u in usage),
    )
    metadata["cost_usd"] = dg.MetadataValue.float(round(sum(u.cost_usd for u in usage), 6))
    metadata["waited_s"] = dg.MetadataValue.float(round(sum(u.waited_s for u in usage), 2))
    if failed or dropped:
        rows = [("failed", *item) for item in sorted(failed.items())]
        rows += [("dropped", *item) for item in sorted(dropped.items())]
        metadata["reasons"] = dg.MetadataValue.md(markdown_table(("", "reason", "count"), rows))
    return metadata


def table_metadata(asset: str, folded: Iterable[Folded]) -> Metadata:
    """One partition of a profile table."""
    folded = list(folded)
    changes = [change for f in folded for change in f.trait_changes]
    if asset == "profiles":
        return _numbers(profiles=len(folded), changed=sum(f.changed for f in folded))
    if asset == "lineage":
        return _numbers(evidence=sum(f.evidence for f in folded))
    if asset == "memories":
        return _numbers(
            memories=sum(f.memories for f in folded),
            created=sum(f.memories_created for f in folded),
            deleted=sum(f.memories_deleted for f in folded),
        )
    actions = Counter(change.action for change in changes)
    metadata = _numbers(
        traits=sum(f.traits for f in folded),
        created=actions["create"],
        updated=actions["update"],
        deleted=actions["delete"],
        rejected_values=sum(sum(f.rejected.values()) for f in folded),
    )
    if changes:
        rows = sorted(Counter((change.key, change.action) for change in changes).items())
        metadata["changes"] = dg.MetadataValue.md(
            markdown_table(("trait", "change", "count"), [(key, action, n) for (key, action), n in rows])
        )
    return metadata


def failure_table(reasons: Mapping[str, int]) -> dg.MetadataValue:
    return dg.MetadataValue.md(markdown_table(("reason", "documents"), sorted(reasons.items())))


def markdown_table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _numbers(**values: int) -> Metadata:
    return {name: dg.MetadataValue.int(value) for name, value in values.items()}

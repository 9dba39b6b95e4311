"""What people see of a materialisation: counts and small tables, never text of a document or a value."""

from collections import Counter
from collections.abc import Iterable, Mapping

import dagster as dg

from ingest_pipeline.changes import ReadReport
from ingest_pipeline.documents import Source
from ingest_pipeline.extracting import KeyOutcome
from ingest_pipeline.extraction.base import Usage
from ingest_pipeline.store.counts import Holdings
from ingest_pipeline.store.fold_outcomes import Folded
from ingest_pipeline.store.overview import Overview
from ingest_pipeline.summarising import SummaryReport

Metadata = dict[str, dg.MetadataValue]


def read_metadata(report: ReadReport) -> Metadata:
    rows: list[tuple[str, str, int]] = [("read", kind, n) for kind, n in sorted(report.counts.units.items())]
    rows += [("skipped", reason, n) for reason, n in sorted(report.counts.skipped.items())]
    units: Metadata = {"units": dg.MetadataValue.md(markdown_table(("", "what", "count"), rows))} if rows else {}
    stopped: Metadata = {"stopped": dg.MetadataValue.text(report.stopped)} if report.stopped else {}
    numbers = _numbers(
        files_read=report.files,
        files_unchanged=report.unchanged,
        files_unrecognised=report.unrecognised,
        documents_new=report.saved.new,
        documents_replaced=report.saved.replaced,
        documents_unchanged=report.saved.unchanged,
        documents_withdrawn=report.withdrawn,
        rejected=report.counts.rejected,
        skipped=report.counts.skipped.total(),
    )
    return numbers | units | stopped


def extraction_metadata(outcomes: Iterable[KeyOutcome], holdings: Holdings) -> Metadata:
    """One partition's extraction: what it holds now, and what this run did to it. No outcomes: nothing to do.

    Several outcomes when a partition is a bucket of profiles. LLM figures only where an LLM was asked.
    """
    outcomes = list(outcomes)
    failed: Counter[str] = sum((outcome.failed for outcome in outcomes), Counter())
    dropped: Counter[str] = sum((outcome.dropped for outcome in outcomes), Counter())
    metadata = _numbers(
        documents=holdings.documents,
        documents_pending=holdings.pending,
        observations=holdings.observations,
        extracted=sum(outcome.documents for outcome in outcomes),
        ok=sum(outcome.ok for outcome in outcomes),
        empty=sum(outcome.empty for outcome in outcomes),
        failed=failed.total(),
        observations_found=sum(outcome.observations for outcome in outcomes),
        observations_dropped=dropped.total(),
    )
    metadata |= _usage_metadata(sum((outcome.usage for outcome in outcomes), Usage()))
    if failed or dropped:
        rows = [("failed", *item) for item in sorted(failed.items())]
        rows += [("dropped", *item) for item in sorted(dropped.items())]
        metadata["reasons"] = dg.MetadataValue.md(markdown_table(("", "reason", "count"), rows))
    return metadata


def _usage_metadata(usage: Usage) -> Metadata:
    if not usage.calls and not usage.cache_hits:
        return {}
    return _numbers(
        llm_calls=usage.calls,
        retries=usage.retries,
        rate_limited=usage.rate_limited,
        cache_hits=usage.cache_hits,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
    ) | {
        "cost_usd": dg.MetadataValue.float(round(usage.cost_usd, 6)),
        "waited_s": dg.MetadataValue.float(round(usage.waited_s, 2)),
    }


def table_metadata(asset: str, folded: Iterable[Folded]) -> Metadata:
    """One partition of a profile table."""
    total = Folded("", "", 0, 0, 0, profiles=0)
    for one in folded:
        total += one
    if asset == "profiles":
        return _numbers(profiles=total.profiles, changed=total.changed, traits=total.traits, memories=total.memories)
    if asset == "lineage":
        return _lineage_metadata(total)
    if asset == "memories":
        return _numbers(memories=total.memories, created=total.memories_created, deleted=total.memories_deleted)
    actions: Counter[str] = Counter()
    for change, n in total.trait_changes.items():
        actions[change.action] += n
    metadata = _numbers(
        traits=total.traits,
        created=actions["create"],
        updated=actions["update"],
        deleted=actions["delete"],
        conflicts=total.conflicts,
        rejected_values=total.rejected.total(),
    )
    if total.trait_changes:
        rows = [(*change, n) for change, n in sorted(total.trait_changes.items())]
        metadata["changes"] = dg.MetadataValue.md(markdown_table(("trait", "change", "count"), rows))
    return metadata


def _lineage_metadata(total: Folded) -> Metadata:
    """Where what the partition has comes from: by source and origin, its documents and their quotes."""
    metadata = _numbers(evidence=total.evidence, documents=total.documents.total())
    if total.quotes:
        rows = [(*origin, total.documents[origin], total.quotes[origin]) for origin in sorted(total.quotes)]
        table = markdown_table(("source", "origin", "documents", "quotes"), rows)
        metadata["by_source"] = dg.MetadataValue.md(table)
    return metadata


def summary_metadata(report: SummaryReport) -> Metadata:
    """What a model wrote in one run, and why not more."""
    metadata = _numbers(
        summaries_written=report.written,
        summaries_failed=report.failed.total(),
        summaries_left=report.left.total(),
    )
    rows = [("failed", *item) for item in sorted(report.failed.items())]
    rows += [("left", *item) for item in sorted(report.left.items())]
    if rows:
        metadata["summary_reasons"] = dg.MetadataValue.md(markdown_table(("", "reason", "count"), rows))
    return metadata | _usage_metadata(report.usage)


def overview_metadata(overview: Overview) -> Metadata:
    """The whole store after a run: the numbers whose course over time people follow."""
    written = {"summaries_by_llm": overview.summaries.get("llm", 0), "summaries_due": overview.summaries_due}
    return _numbers(
        profiles=overview.profiles,
        traits=overview.traits,
        memories=overview.memories,
        evidence=overview.evidence,
        documents=sum(source.documents for source in overview.sources),
        documents_pending=sum(source.pending for source in overview.sources),
        documents_failed=sum(overview.failed.values()),
        units_rejected=sum(source.rejected for source in overview.sources),
        llm_calls_ever=overview.llm_calls,
        **(written if any(written.values()) else {}),
    ) | {"spent_usd_ever": dg.MetadataValue.float(overview.spent_usd)}


def source_metadata(overview: Overview, source: Source) -> Metadata:
    """What there is of one source in all."""
    found = [one for one in overview.sources if one.source == source.value]
    return _numbers(
        documents=sum(one.documents for one in found),
        documents_pending=sum(one.pending for one in found),
        documents_failed=sum(one.failed for one in found),
    )


def failure_table(counts: Mapping[str, int], what: str = "reason", of: str = "documents") -> dg.MetadataValue:
    """Counts as a table, the largest first."""
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dg.MetadataValue.md(markdown_table((what, of), rows) if rows else "none")


def markdown_table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _numbers(**values: int) -> Metadata:
    return {name: dg.MetadataValue.int(value) for name, value in values.items()}

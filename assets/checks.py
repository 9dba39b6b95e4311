"""Asset checks: every fact has evidence, values match the schema, no document failed, nothing waits."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import dagster as dg

from assets.events import Context
from assets.metadata import failure_table, overview_metadata
from ingest_pipeline.store.audits import audit_evidence, count_failed, count_invalid_values
from ingest_pipeline.store.overview import load_overview
from resources.store import StoreResource


def check_evidence(store: StoreResource, since: datetime | None = None) -> dg.AssetCheckResult:
    audit = audit_evidence(store.engine, since)
    return dg.AssetCheckResult(
        asset_key="lineage",
        check_name="every_fact_has_evidence",
        passed=not audit.without and not audit.wrong,
        description=f"{audit.facts} facts, {audit.evidence} quotes; "
        f"{audit.without} facts without evidence, {audit.wrong} quotes not at their place",
        metadata={
            "facts": audit.facts,
            "quotes": audit.evidence,
            "without_evidence": audit.without,
            "wrong_quotes": audit.wrong,
        },
    )


def check_values(store: StoreResource, since: datetime | None = None) -> dg.AssetCheckResult:
    invalid = count_invalid_values(store.engine, store.trait_schema, since)
    return dg.AssetCheckResult(
        asset_key="traits",
        check_name="values_match_schema",
        passed=not invalid,
        description=f"{sum(invalid.values())} values do not match the trait schema",
        metadata={"invalid": sum(invalid.values()), "by_trait": failure_table(invalid, "trait", "values")},
    )


def check_failures(store: StoreResource, _since: datetime | None = None) -> dg.AssetCheckResult:
    failed = count_failed(store.engine)
    return dg.AssetCheckResult(
        asset_key="extractions",
        check_name="no_failed_documents",
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{sum(failed.values())} documents failed" + ("; the next run tries them again" if failed else ""),
        metadata={"failed": sum(failed.values()), "reasons": failure_table(failed)},
    )


def check_coverage(store: StoreResource, _since: datetime | None = None) -> dg.AssetCheckResult:
    overview = load_overview(store.engine, rejected_limit=0)
    pending = sum(source.pending for source in overview.sources)
    return dg.AssetCheckResult(
        asset_key="profiles",
        check_name="everything_is_processed",
        passed=not pending and not overview.unfolded,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{pending:,} documents wait to be extracted, {overview.unfolded:,} profiles to be folded",
        metadata=overview_metadata(overview),
    )


def _evaluation(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
    )


TABLE_CHECKS = (check_evidence, check_values, check_coverage)
EXTRACTION_CHECKS = (check_failures,)


def log_checks(
    context: Context, store: StoreResource, checks: Iterable[Callable[[StoreResource, datetime], dg.AssetCheckResult]]
) -> None:
    """Evaluate checks within a step: Dagster skips the steps of checks on assets that record their partitions
    themselves, and op jobs have no such steps.

    Facts are checked of the profiles that this run folded; a check run by hand from the asset's page checks all."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    since = record.create_timestamp if record else datetime.now(UTC)
    for check in checks:
        context.log_event(_evaluation(check(store, since)))  # type: ignore[arg-type] # accepted, not declared


def build_checks() -> Sequence[dg.AssetChecksDefinition]:
    @dg.asset_check(asset="lineage", description="Every trait and memory has a quote that stands in its document.")
    def every_fact_has_evidence(store: StoreResource) -> dg.AssetCheckResult:
        return check_evidence(store)

    @dg.asset_check(asset="traits", description="Every value has the type and, for enums, a value of the schema.")
    def values_match_schema(store: StoreResource) -> dg.AssetCheckResult:
        return check_values(store)

    @dg.asset_check(asset="extractions", description="No document's latest extraction failed.")
    def no_failed_documents(store: StoreResource) -> dg.AssetCheckResult:
        return check_failures(store)

    @dg.asset_check(
        asset="profiles",
        description="No document waits to be extracted, no profile to be folded. Its plots show the whole store over "
        "time: profiles, facts, documents, spend.",
    )
    def everything_is_processed(store: StoreResource) -> dg.AssetCheckResult:
        return check_coverage(store)

    return [everything_is_processed, every_fact_has_evidence, values_match_schema, no_failed_documents]

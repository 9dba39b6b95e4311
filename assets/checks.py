"""Asset checks: every fact has evidence, values match the schema, no document failed."""

from collections.abc import Sequence

import dagster as dg

from assets.metadata import failure_table
from ingest_pipeline.store.audits import audit_evidence, count_failed, count_invalid_values
from resources.store import StoreResource

Results = tuple[dg.AssetCheckResult, ...]


def check_evidence(store: StoreResource) -> dg.AssetCheckResult:
    audit = audit_evidence(store.engine)
    return dg.AssetCheckResult(
        asset_key="lineage",
        check_name="every_fact_has_evidence",
        passed=not audit.without and not audit.wrong,
        description=f"{audit.facts} facts, {audit.evidence} quotes; "
        f"{audit.without} facts without evidence, {audit.wrong} quotes not at their place",
        metadata={"facts": audit.facts, "without_evidence": audit.without, "wrong_quotes": audit.wrong},
    )


def check_values(store: StoreResource) -> dg.AssetCheckResult:
    invalid = count_invalid_values(store.engine, store.trait_schema)
    return dg.AssetCheckResult(
        asset_key="traits",
        check_name="values_match_schema",
        passed=not invalid,
        description=f"{sum(invalid.values())} values do not match the trait schema",
        metadata={"invalid": dg.MetadataValue.json(invalid)},
    )


def check_failures(store: StoreResource) -> dg.AssetCheckResult:
    failed = count_failed(store.engine)
    return dg.AssetCheckResult(
        asset_key="extractions",
        check_name="no_failed_documents",
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{sum(failed.values())} documents failed; the next run tries them again",
        metadata={"reasons": failure_table(failed)},
    )


CHECKS = (check_evidence, check_values, check_failures)


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

    return [every_fact_has_evidence, values_match_schema, no_failed_documents]

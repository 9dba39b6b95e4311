"""Per-partition events. The only place that touches Dagster's private event classes."""

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent, DagsterEventType

Context = dg.OpExecutionContext | dg.AssetExecutionContext


def log_partition(context: Context, asset: str, partition: str, metadata: dict[str, dg.MetadataValue]) -> None:
    """Record that one partition of an asset was materialised by this step."""
    context.log_event(dg.AssetMaterialization(asset, partition=partition, metadata=metadata))


def log_planned(context: Context, asset: str, partition: str) -> None:
    """Record that this run meant to materialise a partition: when the run fails, the partition shows as failed.

    Only for runs without partition keys of their own; a later materialisation clears the mark.
    """
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
        job_name=context.run.job_name,
        message=f"{asset} was to be materialised for {partition}",
        event_specific_data=AssetMaterializationPlannedData(dg.AssetKey(asset), partition=partition),
    )
    context.instance.report_dagster_event(event, run_id=context.run.run_id)

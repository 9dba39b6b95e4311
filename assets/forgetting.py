"""``forget_profile``: erases a person, proves it, and takes their partition out of Dagster.

The key of a partition is opaque, and who it was for stands nowhere once the person is erased; so what earlier runs
recorded under it stays.
"""

from functools import partial
from pathlib import Path

import dagster as dg
from pydantic import Field

from assets.metadata import markdown_table
from assets.partitions import register_profiles
from ingest_pipeline.erasing import Forgotten, forget
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.partitions import Partitioning, load_partition_keys
from ingest_pipeline.progress import Progress
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.lookup import check_profiles
from resources.failures import reported
from resources.store import StoreResource


class ForgetConfig(dg.Config):
    profile_id: str = Field(description="The profile's id. Never an address: run config is kept for good.")


def build_forget_job(partitioning: Partitioning) -> dg.JobDefinition:
    @dg.op(
        out=dg.Out(dg.Nothing),
        description="Erase a person, prove that nothing is left, remove the partition.",
    )
    def forget_op(
        context: dg.OpExecutionContext,
        config: ForgetConfig,
        store: StoreResource,
        progress: dg.ResourceParam[Progress],
    ) -> None:
        refold = partial(fold_profiles, store.engine, store.trait_schema, rules=store.fold_rules)
        with reported():
            check_profiles(store.engine, [config.profile_id])
            done = forget(
                store.engine, config.profile_id, refold, "dagster", Via.JOB, progress, _folders(context.instance)
            )
        register_profiles(context.instance, partitioning, partial(load_partition_keys, store.engine))
        context.add_output_metadata({"erased": _table(done)})
        if not done.clean:
            raise dg.Failure(
                description="something of the person is left; run the job again once nothing else is running",
                metadata={"proof": _table(done)},
                allow_retries=False,
            )

    @dg.job(description="Erase one person for good: config takes the profile id.")
    def forget_profile() -> None:
        forget_op()

    return forget_profile


def _folders(instance: dg.DagsterInstance) -> list[Path]:
    """Where Dagster keeps its files; none for an instance in memory."""
    return [Path(instance.root_directory)] if instance.is_persistent else []


def _table(done: Forgotten) -> dg.MetadataValue:
    rows: list[tuple[object, ...]] = [("erased", table, n) for table, n in sorted(done.erased.items())]
    rows += [("blanked", table, n) for table, n in sorted(done.blanked.items())]
    # The folder's name may be a person's; what is in it, are files of Dagster.
    rows += [("left", Path(scan.place).name, scan.identifiers + scan.texts) for scan in done.proof]
    return dg.MetadataValue.md(markdown_table(("", "where", "rows"), rows))

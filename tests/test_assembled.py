"""The assembled definitions: the asset graph, the jobs and the schedule are as documented."""

import ast
import re
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.steps import TABLES
from ingest_pipeline.definitions import build_definitions
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.partitions import Partitioning
from ingest_pipeline.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
SOURCES = {"crm_documents", "email_documents", "chat_documents", "direct_documents"}


@pytest.fixture
def definitions() -> dg.Definitions:
    return build_definitions(Settings())


def test_asset_graph_is_as_documented(definitions: dg.Definitions) -> None:
    """sources ─▶ extractions ─▶ profile tables, each of which leads back to every source."""
    graph = definitions.resolve_asset_graph()
    parents = {
        node.key.to_user_string(): {parent.to_user_string() for parent in node.parent_keys}
        for node in graph.asset_nodes
    }
    assert parents == {
        **{source: set() for source in SOURCES},
        "extractions": SOURCES,
        **{table: {"extractions"} | SOURCES for table in TABLES},
    }


def test_nothing_is_launched_by_what_lies_above_it(definitions: dg.Definitions) -> None:
    """That a source was read starts no run of every partition below it: the jobs know what changed."""
    graph = definitions.resolve_asset_graph()
    assert not any(node.automation_condition for node in graph.asset_nodes)
    assert all(s.default_status is dg.DefaultSensorStatus.STOPPED for s in definitions.sensors or ())


def test_every_asset_and_job_is_described(definitions: dg.Definitions) -> None:
    nodes = definitions.resolve_asset_graph().asset_nodes
    assert all(node.description and node.kinds for node in nodes)
    assert {node.key.to_user_string(): node.group_name for node in nodes} == {
        **dict.fromkeys(SOURCES, "sources"),
        "extractions": "extraction",
        **dict.fromkeys(TABLES, "profiles"),
    }
    jobs = {job.name: job for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    assert set(jobs) >= {"nightly_sync", "resync_profiles", "ingest_text"}
    assert all(job.description for job in jobs.values())
    assert all(op.description for job in jobs.values() for op in job.all_node_defs)


def test_partitions_are_profiles_and_sources(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    extractions = graph.get(dg.AssetKey("extractions")).partitions_def
    assert isinstance(extractions, dg.MultiPartitionsDefinition)
    assert [d.name for d in extractions.partitions_defs] == ["profile", "source"]
    for table in TABLES:
        partitions = graph.get(dg.AssetKey(table)).partitions_def
        assert isinstance(partitions, dg.DynamicPartitionsDefinition)
        assert partitions.name == "profile"


def test_buckets_replace_profiles() -> None:
    settings = Settings(partition_by="bucket")
    node = build_definitions(settings).resolve_asset_graph().get(dg.AssetKey("traits"))
    assert node.partitions_def
    assert node.partitions_def.get_partition_keys() == Partitioning(settings.partition_by).buckets


def test_checks_are_on_their_assets(definitions: dg.Definitions) -> None:
    keys = {(k.asset_key.to_user_string(), k.name) for k in definitions.resolve_asset_graph().asset_check_keys}
    assert keys == {
        ("extractions", "no_failed_documents"),
        ("traits", "values_match_schema"),
        ("lineage", "every_fact_has_evidence"),
        ("profiles", "everything_is_processed"),
    }


def test_schedule_is_nightly_and_off() -> None:
    """02:00 where the company is; someone has to switch it on."""
    definitions = build_definitions(Settings(timezone="Europe/Berlin"))
    (schedule,) = definitions.schedules or []
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.name, schedule.cron_schedule, schedule.execution_timezone) == (
        "nightly",
        "0 2 * * *",
        "Europe/Berlin",
    )
    assert schedule.job_name == "nightly_sync"
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_workspace_names_the_definitions() -> None:
    """A path relative to the file: it loads from any directory, installed or not."""
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert (ROOT / entry["python_file"]["relative_path"]).samefile(ROOT / "ingest_pipeline" / "definitions.py")


def test_bad_setting_stops_loading_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TIMEZONE", "Mars/Base")
    with pytest.raises(ConfigurationError, match="INGEST_TIMEZONE: 'Mars/Base' is no IANA time zone"):
        build_definitions(load_settings())


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("assets/*.py"), *ROOT.glob("resources/*.py")]), ids=lambda p: p.name
)
def test_annotations_are_evaluated(path: Path) -> None:
    """Dagster reads the type of ``context``; postponed annotations hide it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "__future__"]


def test_private_parts_of_dagster_are_used_in_one_place() -> None:
    """An upgrade that moves them is repaired in ``assets/events.py``."""
    private = re.compile(r"(?:from|import) dagster\.?_\S*|from dagster\._")
    users = {
        str(path.relative_to(ROOT))
        for folder in ("assets", "resources", "ingest_pipeline")
        for path in (ROOT / folder).rglob("*.py")
        if private.search(path.read_text(encoding="utf-8"))
    }
    assert users == {"assets/events.py"}

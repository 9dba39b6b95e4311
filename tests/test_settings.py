"""Settings: working defaults, one line that names every wrong variable, no secret ever shown."""

import os
from pathlib import Path

import pytest

from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.settings import PartitionBy, load_settings
from ingest_pipeline.sources.base import ReadOptions


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Only what the test itself sets."""
    for name in [name for name in os.environ if name.startswith("INGEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_without_any_variable_everything_is_in_one_folder(tmp_path: Path) -> None:
    settings = load_settings()
    home = tmp_path / ".ingest"
    assert settings.home == home
    assert settings.database_url == f"sqlite:///{home}/profiles.db"
    assert settings.inbox == str(home / "inbox")
    assert settings.dagster_home == home / "dagster"
    assert settings.limits_url == f"sqlite:///{home}/limits.db"
    assert (settings.model, settings.partition_by) == ("offline", PartitionBy.PROFILE)
    assert settings.read_options() == ReadOptions()


def test_variables_are_read_and_empty_ones_count_as_unset(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "HOME": str(tmp_path / "elsewhere"),
        "DATABASE_URL": "postgresql://host/db",
        "INBOX": "s3://bucket/inbox",
        "INTERNAL_DOMAINS": "Northwind.example, @rep.example ,",
        "PHONE_REGION": "de",
        "TIMEZONE": "Europe/Berlin",
        "PARTITION_BY": "bucket",
        "BUDGET_USD": "",
        "RPM": "",
    }.items():
        environment.setenv(f"INGEST_{name}", value)
    settings = load_settings()
    assert settings.database_url == settings.limits_url == "postgresql://host/db"
    assert settings.inbox == "s3://bucket/inbox"
    assert settings.partition_by is PartitionBy.BUCKET
    assert (settings.budget_usd, settings.rpm) == (None, 500)
    assert settings.read_options() == ReadOptions(
        frozenset({"northwind.example", "rep.example"}), phone_region="DE", timezone="Europe/Berlin"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RPM", "0"),
        ("RPM", "many"),
        ("TPM", "-1"),
        ("MAX_CONCURRENCY", "100000"),
        ("BUDGET_USD", "0"),
        ("PARTITION_BY", "month"),
        ("TIMEZONE", "Berlin"),
        ("TIMEZONE", "Europe"),
        ("TIMEZONE", "../etc/passwd"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(f"INGEST_{name}", value)
    with pytest.raises(ConfigurationError, match=f"INGEST_{name}: ") as error:
        load_settings()
    assert "\n" not in str(error.value)


def test_every_wrong_variable_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("INGEST_RPM", "many")
    environment.setenv("INGEST_TIMEZONE", "Berlin")
    with pytest.raises(ConfigurationError, match=r"INGEST_RPM.*INGEST_TIMEZONE"):
        load_settings()


def test_overrides_go_before_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("INGEST_RPM", "7")
    assert load_settings(rpm=9).rpm == 9


def test_keys_are_not_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("INGEST_LLM_API_KEY", "sk-very-secret")
    environment.setenv("INGEST_RPM", "sk-mixed-up")
    with pytest.raises(ConfigurationError) as error:
        load_settings()
    environment.delenv("INGEST_RPM")
    assert "sk-" not in str(error.value) + repr(load_settings()) + load_settings().model_dump_json()


def test_columns_to_leave_out_are_labels_in_lower_case(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("INGEST_EXCLUDE_COLUMNS", "Birthdate, Marital  Status,")
    assert load_settings().read_options().exclude_columns == {"birthdate", "marital status"}


def test_the_rank_of_sources_names_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Best first."""
    assert [role.value for role in load_settings().fold_rules().source_rank] == [
        "field",
        "signature",
        "subject",
        "note",
    ]
    monkeypatch.setenv("INGEST_SOURCE_RANK", "note, field,signature,subject")
    assert [role.value for role in load_settings().fold_rules().source_rank] == [
        "note",
        "field",
        "signature",
        "subject",
    ]
    for wrong in ("field", "field,field,signature,subject", "field,signature,subject,staff", "field;note"):
        monkeypatch.setenv("INGEST_SOURCE_RANK", wrong)
        with pytest.raises(ConfigurationError, match="INGEST_SOURCE_RANK"):
            load_settings()

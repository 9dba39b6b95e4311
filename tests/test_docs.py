"""The documents: a command or setting that is not in the reference fails here."""

import re
from pathlib import Path

import click
import pytest
import typer

from ingest_pipeline.cli import app
from ingest_pipeline.settings import Settings
from ingest_pipeline.sources import registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def commands() -> dict[str, click.Command]:
    """Every command by its words, "db upgrade" for one of a group."""
    group = typer.main.get_command(app)
    found: dict[str, click.Command] = {}
    stack = [("", group)]
    while stack:
        prefix, command = stack.pop()
        if hasattr(command, "commands"):
            stack += [(f"{prefix} {name}".strip(), each) for name, each in command.commands.items()]
        else:
            found[prefix] = command
    return found


def test_there_are_commands() -> None:
    """The other tests look at something."""
    assert {"demo", "sync", "text", "profiles", "show", "why", "status", "retry", "db upgrade"} <= commands().keys()


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_is_documented(name: str) -> None:
    """In the table of commands."""
    assert re.search(rf"^\| `ingest {name}\b", REFERENCE, re.M)


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_and_option_explains_itself(name: str) -> None:
    """``--help`` says what each of them is for."""
    command = commands()[name]
    assert command.help
    for parameter in command.params:
        described = getattr(parameter, "help", None) or parameter.name in ("limit", "offset", "traits", "memories")
        assert described, parameter.name


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(name: str) -> None:
    """With its default where that is a plain value."""
    row = re.search(rf"^\|[^|]*`INGEST_{name.upper()}`[^|]*\|([^|]*)\|", REFERENCE, re.M)
    assert row, f"INGEST_{name.upper()} is not in the table of settings of docs/reference.md"
    default = Settings.model_fields[name].default
    if isinstance(default, int | float) and not isinstance(default, bool):
        assert str(default) in row[1].replace(",", " ").replace("`", " ").split()


@pytest.mark.parametrize("path", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_nothing_is_documented_that_does_not_exist(path: str) -> None:
    """Settings and commands that went are taken out."""
    text = (ROOT / path).read_text(encoding="utf-8")
    known = {f"INGEST_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bINGEST_[A-Z_]+[A-Z]\b", text)) <= known
    groups = {name.split()[0] for name in commands()}
    assert set(re.findall(r"`(?:\.venv/bin/)?ingest ([a-z]+)", text)) <= groups


def test_every_format_is_in_the_table_of_folders() -> None:
    """By the name of its system."""
    words = {
        "salesforce": "Salesforce",
        "hubspot": "HubSpot",
        "mbox": "mbox",
        "eml": ".eml",
        "slack": "Slack",
        "whatsapp": "WhatsApp",
        "telegram": "Telegram",
        "discord": "Discord",
        "msteams": "Microsoft Teams",
        "facebook": "Facebook",
        "chatgpt": "ChatGPT",
        "claude": "Claude",
        "jsonl": "JSON Lines",
        "zendesk": "Zendesk",
        "intercom": "Intercom",
        "pipedrive": "Pipedrive",
        "mapped": "mapping.yaml",
        "mail_zip": "Takeout",
        "msg": ".msg",
        "pst": ".pst",
    }
    assert {reader.format for reader in registry.READERS} <= words.keys(), "add the new format here and to the README"
    for reader in registry.READERS:
        assert re.search(rf"^\| `{reader.source}/`.*{re.escape(words[reader.format])}", README, re.M)


def test_the_readme_is_short() -> None:
    """At most 150 lines."""
    assert len(README.splitlines()) <= 150


def test_files_that_the_readme_names_exist() -> None:
    """Paths in back quotes with a folder of the repository in front."""
    for path in re.findall(r"`((?:docs|tests|benchmarks|assets|resources|ingest_pipeline)/[\w./-]*)`", README):
        assert (ROOT / path).exists(), path


def test_no_lock_names_a_registry_host() -> None:
    """Hashes are locked, addresses are not: whoever installs chooses the mirror."""
    locks = sorted(ROOT.glob("requirements*.lock"))
    assert len(locks) >= 2
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        assert not re.search(r"-c /", text), "a folder of the machine that made it"
        assert not re.search(r"^\s*--?(?:i|index|index-url|extra-index-url|find-links|f)\b", text, re.M)
        assert text.count("--hash=sha256:") > 100


def test_no_file_of_the_project_configures_a_registry() -> None:
    """Nor does any build file."""
    for name in ("pyproject.toml", "Makefile", ".ci/run", "deploy"):
        path = ROOT / name
        for file in (path,) if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            assert not re.search(
                r"index-url|index_url|find-links|pypi\.|/simple\b", file.read_text(encoding="utf-8")
            ), name

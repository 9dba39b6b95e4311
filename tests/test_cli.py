"""The command line, as people and scripts use it: output, JSON, exit codes, one-line errors.

Commands that look or ingest a text run in this process; those that start a Dagster run in one of their own.
"""

import io
import json
import os
import pty
import re
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from ingest_pipeline.cli.app import ORDER
from ingest_pipeline.demo.inbox import generate
from ingest_pipeline.direct import MAX_DATA_BYTES, TextRequest, ingest_text
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.pipeline import open_pipeline
from ingest_pipeline.reading import read_source
from ingest_pipeline.settings import load_settings
from ingest_pipeline.sources.inbox import FOLDERS, open_inbox
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.terminal import BarProgress
from tests.command_line import INGEST, Run, clean_environment, process, runner, words
from tests.provider import Body, Provider, documents_of, find_something

ANA = "ana.ferreira@velalogistics.example"
ANA_TEXT = "I moved to [red]Madrid[/red] <b>now</b>. I love chess, my code is \x1b[2J."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synced demo inbox of 24 people, and one text given by hand. For looking only."""
    home = tmp_path_factory.mktemp("home")
    generate(home / "inbox", people=24)
    settings = load_settings(home=home)
    pipeline = open_pipeline(settings)
    for source in FOLDERS:
        read_source(pipeline.engine, open_inbox(settings.inbox), source, settings.read_options())
    for _ in extract_pending(pipeline.engine, pipeline.extractor, Selection(pipeline.extractor.fingerprint)):
        pass
    for _ in fold_profiles(pipeline.engine, pipeline.schema):
        pass
    odd = create_profile(pipeline.engine, "odd [bold]id[/bold]")
    ingest_text(pipeline, odd, TextRequest(ANA_TEXT))
    pipeline.close()
    return home


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """A home of one's own, for changing."""
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def ingest(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command's entry point here: ``ingest("show", …, stdin=b"…", INGEST_MODEL="…")``."""
    return runner(home, monkeypatch, capfd)


# -- looking -----------------------------------------------------------------------------------------------------------


def test_profiles_lists_and_searches(ingest: Run) -> None:
    """Piped, a profile is one line with its full id."""
    everybody = ingest("profiles", "--limit", "1000")
    assert (everybody.code, everybody.err) == (0, "")
    lines = [line for line in everybody.out.splitlines() if re.match(r" [0-9a-f]{8}-", line)]
    assert len(lines) == 25
    assert "25 of 25" in everybody.out
    found = ingest("profiles", "--search", "ferreira", "--json").json
    assert (found["total"], [p["name"] for p in found["profiles"]]) == (1, ["Ana Ferreira"])
    assert found["profiles"][0]["identifiers"][0] == ANA
    assert found["profiles"][0].keys() == {
        "id", "external_id", "name", "identifiers", "documents", "traits", "memories",
        "summary", "summary_version", "summary_updated_at", "created_at", "updated_at",
    }  # fmt: skip
    page = ingest("profiles", "--limit", "2", "--offset", "3", "--json").json
    assert (len(page["profiles"]), page["total"]) == (2, 25)
    assert words(ingest("profiles", "--search", "zzz").out) == "0 of 0 that match"


def test_a_narrow_terminal_gets_short_ids(ingest: Run, home: Path) -> None:
    """They are enough for looking."""
    listed = process(home, "profiles", "--search", "ferreira", COLUMNS="80").out
    (short,) = re.findall(r"^ ([0-9a-f]{8}) ", listed, re.M)
    assert "Ana Ferreira" in ingest("show", short).out
    assert "Lisbon" in ingest("why", short, "location").out
    assert max(map(len, listed.splitlines())) <= 80


def test_ambiguous_identifiers_are_listed_with_who_claims_them(ingest: Run) -> None:
    """By the command that the error message names."""
    refused = ingest("show", "info@hofladen-krause.example")
    assert (refused.code, refused.out) == (2, "")
    assert "ingest profiles --ambiguous" in refused.err
    (shared,) = ingest("profiles", "--ambiguous", "--json").json
    assert shared["identifier"] == "email:info@hofladen-krause.example"
    assert len(shared["profiles"]) == 2
    table = ingest("profiles", "--ambiguous").out
    assert all(profile in table for profile in shared["profiles"])


def test_show_lists_traits_and_memories_with_a_sentence_behind_each(ingest: Run) -> None:
    """And earlier values, identifiers, documents by source."""
    shown = ingest("show", ANA)
    assert (shown.code, shown.err) == (0, "")
    for expected in (
        "Ana Ferreira", f"email:{ANA}", "documents: 1 chat, 3 crm, 4 email", "contact_preference", "cut empty return",
        "“I moved to Lisbon last month", "Moved to Lisbon.", "event", "Porto", "2024-05-01",
    ):  # fmt: skip
        assert expected in words(shown.out), expected


def test_show_as_json_is_the_profile_api_with_names(ingest: Run) -> None:
    """A script gets full ids and all values."""
    shown = ingest("show", ANA, "--json").json
    assert shown.keys() == {"profile", "traits", "memories", "history"}
    assert (shown["profile"]["name"], shown["profile"]["externalId"]) == ("Ana Ferreira", None)
    values = {trait["key"]: trait["value"] for trait in shown["traits"]}
    assert (values["location"], values["current_goals"]) == ("Lisbon", ["cut empty return trips"])
    assert {"id", "content", "type", "importance", "decayFactor"} <= shown["memories"][0].keys()
    assert shown["history"][0].keys() == {"key", "value", "validFrom", "validTo", "edit", "reason", "endedBy"}
    assert shown["traits"][0].keys() >= {"conflicts", "edit"}
    assert ingest("show", shown["profile"]["id"], "--json").json == shown


def test_why_prints_quote_offsets_source_ids_and_file(ingest: Run) -> None:
    """All that is known of where it comes from, and the values before."""
    why = words(ingest("why", ANA, "location").out)
    for expected in (
        "location = Lisbon", "“I moved to Lisbon last month and I now run both regions from the office at the river.”",
        "characters 11–96 of document", "email, mail 0002.1718642400@velalogistics.example", "file email/",
        "message_id=0002.", "2024-06-17 16:40 UTC, in their own words", "offline (offline:", "Porto",
    ):  # fmt: skip
        assert expected in why, expected
    memory = ingest("show", ANA, "--json").json["memories"][0]
    proved = ingest("why", ANA, memory["id"][:8], "--json").json
    assert proved["memory"]["id"] == memory["id"]
    (evidence,) = proved["evidence"]
    assert evidence["endChar"] - evidence["startChar"] == len(evidence["quote"])
    assert evidence["file"].startswith("email/")
    assert evidence["fileSha256"]
    assert evidence["nativeId"]


def test_text_is_shown_as_text(ingest: Run) -> None:
    """Markup is not interpreted; control characters do not reach the terminal; JSON holds everything."""
    for shown in (ingest("show", "odd [bold]id[/bold]"), ingest("why", "odd [bold]id[/bold]", "interests")):
        assert "I love chess" in words(shown.out)
        assert "\x1b" not in shown.out
    assert "odd [bold]id[/bold]" in ingest("show", "odd [bold]id[/bold]").out
    assert "odd [bold]id[/bold]" in ingest("profiles", "--search", "odd").out
    (evidence,) = ingest("why", "odd [bold]id[/bold]", "interests", "--json").json["evidence"]
    assert evidence["quote"] in ANA_TEXT
    assert "\x1b[2J" in evidence["quote"]


def test_status_tells_the_state_of_everything(ingest: Run) -> None:
    """Documents by source, what was skipped and rejected and why."""
    status = ingest("status")
    assert (status.code, status.err) == (0, "")
    for expected in (
        "25 profiles", "internal_sender", "Rejected", "crm/salesforce/Contact.csv", "has 6 cells where the header",
        "Documents of nobody known (list mail, shared addresses): 5", "Identifiers that several people claim",
    ):  # fmt: skip
        assert expected in words(status.out), expected
    told = ingest("status", "--json").json
    assert told["profiles"] == 25
    assert {source["source"] for source in told["sources"]} == {"crm", "email", "chat", "direct"}
    assert all(source["pending"] == source["failed"] == 0 for source in told["sources"])
    assert {"file", "position", "reason"} == told["rejected"][0].keys()
    assert ingest("status", "--rejected", "0", "--json").json["rejected"] == []


def test_looking_needs_neither_model_nor_trait_schema(ingest: Run) -> None:
    """A broken configuration must not keep anyone from seeing what there is."""
    broken = {"INGEST_MODEL": "no/such-model", "INGEST_TRAITS": "/nonexistent", "INGEST_INBOX": "/nonexistent"}
    for command in (("status",), ("profiles",), ("show", ANA), ("why", ANA, "name")):
        assert ingest(*command, **broken).code == 0


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    """``ingest … | head`` ends quietly with exit code 0."""
    for arguments in ("profiles --limit 1000", "profiles --limit 1000 --json", "status"):
        command = f"set -o pipefail; '{INGEST}' {arguments} | head -1 >/dev/null"
        done = subprocess.run(
            ["bash", "-c", command], env=clean_environment(INGEST_HOME=str(home)), capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b""), arguments


def test_any_encoding_of_the_terminal_will_do(home: Path) -> None:
    """What it lacks is shown escaped."""
    done = process(home, "why", ANA, "location", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.code, done.err) == (0, "")
    assert "Lisbon" in done.out


def test_a_stage_that_is_stopped_shows_how_far_it_came() -> None:
    """A warning stands above the bars, whole."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    with BarProgress(console) as progress:
        progress.start("reading crm", None)
        progress.advance(3)
        progress.start("reading chat", None)
        progress.start("extracting", 2)
        console.print("warning: nobody answers")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
    last = re.findall(r"(reading crm|reading chat|extracting) [^\r\n]* (\d/\d) ", text)[-3:]
    assert last == [("reading crm", "3/3"), ("reading chat", "0/0"), ("extracting", "0/2")]
    assert "warning: nobody answers\n" in shown.getvalue()


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (("show", "nobody@x.example"), {}, "no profile has this"),
        (("show", ""), {}, "no profile has this"),
        (("why", ANA, "shoe_size"), {}, "its traits: company,"),
        (("why", "nobody", "location"), {}, "no profile has this"),
        (("status",), {"INGEST_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"}, "the database at 127.0.0.1:1"),
        (("status",), {"INGEST_DATABASE_URL": "mysql://x/y"}, "must start with sqlite:///"),
        (("status",), {"INGEST_DATABASE_URL": "nonsense"}, "is no database URL"),
        (("status",), {"INGEST_DATABASE_URL": f"sqlite:///{__file__}"}, "file is not a database"),
        (("db", "upgrade"), {"INGEST_HOME": f"{__file__}/x"}, "check INGEST_HOME"),
        (("status",), {"INGEST_RPM": "many"}, "INGEST_RPM"),
        (("status",), {"INGEST_TIMEZONE": "Mars"}, "write one like Europe/Berlin"),
        (("status",), {"INGEST_PARTITION_BY": "phase"}, "'profile' or 'bucket'"),
        (("sync",), {"INGEST_INBOX": "/nonexistent"}, "the inbox /nonexistent does not exist; create it"),
        (("sync",), {"INGEST_INBOX": "s4://bucket"}, "check INGEST_INBOX"),
        (("sync",), {"INGEST_INBOX": str(Path(__file__).parent)}, "none of the folders crm/, email/, chat/"),
        (("sync",), {"INGEST_TRAITS": "/nonexistent"}, "/nonexistent"),
        (("sync",), {"INGEST_TRAITS": str(Path(__file__))}, "the trait schema of INGEST_TRAITS cannot be used"),
        (("sync", "--profile", "nobody"), {}, "no profile has this"),
        (("retry",), {"INGEST_MODEL": "no-such-model"}, "model no-such-model is unknown; set INGEST_MODEL"),
        (("text", ANA, "--data", "Hi"), {"INGEST_MODEL": "no-such-model"}, "model no-such-model is unknown"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_one_line_that_says_what_to_do(
    ingest: Run, arguments: tuple[str, ...], settings: dict[str, str], says: str
) -> None:
    """Exit code 2, no stack trace, no secret, nothing personal."""
    done = ingest(*arguments, **settings)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert says in done.err
    assert "secret" not in done.err
    assert ANA not in done.err
    assert done.out == "" or arguments[0] == "text"


@pytest.mark.parametrize(
    "arguments",
    [("show",), ("bogus",), ("profiles", "--limit", "0"), ("sync", "--source", "fax"), ("sync", "--reextract", "x")],
)
def test_wrong_usage(ingest: Run, arguments: tuple[str, ...]) -> None:
    """Exit code 2 and how to get help."""
    done = ingest(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "--help" in done.err


def test_help_names_every_command(ingest: Run) -> None:
    """What one begins with first."""
    done = ingest("--help")
    assert done.code == 0
    listed = re.findall(r"^│ ([a-z]+) ", done.out[done.out.index("Commands") :], re.M)
    assert listed == list(ORDER)


MAKE_THEM = "`ingest sync` makes them; INGEST_HOME or INGEST_DATABASE_URL says where it is\n"
LOOKING = (
    ("profiles",), ("profiles", "--duplicates"), ("show", ANA), ("why", ANA, "location"), ("status",), ("diff",),
    ("document", "1"), ("edits", ANA), ("audit",), ("export", "out"), ("export", "out", "--profile", ANA),
    ("set", ANA, "location", "Rome"), ("merge", ANA, "b@x.example"), ("forget", ANA, "--yes"),
    ("sync", "--dry-run"), ("text", ANA, "--data", "Hi"),
)  # fmt: skip


@pytest.mark.parametrize("arguments", LOOKING)
def test_what_looks_makes_no_database(
    ingest: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """A mistyped path is told, and nothing is made there, nor in the database of another program."""
    monkeypatch.chdir(tmp_path)
    done = ingest(*arguments, INGEST_HOME=str(tmp_path / "nowhere"))
    assert done.code == 2
    assert f"there is no database at {tmp_path}/nowhere/profiles.db; `ingest sync` makes one" in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE theirs (a)")
    done = ingest(
        *arguments, INGEST_DATABASE_URL=f"sqlite:///{tmp_path}/other.db", INGEST_HOME=str(tmp_path / "nowhere")
    )
    assert (done.code, f"the database at {tmp_path}/other.db has none of this program's tables" in done.err) == (
        2,
        True,
    )
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_database_without_tables_is_told_by_its_address_alone(ingest: Run, empty_database_url: str) -> None:
    """On a server, where somebody else may have meant it for something."""
    if empty_database_url.startswith("sqlite"):
        pytest.skip("has no password")
    done = ingest("show", ANA, INGEST_DATABASE_URL=empty_database_url)
    assert (done.code, done.err) == (
        2,
        f"error: the database at localhost:5432 has none of this program's tables; {MAKE_THEM}",
    )


def test_a_setting_that_is_none_is_told_with_the_nearest_name(ingest: Run, home: Path) -> None:
    """On stderr, by name and never by value; the command goes on."""
    wrong = {"INGEST_MODLE": "secret-1", "INGEST_RETENTION_DAYS_MAIL": "secret-2", "INGEST_XYZZY": "secret-3"}
    known = {"ingest_timezone": "UTC", "INGEST_RETENTION_DAYS_CRM": "9000", "INGEST_PORT_8000_TCP": "tcp://10.0.0.1:1"}
    done = ingest("profiles", "--limit", "1", **wrong, **known)
    assert (done.code, "1 of 25" in done.out) == (0, True)
    assert done.err.splitlines() == [
        "warning: INGEST_MODLE is no setting and has no effect; did you mean INGEST_MODEL?",
        "warning: INGEST_RETENTION_DAYS_MAIL is no setting and has no effect; "
        "did you mean INGEST_RETENTION_DAYS_EMAIL?",
        "warning: INGEST_XYZZY is no setting and has no effect; docs/reference.md lists the settings",
    ]
    assert process(home, "profiles", "--json", **wrong).err.splitlines() == done.err.splitlines()


def test_the_demo_does_not_mix_with_data_of_ones_own(ingest: Run, tmp_path: Path) -> None:
    """Neither in the inbox nor in the database."""
    (tmp_path / "inbox/crm").mkdir(parents=True)
    (tmp_path / "inbox/crm/mine.csv").write_text("Id\n")
    done = ingest("demo", INGEST_HOME=str(tmp_path))
    assert (done.code, "holds files of your own" in done.err) == (2, True)
    (tmp_path / "inbox/crm/mine.csv").unlink()
    pipeline = open_pipeline(load_settings(home=tmp_path))
    create_profile(pipeline.engine, "mine")
    pipeline.close()
    done = ingest("demo", INGEST_HOME=str(tmp_path))
    assert (done.code, "holds profiles of your own" in done.err) == (2, True)
    done = ingest("demo", INGEST_HOME=str(tmp_path), INGEST_INBOX="s3://bucket/inbox")
    assert (done.code, "no folder of this machine" in done.err) == (2, True)
    assert not list((tmp_path / "inbox/crm").iterdir())


def test_a_new_database_is_made_and_upgrading_twice_is_fine(ingest: Run, tmp_path: Path) -> None:
    """``db upgrade`` says where it is."""
    for _ in range(2):
        done = ingest("db", "upgrade", INGEST_HOME=str(tmp_path))
        assert (done.code, done.err) == (0, "")
        assert re.fullmatch(r"The database is at revision \w+\.\n", done.out)
    assert ingest("profiles", INGEST_HOME=str(tmp_path)).out == "0 of 0\n"


# -- one text ----------------------------------------------------------------------------------------------------------


def test_text_answers_as_the_endpoint_does(ingest: Run, copy: Path) -> None:
    """Found by e-mail, id and external id; the same text again gives the same facts and stats of zero."""
    place = {"INGEST_HOME": str(copy)}
    arguments = ("--data", "I moved to Rome.", "--source", "survey", "--metadata", '{"form": 7}')
    first = ingest("text", ANA, *arguments, **place)
    assert (first.code, first.err) == (0, "")
    answer = first.json
    assert answer.keys() == {"profile", "extracted", "source", "metadata", "documentId"}
    assert answer["profile"].keys() == {
        "id", "externalId", "summary", "summaryVersion", "summaryUpdatedAt", "createdAt", "updatedAt",
    }  # fmt: skip
    assert (answer["source"], answer["metadata"]) == ("survey", {"form": 7})
    (trait,) = answer["extracted"]["traits"]
    assert trait.keys() == {"key", "value", "confidence", "action", "evidence"}
    assert (trait["key"], trait["value"], trait["action"]) == ("location", "Rome", "update")
    (memory,) = answer["extracted"]["memories"]
    assert memory.keys() == {
        "id", "profileId", "content", "type", "importance", "decayFactor", "sourceMessageIds", "createdAt",
        "lastAccessedAt", "evidence",
    }  # fmt: skip
    (evidence,) = memory["evidence"]
    assert evidence.keys() == {"documentId", "quote", "startChar", "endChar", "occurredAt"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", evidence["occurredAt"])
    assert answer["extracted"]["stats"] == {"traitsCreated": 0, "traitsUpdated": 1, "memoriesCreated": 1}
    again = ingest("text", answer["profile"]["id"], *arguments, **place).json
    assert again["documentId"] == answer["documentId"]
    assert again["extracted"]["stats"] == {"traitsCreated": 0, "traitsUpdated": 0, "memoriesCreated": 0}
    assert [(t["key"], t["value"], t["evidence"]) for t in again["extracted"]["traits"]] == [
        ("location", "Rome", trait["evidence"])
    ]
    assert again["extracted"]["memories"] == [memory]
    assert ingest("show", ANA, "--json", **place).json["traits"] != ingest("show", ANA, "--json").json["traits"]


def test_wrong_settings_of_a_folder_are_one_line_and_the_others_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody's own people become profiles because of a slip; exit code 1 tells scripts."""
    home = tmp_path / "home"
    generate(home / "inbox", people=4)
    (home / "inbox" / "email" / "_source.yaml").write_text("internal_domain: [northwind.example]\n")
    run = runner(home, monkeypatch, capfd)
    done = run("sync")
    assert done.code == 1
    told = "email/_source.yaml: unknown setting 'internal_domain'"
    assert [told in line for line in done.err.splitlines() if "_source.yaml" in line] == [True]
    assert "nothing in email/ was read" in words(done.err)
    status = run("status", "--json").json
    assert {one["source"]: one["documents"] > 0 for one in status["sources"]} == {
        "chat": True, "crm": True, "email": False,
    }  # fmt: skip
    assert ("email/_source.yaml", "file") in [(one["file"], one["position"]) for one in status["rejected"]]


def test_text_takes_data_from_a_file_and_stdin(ingest: Run, copy: Path, tmp_path: Path) -> None:
    """The same text by three ways is one document; a byte order mark is no text."""
    place = {"INGEST_HOME": str(copy)}
    (tmp_path / "note.txt").write_bytes("\ufeffI love jazz — really.".encode())
    by_file = ingest("text", ANA, "--file", str(tmp_path / "note.txt"), **place)
    by_stdin = ingest("text", ANA, "-", stdin="I love jazz — really.".encode(), **place)
    by_option = ingest("text", ANA, "--data", "I love jazz — really.", **place)
    assert [done.code for done in (by_file, by_stdin, by_option)] == [0, 0, 0]
    assert len({done.json["documentId"] for done in (by_file, by_stdin, by_option)}) == 1


def test_text_extracts_only_what_is_asked_for(ingest: Run, copy: Path) -> None:
    """--no-traits, --no-memories."""
    place = {"INGEST_HOME": str(copy)}
    said = ("text", ANA, "--data", "I moved to Rome.")
    assert ingest(*said, "--no-traits", "--no-memories", **place).json["extracted"]["stats"]["memoriesCreated"] == 0
    only_memories = ingest(*said, "--no-traits", **place).json["extracted"]
    assert (only_memories["traits"], only_memories["stats"]["memoriesCreated"]) == ([], 1)
    only_traits = ingest(*said, "--no-memories", **place).json["extracted"]
    assert (only_traits["memories"], only_traits["stats"]["traitsUpdated"]) == ([], 1)


def test_text_takes_traits_of_its_own_and_its_time(ingest: Run, copy: Path, tmp_path: Path) -> None:
    place = {"INGEST_HOME": str(copy)}
    traits = [{"key": "location", "valueType": "string", "extraction": {"enabled": False}}]
    for name, content in (("list.json", traits), ("file.json", {"traits": traits})):
        (tmp_path / name).write_text(json.dumps(content))
        said = ("text", ANA, "--data", f"I love {name}. I moved to Rome.", "--occurred-at", "2024-05-01T10:00:00Z")
        answer = ingest(*said, "--trait-schema", str(tmp_path / name), **place).json
        found = answer["extracted"]["traits"] + answer["extracted"]["memories"]
        said_at = [e["occurredAt"] for f in found for e in f["evidence"] if e["documentId"] == answer["documentId"]]
        assert set(said_at) == {"2024-05-01T10:00:00.000Z"}
        assert not any(f.get("key") == "location" and f["value"] == "Rome" for f in found)


def test_text_that_is_only_stored_waits_for_the_next_sync(ingest: Run, copy: Path) -> None:
    place = {"INGEST_HOME": str(copy)}
    stored = ingest("text", ANA, "--data", "I love fencing.", "--store-only", **place).json
    assert set(stored) == {"profileId", "documentId"}
    sources = ingest("status", "--json", **place).json["sources"]
    assert next(each for each in sources if each["source"] == "direct")["pending"] == 1


def test_text_creates_a_profile_only_when_told_to(ingest: Run, copy: Path) -> None:
    """Once; an identifier that points at somebody is that person, and a bad text creates nobody."""
    place = {"INGEST_HOME": str(copy)}
    unknown = ingest("text", "crm-7", "--data", "I love jazz.", **place)
    assert (unknown.code, unknown.json["error"]["type"]) == (2, "not_found_error")
    assert unknown.json["error"]["code"] == "profile_not_found"
    assert ingest("text", "crm-7", "--create", "--data", " ", **place).json["error"]["code"] == "invalid_data"
    assert ingest("profiles", "--search", "crm-7", "--json", **place).json["total"] == 0
    made = [ingest("text", "crm-7", "--create", "--data", "I love jazz.", **place).json for _ in range(2)]
    assert made[0]["profile"]["externalId"] == made[1]["profile"]["externalId"] == "crm-7"
    assert made[0]["profile"]["id"] == made[1]["profile"]["id"]
    ana = ingest("text", ANA, "--create", "--data", "I love jazz.", **place).json["profile"]
    assert (ana["externalId"], ana["id"]) == (None, ingest("show", ANA, "--json").json["profile"]["id"])


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (("--data", ""), b"", "invalid_data"),
        (("--data", " \n"), b"", "invalid_data"),
        (("-",), b"", "invalid_data"),
        (("-",), b"caf\xe9 society, whatever", "invalid_data"),
        ((), b"", "invalid_data"),
        (("--data", "x", "-"), b"x", "invalid_data"),
        (("y",), b"", "invalid_data"),
        (("--file", "/nonexistent"), b"", "invalid_data"),
        (("--file", "/"), b"", "invalid_data"),
        (("--data", "half \udc80"), b"", "invalid_data"),
        (("-",), b"nul \x00", "invalid_data"),
        (("-",), "é".encode() * (MAX_DATA_BYTES // 2) + b"x", "data_too_large"),
        (("-",), "é".encode() * MAX_DATA_BYTES, "data_too_large"),
        (("--data", "é" * (MAX_DATA_BYTES // 2) + "x"), b"", "data_too_large"),
        (("--data", "x", "--occurred-at", "yesterday"), b"", "invalid_occurred_at"),
        (("--data", "x", "--trait-schema", "/nonexistent"), b"", "invalid_trait_schema"),
        (("--data", "x", "--metadata", "[1]"), b"", "invalid_metadata"),
        (("--data", "x", "--metadata", "{"), b"", "invalid_metadata"),
        (("--data", "x", "--metadata", '{"a": NaN}'), b"", "invalid_metadata"),
        (("--data", "x", "--metadata", json.dumps({"a": "x" * 20_000})), b"", "invalid_metadata"),
    ],
)  # fmt: skip
def test_bad_texts_are_refused_with_the_endpoints_error(
    ingest: Run, arguments: tuple[str, ...], stdin: bytes, code: str
) -> None:
    """The API's error body on stdout, one line on stderr, exit code 2."""
    done = ingest("text", ANA, *arguments, stdin=stdin)
    assert done.code == 2
    error = done.json["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert done.err.count("\n") == 1
    assert f"({code})" in done.err


def test_the_largest_text_is_taken(ingest: Run, copy: Path) -> None:
    """102,400 bytes of UTF-8."""
    data = b"I love jazz. " + "é".encode() * ((MAX_DATA_BYTES - 13) // 2) + b"!"
    assert len(data) == MAX_DATA_BYTES
    done = ingest("text", ANA, "-", stdin=data, INGEST_HOME=str(copy))
    assert done.code == 0


# -- runs --------------------------------------------------------------------------------------------------------------


def test_sync_reads_extracts_and_the_second_time_does_nothing(tmp_path: Path) -> None:
    """Numbers per source, then zeros; nothing on stderr; a run's progress shows only on a terminal."""
    generate(tmp_path / "inbox", people=6)
    first = process(tmp_path, "sync")
    assert (first.code, first.err) == (0, "")
    assert "6 profiles with" in first.out
    before = process(tmp_path, "status", "--json").json
    code, shown = on_a_terminal(tmp_path, "sync")
    assert code == 0
    assert "reading crm" in shown
    assert "extracting" in shown
    again = process(tmp_path, "sync", "--json", "--profile", ANA, "--source", "email")
    assert (again.code, again.err) == (0, "")
    assert again.json["run"]["success"]
    assert again.json["run"]["metadata"]["email_documents"]["files_read"] == 0
    assert again.json["run"]["metadata"]["email_documents"]["files_unchanged"] > 0
    assert again.json["run"]["metadata"].keys() == {"email_documents"}
    # What a run says of the store, `status` says with more about what is to come.
    assert again.json["status"] == {name: before[name] for name in again.json["status"]}
    assert extractions(tmp_path) == {1}


def extractions(home: Path) -> set[int]:
    """How often documents were extracted."""
    import sqlite3

    connection = sqlite3.connect(home / "profiles.db")
    found = {attempts for (attempts,) in connection.execute("SELECT attempts FROM extractions")}
    connection.close()
    return found


def on_a_terminal(home: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and what a terminal of 100 columns was sent on stderr."""
    ours, theirs = pty.openpty()
    environment = clean_environment(INGEST_HOME=str(home), COLUMNS="100", TERM="xterm-256color")
    started = subprocess.Popen([INGEST, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = bytearray()
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    return started.wait(), seen.decode()


def spoilt(body: Body) -> str:
    """An answer that is none for whatever mentions Lisbon."""
    return "no" if "Lisbon" in "".join(documents_of(body).values()) else find_something(body)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(answer=spoilt) as provider:
        yield provider


def test_failed_documents_give_exit_code_1_and_retry_finishes_them(tmp_path: Path, provider: Provider) -> None:
    """The others are done; status tells the reason; retry asks about the failed ones only."""
    generate(tmp_path / "inbox", people=2)
    model = {
        "INGEST_MODEL": "openai/test", "INGEST_API_BASE": provider.base_url, "INGEST_LLM_API_KEY": "key-123",
        "INGEST_RPM": "100000", "INGEST_TPM": "100000000",
    }  # fmt: skip
    first = process(tmp_path, "sync", **model)
    assert first.code == 1, first
    assert re.fullmatch(r"error: \d+ documents failed, .*`ingest retry`.*\n", first.err)
    assert "Lisbon" not in first.err
    status = process(tmp_path, "status", "--json").json
    assert sum(status["failed"].values()) >= 2
    assert status["memories"] > 5
    assert status["llm_calls"] > 0
    provider.answer = find_something
    asked = len(provider.seen)
    mended = process(tmp_path, "retry", "--json", **model)
    assert (mended.code, mended.err) == (0, "")
    assert mended.json["status"]["failed"] == {}
    assert 0 < len(provider.seen) - asked <= sum(status["failed"].values())
    assert not any("key-123" in text for text in (first.out, first.err, mended.out))


def test_a_dead_address_is_told_of_at_once(tmp_path: Path) -> None:
    """While the run waits, and in Dagster's log of it, once; documents stay pending."""
    generate(tmp_path / "inbox", people=2)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        model = {
            "INGEST_MODEL": "openai/test", "INGEST_LLM_API_KEY": "key-123", "INGEST_OUTAGE_SECONDS": "2",
            "INGEST_API_BASE": f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}/v1",
        }  # fmt: skip
        done = process(tmp_path, "sync", **model)
    place = model["INGEST_API_BASE"].replace("me:secret@", "")
    warning, stopped, why = done.err.splitlines()
    assert done.code == 2
    assert warning == (
        f"warning: the provider of openai/test at {place} cannot be reached: no connection; "
        "trying again for up to 2 seconds; check INGEST_API_BASE"
    )
    assert stopped.startswith("error: stopped half-way in extract_op")
    assert re.fullmatch(rf"error: the provider of openai/test at {place} has given no answer, .* for \d+ s; .*", why)
    assert done.out.splitlines()[-1] == "Only crm/, email/ and chat/ are read, not answer_key.json beside them"
    log = [path.read_bytes() for path in (tmp_path / "dagster/history/runs").glob("*.db")]
    assert sum(events.count(b"trying again for up to") for events in log) == 1
    assert not any(b"secret" in events for events in log)
    overview = process(tmp_path, "status", "--json").json
    assert (overview["failed"], sum(source["pending"] for source in overview["sources"]) > 0) == ({}, True)


def test_a_failed_text_is_kept_and_exit_code_is_1(copy: Path, provider: Provider) -> None:
    """The error says which document; the same call finishes it."""
    model = {
        "INGEST_MODEL": "openai/test", "INGEST_API_BASE": provider.base_url, "INGEST_LLM_API_KEY": "key-123",
    }  # fmt: skip
    said = ("text", ANA, "--data", "Lisbon is my town.")
    failed = process(copy, *said, **model)
    assert (failed.code, failed.json["error"]["code"]) == (1, "extraction_error")
    assert failed.json["error"]["details"].keys() == {"reason", "documentId"}
    assert failed.err.count("\n") == 1
    assert "Lisbon" not in failed.err
    provider.answer = find_something
    done = process(copy, *said, **model)
    assert (done.code, done.err) == (0, "")
    assert done.json["documentId"] == failed.json["error"]["details"]["documentId"]
    assert done.json["extracted"]["stats"]["memoriesCreated"] == 1

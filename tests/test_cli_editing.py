"""The commands by which a person decides: one line each, JSON, exit codes; and that every read leaves an entry."""

import json
import re
import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from ingest_pipeline.direct import TextRequest, ingest_text
from ingest_pipeline.pipeline import open_pipeline
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.engine import create_store_engine
from tests.command_line import Run, runner, words

LENA = "lena@x.example"
TEXTS = {
    LENA: (
        "I live in Rome.",
        "I live in Lisbon. I prefer email.",
        "I love chess. I love jazz. I manage a team of 12 people.",
    ),
    "kim": ("I live in Oslo.",),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lena of whom some is known; Kim said to live in two places at one moment."""
    home = tmp_path_factory.mktemp("home")
    pipeline = open_pipeline(load_settings(home=home))
    for who, texts in TEXTS.items():
        profile = create_profile(pipeline.engine, who)
        for number, said in enumerate(texts):
            request = TextRequest(said, occurred_at=datetime(2021 + number, 6, 1, tzinfo=UTC))
            ingest_text(pipeline, profile, request)
    ingest_text(pipeline, profile, TextRequest("I live in Bergen.", occurred_at=datetime(2021, 6, 1, tzinfo=UTC)))
    pipeline.close()
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    shutil.copytree(template, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def ingest(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("LOGNAME", "dora")
    return runner(home, monkeypatch, capfd)


def memory_id(ingest: Run, start: str) -> str:
    """The first characters of a memory's id, as ``show`` prints it."""
    memories = ingest("show", LENA, "--json").json["memories"]
    (found,) = [m["id"] for m in memories if m["content"].startswith(start)]
    return str(found)[:8]


# -- decisions ---------------------------------------------------------------------------------------------------------


def test_each_decision_says_in_one_line_what_changed(ingest: Run) -> None:
    """Value before and after, and what the evidence has to say against it."""
    for arguments, line in (
        (("set", LENA, "contact_preference", "Phone"), "contact_preference: email → phone, set by hand; "
            "1 piece of evidence says email"),
        (("set", LENA, "company", "Acme"), "company: Acme, set by hand"),
        (("clear", LENA, "contact_preference"), "contact_preference: phone → email, as the evidence says"),
        (("clear", LENA, "company"), "company: Acme → nothing, since no evidence says anything"),
        (("confirm", LENA, "location"), "location: Lisbon confirmed"),
        (("reject", LENA, "location"), "location: Lisbon rejected; now Rome"),
        (("unreject", LENA, "location"), "location: Lisbon may come back; now Lisbon"),
        (("reject", LENA, "interests", "--value", "chess"), "interests: chess rejected; now jazz"),
        (("set", LENA, "interests", '["go", "chess"]'), "interests: jazz → go, chess, set by hand; "
            "1 piece of evidence says jazz"),
        (("summary", LENA, "Our oldest customer."), "summary: Our oldest customer."),
        (("summary", LENA), "Our oldest customer."),
    ):  # fmt: skip
        done = ingest(*arguments)
        assert (done.code, done.err, done.out) == (0, "", line + "\n"), arguments


def test_memories_are_written_revised_and_rejected(ingest: Run) -> None:
    """By the first characters of their ids; un-rejecting takes the id that it had."""
    done = ingest("remember", LENA, "Owns two dogs.", "--type", "context", "--importance", "0.3")
    dogs = memory_id(ingest, "Owns")
    assert (done.code, done.out) == (0, f"memory {dogs}: Owns two dogs., written by hand\n")
    team = memory_id(ingest, "Manages")
    for arguments, line in (
        (("revise", LENA, team, "Leads twelve."), "Manages a team of 12 people. → Leads twelve., revised"),
        (("revise", LENA, team, "--type", "context", "--importance", "0.1"),
            "Leads twelve., type fact → context, importance 0.80 → 0.10, revised"),
        (("clear", LENA, team), "Leads twelve. → Manages a team of 12 people., as the evidence says"),
        (("confirm", LENA, team), "Manages a team of 12 people. confirmed"),
        (("reject", LENA, team), "Manages a team of 12 people. rejected"),
        (("unreject", LENA, team), "Manages a team of 12 people. may come back"),
    ):  # fmt: skip
        done = ingest(*arguments)
        assert (done.code, done.out) == (0, f"memory {team}: {line}\n"), arguments
    assert ingest("clear", LENA, dogs).out.endswith("nothing, since no evidence says anything\n")


def test_json_holds_the_fact_before_and_after_and_what_was_recorded(ingest: Run) -> None:
    """As the profile API has it; by whom is the login, or the name that is given."""
    answer = ingest("set", LENA, "location", "Faro", "--confidence", "0.5", "--json").json
    assert answer.keys() == {"profile", "edits", "before", "trait"}
    assert (answer["before"]["value"], answer["trait"]["value"]) == ("Lisbon", "Faro")
    assert (answer["trait"]["source"], answer["trait"]["confidence"]) == ("manual", 0.5)
    (edit,) = answer["edits"]
    assert answer["trait"]["edit"] == edit
    assert (edit["by"], edit["action"], edit["value"]) == ("dora", "set", "Faro")
    answer = ingest("reject", LENA, "interests", "--by", "Kim Q.", "--json").json
    assert answer["trait"] is None
    assert {edit["by"] for edit in answer["edits"]} == {"Kim Q."}
    answer = ingest("remember", LENA, "Owns two dogs.", "--json").json
    assert (answer["before"], answer["memory"]["content"]) == (None, "Owns two dogs.")
    assert answer["memory"]["edit"]["action"] == "set"
    answer = ingest("summary", LENA, "Oldest.", "--json").json
    assert answer.keys() == {"profile", "edits"}
    assert answer["profile"]["summary"] == ingest("summary", LENA, "--json").json["profile"]["summary"] == "Oldest."
    assert ingest("summary", LENA, "--clear", "--json").json["profile"]["summary"] != "Oldest."


def test_set_makes_a_profile_only_when_told_to_and_only_for_a_good_value(ingest: Run) -> None:
    assert ingest("set", "crm-7", "location", "Rome").code == 2
    for wrong in (("contact_preference", "fax"), ("location", "Rome", "--confidence", "7"), ("shoe_size", "46")):
        assert ingest("set", "crm-7", *wrong, "--create").code == 2
    assert ingest("show", "crm-7").code == 2
    assert ingest("set", "crm-7", "location", "Rome", "--create").out == "location: Rome, set by hand\n"
    assert ingest("show", "crm-7", "--json").json["profile"]["externalId"] == "crm-7"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("set", LENA, "shoe_size", "46"), "it has: name,"),
        (("set", LENA, "contact_preference", "fax"), "takes one of email, phone, chat, none (invalid_value_type)"),
        (("set", LENA, "interests", "chess"), 'a JSON array of 1 to 200 texts, such as ["first", "second"]'),
        (("set", LENA, "interests", "[" * 100_000), "a JSON array"),
        (("set", LENA, "location", ""), "takes a text (invalid_value_type)"),
        (("set", LENA, "location", "Rome", "--confidence", "2"), "from 0 to 1 (invalid_confidence)"),
        (("set", LENA, "location", "Rome", "--by", ""), "(invalid_actor)"),
        (("set", "nobody", "location", "Rome"), "(profile_not_found)"),
        (("clear", LENA, "location"), "(nothing_to_clear)"),
        (("confirm", LENA, "timezone"), "(trait_not_found)"),
        (("confirm", "kim", "location"), "say which value is right (missing_value)"),
        (("reject", LENA, "abcdef12"), "(memory_not_found)"),
        (("confirm", LENA, "nothing"), "that is no trait and no memory's id; the traits: name, "),
        (("set", LENA, "location", "a\udc80"), "value holds NUL or half a surrogate pair"),
        (("unreject", LENA, "location"), "(not_rejected)"),
        (("remember", LENA, " "), "(invalid_content)"),
        (("remember", LENA, "x", "--importance", "7"), "(invalid_importance)"),
        (("revise", LENA, "abcdef12"), "say what is to change"),
        (("summary", LENA, "x", "--clear"), "either a text or --clear"),
        (("summary", LENA, "--clear"), "(nothing_to_clear)"),
        (("edits", "nobody"), "(profile_not_found)"),
        (("audit", "--profile", "nobody"), "(profile_not_found)"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line_and_exit_code_2(ingest: Run, arguments: tuple[str, ...], says: str) -> None:
    """That says what to do, without the person's data; nothing is recorded as decided."""
    done = ingest(*arguments)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1
    assert LENA not in done.err
    assert ingest("edits", LENA, "--json").json == {"edits": [], "total": 0}


@pytest.mark.parametrize("arguments", [("remember", LENA, "x", "--type", "opinion"), ("audit", "--since", "yesterday")])
def test_wrong_usage(ingest: Run, arguments: tuple[str, ...]) -> None:
    done = ingest(*arguments)
    assert (done.code, done.out) == (2, "")


# -- looking -----------------------------------------------------------------------------------------------------------


def test_show_and_why_tell_who_decided(ingest: Run) -> None:
    """And what the evidence says against it, and why values ended."""
    ingest("set", LENA, "contact_preference", "phone", "--by", "kim")
    ingest("confirm", LENA, "location")
    shown = words(ingest("show", LENA).out)
    assert re.search(r"phone .* set by hand by kim, \d{4}-\d\d-\d\d \d\d:\d\d UTC", shown)
    assert "1 piece of evidence says email" in shown
    assert re.search(r"Lisbon .* confirmed by dora, \d{4}", shown)
    assert re.search(r"Rome .* replaced: “I live in Lisbon.”", shown)
    why = words(ingest("why", LENA, "contact_preference").out)
    assert re.search(r"contact_preference = phone .* set by hand by kim, .* 1 piece of evidence says email", why)
    assert re.search(r"email .* set by kim, \d{4}", why)


def test_a_conflict_shows_both_values_and_the_commands_that_decide(ingest: Run) -> None:
    """Each with its sentence; the command shown is taken as it is."""
    shown = ingest("show", "kim").out
    assert "“I live in Oslo.”" in shown
    assert "“I live in Bergen.”" in shown
    assert re.search(r"Conflict: location is (Oslo or Bergen|Bergen or Oslo)\. Decide with:", shown)
    commands = re.findall(r"^  ingest (set .*)$", shown, re.M)
    assert sorted(commands) == ["set kim location Bergen", "set kim location Oslo"]
    (conflict,) = ingest("show", "kim", "--json").json["traits"][0]["conflicts"]
    assert conflict["evidence"][0]["quote"] == f"I live in {conflict['value']}."
    done = ingest(*shlex.split(commands[0]))
    assert (done.code, "set by hand" in done.out) == (0, True)
    assert "Conflict" not in ingest("show", "kim").out


def test_why_tells_of_a_trait_that_has_no_value_any_more(ingest: Run) -> None:
    ingest("set", LENA, "company", "Acme")
    ingest("clear", LENA, "company")
    done = ingest("why", LENA, "company")
    assert done.code == 0
    assert re.search(r"company has no value now .* Acme .* cleared by dora, \d{4}", words(done.out))
    told = ingest("why", LENA, "company", "--json").json
    assert (told["trait"], told["evidence"]) == (None, [])
    (past,) = told["history"]
    assert (past["value"], past["reason"], past["endedBy"]["edit"]["by"]) == ("Acme", "cleared", "dora")


def test_edits_lists_decisions_newest_first(ingest: Run) -> None:
    """What was said, by whom, and the id by which a rejection is taken back."""
    assert words(ingest("edits", LENA).out) == "Nothing was decided by hand."
    ingest("set", LENA, "interests", '["go", "chess"]')
    ingest("reject", LENA, memory_id(ingest, "Manages"), "--by", "kim")
    ingest("summary", LENA, "Oldest.")
    listed = ingest("edits", LENA)
    lines = [words(line) for line in listed.out.splitlines() if re.match(r" \d{4}", line)]
    assert [re.sub(r"^\S+ \S+ UTC ", "", line)[:-9] for line in lines] == [
        "dora set summary Oldest.",
        "kim reject memory Manages a team of 12 people.",
        "dora set interests go, chess",
    ]
    assert ingest("unreject", LENA, lines[1][-8:]).code == 0
    found = ingest("edits", LENA, "--limit", "2", "--json").json
    assert ([edit["action"] for edit in found["edits"]], found["total"]) == (["unreject", "set"], 4)


def test_text_is_shown_as_text(ingest: Run) -> None:
    """Neither markup nor control characters get through, from wherever the value comes."""
    done = ingest("remember", LENA, "Types \x1b[2J and [bold]bold[/bold].")
    assert "[bold]bold[/bold]" in done.out
    for shown in (done.out, ingest("edits", LENA).out, ingest("show", LENA).out):
        assert "\x1b" not in shown


# -- the audit log -----------------------------------------------------------------------------------------------------


def test_every_read_and_decision_is_in_the_audit_log(ingest: Run) -> None:
    """Newest first; by whom, what, of whom, and none of their data."""
    profile = ingest("show", LENA, "--json").json["profile"]["id"]
    for arguments in (
        ("why", LENA, "location"), ("why", LENA, "shoe_size"), ("set", LENA, "location", "Faro"), ("edits", LENA),
        ("summary", LENA), ("profiles", "--search", "lena"), ("status",), ("show", "kim", "--by", "kim"),
    ):  # fmt: skip
        ingest(*arguments)
    entries = ingest("audit", "--json").json
    assert [(entry["by"], entry["action"], entry["detail"]) for entry in entries] == [
        ("kim", "show", {}),
        ("dora", "show", {"part": "summary"}),
        ("dora", "edits", {}),
        ("dora", "set", {"kind": "trait", "key": "location", "edits": 1}),
        ("dora", "why", {"found": False}),
        ("dora", "why", {"kind": "trait", "key": "location"}),
        ("dora", "show", {}),
    ]
    assert {entry["via"] for entry in entries} == {"cli"}
    assert {entry["profileId"] for entry in entries[1:]} == {profile}
    assert [entry["by"] for entry in ingest("audit", "--profile", "kim", "--json").json] == ["kim"]
    assert len(ingest("audit", "--limit", "2", "--json").json) == 2
    assert ingest("audit", "--since", "2999-01-01", "--json").json == []
    assert len(ingest("audit", "--since", "2020-01-01T12:30", "--json").json) == 7
    table = ingest("audit", "--profile", LENA).out
    assert 'kind="trait", key="location", edits=1' in table
    for text_of_theirs in ("Faro", "Lisbon", "shoe_size", LENA):
        assert text_of_theirs not in table + json.dumps(entries)
    erased = "5f8a4ab2-5a52-4c73-9d28-6f5ad5d6a1f1"
    assert words(ingest("audit", "--profile", erased).out) == "Nothing is recorded."


def test_exports_documents_and_differences_are_recorded(ingest: Run, tmp_path: Path) -> None:
    """An export of all is about nobody in particular."""
    profile = ingest("show", "kim", "--json").json["profile"]["id"]
    (trait,) = ingest("why", "kim", "location", "--json").json["evidence"][:1]
    ingest("document", trait["documentId"], "--by", "kim")
    ingest("diff", "--profile", "kim")
    ingest("diff")
    ingest("export", str(tmp_path / "person"), "--profile", "kim")
    ingest("export", str(tmp_path / "all"), "--format", "csv")
    entries = ingest("audit", "--limit", "4", "--json").json
    assert [(entry["action"], entry["profileId"], entry["detail"]) for entry in entries] == [
        ("export", None, {"format": "csv"}),
        ("export", profile, {"format": "json"}),
        ("diff", profile, {}),
        ("document", profile, {}),
    ]
    assert entries[-1]["by"] == "kim"


def test_what_cannot_be_recorded_is_not_shown(ingest: Run, home: Path) -> None:
    """One line that says so; exit code 2. What is about nobody in particular goes on."""
    engine = create_store_engine(load_settings(home=home).database_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_log RENAME TO elsewhere"))
    engine.dispose()
    for arguments in (("show", LENA), ("why", LENA, "location"), ("edits", LENA), ("summary", LENA)):
        done = ingest(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "nothing is shown or done that is not recorded" in done.err
    assert ingest("set", LENA, "location", "Faro").code == 2
    assert ingest("profiles").code == 0

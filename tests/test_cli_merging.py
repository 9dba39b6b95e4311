"""``ingest merge``, ``ingest split``, ``ingest profiles --duplicates``: shown first, asked, done, in one line each."""

from pathlib import Path

import pytest

from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.lookup import find_profile
from tests.builders import contact, day, record, save, sender
from tests.command_line import Run, runner
from tests.merging import sync

A, B = "kim.park@x.example", "kim.park@y.example"
SHARED = "shared@x.example"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two contacts that may be one person, and a third who shares an address with one of them."""
    engine = open_engine(f"sqlite:///{tmp_path / 'profiles.db'}")
    save(
        engine,
        record(contact(1, A, name="Kim Park"), native_id="1", text="I live in Lisbon.", said=day(1)),
        record(
            contact(2, B, "shared@x.example", name="PARK, Kim"), native_id="2", text="I live in Porto.", said=day(2)
        ),
        record(contact(3, "shared@x.example", name="Lee"), native_id="3", text=""),
        record(sender(B), native_id="4", text="I work at Acme.", said=day(3)),
    )
    sync(engine)
    engine.dispose()
    return tmp_path


@pytest.fixture
def ingest(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(home, monkeypatch, capfd)


def profile_of(home: Path, reference: str) -> str:
    engine = open_engine(f"sqlite:///{home / 'profiles.db'}")
    try:
        return find_profile(engine, reference)
    finally:
        engine.dispose()


def test_merge_shows_what_would_happen_and_asks(ingest: Run, home: Path) -> None:
    one, other = profile_of(home, A), profile_of(home, B)
    shown = ingest("merge", A, B, answer="n")
    assert shown.code == 0
    assert "Merge them? [y/N]" in shown.err
    for expected in (one, other, "Kim Park", "PARK, Kim", "Lisbon / Porto", "in hubspot", "Nothing was changed."):
        assert expected in shown.out, expected
    assert profile_of(home, B) == other
    assert ingest("merge", A, B, answer="y").code == 0
    assert profile_of(home, B) == profile_of(home, other) == one


def test_a_script_says_yes(ingest: Run, home: Path) -> None:
    one, other = profile_of(home, A), profile_of(home, B)
    refused = ingest("merge", A, B)
    assert refused.code == 2
    assert "add --yes" in refused.err
    looked = ingest("merge", A, B, "--json")
    assert (looked.code, looked.err, looked.json["done"]) == (0, "", False)
    assert (looked.json["plan"]["into"]["id"], looked.json["plan"]["other"]["id"]) == (one, other)
    assert looked.json["plan"]["systems"] == ["hubspot"]
    assert {c["key"] for c in looked.json["plan"]["conflicts"]} == {"location"}
    assert profile_of(home, B) == other
    done = ingest("merge", A, B, "--json", "--yes", "--by", "ana")
    assert (done.code, done.json["done"], done.json["profile"]) == (0, True, one)
    assert profile_of(home, B) == one
    assert "ana" in ingest("edits", A).out


def test_the_undo_says_what_it_gives_back(ingest: Run, home: Path) -> None:
    one, other = profile_of(home, A), profile_of(home, B)
    ingest("merge", A, B, "--yes")
    undone = ingest("split", A, "--undo-merge", "--yes")
    assert undone.code == 0
    assert f"It gets back hubspot:h/2, {B} with 2 documents." in undone.out
    assert f"{other} is apart from {one} again" in undone.out
    assert profile_of(home, B) == other
    again = ingest("split", A, "--undo-merge", "--yes")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "nothing was merged" in again.err


def test_split_says_who_keeps_what(ingest: Run, home: Path) -> None:
    one = profile_of(home, B)
    done = ingest("split", B, B, "--yes")
    assert done.code == 0
    assert "keeps hubspot:h/2." in done.out
    assert f"gets {B} with 1 document." in done.out
    new = profile_of(home, B)
    assert f"{new} is apart from {one} now" in done.out
    assert profile_of(home, "hubspot:h/2") == one
    plan = ingest("split", A, A, "--json").json["plan"]
    assert (plan["leaving"], plan["staying"]) == ([A], ["hubspot:h/1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["merge", A, A], "with itself"),
        (["merge", A, "hubspot:h/1"], "one profile already"),
        (["merge", A, "nobody@x.example"], "no profile has this id"),
        (["split", A], "name the identifiers"),
        (["split", A, A, "--undo-merge"], "name the identifiers"),
        (["split", A, "hubspot:h/1"], "all identifiers"),
        (["split", A, B], "no identifier of the profile"),
        (["split", "nobody@x.example", A], "no profile has this id"),
    ],
)
def test_what_cannot_be_done_is_one_line(ingest: Run, arguments: list[str], message: str) -> None:
    refused = ingest(*arguments, "--yes")
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert message in refused.err


def test_duplicates_come_with_the_command_that_merges_them(ingest: Run, home: Path) -> None:
    found = ingest("profiles", "--duplicates")
    assert found.code == 0
    (command,) = [line.strip() for line in found.out.splitlines() if line.startswith("  ingest merge") and
                  profile_of(home, A) in line]  # fmt: skip
    assert "same name, same address before the @ (kim.park)" in found.out
    assert f"both claim {SHARED}" in found.out
    assert ingest(*command.split()[1:], "--yes").code == 0
    assert profile_of(home, A) == profile_of(home, B)
    reasons = [one["reasons"] for one in ingest("profiles", "--duplicates", "--json").json]
    assert reasons == [[f"both claim {SHARED}"]]

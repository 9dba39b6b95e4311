"""``ingest inspect``: the truth about files, without a database, without writing, whatever they are called."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from ingest_pipeline.cli import app
from ingest_pipeline.demo.inbox import generate
from ingest_pipeline.documents import Source
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.inspecting import Inspection, Report, inspect
from ingest_pipeline.reading import read_source
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.contents import describe
from ingest_pipeline.sources.inbox import FOLDERS, open_inbox
from ingest_pipeline.tally import Tally

OPTIONS = ReadOptions(internal_domains=frozenset({"northwind.example"}))
MAIL = "From: Kim <kim{n}@x.example>\nDate: {date}\nMessage-ID: <{n}@x.example>\n\n{text}\n"
DATE = "Mon, 01 Jan 2024 10:00:00 +0000"


def mail(n: int = 1, text: str = "I live in Lisbon.", date: str = DATE) -> str:
    return MAIL.format(n=n, date=date, text=text)


def mbox(*mails: str) -> bytes:
    return "".join(f"From kim@x.example Mon Jan  1 10:00:00 2024\n{one}\n" for one in mails).encode()


def contacts(*ids: str) -> str:
    lines = [f"{native},Kim,Roe {n},kim{n}@x.example,2024-01-0{n}T10:00:00Z,," for n, native in enumerate(ids, 1)]
    return "\n".join(["Id,FirstName,LastName,Email,SystemModstamp,CreatedById,OwnerId", *lines]) + "\n"


def slack() -> bytes:
    buffer = io.BytesIO()
    message = {"type": "message", "user": "U1", "ts": "1704103200.000100", "text": "I live in Lisbon."}
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("users.json", json.dumps([{"id": "U1", "team_id": "T1", "real_name": "Kim", "profile": {}}]))
        archive.writestr("channels.json", json.dumps([{"id": "C1", "name": "general"}]))
        archive.writestr("general/2024-01-01.json", json.dumps([message]))
    return buffer.getvalue()


FILES: dict[str, tuple[str | bytes, str, dict[str, int]]] = {
    "a Salesforce table": (contacts("003A00000000001", "003A00000000002"), "salesforce", {"contact": 2}),
    "a mail": (mail(), "eml", {"mail": 1}),
    "a mailbox": (mbox(mail(1), mail(2)), "mbox", {"mail": 2}),
    "a Slack export": (slack(), "slack", {"conversation_day": 1}),
}


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def look(*paths: Path | str, inbox: Path | str = "/nowhere", limit: int | None = 20) -> Report:
    return inspect([str(path) for path in paths], str(inbox), OPTIONS, limit)


def one(*paths: Path | str, **more: Any) -> Inspection:
    report = look(*paths, **more)
    assert not report.unknown
    (export,) = report.exports
    return export


@pytest.mark.parametrize(("content", "name", "documents"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("called", ["file", "file.bin", "notes.txt"])
def test_the_content_tells_the_format(
    tmp_path: Path, content: str | bytes, name: str, documents: dict[str, int], called: str
) -> None:
    """The file's name does not matter."""
    found = one(put(tmp_path / called, content))
    assert (found.format, dict(found.documents), found.people) == (name, documents, sum(documents.values()))
    assert (found.first, found.last) != (None, None)
    assert not found.rejected


def test_it_counts_what_a_sync_stores(engine: Engine, tmp_path: Path) -> None:
    """Documents that differ, by kind, and the same rejections and omissions, over the whole demo inbox."""
    generate(tmp_path, people=12)
    report = inspect([str(tmp_path)], str(tmp_path), OPTIONS, None)
    inbox = open_inbox(str(tmp_path))
    reads = {source: read_source(engine, inbox, source, OPTIONS) for source in FOLDERS}
    for source, read in reads.items():
        exports = [export for export in report.exports if export.source is source]
        # A mail in two files is told of with each of them.
        in_both = read.saved.unchanged
        assert sum(export.documents.total() for export in exports) == read.saved.new + in_both
        assert sum((export.skipped for export in exports), start=type(read.counts.skipped)()) == read.counts.skipped
        assert sum((export.units for export in exports), start=type(read.counts.units)()) == read.counts.units
        unknown = [one for one in report.unknown if one.file.startswith(f"{source}/")]
        assert sum(export.rejected.total() for export in exports) + len(unknown) == read.counts.rejected


def test_tables_that_belong_together_are_a_folder(tmp_path: Path) -> None:
    """A task refers to somebody whom only the other table names."""
    put(tmp_path / "sf" / "Contact.csv", contacts("003A00000000001"))
    task = "Id,WhoId,Description,SystemModstamp,CreatedById\n00TA00000000001,003A00000000001,Likes tea.,,\n"
    put(tmp_path / "sf" / "Task.csv", task)
    together = one(tmp_path / "sf")
    assert (together.people, together.referred, together.documents) == (1, 0, {"contact": 1, "task": 1})
    assert together.name == f"{tmp_path}/sf"
    alone = one(tmp_path / "sf" / "Task.csv")
    assert (alone.people, alone.referred, alone.documents) == (0, 1, {"task": 1})
    assert alone.name == f"{tmp_path}/sf/Task.csv"
    assert one(tmp_path / "sf" / "Task.csv", tmp_path / "sf" / "Contact.csv").documents == together.documents


def test_a_table_brings_its_mapping(tmp_path: Path) -> None:
    """Which lies beside it."""
    put(tmp_path / "mapping.yaml", "files:\n  - {file: people.csv, id: nr, email: mail, fields: [town]}\n")
    table = put(tmp_path / "people.csv", "nr,mail,town\n1,kim@x.example,Lisbon\n")
    found = one(table)
    assert (found.format, found.people, found.name) == ("mapped", 1, str(table))
    assert one(tmp_path).documents == found.documents


def test_a_folder_of_mails_is_told_of_once(tmp_path: Path) -> None:
    """Whatever its folders."""
    for n in range(3):
        put(tmp_path / f"box{n}" / "cur" / f"17{n}.host:2,S", mail(n))
    put(tmp_path / "all.mbox", mbox(mail(1)))
    eml, box = sorted(look(tmp_path).exports, key=lambda export: export.format)
    assert (eml.format, len(eml.files), eml.documents, eml.name) == ("eml", 3, {"mail": 3}, str(tmp_path))
    assert (box.format, box.documents) == ("mbox", {"mail": 1})


def test_the_same_document_in_two_files_is_one(tmp_path: Path) -> None:
    """As it will be in the store."""
    put(tmp_path / "a.mbox", mbox(mail(1), mail(2)))
    put(tmp_path / "b.mbox", mbox(mail(2), mail(3)))
    found = one(tmp_path)
    assert (found.documents, found.units, found.people) == ({"mail": 3}, {"mail": 4}, 3)


@pytest.mark.parametrize("limit", [0, 2, None])
def test_rejections_are_counted_and_so_many_listed(tmp_path: Path, limit: int | None) -> None:
    """With where and why."""
    path = put(tmp_path / "Contact.csv", contacts("003A00000000001", "x", "y", "z"))
    found = one(path, limit=limit)
    assert (found.people, found.rejected.total()) == (1, 3)
    assert len(found.rejections) == (3 if limit is None else limit)
    for rejected, line in zip(found.rejections, (3, 4, 5), strict=False):
        assert (rejected.file, f"(line {line})" in rejected.position) == (str(path), True)


def test_an_export_of_which_nothing_can_be_used_is_rejected_as_a_whole(tmp_path: Path) -> None:
    """A cut-off zip is no unknown format."""
    path = put(tmp_path / "export.zip", slack()[:-30])
    found = one(path)
    assert found.rejected == {"damaged or no zip": 1} or len(found.rejected) == 1
    assert [rejected.position for rejected in found.rejections] == ["file"]
    assert str(path) not in found.rejections[0].reason


DATES = {
    "in the future": ("Fri, 01 Jan 2100 10:00:00 +0000", "1 dates in the future"),
    "1970": ("Thu, 01 Jan 1970 00:00:00 +0000", "1 dates of a clock that was never set"),
    "of two digits": ("Mon, 01 Jan 24 10:00:00 +0000", "1 years of two digits"),
    "unreadable": ("some day", "1 dates that cannot be read"),
}


@pytest.mark.parametrize(("date", "advice"), DATES.values(), ids=DATES)
def test_doubtful_dates_are_told(tmp_path: Path, date: str, advice: str) -> None:
    """How many, and what becomes of them."""
    found = one(put(tmp_path / "a.eml", mail(date=date)))
    assert [line for line in found.advice() if line.startswith(advice)]


@pytest.mark.parametrize(("order", "told"), [("", "once date_order: dmy (or mdy)"), ("dmy", None)])
def test_an_ambiguous_date_order_is_told_with_the_setting_that_decides_it(
    tmp_path: Path, order: str, told: str | None
) -> None:
    """03/04/2024 in a table of one's own."""
    mapping = "files:\n  - {file: people.csv, id: nr, email: mail, fields: [town], time: seen}\n"
    put(tmp_path / "mapping.yaml", mapping)
    put(tmp_path / "people.csv", "nr,mail,town,seen\n1,kim@x.example,Lisbon,03/04/2024\n")
    if order:
        put(tmp_path / "_source.yaml", f"date_order: {order}\n")
    found = one(tmp_path)
    assert any(told in line for line in found.advice()) if told else not found.advice()
    assert (found.options.date_order, found.options_file) == (order, f"{tmp_path}/_source.yaml" if order else None)


def test_a_chat_whose_dates_read_either_way(tmp_path: Path) -> None:
    """Would be rejected, with the setting to make; once that is made, it is named as what decided."""
    chat = put(tmp_path / "chat.txt", "03/04/24, 10:00 - Kim: I live in Lisbon.\n05/06/24, 10:00 - Kim: Hi\n")
    (reason,) = one(chat).rejected
    assert "date_order: dmy (or mdy) in chat/_source.yaml" in reason
    put(tmp_path / "_source.yaml", "date_order: mdy\n")
    found = one(chat)
    assert not found.rejected
    assert found.first is not None
    assert (found.first.month, found.first.day) == (3, 4)
    assert any(f"date_order: mdy in {tmp_path}/_source.yaml" in line for line in found.advice())


def test_the_settings_of_the_nearest_folder_hold(tmp_path: Path) -> None:
    """Beside the file or above it; what they are is told."""
    put(tmp_path / "_source.yaml", "internal_domains: [x.example]\n")
    put(tmp_path / "near" / "_source.yaml", "timezone: Europe/Berlin\n")
    far = one(put(tmp_path / "a.eml", mail()))
    assert (far.skipped, far.options_file) == ({"internal_sender": 1}, f"{tmp_path}/_source.yaml")
    near = one(put(tmp_path / "near" / "a.eml", mail()))
    assert (near.options.timezone, near.skipped) == ("Europe/Berlin", {})
    put(tmp_path / "near" / "_source.yaml", "timezone: Europe\n")
    report = look(tmp_path)
    assert report.wrong_settings == {
        f"{tmp_path}/near/_source.yaml": "timezone must be an IANA zone such as Europe/Berlin"
    }
    assert [file for export in report.exports for file in export.files] == [f"{tmp_path}/a.eml"]
    assert report.is_rejected


def test_inside_the_inbox_its_rules_hold(tmp_path: Path) -> None:
    """Settings of the source's folder, names as in lineage, only the formats of that folder."""
    put(tmp_path / "email" / "_source.yaml", "internal_domains: [x.example]\n")
    found = one(put(tmp_path / "email" / "old" / "a.eml", mail()), inbox=tmp_path)
    assert (found.files, found.skipped) == (["email/old/a.eml"], {"internal_sender": 1})
    report = look(put(tmp_path / "email" / "slack.zip", slack()), inbox=tmp_path)
    assert [one.what for one in report.unknown] == ["slack, which is read from chat/ and not from email/: move it"]


UNKNOWN = {
    "a PDF": (b"%PDF-1.7", "a PDF"),
    "gzip": (b"\x1f\x8b\x08\0", "compressed with gzip: unpack it first"),
    "an image": (b"\x89PNG\r\n", "an image"),
    "a web page": (b"<html>", "HTML or XML"),
    "JSON": (b'{"a": 1}', "JSON of no known export"),
    "nothing": (b" \n", "empty"),
    "bytes": (b"\x01\x00\x02", "binary"),
    "a text": (b"Hello there", "text of no known shape"),
    "a table": (b"a,b\n1,2\n", "perhaps a table of 2 columns"),
}


@pytest.mark.parametrize(("head", "what"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_no_reader_takes_is_described(head: bytes, what: str) -> None:
    """With what to do, where something can be done."""
    assert describe(head).startswith(what)


def test_a_workbook_is_told_from_other_zips() -> None:
    """It begins as every zip does."""
    for member, what in (("xl/workbook.xml", "an Excel workbook"), ("a.txt", "a zip that holds no known export")):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(member, "x")
        assert describe(buffer.getvalue()).startswith(what)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Callable[[str, bytes], str]]:
    fs = fsspec.filesystem("memory")
    root = f"/{tmp_path.name}"

    def write(name: str, content: bytes) -> str:
        fs.pipe(f"{root}/{name}", content)
        return f"memory:/{root}/{name}"

    yield write
    fs.rm(root, recursive=True)


def test_any_file_system_will_do(memory: Callable[[str, bytes], str], tmp_path: Path) -> None:
    """A file in memory, its folder with settings, and a member of a zip."""
    url = memory("a.bin", mbox(mail(1)))
    assert one(url).documents == {"mail": 1}
    memory("_source.yaml", b"internal_domains: [x.example]")
    assert one(url).skipped == {"internal_sender": 1}
    assert one(url.removesuffix("/a.bin")).skipped == {"internal_sender": 1}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("in/a.bin", mbox(mail(1)))
    assert one(f"zip://in/a.bin::{tmp_path}/all.zip").documents == {"mail": 1}
    assert one(f"zip://in::{tmp_path}/all.zip").documents == {"mail": 1}


@pytest.mark.parametrize("url", ["{tmp}/nowhere", "memory://nowhere/a", "gopher://host/a", "zip://a::{tmp}/none.zip"])
def test_what_is_not_there_is_said_in_one_line(tmp_path: Path, url: str) -> None:
    """With the name as it was given."""
    with pytest.raises(ConfigurationError) as error:
        look(url.format(tmp=tmp_path))
    assert "\n" not in str(error.value)
    assert url.format(tmp=tmp_path) in str(error.value)


def test_a_tally_counts_each_key_once() -> None:
    """Under the greater label; more keys than one batch."""
    with Tally() as tally:
        for n in range(25_000):
            tally.add("", "a", str(n))
        for n in range(20_000, 26_000):
            tally.add("b", "a", str(n))
        assert tally.counts() == {"": 20_000, "b": 6_000}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """The command in an empty home."""
    monkeypatch.setenv("INGEST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["inspect", *arguments])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return run


Command = Callable[..., tuple[int, str, str]]


def test_the_exit_code_tells_scripts(command: Command, tmp_path: Path) -> None:
    """0: all of it would be read. 1: something would be rejected. 2: the format is unknown."""
    good = str(put(tmp_path / "in" / "a.mbox", mbox(mail(1))))
    bad = str(put(tmp_path / "in" / "b.eml", "Subject: x\nDate: x\nTo: x\n\nHello\n"))
    other = str(put(tmp_path / "other" / "c.pdf", b"%PDF"))
    assert command(good)[0] == 0
    assert command(bad)[0] == 1
    assert command(good, bad)[0] == 1
    assert command(good, other)[0] == 2
    assert command(str(tmp_path / "other"))[0] == 2
    assert command(str(tmp_path / "in"))[0] == 1
    put(tmp_path / "in" / "readme.pdf", b"%PDF")
    assert command(str(tmp_path / "in"))[0] == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    assert command(str(empty))[0] == 2


def test_wrong_settings_of_a_folder_are_one_line(command: Command, tmp_path: Path) -> None:
    """However many files they hold for; the other folders are looked at."""
    for name in ("near/a.eml", "near/b.eml", "far/a.eml"):
        put(tmp_path / "in" / name, mail())
    put(tmp_path / "in" / "near" / "_source.yaml", "timezone: Europe\n")
    code, out, _ = command(str(tmp_path / "in"))
    assert code == 1
    assert out.count("near/_source.yaml: timezone must be an IANA zone") == 1
    assert "documents   1" in out
    code, out, _ = command(str(tmp_path / "in" / "near"), "--json")
    (wrong,) = json.loads(out)["wrong_settings"]
    assert (code, wrong["why"]) == (1, "timezone must be an IANA zone such as Europe/Berlin")


def test_an_unknown_format_is_answered_with_the_known_ones(command: Command, tmp_path: Path) -> None:
    """And with what the file seems to be."""
    path = put(tmp_path / "c.pdf", b"%PDF")
    _, out, err = command(str(path))
    assert "a PDF" in out
    assert "tried for crm/: mapped, salesforce, hubspot" in out
    assert "tried for chat/: slack" in out
    assert "no known format" in err
    found = json.loads(command(str(path), "--json")[1])
    assert found["unknown"] == [{"file": str(path), "what": "a PDF", "named": True}]
    assert {"format": "slack", "source": "chat"} in found["formats"]


def test_nothing_is_written(command: Command, tmp_path: Path) -> None:
    """No database, no home, no file."""
    put(tmp_path / "in" / "Contact.csv", contacts("003A00000000001", "x"))
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = command(str(tmp_path / "in"))
    assert (code, sorted(tmp_path.rglob("*"))) == (1, before)
    assert not (tmp_path / "home").exists()
    assert "Nothing was written." in out


def test_what_it_shows(command: Command, tmp_path: Path) -> None:
    """Format, people, documents by kind, dates, omissions, doubts, settings, rejections; no text of anybody's."""
    crm = put(tmp_path / "Contact.csv", contacts("003A00000000001", "003A00000000002", *("x" * n for n in range(1, 4))))
    _, out, _ = command(str(crm))
    for part in ("salesforce, read from crm/", "people      2", "2 (contact 2)", "2024-01-01 to 2024-01-02",
                 "timezone UTC", "no _source.yaml", "Would be rejected: 3", "row 3 (line 4)"):  # fmt: skip
        assert part in out
    assert "kim1@x.example" not in out
    put(tmp_path / "_source.yaml", "internal_domains: [x.example]\ntimezone: Europe/Berlin\n")
    _, out, _ = command(str(put(tmp_path / "a.mbox", mbox(mail(1)))))
    assert "internal_sender 1" in out
    assert f"timezone Europe/Berlin; internal_domains x.example; phone_region none; date_order none ({tmp_path}" in out


def test_json_holds_the_same(command: Command, tmp_path: Path) -> None:
    """Under names of its own, with the rejections."""
    path = put(tmp_path / "Contact.csv", contacts("003A00000000001", *(["x"] * 25)))
    _, out, _ = command(str(path), "--json")
    (export,) = json.loads(out)["exports"]
    assert (export["format"], export["source"], export["people"]) == ("salesforce", "crm", 1)
    assert (export["documents"], export["first"]) == ({"contact": 1}, "2024-01-01T10:00:00+00:00")
    assert (sum(export["rejected"].values()), len(export["rejections"])) == (25, 20)
    assert set(export["rejections"][0]) == {"file", "position", "reason"}
    assert export["options"]["file"] is None
    _, out, _ = command(str(path), "--json", "--all")
    assert len(json.loads(out)["exports"][0]["rejections"]) == 25


@pytest.mark.parametrize("source", [Source.CRM, Source.EMAIL, Source.CHAT])
def test_the_demo_inbox_holds_what_it_should(tmp_path: Path, source: Source) -> None:
    """One folder of it at a time, as a copy outside any inbox."""
    generate(tmp_path, people=12)
    report = look(tmp_path / source.value)
    assert {export.source for export in report.exports} == {source}
    assert all(export.documents for export in report.exports)

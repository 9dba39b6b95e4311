"""The inbox: three folders on any file system, files by name with size and time, or one line that says what to do."""

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ingest_pipeline.documents import Source
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.inbox import lasting_name, open_inbox, sha256

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("crm/sf/Contact.csv", "crm/b.csv", "email/.hidden", "email/Maildir/cur/1:2,S", "crm/__MACOSX/b.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("hello")
    return tmp_path


def test_files_come_by_name_without_the_hidden_ones(root: Path) -> None:
    inbox = open_inbox(str(root))
    assert [file.name for file in inbox.files(Source.CRM)] == ["crm/b.csv", "crm/sf/Contact.csv"]
    assert [file.name for file in inbox.files(Source.EMAIL)] == ["email/Maildir/cur/1"]
    assert list(inbox.files(Source.CHAT)) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("email/box/cur/17.M1P2.host:2,RS", "email/box/cur/17.M1P2.host"),
        ("email/box/cur/17.M1P2.host,U=5:2,", "email/box/cur/17.M1P2.host,U=5"),
        ("email/box/cur/17.M1P2.host;2,S", "email/box/cur/17.M1P2.host"),
        ("email/box/new/17.M1P2.host", "email/box/cur/17.M1P2.host"),
        ("email/cur/17.host!2,S", "email/cur/17.host"),
        ("email/box/tmp/17.M1P2.host", "email/box/tmp/17.M1P2.host"),
        ("email/new/17.eml", "email/new/17.eml"),
        ("email/new/letter", "email/new/letter"),
        ("crm/new/17.csv", "crm/new/17.csv"),
    ],
)
def test_a_maildir_message_has_one_name(path: str, name: str) -> None:
    """From its delivery on, whatever folder and flags its program gives it; other files keep theirs."""
    assert lasting_name(path) == name


def test_a_message_seen_in_new_and_cur_is_one_file(tmp_path: Path) -> None:
    """And Maildir++ folders are read, though their names begin with a dot; what was thrown away is not."""
    names = ("cur/17.a:2,S", "new/17.a", "cur/18.b", "new/18.b", ".Sent/cur/19.c:2,S", ".Trash/cur/20.d", ".x/a.eml")
    for name in names:
        path = tmp_path / "email" / "box" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("hello")
    files = open_inbox(str(tmp_path)).files(Source.EMAIL)
    assert [file.name for file in files] == ["email/box/.Sent/cur/19.c", "email/box/cur/17.a", "email/box/cur/18.b"]


@pytest.mark.parametrize("url", ["{root}", "{root}/", "file://{root}"])
def test_size_time_and_content_of_a_local_file(root: Path, url: str) -> None:
    os.utime(root / "crm" / "b.csv", (1_700_000_000, 1_700_000_000.5))
    file, _ = open_inbox(url.format(root=root)).files(Source.CRM)
    assert (file.name, file.size, file.mtime, sha256(file)) == ("crm/b.csv", 5, 1_700_000_000.5, HELLO)
    with file.opener() as first, file.opener() as second:
        assert first.read() == second.read() == b"hello"
        first.seek(1)
        assert first.read() == b"ello"


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[str]:
    fs: MemoryFileSystem = fsspec.filesystem("memory")
    name = f"/{tmp_path.name}"
    fs.pipe(f"{name}/chat/a.zip", b"hello")
    yield f"memory:/{name}"
    fs.rm(name, recursive=True)


def test_a_remote_inbox_is_read_the_same_way(remote: str) -> None:
    (file,) = open_inbox(remote).files(Source.CHAT)
    assert (file.name, file.size, sha256(file)) == ("chat/a.zip", 5, HELLO)
    assert file.mtime > 1_700_000_000


def test_a_zip_may_be_the_inbox(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "inbox.zip", "w") as archive:
        archive.writestr("email/a.eml", "hello")
    (file,) = open_inbox(f"zip://::{tmp_path / 'inbox.zip'}").files(Source.EMAIL)
    assert (file.name, sha256(file)) == ("email/a.eml", HELLO)


def test_what_lies_beside_the_folders_is_named(root: Path) -> None:
    assert open_inbox(str(root)).strangers() == []
    (root / "mails").mkdir()
    (root / "my.mbox").write_text("x")
    (root / ".DS_Store").write_text("x")
    assert open_inbox(str(root)).strangers() == ["mails/", "my.mbox"]


def test_a_link_to_a_file_is_read_and_one_to_nothing_says_so_when_opened(root: Path) -> None:
    (root / "chat").mkdir()
    (root / "chat" / "a.zip").symlink_to(root / "crm" / "b.csv")
    (root / "chat" / "b.zip").symlink_to(root / "nowhere")
    first, second = open_inbox(str(root)).files(Source.CHAT)
    assert sha256(first) == HELLO
    with pytest.raises(FileNotFoundError):
        sha256(second)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{tmp}/nowhere", "does not exist; create it"),
        ("{tmp}", "none of the folders crm/, email/, chat/"),
        ("{tmp}/file", "does not exist"),
        ("gopher://host/inbox", "check INGEST_INBOX"),
        ("zip://::{tmp}/file", "check INGEST_INBOX"),
        ("zip://::{tmp}/nowhere.zip", "check INGEST_INBOX"),
    ],
)
def test_what_is_no_inbox_is_refused_in_one_line(tmp_path: Path, url: str, message: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match=message) as error:
        open_inbox(url.format(tmp=tmp_path))
    assert "\n" not in str(error.value)


def test_a_folder_may_have_settings_of_its_own(root: Path) -> None:
    (root / "crm" / "_source.yaml").write_text(
        "internal_domains: [Own.example]\ntimezone: Europe/Berlin\nphone_region: de\n"
        "date_order: dmy\nworkspace: north\nexclude_columns: [Birth  Date]\nstaff: [Sam  Roe, user5]"
    )
    inbox, general = open_inbox(str(root)), ReadOptions(internal_domains=frozenset({"all.example"}))
    assert inbox.options(Source.CRM, general) == ReadOptions(
        frozenset({"all.example", "own.example"}), phone_region="DE", timezone="Europe/Berlin", date_order="dmy",
        workspace="north", exclude_columns=frozenset({"birth date"}),
        staff=frozenset({"sam roe", "user5"}),
    )  # fmt: skip
    assert inbox.options(Source.EMAIL, general) == general
    assert "crm/_source.yaml" not in [file.name for file in inbox.files(Source.CRM)]


def test_settings_of_a_folder_are_texts(root: Path) -> None:
    """Norway is not taken for "no", an id not for a number."""
    (root / "crm" / "_source.yaml").write_text("phone_region: NO\nstaff: [80351110224678912]\nworkspace: 2024-01-02\n")
    found = open_inbox(str(root)).options(Source.CRM, ReadOptions())
    assert (found.phone_region, found.staff, found.workspace) == ("NO", {"80351110224678912"}, "2024-01-02")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("timezone: Europe", "timezone must be"),
        ("phone_region: Germany", "two-letter"),
        ("internal_domains: own.example", "must be a list"),
        ("exclude_columns: 1", "must be a list of column labels"),
        ("staff: [[a]]", "must be a list of names or ids"),
        ("timezone: 2024-99-99", "timezone must be"),
        ("timezone: !!int x", "timezone must be"),
        ("date_order: !!timestamp x", "date_order must be one of"),
        ("2024-13-45: a", "unknown setting '2024-13-45'"),
        ("date_order: us", "date_order must be one of dmy, mdy, ymd"),
        ("workspace: [a]", "workspace must be a name"),
        ("domains: []", "unknown setting 'domains'"),
        ("- a", "expected lines"),
        ("a: [", "not YAML at line"),
    ],
)
def test_a_wrong_setting_of_a_folder_is_named_with_its_file(root: Path, content: str, message: str) -> None:
    (root / "crm" / "_source.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match=f"crm/_source.yaml: .*{message}"):
        open_inbox(str(root)).options(Source.CRM, ReadOptions())

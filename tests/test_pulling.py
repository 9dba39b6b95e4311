"""Mail over IMAP: only what is new is asked for, nothing is marked, nothing appears twice, against a real server."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from imap_tools import BaseMailBox, MailMessageFlags
from sqlalchemy import Engine

from ingest_pipeline.changes import ReadReport
from ingest_pipeline.documents import Source
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.pulling import pull_mail
from ingest_pipeline.settings import load_settings
from ingest_pipeline.sources import imap
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.imap_account import ImapServer, parse_imap_url
from ingest_pipeline.store.documents import Saved
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.tables import DocumentRow, FileRow, Rejection
from tests.builders import rows
from tests.imap_server import PASSWORD, USER, Relay, account, imap_server, logged_in

_numbers = itertools.count()
QUIET = ["CAPABILITY", "LOGIN", "STATUS", "LOGOUT"]


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with imap_server() as port:
        yield port


@pytest.fixture(scope="module")
def relay(server: int) -> Iterator[Relay]:
    with Relay(server) as relay:
        thread = threading.Thread(target=relay.serve_forever, daemon=True)
        thread.start()
        yield relay
        relay.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def box(server: int) -> Iterator[BaseMailBox]:
    with logged_in(server) as box:
        yield box


def mail(number: int, text: str = "", more: str = "") -> bytes:
    head = (
        f"From: Kim <kim{number}@x.example>\nMessage-ID: <{number}@x.example>\nDate: Mon, 1 Jan 2024 10:00:00 +0000\n"
    )
    return f"{head}{more}\n{text or f'Mail {number}.'}\n".replace("\n", "\r\n").encode()


def large(number: int, size: int) -> bytes:
    """With an attachment, which is downloaded and not read."""
    part = "Content-Type: application/octet-stream\nContent-Disposition: attachment\n\n" + ("x" * 76 + "\n") * (
        size // 77
    )
    body = f"--b\nContent-Type: text/plain\n\nMail {number}.\n--b\n{part}\n--b--"
    return mail(number, body, 'Content-Type: multipart/mixed; boundary="b"\n')


@dataclass
class Folder:
    """A folder of the account, and pulling it."""

    engine: Engine
    relay: Relay
    box: BaseMailBox
    name: str
    options: ReadOptions = field(default_factory=ReadOptions)

    def put(self, *mails: bytes, flags: tuple[str, ...] = ()) -> None:
        for each in mails:
            self.box.append(each, self.name, flag_set=flags)

    def pull(self, *folders: str) -> ReadReport:
        report = ReadReport(Source.EMAIL)
        self.relay.commands()
        pull_mail(self.engine, account(self.relay.port, *(folders or (self.name,))), self.options, report, "run")
        return report

    def asked_for(self) -> list[bytes]:
        """UID sets of the bodies asked for."""
        return [line.split()[3] for line in self.relay.asked if b"BODY" in line]

    def texts(self) -> list[str]:
        return sorted(row.text for row in rows(self.engine, DocumentRow))

    def rejected(self) -> list[tuple[str, str]]:
        return sorted((row.position, row.reason) for row in rows(self.engine, Rejection))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'local.db'}")
    yield engine
    engine.dispose()


def new_folder(engine: Engine, relay: Relay, box: BaseMailBox) -> Folder:
    name = f"Folder {next(_numbers)}"
    box.folder.create(name)
    return Folder(engine, relay, box, name)


@pytest.fixture
def folder(local: Engine, relay: Relay, box: BaseMailBox) -> Folder:
    return new_folder(local, relay, box)


def test_only_what_is_new_is_asked_for(folder: Folder) -> None:
    """The first pull reads all, the second asks for the folder's state only, the third fetches the one new mail."""
    folder.put(mail(1), mail(2))
    assert folder.pull().saved == Saved(new=2)
    assert folder.asked_for() == [b"101,102"]
    report = folder.pull()
    assert (report.files, report.unchanged, report.saved) == (0, 1, Saved())
    assert folder.relay.commands() == QUIET
    folder.put(mail(3))
    report = folder.pull()
    assert (report.files, report.saved, folder.asked_for()) == (1, Saved(new=1), [b"103"])
    assert folder.texts() == ["Mail 1.", "Mail 2.", "Mail 3."]
    [row] = rows(folder.engine, FileRow)
    assert row.counts["documents"] == 3
    assert row.name.startswith(f"imap/127.0.0.1:{folder.relay.port}/")
    assert "ana" not in row.name


def test_an_empty_folder(folder: Folder) -> None:
    """Is no trouble, now and later."""
    assert folder.pull().saved == Saved()
    folder.pull()
    assert folder.relay.commands() == QUIET
    folder.put(mail(1))
    assert folder.pull().saved == Saved(new=1)


def test_nothing_is_marked_as_read(folder: Folder) -> None:
    """Whoever reads the mailbox sees no difference."""
    folder.put(mail(1))
    folder.pull()
    folder.box.folder.set(folder.name)
    assert [message.flags for message in folder.box.fetch(mark_seen=False)] in ([()], [(MailMessageFlags.RECENT,)])


def test_a_renumbered_folder_is_read_again_without_doubles(engine: Engine, relay: Relay, box: BaseMailBox) -> None:
    """After UIDVALIDITY changed: what is known stays one document, what is new is added. On both databases."""
    folder = new_folder(engine, relay, box)
    folder.put(mail(1), mail(2), mail(3))
    folder.pull()
    folder.box.folder.delete(folder.name)
    folder.box.folder.create(folder.name)
    folder.put(mail(2), mail(3), mail(4))
    report = folder.pull()
    assert (report.saved, folder.asked_for()) == (Saved(new=1, unchanged=2), [b"101,102,103"])
    assert folder.texts() == ["Mail 1.", "Mail 2.", "Mail 3.", "Mail 4."]
    folder.pull()
    assert folder.relay.commands() == QUIET


def test_a_changed_setting_reads_a_folder_again(folder: Folder) -> None:
    """As it does for files."""
    folder.put(mail(1))
    folder.pull()
    folder.options = replace(folder.options, timezone="Europe/Berlin")
    assert folder.pull().saved == Saved(unchanged=1)
    folder.pull()
    assert folder.relay.commands() == QUIET


def test_a_lost_connection_costs_nothing_that_was_read(folder: Folder) -> None:
    """What came before it is stored, the loss is one rejection, and the next pull asks for the rest only."""
    folder.put(*(large(number, 3_000_000) for number in (1, 2, 3)), mail(4))
    folder.relay.cut_after = 7_000_000
    report = folder.pull()
    assert folder.asked_for() == [b"101,102", b"103,104"]
    assert (report.saved, report.counts.rejected) == (Saved(new=2), 1)
    assert folder.rejected() == [("file", "cannot be read: connection lost; the next run tries it again")]
    report = folder.pull()
    assert (report.saved, folder.asked_for(), folder.rejected()) == (Saved(new=2), [b"103,104"], [])
    assert folder.texts() == ["Mail 1.", "Mail 2.", "Mail 3.", "Mail 4."]


def test_a_message_over_the_limit_is_not_downloaded(folder: Folder) -> None:
    """It is rejected by the size that the server tells, and stays so."""
    folder.options = ReadOptions(max_message_bytes=10_000)
    folder.put(mail(1), large(2, 20_000), mail(3))
    report = folder.pull()
    assert (report.saved, folder.asked_for()) == (Saved(new=2), [b"101,103"])
    assert folder.rejected() == [("uid 102", "the message is larger than 10000 bytes")]
    folder.pull()
    assert len(folder.rejected()) == 1


def test_drafts_and_deleted_messages_are_left_out(folder: Folder) -> None:
    """By their flags, without being fetched."""
    folder.put(mail(1), flags=(MailMessageFlags.DRAFT,))
    folder.put(mail(2), flags=(MailMessageFlags.DELETED, MailMessageFlags.SEEN))
    report = folder.pull()
    assert dict(report.counts.skipped) == {"draft": 1, "trash": 1}
    assert folder.asked_for() == []


def test_broken_mails_stop_nothing(folder: Folder) -> None:
    """Each is one item, as in a file; without a Date the server's counts."""
    folder.put(b"no header\r\n", b"\r\n", mail(1), b"From: kim@x.example\r\n\r\nUndated.\r\n")
    report = folder.pull()
    assert (report.saved, report.counts.rejected) == (Saved(new=2), 1)
    undated = next(row for row in rows(folder.engine, DocumentRow) if row.text == "Undated.")
    assert (undated.metadata["date_source"], undated.position) == ("internal_date", "uid 104")
    assert undated.occurred_at is not None


@pytest.mark.parametrize("name", ["Entwürfe & Notizen", 'Say "hi"', "日本/語"])
def test_any_folder_name(folder: Folder, name: str) -> None:
    """Names are encoded as the protocol wants them (modified UTF-7)."""
    name = f"{name} {next(_numbers)}"
    folder.box.folder.create(name)
    folder.box.append(mail(1), name)
    assert folder.pull(folder.name, name).saved == Saved(new=1)
    folder.pull(folder.name, name)
    assert folder.relay.commands() == [*QUIET[:3], *QUIET[2:]]


@pytest.mark.parametrize("password", ["wrong", "fälsch"])
def test_a_refused_login_is_one_line(relay: Relay, local: Engine, password: str) -> None:
    """It names the settings and neither password nor user."""
    with pytest.raises(ConfigurationError) as error:
        pull_mail(local, account(relay.port, "INBOX", password=password), ReadOptions(), ReadReport(Source.EMAIL))
    assert "INGEST_IMAP_PASSWORD" in str(error.value)
    assert not any(part in str(error.value) for part in ("\n", password, USER, "ana"))
    assert error.value.__suppress_context__


def test_a_folder_that_is_not_there(folder: Folder) -> None:
    """Is named with its setting; what was read before it stays."""
    folder.put(mail(1))
    with pytest.raises(ConfigurationError, match=r"no folder 'Nowhere'.*INGEST_IMAP_FOLDERS"):
        folder.pull(folder.name, "Nowhere")
    assert folder.texts() == ["Mail 1."]


def test_a_server_that_does_not_answer(local: Engine) -> None:
    """Is a rejection like a file that cannot be opened, not the end of the run."""
    report = ReadReport(Source.EMAIL)
    pull_mail(local, account(1, "INBOX"), ReadOptions(), report)
    assert report.counts.rejected == 1
    [rejection] = rows(local, Rejection)
    assert rejection.reason == "cannot be read: Connection refused; the next run tries it again"


def test_groups_are_bounded() -> None:
    """In bytes and in number; what is not downloaded weighs nothing, and every message is in one group, in order."""
    sizes = [1_000, 7_999_000, 1, 9_000_000, 20_000_000, *[0] * 450]
    listed = [imap._Listed(uid, size, None, b"") for uid, size in enumerate(sizes)]
    groups = list(imap._groups(listed, 10_000_000))
    assert [message for group in groups for message in group] == listed
    assert [len(group) for group in groups] == [2, 1, 1, 200, 200, 51]


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("imaps://ana@mail.example/", ImapServer("mail.example", 993, "ana", True)),
        ("imaps://ana%40x.example@mail.example:9993", ImapServer("mail.example", 9993, "ana@x.example", True)),
        ("imap://ana@localhost", ImapServer("localhost", 143, "ana", False)),
        ("imap://ana@[::1]:1143/", ImapServer("::1", 1143, "ana", False)),
    ],
)
def test_accounts(url: str, server: ImapServer) -> None:
    """Address, port and user; without encryption on this machine only."""
    assert parse_imap_url(url) == server
    assert "ana" not in repr(server)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("imap://ana@mail.example/", "write imaps://"),
        ("imaps://ana:secret@mail.example/", "INGEST_IMAP_PASSWORD"),
        ("imaps://mail.example/", "write imaps://user@host"),
        ("imaps://ana@mail.example/INBOX", "INGEST_IMAP_FOLDERS"),
        ("https://ana@mail.example/", "write imaps://user@host"),
        ("imaps://ana@mail.example:x/", "port must be a number"),
        ("ana@mail.example", "write imaps://user@host"),
    ],
)
def test_wrong_addresses_are_refused(monkeypatch: pytest.MonkeyPatch, url: str, message: str) -> None:
    """With the variable's name, what to write, and nothing of what was written."""
    monkeypatch.setenv("INGEST_IMAP_URL", url)
    with pytest.raises(ConfigurationError, match=f"INGEST_IMAP_URL: .*{message}") as error:
        load_settings()
    assert "secret" not in str(error.value)


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """None set: no account. The password is needed and never shown."""
    assert load_settings().imap_account() is None
    monkeypatch.setenv("INGEST_IMAP_URL", "imaps://ana@mail.example/")
    with pytest.raises(ConfigurationError, match="INGEST_IMAP_PASSWORD"):
        load_settings().imap_account()
    monkeypatch.setenv("INGEST_IMAP_PASSWORD", PASSWORD)
    found = load_settings().imap_account()
    assert found is not None
    assert found.folders == ("INBOX",)
    assert PASSWORD not in f"{found} {load_settings()}"
    monkeypatch.setenv("INGEST_IMAP_FOLDERS", "INBOX, Sent Items")
    assert load_settings().imap_folders == ("INBOX", "Sent Items")

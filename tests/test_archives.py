"""Zip exports are read within limits; an archive that breaks a rule is refused with its reason."""

import io
import stat
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources import archives
from ingest_pipeline.sources.archives import open_zip
from ingest_pipeline.sources.base import ReadOptions, SourceFile

OPTIONS = ReadOptions()


def source(data: bytes, name: str = "crm/export.zip") -> SourceFile:
    return SourceFile(name, len(data), 0.0, lambda: io.BytesIO(data))


def zipped(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the duplicate name that a test wants
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name, content in members:
                archive.writestr(name, content)
    return buffer.getvalue()


def linked() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("Contact.csv")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped(("a.csv", b"Id")))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def read_all(data: bytes, options: ReadOptions = OPTIONS) -> dict[str, bytes]:
    with open_zip(source(data), options) as archive:
        contents = {}
        for name in archive.names():
            with archive.open(name) as member:
                contents[name] = member.read()
        return contents


def test_regular_members_are_read_in_archive_order() -> None:
    data = zipped(
        ("b/Task.csv", b"Id\n1"), ("__MACOSX/b/._Task.csv", b"x"), ("a.csv", b""), (".DS_Store", b"x"), ("d/", b"")
    )
    assert list(read_all(data).items()) == [("b/Task.csv", b"Id\n1"), ("a.csv", b"")]


def test_sizes_are_known_before_reading() -> None:
    with open_zip(source(zipped(("a", b"12345"))), OPTIONS) as archive:
        assert archive.size("a") == 5


def test_closing_a_member_closes_its_stream() -> None:
    with open_zip(source(zipped(("a", b"12345"))), OPTIONS) as archive:
        member = archive.open("a")
        member.close()
        assert member.closed


REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("parent", lambda: zipped(("../a.csv", b"")), "points outside"),
    ("nested parent", lambda: zipped(("a/../../b.csv", b"")), "points outside"),
    ("backslash parent", lambda: zipped(("a\\..\\b.csv", b"")), "points outside"),
    ("absolute", lambda: zipped(("/etc/a.csv", b"")), "points outside"),
    ("drive", lambda: zipped(("C:/a.csv", b"")), "points outside"),
    ("link", linked, "is a link"),
    ("duplicate", lambda: zipped(("a.csv", b"1"), ("a.csv", b"2")), "member 2 of the zip has the name of another"),
    ("encrypted", encrypted, "is encrypted"),
    ("lzma", lambda: zipped(("a.csv", b"x"), compression=zipfile.ZIP_LZMA), "other than deflate"),
    ("bomb", lambda: zipped(("a.csv", b"\0" * 3_000_000)), "inflates over 200 times"),
    ("bomb in parts", lambda: zipped(*((f"{n}.csv", b"\0" * 900_000) for n in range(9))), "the zip inflates over 200"),
    ("empty file", lambda: b"", "damaged"),
    ("no zip", lambda: b"Id,Name\n", "damaged"),
    ("cut off", lambda: zipped(("a.csv", b"x" * 5000))[:-60], "damaged"),
]


@pytest.mark.parametrize(("data", "reason"), [pytest.param(d, r, id=i) for i, d, r in REFUSED])
def test_an_archive_that_breaks_a_rule_is_refused_with_its_name_and_reason(
    data: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(UnreadableFile, match=reason) as refusal:
        read_all(data())
    assert str(refusal.value).startswith("crm/export.zip: ")


def test_a_member_over_the_size_limit_is_refused() -> None:
    data = zipped(("a.csv", b"x" * 101))
    assert read_all(data, replace(OPTIONS, max_member_bytes=101))
    with pytest.raises(UnreadableFile, match="larger than 100 bytes"):
        read_all(data, replace(OPTIONS, max_member_bytes=100))


def test_a_mailbox_or_video_of_some_gigabytes_is_no_bomb() -> None:
    """Members are streamed: their size is bounded for the time that they take, not for memory."""
    data = bytearray(zipped(("Takeout/Mail/All mail.mbox", b"x"), ("b.csv", b"x")))
    entry = data.index(b"PK\x01\x02")
    data[entry + 20 : entry + 24] = data[entry + 24 : entry + 28] = (4_000_000_000).to_bytes(4, "little")
    file = SourceFile("email/takeout.zip", 4_000_000_000, 0.0, lambda: io.BytesIO(data))
    with open_zip(file, OPTIONS) as archive:
        assert archive.size("Takeout/Mail/All mail.mbox") == 4_000_000_000


def test_more_members_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1)
    with pytest.raises(UnreadableFile, match="holds 2 members, more than 1"):
        read_all(zipped(("a", b""), ("b", b"")))


def test_a_size_that_lies_does_not_inflate_further() -> None:
    data = bytearray(zipped(("a.csv", b"\0" * 5_000_000)))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    with pytest.raises(UnreadableFile, match="damaged"):
        read_all(bytes(data))


def test_damaged_content_is_found_while_reading() -> None:
    data = bytearray(zipped(("a.csv", bytes(range(256)) * 300)))
    data[60] ^= 0xFF
    with pytest.raises(UnreadableFile, match="damaged"):
        read_all(bytes(data))


def test_a_failure_of_the_storage_is_not_blamed_on_the_archive() -> None:
    class Storage(io.BytesIO):
        lost = False

        def read(self, size: int | None = -1) -> bytes:
            if self.lost:
                raise ConnectionResetError("gone")
            return super().read(size)

    storage = Storage(zipped(("a", b"12345")))
    with open_zip(SourceFile("a.zip", 10, 0.0, lambda: storage), OPTIONS) as archive:
        storage.lost = True
        with pytest.raises(ConnectionResetError):
            archive.open("a")


@given(st.binary(max_size=400), st.data())
def test_any_bytes_are_read_or_refused(noise: bytes, data: st.DataObject) -> None:
    valid = bytearray(zipped(("a.csv", b"Id\n" + noise), ("b/c.csv", noise)))
    for _ in range(data.draw(st.integers(0, 4))):
        valid[data.draw(st.integers(0, len(valid) - 1))] = data.draw(st.integers(0, 255))
    for candidate in (bytes(valid), noise):
        try:
            read_all(candidate)
        except UnreadableFile:
            continue

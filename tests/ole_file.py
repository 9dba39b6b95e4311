"""Writes OLE compound files ([MS-CFB]), as plain as they can be: to make a ``.msg`` from properties."""

import struct
from collections.abc import Mapping

SECTOR = 512
_CUTOFF = 4096
_END, _FAT, _FREE, _NONE = 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF, 0xFFFFFFFF


def ole_bytes(streams: Mapping[str, bytes]) -> bytes:
    """A compound file with these streams in its root, padded with zeros to the size from which they are kept singly."""
    streams = {name: data.ljust(_CUTOFF, b"\0") for name, data in streams.items()}
    sectors: list[bytes] = []
    chains: list[int] = []

    def add(data: bytes) -> int:
        if not data:
            return _END
        first = len(sectors)
        for at in range(0, len(data), SECTOR):
            sectors.append(data[at : at + SECTOR].ljust(SECTOR, b"\0"))
            chains.append(len(sectors))
        chains[-1] = _END
        return first

    names = sorted(streams)
    starts = [add(streams[name]) for name in names]
    entries = [_entry("Root Entry", 5, child=1 if names else _NONE, start=_END)]
    for number, (name, start) in enumerate(zip(names, starts, strict=True), start=2):
        right = number if number <= len(names) else _NONE
        entries.append(_entry(name, 2, right=right, start=start, size=len(streams[name])))
    directory = add(b"".join(entries).ljust(-(-len(entries) // 4) * SECTOR, b"\0"))
    # The table describes its own sectors too.
    tables = 1
    while tables * (SECTOR // 4) < len(chains) + tables:
        tables += 1
    first_table = len(sectors)
    fat = [*chains, *[_FAT] * tables]
    fat += [_FREE] * (tables * (SECTOR // 4) - len(fat))
    places = [*range(first_table, first_table + tables), *[_FREE] * (109 - tables)]
    header = struct.pack(
        "<8s16xHHHHH6xIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        0x3E, 3, 0xFFFE, 9, 6, 0, tables, directory, 0, _CUTOFF, _END, 0, _END, 0,
    )  # fmt: skip
    return header + struct.pack("<109I", *places) + b"".join(sectors) + struct.pack(f"<{len(fat)}I", *fat)


def _entry(name: str, kind: int, *, right: int = _NONE, child: int = _NONE, start: int, size: int = 0) -> bytes:
    encoded = (name + "\0").encode("utf-16-le")
    return struct.pack("<64sHBBIII36xIQ", encoded, len(encoded), kind, 1, _NONE, right, child, start, size)

"""How fast readers are, and how much memory they take, beside the bare library on the same file.

    python benchmarks/readers.py [--size 50] [--runs 3] [--only mbox] [--large]

There is no row for ``.pst``: nothing free writes one. ``.msg`` needs ``pip install .[outlook]``.

``--large`` reads 1 GB of each once, for the memory. Every measurement is a process of its own; library and reader take
turns, and the medians of CPU seconds are compared, as other work on the machine disturbs wall time.
"""

import argparse
import csv
import email
import email.message
import importlib.util
import json
import mailbox
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

ROOT = Path(__file__).parent.parent
LARGE_MB = 1_000
AIM_LARGE_RSS_MB = 300
TABLES = ("salesforce", "hubspot", "mapped")
MAIL = ("mbox", "eml", "mail_zip", "msg")
JSON_FILES = ("telegram", "discord", "msteams", "facebook", "chatgpt", "claude", "intercom", "pipedrive")
JSON_LINES = ("zendesk", "jsonl")
AIMS = {
    **dict.fromkeys(MAIL, 0.6),
    "slack": 0.6,
    **dict.fromkeys(TABLES, 0.4),
    **dict.fromkeys((*JSON_FILES, *JSON_LINES), 0.6),
}
"""Of the bare library's speed. WhatsApp's files have no library; they are compared with a search for their headers.

Mail and most chats reach them. Tables do not (0.08 to 0.2), nor do desks, JSON Lines and Facebook (0.13 to 0.35): the
library makes a list of strings or a dict in 1 to 3 µs, in which Python makes no record with people, roles, dates and
checked identifiers. These take 10 to 25 µs, a small part of what storing and extracting them takes.
"""

FORMATS = tuple(
    name for name in (*AIMS, "whatsapp") if name != "msg" or importlib.util.find_spec("olefile") is not None
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=50, help="MB of each export")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=FORMATS, nargs="*", default=list(FORMATS))
    parser.add_argument("--large", action="store_true", help=f"{LARGE_MB} MB of each, read once")
    parser.add_argument("--measure", choices=("reader", "library", "table", "dicts"), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        (name,) = arguments.only
        others = {"library": LIBRARIES[name], "table": table_rows, "dicts": library_dicts}
        work = others.get(arguments.measure) or reader_of(name)
        print(json.dumps(measured(work, arguments.path)))
        return
    size, runs = (LARGE_MB, 1) if arguments.large else (arguments.size, arguments.runs)
    print(f"{size} MB of each, medians of {runs}; load {os.getloadavg()[0]:.1f}")
    print(f"{'export':>12} {'by':>8} {'units':>10} {'wall s':>8} {'CPU s':>8} {'MB/s':>8} {'peak RSS MB':>12}")
    for name in arguments.only:
        with tempfile.TemporaryDirectory(prefix="bench-readers-") as folder:
            report(name, Path(folder) / name, size, runs, large=arguments.large)


def report(name: str, path: Path, size: int, runs: int, *, large: bool) -> None:
    sys.path.append(str(ROOT))  # the tests have what writes Outlook's files
    import exports
    import exports_json
    import exports_more

    writers = exports.WRITERS | exports_json.WRITERS | exports_more.WRITERS
    size_mb = writers[name](path, size * 1_000_000) / 1_000_000
    by_all = ("library", "dicts", "table", "reader") if name in TABLES else ("library", "reader")
    taken: dict[str, list[dict[str, Any]]] = {by: [] for by in by_all}
    for _ in range(runs):
        for by, results in taken.items():
            results.append(run(name, by, path))
    cpu = {}
    for by, results in taken.items():
        wall, cpu[by], rss = (median(one[what] for one in results) for what in ("wall_s", "cpu_s", "rss_mb"))
        print(
            f"{name:>12} {by:>8} {results[0]['units']:>10,} {wall:>8.2f} {cpu[by]:>8.2f} {size_mb / cpu[by]:>8.1f} "
            f"{rss:>12.0f}"
        )
    for by in by_all[1:]:
        aim = f" (aim: {AIMS[name]})" if name in AIMS and by == "reader" else ""
        print(f"{name:>12} {cpu['library'] / cpu[by]:.2f} of the bare library's speed by {by}{aim}")
    if large:
        print(f"{name:>12} {rss:.0f} MB at its peak (aim: {AIM_LARGE_RSS_MB} at most)")


def run(name: str, by: str, path: Path) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--measure", by, "--only", name, "--path", str(path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - this very file
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measured(work: Callable[[Path], int], path: Path) -> dict[str, Any]:
    """Seconds and peak memory of this process; ``work`` gives how many units it read."""
    wall, cpu = time.perf_counter(), time.process_time()
    units = work(path)
    return {
        "units": units,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def reader_of(name: str) -> Callable[[Path], int]:
    """Reads as a sync does, and counts the units. What has to be imported is imported before the clock starts."""
    from ingest_pipeline.documents import SIGNATURE_KIND, Record, Rejected
    from ingest_pipeline.sources import registry
    from ingest_pipeline.sources.base import Export, ReadOptions
    from ingest_pipeline.sources.locations import Place

    reader = registry.BY_FORMAT[name]
    options = ReadOptions(internal_domains=frozenset({"northwind.example"}))

    def read(path: Path) -> int:
        files = tuple(located.file for located in Place(str(path), "").files())
        units = 0
        for item in reader.read(Export(name, reader.source, files), options):
            if isinstance(item, Rejected):
                raise SystemExit(f"{item.file}, {item.position}: {item.reason}")
            units += item.units if isinstance(item, Record) and item.kind != SIGNATURE_KIND else 0
        return units

    return read


def table_rows(path: Path) -> int:
    """Only the rows, strictly parsed in whatever encoding: what every CSV reader begins with."""
    from ingest_pipeline.sources.base import ReadOptions
    from ingest_pipeline.sources.tabular import open_table

    units = 0
    for file in _tables(path):
        with open_table(_opener(file), ReadOptions()) as table:
            units += sum(1 for _ in table.rows())
    return units


def _tables(path: Path) -> list[Path]:
    return sorted(path.glob("*.csv")) if path.is_dir() else [path]


def _opener(file: Path) -> Callable[[], BinaryIO]:
    return lambda: file.open("rb")


def library_mbox(path: Path) -> int:
    """``mailbox`` and ``email``: headers and decoded text parts of every mail."""
    return sum(map(_read_message, mailbox.mbox(path, create=False)))


def _read_message(message: email.message.Message) -> int:
    for header in ("from", "date", "subject", "message-id"):
        _ = message[header]
    for part in message.walk():
        if part.get_content_maintype() == "text":
            decoded(part)
    return 1


def library_eml(path: Path) -> int:
    """``email`` on each file."""
    return sum(_read_message(email.message_from_bytes(file.read_bytes())) for file in path.rglob("*.eml"))


def library_mail_zip(path: Path) -> int:
    """``zipfile`` and ``mailbox``, which needs the mailbox unpacked."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        return library_mbox(Path(archive.extract(archive.namelist()[0], folder)))


def library_msg(path: Path) -> int:
    """``olefile``: every stream of each file, the body decoded."""
    import olefile

    units = 0
    for file in path.rglob("*.msg"):
        with olefile.OleFileIO(file) as ole:
            for name in ole.listdir():
                ole.openstream(name).read().decode("utf-16-le", "replace")
        units += 1
    return units


def decoded(part: email.message.Message) -> str:
    payload = part.get_payload(decode=True)
    return payload.decode(part.get_content_charset("utf-8")) if isinstance(payload, bytes) else ""


def library_csv(path: Path) -> int:
    """``csv.reader`` over every table."""
    units = 0
    for table in _tables(path):
        with table.open(encoding="utf-8", newline="") as file:
            units += sum(1 for _ in csv.reader(file))
    return units


def library_dicts(path: Path) -> int:
    """``csv.DictReader``, which as our readers tells the columns apart."""
    units = 0
    for table in _tables(path):
        with table.open(encoding="utf-8", newline="") as file:
            units += sum(1 for _ in csv.DictReader(file))
    return units


def library_json(path: Path) -> int:
    """``json.load`` of the whole file."""
    with path.open(encoding="utf-8") as file:
        return len(json.load(file))


def library_json_lines(path: Path) -> int:
    """``json.loads`` of each line."""
    with path.open(encoding="utf-8") as file:
        return sum(1 for _ in map(json.loads, file))


def library_headers(path: Path) -> int:
    """``re`` over the whole text, for what begins a message."""
    header = re.compile(r"^(\d{1,2})/(\d{1,2})/(\d{4}), (\d{1,2}):(\d{2}) - ([^:\n]*): ", re.MULTILINE)
    return sum(1 for _ in header.finditer(path.read_text(encoding="utf-8")))


def library_slack(path: Path) -> int:
    """``zipfile`` and ``json.loads`` of every member."""
    with zipfile.ZipFile(path) as archive:
        return sum(len(json.loads(archive.read(name))) for name in archive.namelist())


LIBRARIES: dict[str, Callable[[Path], int]] = {
    "mbox": library_mbox,
    "eml": library_eml,
    "mail_zip": library_mail_zip,
    "msg": library_msg,
    "slack": library_slack,
    **dict.fromkeys(TABLES, library_csv),
    **dict.fromkeys(JSON_FILES, library_json),
    **dict.fromkeys(JSON_LINES, library_json_lines),
    "whatsapp": library_headers,
}


if __name__ == "__main__":
    main()

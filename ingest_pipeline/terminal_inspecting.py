"""What ``ingest inspect`` shows."""

from collections.abc import Iterable, Mapping

from rich.console import Console

from ingest_pipeline.console import plain
from ingest_pipeline.documents import Source
from ingest_pipeline.inspecting import Inspection, Report
from ingest_pipeline.sources import registry
from ingest_pipeline.terminal import day, make_table

_SHOWN_REASONS = 10


def show_report(console: Console, report: Report) -> None:
    for inspection in report.exports:
        _show_inspection(console, inspection)
    for file, problem in report.wrong_settings.items():
        line = f"{file}: {problem}; nothing in this folder would be read"
        console.print(plain(line, "red"), soft_wrap=True)
    if report.unknown:
        table = make_table("File", "What it is", title="Read by no format")
        for unknown in report.unknown:
            table.add_row(plain(unknown.file), plain(unknown.what))
        console.print(table)
        for line in formats():
            _say(console, line)
    _say(console, "Nothing was written.")


def formats() -> Iterable[str]:
    """The formats that were tried, a line per source."""
    for source in (Source.CRM, Source.EMAIL, Source.CHAT):
        names = ", ".join(reader.format for reader in registry.READERS if reader.source is source)
        yield f"tried for {source}/: {names}"


def _show_inspection(console: Console, found: Inspection) -> None:
    console.print(plain(_title(found), "bold"), soft_wrap=True)
    referred = f", {found.referred:,} more that it only refers to" if found.referred else ""
    _say(console, f"  people      {found.people:,}{referred}")
    _say(console, f"  documents   {found.documents.total():,}{_in_brackets(found.documents)}")
    if found.units != found.documents:
        _say(console, f"  read from   {_listed(found.units) or 'nothing'}")
    if found.documents:
        _say(console, f"  dates       {_period(found)}{_decided(found)}")
    if found.skipped:
        _say(console, f"  left out    {_listed(found.skipped)}")
    if found.doubts:
        _say(console, f"  doubts      {_listed(found.doubts)}")
    _say(console, f"  settings    {_settings(found)}")
    for line in found.advice():
        console.print(plain(f"  look at     {line}", "yellow"), soft_wrap=True)
    _show_rejections(console, found)


def _title(found: Inspection) -> str:
    files = f"{len(found.files):,} files, " if len(found.files) > 1 else ""
    return f"{found.name}: {found.format}, read from {found.source}/ ({files}{found.bytes:,} bytes)"


def _show_rejections(console: Console, found: Inspection) -> None:
    total = found.rejected.total()
    if not total:
        return
    table = make_table("File", "Where", "Why", title=f"Would be rejected: {total:,}")
    for rejected in found.rejections:
        table.add_row(plain(rejected.file), plain(rejected.position), plain(rejected.reason))
    console.print(table)
    if total > len(found.rejections):
        _say(console, f"… and {total - len(found.rejections):,} more (--all lists them); by reason:")
        for reason, count in found.rejected.most_common(_SHOWN_REASONS):
            _say(console, f"  {count:,}  {reason}")


def _period(found: Inspection) -> str:
    if found.first is None or found.last is None:
        return "none"
    return f"{day(found.first)} to {day(found.last)}" + (f", {found.undated:,} undated" if found.undated else "")


def _decided(found: Inspection) -> str:
    decisions = [name.replace("_", " ") for name in found.decisions]
    return f" ({', '.join(decisions)})" if decisions else ""


def _settings(found: Inspection) -> str:
    options = found.options
    values = {
        "timezone": options.timezone,
        "internal_domains": ", ".join(sorted(options.internal_domains)) or "none",
        "phone_region": options.phone_region or "none",
        "date_order": options.date_order or "none",
        "workspace": options.workspace,
        "exclude_columns": ", ".join(sorted(options.exclude_columns)),
        "staff": f"{len(options.staff):,} named" if options.staff else "",
    }
    told = "; ".join(f"{name} {value}" for name, value in values.items() if value)
    return f"{told} ({found.options_file or 'no _source.yaml'})"


def _in_brackets(counts: Mapping[str, int]) -> str:
    return f" ({_listed(counts)})" if counts else ""


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda each: -each[1]))


def _say(console: Console, line: str) -> None:
    console.print(plain(line), soft_wrap=True, highlight=False)

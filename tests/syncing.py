"""A whole sync without Dagster: read, extract offline, fold. Also run as a program by tests of two at once."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from ingest_pipeline.changes import ReadReport
from ingest_pipeline.documents import Source
from ingest_pipeline.extracting import KeyOutcome, extract_pending
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.reading import read_source
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.inbox import FOLDERS, open_inbox
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.fold_outcomes import Folded

NORTHWIND = ReadOptions(internal_domains=frozenset({"northwind.example"}))


@dataclass
class Synced:
    read: list[ReadReport] = field(default_factory=list)
    extracted: list[KeyOutcome] = field(default_factory=list)
    folded: list[Folded] = field(default_factory=list)


def sync(engine: Engine, inbox: Path, sources: Sequence[Source] = FOLDERS, options: ReadOptions = NORTHWIND) -> Synced:
    schema = load_traits(None)
    extractor = OfflineExtractor(schema)
    box = open_inbox(str(inbox))
    result = Synced([read_source(engine, box, source, options) for source in sources])
    result.extracted = list(extract_pending(engine, extractor, Selection(extractor.fingerprint)))
    result.folded = list(fold_profiles(engine, schema))
    return result


def main() -> None:
    """Database URL and inbox; starts when a line comes in, so that several begin at the same moment."""
    url, inbox = sys.argv[1:]
    engine = open_engine(url)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sync(engine, Path(inbox))
    engine.dispose()


if __name__ == "__main__":
    main()
